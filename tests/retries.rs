//! Promise: what a server could not do is tried again where that is safe, and only there: reads that replay came in the way of, refusals of
//! a server that may be no primary any more, reads that waited for a primary in vain; and no query takes one server down after the other.

use crate::support::{Config, Primacy, eventually, http, own_cluster, shared};
use primacy::engine::embedded::{APP, DATABASE, Embedded, Stop, machine};
use primacy::postgres::embedded::Cluster;
use primacy::task;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

async fn connect(port: u16) -> Client {
    shared::connect("127.0.0.1", port, DATABASE, APP.user, APP.password).await.unwrap()
}

async fn front(servers: &Cluster, routing: &str) -> Primacy {
    let config = Config::new(&servers.yaml()).cluster(routing);
    let primacy = Primacy::start(config).await;
    let table = "CREATE TABLE numbers AS SELECT i AS id, i * 7 AS n FROM generate_series(1, 1000) AS i";
    connect(primacy.port).await.batch_execute(table).await.unwrap();
    servers.wait_caught_up().await.unwrap();
    primacy
}

async fn ask(client: &Client, text: &str) -> Result<String, Error> {
    let messages = client.simple_query(text).await?;
    let text = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(text.unwrap_or_default())
}

async fn event(primacy: &Primacy, name: &str) -> u64 {
    let (_, text) = http::get(primacy.admin_port, "/metrics").await.unwrap();
    let line = format!("primacy_events_total{{cluster=\"main\",event=\"{name}\"}} ");
    let value = text.lines().find_map(|found| found.strip_prefix(&line)).unwrap_or_else(|| panic!("{line}"));
    value.parse::<f64>().unwrap() as u64
}

/// Where a statement with this in its text runs now, and the process that runs it.
async fn running(servers: &Cluster, mark: &str) -> (usize, i32) {
    let text = format!(
        "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{mark}%' AND pid <> pg_backend_pid()"
    );
    eventually("the statement runs on a replica", async || {
        for node in [1, 2] {
            let Ok(rows) = servers.sql(node, DATABASE, &text).await else { continue };
            if let Some(pid) = rows.first().and_then(|row| row.first()?.as_ref()?.parse().ok()) {
                return Some((node, pid));
            }
        }
        None
    })
    .await
}

fn asked(client: &Arc<Client>, text: &'static str) -> JoinHandle<Result<String, Error>> {
    let client = Arc::clone(client);
    task::spawn("asked", async move { ask(&client, text).await })
}

/// What is deleted and cleaned away on the primary ends the reads on replicas that may need it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_replay_comes_in_the_way_of_run_elsewhere() {
    const READ: &str = "SELECT sum(n) FROM numbers, pg_sleep(5) WHERE id < 4";
    let servers = own_cluster(2).await;
    for node in [1, 2] {
        servers.sql(node, "postgres", "ALTER SYSTEM SET max_standby_streaming_delay = 0").await.unwrap();
        servers.sql(node, "postgres", "SELECT pg_reload_conf()").await.unwrap();
    }
    let primacy = front(&servers, "routing: { consistency_wait: 300ms }").await;
    let client = Arc::new(connect(primacy.port).await);
    for turn in 1..=2 {
        // The replica where it runs again may still have the same VACUUM before it.
        if event(&primacy, "conflicts").await == 2 {
            break;
        }
        let read = asked(&client, READ);
        running(&servers, "numbers, pg_sleep").await;
        let text = format!("DELETE FROM numbers WHERE id > 1000 - {turn} * 100");
        servers.sql(0, DATABASE, &text).await.unwrap();
        servers.sql(0, DATABASE, "VACUUM numbers").await.unwrap();
        assert_eq!(read.await.unwrap().expect("no byte of its answer had left"), "42");
        assert!(event(&primacy, "conflicts").await >= turn);
    }
    assert_eq!(ask(&client, "SELECT sum(n) FROM numbers, pg_sleep(0) WHERE id < 3").await.unwrap(), "21");
    assert_eq!(ask(&client, "SHOW primacy.node").await.unwrap(), "pg1", "twice is enough for its like");
    eventually("others stay on replicas", async || {
        ask(&client, "SELECT n FROM numbers WHERE id = 1").await.unwrap();
        (ask(&client, "SHOW primacy.node").await.unwrap() != "pg1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_takes_one_server_down_after_the_other() {
    const READ: &str = "SELECT sum(n) FROM numbers, pg_sleep(60) WHERE id < 4";
    let servers = own_cluster(2).await;
    let primacy = front(&servers, "routing: { consistency_wait: 300ms, retry: { breaker: 1h } }").await;
    primacy.expect_log("node does not answer");
    let client = Arc::new(connect(primacy.port).await);
    let read = asked(&client, READ);
    let mut victims = Vec::new();
    for _ in 0..2 {
        let (node, pid) = running(&servers, "numbers, pg_sleep").await;
        assert!(!victims.contains(&node), "it ran on {node} again");
        victims.push(node);
        let pid = machine::pid_of(u32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    primacy.wait_log("two servers went down under its like").await;
    let error = read.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}");
    for text in [READ, "SELECT sum(n) FROM numbers , pg_sleep(0) WHERE id < 99 -- the same shape"] {
        let error = ask(&client, text).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("two servers went down"), "{error}");
    }
    assert_eq!(event(&primacy, "refused_by_shape").await, 2);
    assert_eq!(ask(&client, "SELECT n FROM numbers WHERE id = 2").await.unwrap(), "14", "others run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_without_a_primary_are_served_or_refused() {
    for serve in [true, false] {
        let servers = own_cluster(1).await;
        let mode = if serve { "serve" } else { "refuse" };
        let config = Config::new(&servers.yaml())
            .cluster(&format!("routing: {{ reads_without_primary: {mode}, max_lag: 1h }}"))
            .cluster("failover: { hold: 2s }");
        let primacy = Primacy::start(config).await;
        primacy.expect_log("node does not answer");
        primacy.expect_log("no primary: writes wait");
        let client = connect(primacy.port).await;
        client.batch_execute("CREATE TABLE one AS SELECT 1 AS n").await.unwrap();
        servers.wait_caught_up().await.unwrap();
        // Known before, so that nothing but freshness is in the way.
        assert_eq!(ask(&client, "SELECT n FROM one").await.unwrap(), "1");
        servers.set_replay_paused(1, true).await.unwrap();
        client.batch_execute("UPDATE one SET n = 2").await.unwrap();
        servers.stop(0, Stop::Kill).await.unwrap();
        primacy.wait_log("no primary: writes wait").await;
        let read = ask(&client, "SELECT n FROM one").await;
        assert_eq!(event(&primacy, "served_unproved").await, u64::from(serve));
        if serve {
            assert_eq!(read.unwrap(), "1", "what the replica shows, late as it is");
        } else {
            assert_eq!(read.unwrap_err().code(), Some(&SqlState::CANNOT_CONNECT_NOW));
        }
        let strong = ask(&client, "/* primacy:consistency=strong */ SELECT n FROM one").await;
        assert_eq!(
            strong.unwrap_err().code(),
            Some(&SqlState::CANNOT_CONNECT_NOW),
            "nobody can promise that"
        );
    }
}

/// What `EXPLAIN ROUTE` says of a statement's class.
async fn class(client: &Client, statement: &str) -> String {
    let messages = client.simple_query(&format!("EXPLAIN ROUTE {statement}")).await.unwrap();
    let lines = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.strip_prefix("class: ").map(str::to_owned),
        _ => None,
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hangs_on_a_table_is_learnt_of_a_replica_while_there_is_no_primary() {
    let servers = own_cluster(2).await;
    let made = "CREATE TABLE one AS SELECT 1 AS n; CREATE TABLE two AS SELECT 2 AS n; GRANT SELECT ON one, two TO PUBLIC;
                CREATE FUNCTION three() RETURNS int LANGUAGE sql STABLE AS 'SELECT 3'";
    servers.sql(0, DATABASE, made).await.unwrap();
    servers.wait_caught_up().await.unwrap();
    let config = Config::new(&servers.yaml())
        .cluster("routing: { consistency: eventual, max_lag: 1h }")
        .cluster("failover: { hold: 1s }");
    let primacy = Primacy::start(config).await;
    primacy.expect_log("node does not answer");
    let client = connect(primacy.port).await;
    servers.stop(0, Stop::Kill).await.unwrap();
    primacy.wait_log("no primary: writes wait").await;
    eventually("the replicas are known to be equally far", async || {
        ask(&client, "SELECT n FROM one").await.ok()
    })
    .await;
    let held = event(&primacy, "held").await;
    for (text, expected) in [("SELECT n FROM one", "1"), ("SELECT n FROM two", "2"), ("SELECT three()", "3")]
    {
        assert_eq!(ask(&client, text).await.unwrap(), expected);
    }
    assert_eq!(event(&primacy, "held").await, held, "none of them waited");
    servers.start_node(0).await.unwrap();
    primacy.wait_log("the primary is back").await;
    // What a replica said counts no longer, or nobody would notice that the primary says something else.
    assert_eq!(class(&client, "SELECT three()").await, "read");
    let changed = "CREATE OR REPLACE FUNCTION three() RETURNS int LANGUAGE sql AS $f$ SELECT length(set_config('a.b', 'abc', false)) $f$";
    servers.sql(0, DATABASE, changed).await.unwrap();
    eventually("the change is noticed", async || {
        (class(&client, "SELECT three()").await == "write").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_believed_primary_that_refuses_a_write_is_looked_at_first() {
    let servers = own_cluster(1).await;
    let primacy = front(&servers, "routing: { max_lag: 1h }").await;
    let client = connect(primacy.port).await;
    let write = "INSERT INTO numbers VALUES (0, 0)";
    // The session's own wish is no sign of anything.
    client.batch_execute("SET default_transaction_read_only = on").await.unwrap();
    let error = client.batch_execute(write).await.unwrap_err();
    assert_eq!(
        (error.code(), event(&primacy, "probed").await),
        (Some(&SqlState::READ_ONLY_SQL_TRANSACTION), 0)
    );
    client.batch_execute("RESET default_transaction_read_only").await.unwrap();
    // Nor is that of its own BEGIN.
    client.batch_execute("BEGIN READ ONLY").await.unwrap();
    let error = client.batch_execute(write).await.unwrap_err();
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(
        (error.code(), event(&primacy, "probed").await),
        (Some(&SqlState::READ_ONLY_SQL_TRANSACTION), 0)
    );
    // Else the monitor looks, and when it is the primary all the same, its answer counts. Only new connections have the setting.
    let read_only = |is| format!("ALTER DATABASE {DATABASE} SET default_transaction_read_only = {is}");
    servers.sql(0, "postgres", &read_only("on")).await.unwrap();
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let other = connect(primacy.port).await;
    let error = other.batch_execute(write).await.unwrap_err();
    assert_eq!(
        (error.code(), event(&primacy, "probed").await),
        (Some(&SqlState::READ_ONLY_SQL_TRANSACTION), 1)
    );
    servers.sql(0, "postgres", &read_only("off")).await.unwrap();
}
