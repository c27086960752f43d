//! Promise: an operator has the console over the database's own protocol, as PgBouncer's operators know it.

use crate::support::{Config, Database, Primacy, Servers, eventually, shared};
use primacy::engine::embedded::MONITOR;
use std::process::{Command, Output};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

async fn start() -> (&'static Servers, Database, Primacy) {
    let servers = Servers::postgres().await;
    let operator = servers.fresh_database().await;
    let config = Config::new(&servers.yaml()).admin(&format!("users: [{}]", operator.user));
    (servers, operator, Primacy::start(config).await)
}

async fn console(primacy: &Primacy, name: &str, operator: &Database) -> tokio_postgres::Client {
    shared::connect("127.0.0.1", primacy.port, name, &operator.user, &operator.password).await.unwrap()
}

/// The rows of an answer, by column.
async fn rows(client: &tokio_postgres::Client, text: &str) -> Vec<Vec<(String, String)>> {
    let answer = client.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let row = |message: &SimpleQueryMessage| {
        let SimpleQueryMessage::Row(row) = message else { return None };
        let cell = |index: usize| row.get(index).unwrap_or("NULL").to_owned();
        Some(
            row.columns().iter().enumerate().map(|(i, column)| (column.name().to_owned(), cell(i))).collect(),
        )
    };
    answer.iter().filter_map(row).collect()
}

fn cell<'a>(row: &'a [(String, String)], column: &str) -> &'a str {
    let found = row.iter().find(|(name, _)| name == column);
    &found.unwrap_or_else(|| panic!("no {column} in {row:?}")).1
}

fn psql(
    servers: &Servers,
    primacy: &Primacy,
    database: &str,
    (user, password): (&str, &str),
    text: &str,
) -> Output {
    Command::new(servers.programs.join("psql"))
        .args([
            "-X",
            "-h",
            "127.0.0.1",
            "-p",
            &primacy.port.to_string(),
            "-U",
            user,
            "-d",
            database,
            "-c",
            text,
        ])
        .env("PGPASSWORD", password)
        .output()
        .unwrap()
}

#[tokio::test]
async fn psql_has_both_consoles_by_rights() {
    let (servers, operator, primacy) = start().await;
    let stranger = servers.fresh_database().await;
    let client = operator.connect("127.0.0.1", primacy.port).await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    let ops = (&*operator.user, &*operator.password);
    for name in ["primacy", "pgbouncer"] {
        let shown = psql(servers, &primacy, name, ops, "show pools");
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.status.success() && text.contains(&operator.name), "{text}{:?}", shown.stderr);
        assert_eq!(text.contains("sv_pinned"), name == "primacy", "{text}");
        let look = psql(servers, &primacy, name, (MONITOR.user, MONITOR.password), "SHOW NODES");
        assert!(look.status.success(), "{look:?}");
        let denied = psql(servers, &primacy, name, (MONITOR.user, MONITOR.password), "RELOAD");
        assert!(String::from_utf8_lossy(&denied.stderr).contains("permission denied"), "{denied:?}");
        let refused = psql(servers, &primacy, name, (&stranger.user, &stranger.password), "SHOW NODES");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(&format!("permission denied for database \"{name}\"")), "{said}");
        let guessed = psql(servers, &primacy, name, (&operator.user, "wrong"), "SHOW NODES");
        assert!(String::from_utf8_lossy(&guessed.stderr).contains("password authentication failed"));
    }
}

#[tokio::test]
async fn every_table_can_be_shown() {
    let (servers, operator, primacy) = start().await;
    let mut client = operator.connect("127.0.0.1", primacy.port).await.unwrap();
    client.batch_execute("LISTEN c; SELECT 1").await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let ours = console(&primacy, "primacy", &operator).await;
    let help = rows(&ours, "SHOW HELP").await;
    let topics = help.iter().map(|row| cell(row, "command")).filter(|command| command.starts_with("SHOW "));
    let theirs = console(&primacy, "pgbouncer", &operator).await;
    for topic in topics {
        rows(&ours, topic).await;
        rows(&theirs, topic).await;
    }
    let own = |rows: Vec<Vec<(String, String)>>| {
        rows.into_iter().find(|row| cell(row, "user") == operator.user).expect("a row of the user's")
    };
    let pool = own(rows(&ours, "SHOW POOLS").await);
    assert_eq!(
        (cell(&pool, "sv_active"), cell(&pool, "sv_pinned"), cell(&pool, "cl_active")),
        ("1", "1", "1")
    );
    assert_eq!(cell(&pool, "node"), servers.endpoints[0].name);
    let (shown, server) = (own(rows(&ours, "SHOW CLIENTS").await), own(rows(&ours, "SHOW SERVERS").await));
    assert_eq!((cell(&shown, "state"), cell(&server, "state")), ("active", "active"));
    assert_eq!((cell(&shown, "link"), cell(&shown, "ptr")), (cell(&server, "ptr"), cell(&server, "link")));
    assert_eq!(cell(&shown, "pin"), "listen");
    let pin = own(rows(&ours, "SHOW PINS").await);
    assert_eq!(
        (cell(&pin, "reason"), cell(&pin, "certainty"), cell(&pin, "statement")),
        ("listen", "known", "LISTEN")
    );
    assert_eq!(format!("C{}", cell(&pin, "client")), cell(&shown, "ptr"));
    let stats = rows(&theirs, "SHOW STATS").await;
    let stats = stats.iter().find(|row| cell(row, "database") == operator.name).unwrap();
    assert_ne!(cell(stats, "total_query_count"), "0");
    let config = rows(&ours, "SHOW CONFIG").await;
    assert!(config.iter().any(|row| cell(row, "value") == "****"), "secrets are masked");
    transaction.rollback().await.unwrap();
    let asked = ours.query("SHOW POOLS", &[]).await.unwrap_err();
    assert_eq!(asked.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    rows(&ours, "SHOW VERSION").await;
}

#[tokio::test]
async fn what_is_commanded_is_done() {
    let (servers, operator, primacy) = start().await;
    let client = operator.connect("127.0.0.1", primacy.port).await.unwrap();
    let pid = async || {
        let asked = rows(&client, "SELECT pg_backend_pid() AS pid FROM pg_stat_activity LIMIT 1").await;
        cell(&asked[0], "pid").to_owned()
    };
    let server = async |ops: &tokio_postgres::Client| {
        let servers = rows(ops, "SHOW SERVERS").await;
        let own = servers.iter().filter(|row| cell(row, "user") == operator.user);
        own.map(|row| cell(row, "remote_pid").to_owned()).collect::<Vec<_>>()
    };
    let ops = console(&primacy, "primacy", &operator).await;
    pid().await;
    let before = server(&ops).await;
    ops.simple_query("RECONNECT").await.unwrap();
    pid().await;
    let after = server(&ops).await;
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");

    ops.simple_query(&format!("PAUSE {}", operator.name)).await.unwrap();
    let asks = client.simple_query("INSERT INTO nothing VALUES (1)");
    let resumes = async {
        eventually("a client waits", async || {
            let pools = rows(&ops, "SHOW POOLS").await;
            pools.iter().any(|row| cell(row, "cl_waiting") == "1").then_some(())
        })
        .await;
        let shown = rows(&ops, "SHOW DATABASES").await;
        assert!(shown.iter().any(|row| cell(row, "name") == operator.name && cell(row, "paused") == "1"));
        ops.simple_query(&format!("RESUME \"{}\"", operator.name)).await.unwrap();
    };
    let (asked, ()) = tokio::join!(asks, resumes);
    assert_eq!(asked.unwrap_err().code(), Some(&SqlState::UNDEFINED_TABLE));
    let again = ops.simple_query("RESUME").await.unwrap_err();
    assert_eq!(again.code(), Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE));

    let replica = &servers.endpoints[1].name;
    ops.simple_query(&format!("DRAIN {replica}")).await.unwrap();
    let nodes = rows(&ops, "SHOW NODES").await;
    assert_eq!(cell(&nodes[1], "draining"), "yes");
    ops.simple_query(&format!("UNDRAIN {replica}")).await.unwrap();

    let clients = rows(&ops, "SHOW CLIENTS").await;
    let own = clients.iter().find(|row| cell(row, "user") == operator.user).unwrap();
    ops.simple_query(&format!("KILL_CLIENT {}", cell(own, "id"))).await.unwrap();
    eventually("the client is gone", async || client.is_closed().then_some(())).await;

    std::fs::write(primacy.config_path(), "clusters: {}").unwrap();
    primacy.expect_log("configuration not reloaded");
    assert!(ops.simple_query("RELOAD").await.is_err());
    ops.simple_query("SHUTDOWN").await.unwrap();
    primacy.wait_log("stopped").await;
}

#[tokio::test]
async fn a_servers_own_database_of_that_name_wins() {
    let cluster = crate::support::own_cluster(0).await;
    let servers = Servers::of_postgres(&cluster);
    let admin = servers.admin(0, "postgres").await;
    admin.batch_execute("CREATE DATABASE pgbouncer").await.unwrap();
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let (user, password) = (MONITOR.user, MONITOR.password);
    let own = shared::connect("127.0.0.1", primacy.port, "pgbouncer", user, password).await.unwrap();
    assert_eq!(cell(&rows(&own, "SELECT current_database() AS name").await[0], "name"), "pgbouncer");
    let ours = shared::connect("127.0.0.1", primacy.port, "primacy", user, password).await.unwrap();
    assert_eq!(rows(&ours, "SHOW NODES").await.len(), 1);
}

#[tokio::test]
async fn slow_statements_are_logged() {
    let (_, operator, primacy) = start().await;
    let client = operator.connect("127.0.0.1", primacy.port).await.unwrap();
    client.batch_execute("SELECT pg_sleep(0.3), 'simple'").await.unwrap();
    client.query("SELECT pg_sleep(0.3)::text, 'extended'", &[]).await.unwrap();
    let simple = primacy.wait_log("slow query").await;
    assert!(simple.contains("SELECT pg_sleep(0.3), 'simple'") && simple.contains(&operator.user), "{simple}");
    let extended = primacy.wait_log("'extended'").await;
    assert!(extended.contains("slow query"), "{extended}");
}

#[tokio::test]
async fn what_raises_floors_in_doubt_is_named() {
    let (_, operator, primacy) = start().await;
    let client = operator.connect("127.0.0.1", primacy.port).await.unwrap();
    let function = "CREATE FUNCTION guess(n int, t text) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT n'";
    client.batch_execute(function).await.unwrap();
    for text in ["SELECT guess(1, 'secret')", "SELECT  guess(2, 'other') -- again"] {
        client.batch_execute(text).await.unwrap();
    }
    let statement = client.prepare("SELECT guess($1, 'x')").await.unwrap();
    client.query(&statement, &[&3]).await.unwrap();
    client.batch_execute("INSERT INTO guesses VALUES (1)").await.unwrap_err();
    let console = console(&primacy, "primacy", &operator).await;
    let rows = rows(&console, "SHOW DOUBTS").await;
    let found: Vec<_> = rows
        .iter()
        .map(|row| ["database", "raised", "reason", "statement"].map(|column| cell(row, column)))
        .collect();
    let name = operator.name.as_str();
    assert_eq!(
        found,
        [
            [name, "2", "function guess", "SELECT guess (?)"],
            [name, "1", "function guess", "SELECT guess ($1, ?)"]
        ]
    );
    let (_, metrics) = crate::support::http::get(primacy.admin_port, "/metrics").await.unwrap();
    let line = format!(
        "primacy_doubtful_writes_total{{cluster=\"main\",database=\"{name}\",reason=\"function guess\",statement=\"SELECT guess (?)\"}} 2"
    );
    assert!(metrics.contains(&line), "{metrics}");
}
