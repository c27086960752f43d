//! Promise: replication connections pass through one to one, to the primary or where they ask to go.

use crate::support::raw::Message;
use crate::support::{
    Config, Database, PATIENCE, Primacy, Raw, Servers, eventually, http, own_cluster, own_cluster_with,
    unique,
};
use primacy::engine::embedded::{APP, DATABASE, Embedded as _, Options, REPLICATION};
use primacy::postgres::wire;
use std::path::Path;
use std::process::{Output, Stdio};
use tokio::process::{Child, Command};

/// One of the servers' own programs, told to come through that port.
fn program(servers: &Servers, name: &str, port: u16) -> Command {
    let mut command = Command::new(servers.programs.join(name));
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", port.to_string())
        .env("PGUSER", REPLICATION.user)
        .env("PGPASSWORD", REPLICATION.password)
        .env("PGCONNECT_TIMEOUT", "30")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

async fn psql(servers: &Servers, port: u16, more: &str, text: &str) -> Output {
    let conninfo = format!("dbname=app {more}");
    program(servers, "psql", port).args(["-XAtwc", text, &conninfo]).output().await.unwrap()
}

/// How many walsenders of that name the primary has.
async fn walsenders(servers: &Servers, name: &str) -> i64 {
    let admin = servers.admin(0, "postgres").await;
    let text =
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name = $1";
    admin.query_one(text, &[&name]).await.unwrap().get(0)
}

fn streaming(servers: &Servers, port: u16, name: &str, into: &Path) -> Child {
    program(servers, "pg_receivewal", port)
        .args(["--no-loop", "--no-sync", "-s", "1", "-D"])
        .arg(into)
        .env("PGAPPNAME", name)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn clients(servers: &Servers, primacy: &Primacy) -> Vec<String> {
    let output = program(servers, "psql", primacy.port)
        .env("PGUSER", "primacy")
        .env("PGPASSWORD", primacy::engine::embedded::MONITOR.password)
        .args(["-XAtwc", "SHOW CLIENTS", "dbname=primacy"])
        .output()
        .await
        .unwrap();
    good(&output).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_backup_is_taken_through_primacy() {
    // The shared servers hold every other test's databases.
    let cluster = own_cluster(0).await;
    let servers = &Servers::of_postgres(&cluster);
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let taken = program(servers, "pg_basebackup", primacy.port)
        .args(["--checkpoint=fast", "--no-sync", "-X", "stream", "-D"])
        .arg(&backup)
        .output()
        .await
        .unwrap();
    good(&taken);
    let verified =
        Command::new(servers.programs.join("pg_verifybackup")).arg(&backup).output().await.unwrap();
    good(&verified);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_streams_and_either_sides_end_ends_both() {
    let servers = Servers::postgres().await;
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let folder = tempfile::tempdir().unwrap();
    let name = unique("recv");
    let mut receiver = streaming(servers, primacy.port, &name, folder.path());
    eventually("a file of the log is there", async || {
        std::fs::read_dir(folder.path()).unwrap().next().map(drop)
    })
    .await;
    assert_eq!(walsenders(servers, &name).await, 1);
    let shown = clients(servers, &primacy).await;
    assert!(shown.iter().any(|line| line.contains("|physical|")), "{shown:?}");
    receiver.kill().await.unwrap();
    eventually("the walsender is gone with its client", async || {
        (walsenders(servers, &name).await == 0).then_some(())
    })
    .await;

    let name = unique("recv");
    let mut receiver = streaming(servers, primacy.port, &name, folder.path());
    eventually("it streams", async || (walsenders(servers, &name).await == 1).then_some(())).await;
    let admin = servers.admin(0, "postgres").await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    admin.execute(end, &[&name]).await.unwrap();
    assert!(!receiver.wait().await.unwrap().success());
    eventually("the client is gone with its walsender", async || {
        let shown = clients(servers, &primacy).await;
        (!shown.iter().any(|line| line.contains("|physical|"))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logical_slot_is_made_read_and_dropped() {
    let settings = vec![("wal_level".to_owned(), "logical".to_owned())];
    let cluster = own_cluster_with(Options { settings, ..Options::replicas(0) }).await;
    let servers = Servers::of_postgres(&cluster);
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    cluster.sql(0, "app", "CREATE TABLE t (x int)").await.unwrap();
    let slot = |action: &'static str| {
        let mut command = program(&servers, "pg_recvlogical", primacy.port);
        command.args(["-d", "app", "-S", "primacy_test", action, "--no-loop"]);
        command
    };
    good(&slot("--create-slot").args(["-P", "test_decoding"]).output().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("changes");
    let mut reader = slot("--start").args(["-F", "0", "-s", "1", "-f"]).arg(&file).spawn().unwrap();
    cluster.sql(0, "app", "INSERT INTO t SELECT generate_series(1, 10000)").await.unwrap();
    eventually("all changes have come", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        (text.matches("INSERT: x[integer]:").count() == 10_000).then_some(())
    })
    .await;
    reader.kill().await.unwrap();
    eventually("the slot is free", async || {
        let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'primacy_test'";
        let rows = cluster.sql(0, "postgres", active).await.unwrap();
        (rows[0][0].as_deref() == Some("f")).then_some(())
    })
    .await;
    good(&slot("--drop-slot").output().await.unwrap());
}

/// A database of its own, seen as the replicator.
async fn as_replicator(servers: &Servers) -> Database {
    let database = servers.fresh_database().await;
    Database { user: REPLICATION.user.to_owned(), password: REPLICATION.password.to_owned(), ..database }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walsender_goes_where_it_asks_and_can_be_cancelled() {
    let servers = Servers::postgres().await;
    let database = as_replicator(servers).await;
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let to = async |more: &[(&str, &str)]| {
        let parameters = [&[("replication", "database")], more].concat();
        Raw::try_connect(&database, primacy.port, &parameters).await.unwrap()
    };
    let mut primary = to(&[]).await;
    assert_eq!(primary.value("SELECT pg_is_in_recovery()").await, "f");
    // What the start-up packet asks for is the server's to give, and nothing of the session is anybody else's.
    let parameters = [("replication", "database"), ("options", "-c primacy.route=replica -c work_mem=77kB")];
    let mut replica = eventually("the replica knows the database", async || {
        Raw::try_connect(&database, primacy.port, &parameters).await.ok()
    })
    .await;
    assert_eq!(replica.value("SELECT pg_is_in_recovery()").await, "t");
    assert_eq!(replica.value("SHOW work_mem").await, "77kB");
    let identity = primary.rows("IDENTIFY_SYSTEM").await;
    assert_eq!(identity[0][3].as_deref(), Some(&*database.name));

    let mut out = Vec::new();
    wire::query(&mut out, "SELECT pg_sleep(300)");
    primary.send(&out).await;
    let admin = servers.admin(0, "postgres").await;
    let runs =
        "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%pg_sleep%' AND state = 'active'";
    eventually("it sleeps", async || admin.query_opt(runs, &[&database.name]).await.unwrap()).await;
    primary.cancel(&primary.key.clone()).await;
    let answer = primary.read_until("Z").await;
    let error = answer.iter().find(|message| message.tag == b'E').and_then(|message| message.field(b'C'));
    assert_eq!(error.as_deref(), Some("57014"));
    assert_eq!(primary.value("SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_replicate_hears_it_from_the_server() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let told = |message: &Message| [b'S', b'C', b'M', b'D', b'H'].map(|kind| message.field(kind));
    for (parameters, sqlstate) in [
        ([("replication", "true"), ("work_mem", "1MB")], "42501"),
        ([("replication", "database"), ("work_mem", "1MB")], "42501"),
        ([("replication", "maybe"), ("work_mem", "1MB")], "22023"),
    ] {
        let mut answers = Vec::new();
        for port in [servers.endpoints[0].port, primacy.port] {
            answers.push(told(&Raw::try_connect(&database, port, &parameters).await.unwrap_err()));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0][1].as_deref(), Some(sqlstate));
    }
    let replicator = as_replicator(servers).await;
    let wrong = [("replication", "database"), ("work_mem", "much")];
    let mut answers = Vec::new();
    for port in [servers.endpoints[0].port, primacy.port] {
        answers.push(told(&Raw::try_connect(&replicator, port, &wrong).await.unwrap_err()));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(psql(servers, primacy.port, "replication=database", "SELECT 1").await.status.success());
}

/// SQL may run on a logical connection, and other sessions must see what it wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_walsender_writes_is_seen_by_all() {
    let cluster = own_cluster(1).await;
    cluster.sql(0, DATABASE, "CREATE TABLE t (x int); GRANT ALL ON t TO PUBLIC").await.unwrap();
    cluster.wait_caught_up().await.unwrap();
    let primacy = Primacy::start(Config::new(&Servers::of_postgres(&cluster).yaml())).await;
    let of = |user: &str, password: &str| Database {
        name: DATABASE.to_owned(),
        user: user.to_owned(),
        password: password.to_owned(),
    };
    let mut reader = Raw::connect(&of(APP.user, APP.password), primacy.port).await;
    let replica = &cluster.endpoints()[1].name;
    let served_by_the_replica = async {
        while reader.value("SHOW primacy.node").await != *replica {
            assert_eq!(reader.value("SELECT count(*) FROM t").await, "0");
        }
    };
    tokio::time::timeout(PATIENCE, served_by_the_replica).await.expect("the replica serves the reader");
    cluster.set_replay_paused(1, true).await.unwrap();
    let replicator = of(REPLICATION.user, REPLICATION.password);
    let parameters = [("replication", "database")];
    let mut walsender = Raw::try_connect(&replicator, primacy.port, &parameters).await.unwrap();
    walsender.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(reader.value("SELECT count(*) FROM t").await, "1");
    cluster.set_replay_paused(1, false).await.unwrap();
}

/// A walsender that streams the log physically from where it is now.
async fn streams(servers: &Servers, port: u16) -> Raw {
    let replicator = Database {
        name: DATABASE.to_owned(),
        user: REPLICATION.user.to_owned(),
        password: REPLICATION.password.to_owned(),
    };
    let mut walsender = Raw::try_connect(&replicator, port, &[("replication", "true")]).await.unwrap();
    let position = walsender.rows("IDENTIFY_SYSTEM").await[0][2].clone().unwrap();
    let mut out = Vec::new();
    wire::query(&mut out, &format!("START_REPLICATION PHYSICAL {position}"));
    walsender.send(&out).await;
    let admin = servers.admin(0, "postgres").await;
    // Little, so that nothing is under way when the server is frozen: the rest of a message could not come then.
    admin.batch_execute("SELECT pg_logical_emit_message(true, 'test', 'more')").await.unwrap();
    walsender.read_until("Wd").await;
    walsender
}

/// What the server says until it ends; the last is why.
async fn farewell(mut walsender: Raw) -> Message {
    let messages = walsender.read_until("E$").await;
    assert_eq!(walsender.unread(), 0, "nothing was cut in the middle");
    let [.., error, end] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((error.tag, end.tag, &*end.body), (b'E', b'!', &b"end"[..]), "{error:?}, {end:?}");
    error.clone()
}

async fn clients_of(primacy: &Primacy) -> f64 {
    let (_, text) = http::get(primacy.admin_port, "/metrics").await.unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("primacy_clients_replicating{cluster=\"main\"} "));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_replicates_is_told_when_primacy_stops() {
    let cluster = own_cluster(0).await;
    let servers = Servers::of_postgres(&cluster);
    cluster.sql(0, DATABASE, "CREATE TABLE t (x text)").await.unwrap();
    let mut primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let walsender = streams(&servers, primacy.port).await;
    // The log flows while it is sent away.
    let admin = servers.admin(0, DATABASE).await;
    let flow = async {
        for _ in 0..20 {
            admin
                .batch_execute("INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
                .await
                .unwrap();
        }
    };
    let stop = async {
        let reads = farewell(walsender);
        let (error, well) = tokio::join!(reads, primacy.stop());
        assert!(well);
        error
    };
    let ((), error) = tokio::join!(flow, stop);
    let told = [b'S', b'C', b'M'].map(|kind| error.field(kind).unwrap());
    assert_eq!(told, ["FATAL", "57P01", "terminating connection due to administrator command"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_replicates_from_a_node_that_is_primary_no_more_is_sent_away() {
    let cluster = own_cluster(1).await;
    let servers = Servers::of_postgres(&cluster);
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let walsender = streams(&servers, primacy.port).await;
    // It does not answer, and its connections stay.
    primacy.expect_log("node does not answer");
    cluster.pause(0).unwrap();
    primacy.wait_log("no primary: writes wait").await;
    assert_eq!(clients_of(&primacy).await, 1.0, "while there is no other, it may stream on");
    cluster.promote(1).await.unwrap();
    let error = farewell(walsender).await;
    let told = [b'S', b'C', b'M'].map(|kind| error.field(kind).unwrap());
    assert_eq!(told, ["FATAL", "57P01", "terminating connection: another node became the primary"]);
    cluster.resume(0).unwrap();
    assert_eq!(clients_of(&primacy).await, 0.0);
}
