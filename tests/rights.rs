//! Promise: a monitor's account that loses its rights while Primacy runs makes nothing wrong: what cannot be known is taken for a write, where nobody
//! can be asked who is primary statements wait and say why, and all is well again when the rights are back.

use crate::support::raw::Raw;
use crate::support::{Config, Database, Primacy, eventually, own_cluster};
use primacy::engine::embedded::{APP, DATABASE, Embedded, MONITOR};
use primacy::postgres::embedded::Cluster;

struct Bed {
    // Ended first: it would miss its servers.
    primacy: Primacy,
    servers: Cluster,
}

impl Bed {
    async fn new() -> Self {
        let servers = own_cluster(1).await;
        let made = "CREATE TABLE t AS SELECT 7 AS n; GRANT ALL ON t TO PUBLIC;
                    CREATE FUNCTION f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'";
        servers.sql(0, DATABASE, made).await.unwrap();
        servers.wait_caught_up().await.unwrap();
        let config = Config::new(&servers.yaml()).cluster("failover: { hold: 1s }");
        let primacy = Primacy::start(config).await;
        Self { primacy, servers }
    }

    async fn admin(&self, text: &str) {
        self.servers.sql(0, "postgres", text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    /// What of the monitor's is connected to `database` (or anything) on any node is ended.
    async fn cut(&self, database: &str) {
        let text = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{}' AND datname LIKE '{database}'",
            MONITOR.user
        );
        for node in [0, 1] {
            self.servers.sql(node, "postgres", &text).await.unwrap();
        }
    }

    async fn client(&self) -> Raw {
        let database =
            Database { name: DATABASE.into(), user: APP.user.into(), password: APP.password.into() };
        Raw::connect(&database, self.primacy.port).await
    }
}

/// What `EXPLAIN ROUTE` says of a statement's class.
async fn class(client: &mut Raw, statement: &str) -> String {
    let rows = client.rows(&format!("EXPLAIN ROUTE {statement}")).await;
    let rows = rows.into_iter().flatten().flatten();
    rows.filter_map(|row| row.strip_prefix("class: ").map(str::to_owned)).collect()
}

#[tokio::test]
async fn where_the_monitor_may_not_connect_any_more_all_is_doubtful() {
    let bed = Bed::new().await;
    let mut client = bed.client().await;
    assert_eq!(class(&mut client, "SELECT f(), n FROM t").await, "read");
    let (database, owner) = (DATABASE, APP.user);
    bed.admin(&format!(
        "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC; GRANT CONNECT ON DATABASE {database} TO {owner}"
    ))
    .await;
    bed.cut(database).await;
    // The change is known, and nobody can say what it was.
    client.run("CREATE FUNCTION g() RETURNS int LANGUAGE sql STABLE AS 'SELECT 2'").await;
    assert_eq!(class(&mut client, "SELECT f(), n FROM t").await, "write");
    assert_eq!(client.value("SELECT f() + g() + n FROM t").await, "10");
    assert_eq!(client.value("SHOW primacy.node").await, "pg1");
    client.run("INSERT INTO t VALUES (8)").await;
    bed.admin(&format!("GRANT CONNECT ON DATABASE {database} TO PUBLIC")).await;
    let client = tokio::sync::Mutex::new(bed.client().await);
    eventually("it is known again", async || {
        (class(&mut *client.lock().await, "SELECT f(), n FROM t").await == "read").then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_cannot_be_asked_for_the_primary_is_said() {
    let bed = Bed::new().await;
    bed.primacy.expect_log("node does not answer");
    let mut client = bed.client().await;
    client.run("INSERT INTO t VALUES (8)").await;
    bed.admin(&format!("ALTER ROLE {} NOLOGIN", MONITOR.user)).await;
    bed.cut("%").await;
    bed.primacy.wait_log("no primary: writes wait").await;
    let answer = client.query("INSERT INTO t VALUES (9)").await;
    let error = answer.iter().find(|message| message.tag == b'E').expect("nobody knows who is primary");
    assert_eq!(error.field(b'C').as_deref(), Some("57P03"));
    bed.admin(&format!("ALTER ROLE {} LOGIN", MONITOR.user)).await;
    bed.primacy.wait_log("the primary is back").await;
    client.run("INSERT INTO t VALUES (9)").await;
    assert_eq!(
        client.value("SELECT sum(n) FROM t").await,
        "24",
        "none was written twice, or without being told"
    );
}

#[tokio::test]
async fn a_monitor_that_sees_less_routes_no_worse() {
    let bed = Bed::new().await;
    let mut client = bed.client().await;
    // Other sessions' rows of statistics are hidden from it then.
    bed.admin(&format!("REVOKE pg_monitor FROM {}", MONITOR.user)).await;
    bed.cut("%").await;
    let client = {
        for n in 0..20 {
            client.run(&format!("INSERT INTO t VALUES ({n})")).await;
            let count = client.value("SELECT count(*) FROM t").await;
            assert_eq!(count, (n + 2).to_string(), "its own writes are seen");
        }
        tokio::sync::Mutex::new(client)
    };
    eventually("reads go to the replica as before", async || {
        let mut client = client.lock().await;
        assert_eq!(client.value("SELECT count(*) FROM t").await, "21");
        (client.value("SHOW primacy.node").await != "pg1").then_some(())
    })
    .await;
}
