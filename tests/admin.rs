//! Promise: an operator sees over HTTP what is so, and what he tells is done, and only by who has the token.

use crate::support::instance::TOKEN;
use crate::support::{Config, Database, Primacy, Servers, eventually, http};
use serde_json::Value;
use std::process::{Command, Output};

async fn start() -> (&'static Servers, Database, Primacy) {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    (servers, database, Primacy::start(Config::new(&servers.yaml())).await)
}

async fn json(primacy: &Primacy, path: &str) -> (u16, Value) {
    let (status, body) = http::get(primacy.admin_port, path).await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}")))
}

async fn post(primacy: &Primacy, path: &str) -> (u16, Value) {
    let (status, body) = http::post(primacy.admin_port, path, TOKEN).await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}")))
}

fn run(primacy: &Primacy, arguments: &[&str]) -> Output {
    let url = format!("http://127.0.0.1:{}", primacy.admin_port);
    let program = env!("CARGO_BIN_EXE_primacy");
    let (verb, rest) = arguments.split_first().unwrap();
    Command::new(program).args([verb, "--admin", &url]).args(rest).output().unwrap()
}

#[tokio::test]
async fn probes_metrics_and_status_show_what_is_so() {
    let (servers, database, primacy) = start().await;
    let client = database.connect("127.0.0.1", primacy.port).await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    assert_eq!(http::get(primacy.admin_port, "/healthz").await.unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(json(&primacy, "/readyz").await.0, 200);

    let (_, primary) = json(&primacy, "/clusters/main/primary").await;
    assert_eq!(primary["node"], servers.endpoints[0].name);
    let replicas = eventually("a replica may serve reads", async || {
        Some(json(&primacy, "/clusters/main/replica?max_lag=1m").await).filter(|(status, _)| *status == 200)
    });
    assert!(!replicas.await.1["replicas"].as_array().unwrap().is_empty());
    assert_eq!(json(&primacy, "/clusters/none/primary").await.0, 404);

    let (_, status) = json(&primacy, "/api/v1/status").await;
    let cluster = &status["clusters"][0];
    assert_eq!(
        (&status["state"], &cluster["primary"]),
        (&"running".into(), &servers.endpoints[0].name.as_str().into())
    );
    assert_eq!(cluster["sessions"]["connected"], 1);
    assert_eq!(cluster["nodes"].as_array().unwrap().len(), servers.endpoints.len());
    let node = &cluster["nodes"][0];
    assert_eq!((&node["role"], &node["state"]), (&"primary".into(), &"up".into()));
    assert!(node["position"].as_str().unwrap().contains('/'), "{node}");
    assert!(node["connections"].as_u64().unwrap() > 0, "{node}");
    let pool = &cluster["pools"][0];
    assert_eq!(
        (&pool["database"], &pool["user"]),
        (&database.name.as_str().into(), &database.user.as_str().into())
    );
    assert_eq!((&pool["sv_idle"], &pool["size"]), (&1.into(), &20.into()));

    let (_, metrics) = http::get(primacy.admin_port, "/metrics").await.unwrap();
    let has = |start: &str| metrics.lines().any(|line| line.starts_with(start));
    for sample in ["primacy_ready 1", "primacy_clients{cluster=\"main\"} 1", "primacy_query_count_total{"] {
        assert!(has(sample), "{sample} is not in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));

    let shown = run(&primacy, &["status"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    for part in
        ["cluster main (postgres)", "promise   causal consistency", &servers.endpoints[1].name, "1 of 10000"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test]
async fn commands_need_the_token_and_say_what_was_wrong() {
    let (servers, _, primacy) = start().await;
    let plain = "Content-Length: 0\r\n";
    let (status, _) = http::request(primacy.admin_port, "POST", "/api/v1/reload", plain).await.unwrap();
    assert_eq!(status, 401);
    let (status, _) = http::post(primacy.admin_port, "/api/v1/reload", "wrong").await.unwrap();
    assert_eq!(status, 401);
    let replica = &servers.endpoints[1].name;
    assert_eq!(post(&primacy, &format!("/api/v1/clusters/main/drain?node={replica}")).await.0, 200);
    let (_, shown) = json(&primacy, "/api/v1/status").await;
    assert_eq!(shown["clusters"][0]["nodes"][1]["draining"], true);
    assert_eq!(post(&primacy, &format!("/api/v1/clusters/main/undrain?node={replica}")).await.0, 200);
    let (_, shown) = json(&primacy, "/api/v1/status").await;
    assert_eq!(shown["clusters"][0]["nodes"][1]["draining"], false);
    let (status, error) = post(&primacy, "/api/v1/clusters/main/drain?node=nobody").await;
    assert_eq!(status, 404, "{error}");
    assert_eq!(post(&primacy, "/api/v1/clusters/main/resume").await.0, 409);
    assert_eq!(post(&primacy, "/api/v1/clusters/main/pause?database=nothing").await.0, 404);
    assert_eq!(post(&primacy, "/api/v1/clients/1/kill").await.0, 404);
}

#[tokio::test]
async fn a_pause_waits_for_what_runs_and_holds_what_comes() {
    let (_, database, primacy) = start().await;
    let mut running = database.connect("127.0.0.1", primacy.port).await.unwrap();
    let waiting = database.connect("127.0.0.1", primacy.port).await.unwrap();
    let transaction = running.transaction().await.unwrap();
    transaction.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let path = format!("/api/v1/clusters/main/pause?database={}", database.name);
    let pause = async { post(&primacy, &path).await };
    let then = async {
        eventually("the pool is paused", async || {
            let (_, status) = json(&primacy, "/api/v1/status").await;
            let pools = status["clusters"][0]["pools"].as_array().unwrap().clone();
            pools.iter().any(|pool| pool["paused"] == true).then_some(())
        })
        .await;
        transaction.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        transaction.commit().await.unwrap();
    };
    let ((status, done), ()) = tokio::join!(pause, then);
    assert_eq!(status, 200, "{done}");
    let asks = waiting.simple_query("INSERT INTO t VALUES (2)");
    let resumes = async {
        eventually("a client waits", async || {
            let (_, status) = json(&primacy, "/api/v1/status").await;
            (status["clusters"][0]["sessions"]["waiting"] == 1).then_some(())
        })
        .await;
        post(&primacy, &path.replace("pause", "resume")).await
    };
    let (asked, (status, _)) = tokio::join!(asks, resumes);
    asked.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_kill_ends_what_runs_and_holds_what_comes() {
    let (_, database, primacy) = start().await;
    let busy = database.connect("127.0.0.1", primacy.port).await.unwrap();
    let other = database.connect("127.0.0.1", primacy.port).await.unwrap();
    busy.batch_execute("BEGIN").await.unwrap();
    let (status, done) = post(&primacy, "/api/v1/clusters/main/kill").await;
    assert_eq!(status, 200, "{done}");
    assert!(busy.batch_execute("SELECT 1").await.is_err());
    let (_, shown) = json(&primacy, "/api/v1/status").await;
    assert_eq!(shown["clusters"][0]["paused"], true);
    let asks = other.batch_execute("SELECT 1");
    let resumes = post(&primacy, "/api/v1/clusters/main/resume");
    let (asked, resumed) = tokio::join!(asks, resumes);
    asked.unwrap();
    assert_eq!(resumed.0, 200);
}

#[tokio::test]
async fn a_reload_is_whole_or_refused() {
    let (servers, database, primacy) = start().await;
    let client = database.connect("127.0.0.1", primacy.port).await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    let size = async || json(&primacy, "/api/v1/status").await.1["clusters"][0]["pools"][0]["size"].as_u64();
    let other = Config::new(&servers.yaml()).cluster("pool: { size: 3 }");
    primacy.reload(&other);
    eventually("the pool is smaller", async || (size().await == Some(3)).then_some(())).await;

    primacy.reload(&other.clone().cluster("pools: { size: 4 }"));
    primacy.wait_log("configuration not reloaded").await;
    let (status, refusal) = post(&primacy, "/api/v1/reload").await;
    assert_eq!(status, 409);
    assert!(refusal["error"].as_str().unwrap().contains("pools"), "{refusal}");
    assert_eq!(size().await, Some(3));
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn without_a_token_one_is_made_into_a_file_of_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_, _, primacy) = start().await;
    let text = std::fs::read_to_string(primacy.config_path()).unwrap();
    std::fs::write(primacy.config_path(), text.replace(&format!(", token: {TOKEN}"), "")).unwrap();
    assert_eq!(post(&primacy, "/api/v1/reload").await.0, 200);
    let line: Value = serde_json::from_str(&primacy.wait_log("admin token made").await).unwrap();
    let path = std::path::Path::new(line["path"].as_str().unwrap());
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let made = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(post(&primacy, "/api/v1/reload").await.0, 401);
    let (status, _) = http::post(primacy.admin_port, "/api/v1/reload", made.trim()).await.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn it_is_told_why_a_statement_goes_where_it_goes() {
    let (_, database, primacy) = start().await;
    let client = database.connect("127.0.0.1", primacy.port).await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    client.batch_execute("SELECT n FROM t").await.unwrap();
    let explained = async |text: &str| {
        let rows = client.simple_query(text).await.unwrap();
        let line = |message: &tokio_postgres::SimpleQueryMessage| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        rows.iter().filter_map(line).collect::<Vec<_>>().join("\n")
    };
    let write = explained("explain route INSERT INTO t VALUES (1)").await;
    assert!(write.contains("class: write") && write.contains("the primary: it writes"), "{write}");
    let read = explained("/* why */ EXPLAIN ROUTE SELECT n FROM t").await;
    assert!(read.contains("class: read") && read.contains("t: run nothing of unknown effect"), "{read}");
    let pins = explained("EXPLAIN ROUTE LISTEN c").await;
    assert!(pins.contains("keeps its connection: no: the proxy listens for it"), "{pins}");
    assert_eq!(explained("SELECT count(*) FROM t").await, "0", "nothing of it ran");
    // Described in one pipeline and run in another: refused, and the session goes on.
    let refused = client.query("EXPLAIN ROUTE SELECT 1", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::FEATURE_NOT_SUPPORTED));
    assert_eq!(explained("SELECT 1").await, "1");

    let told = run(
        &primacy,
        &[
            "explain",
            "--token",
            TOKEN,
            "--cluster",
            "main",
            "--database",
            &database.name,
            "SELECT nextval('s')",
        ],
    );
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(
        text.contains("write") && text.contains("nextval"),
        "{text}{}",
        String::from_utf8_lossy(&told.stderr)
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let (_, _, primacy) = start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("primacy.yaml");
    let text = std::fs::read_to_string(primacy.config_path()).unwrap();
    std::fs::write(&path, text.replace(&primacy.port.to_string(), "0")).unwrap();
    let second = Command::new(env!("CARGO_BIN_EXE_primacy")).arg("run").arg(&path).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("admin.listen") && said.contains(&primacy.admin_port.to_string()), "{said}");
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let (_, _, mut primacy) = start().await;
    let (status, _) = post(&primacy, "/api/v1/shutdown?now=true").await;
    assert_eq!(status, 200);
    primacy.wait_log("told to stop at once").await;
    assert!(primacy.ended().await);
}
