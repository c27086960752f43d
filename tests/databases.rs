//! Promise: a database that no client is connected to can be dropped, renamed and copied through Primacy as without it, and nobody goes by what an
//! earlier one of its name was like.

use crate::support::raw::Raw;
use crate::support::{Config, Database, Primacy, Servers, eventually, http, unique};
use std::collections::BTreeSet;

/// Leaves a backend of the primary's behind.
const READ: &str = "/* primacy:primary */ SELECT n FROM t";

struct Bed {
    servers: &'static Servers,
    primacy: Primacy,
    /// Connected to another database.
    admin: Raw,
}

impl Bed {
    async fn new() -> Self {
        let servers = Servers::postgres().await;
        let primacy = Primacy::start(Config::new(&servers.yaml())).await;
        let database = Database {
            name: "postgres".into(),
            user: servers.admin.user.clone(),
            password: servers.admin.password.clone(),
        };
        let admin = Raw::connect(&database, primacy.port).await;
        Self { servers, primacy, admin }
    }

    /// Whose connections to a database the primary has, past the proxy.
    async fn connected(&self, database: &str) -> BTreeSet<String> {
        let direct = self.servers.admin(0, "postgres").await;
        let text = "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE datname = $1";
        direct.query(text, &[&database]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Somebody works there, and leaves: backends stay, and connections of the proxy's own.
    async fn visit(&self, database: &Database, statements: &[&str]) {
        let mut client = Raw::connect(database, self.primacy.port).await;
        for statement in statements {
            client.run(statement).await;
        }
        drop(client);
        let stay = self.connected(&database.name).await;
        assert!(stay.contains(&database.user) && stay.len() == 2, "the user's and the monitor's: {stay:?}");
    }
}

#[tokio::test]
async fn a_database_that_nobody_uses_is_dropped_renamed_and_copied() {
    let mut bed = Bed::new().await;
    let first = bed.servers.fresh_database().await;
    let named = |name: &str| Database { name: name.to_owned(), ..first.clone() };
    let (copy, other) = (unique("t"), unique("t"));
    bed.visit(&first, &["CREATE TABLE t AS SELECT 7 AS n", READ]).await;
    bed.admin.run(&format!("CREATE DATABASE {copy} TEMPLATE {}", first.name)).await;
    bed.visit(&named(&copy), &[READ]).await;
    bed.visit(&first, &[READ]).await;
    bed.admin.run(&format!("ALTER DATABASE {} RENAME TO {other}", first.name)).await;
    bed.visit(&named(&other), &[READ]).await;
    bed.admin.run(&format!("DROP DATABASE {other}")).await;
    bed.admin.run(&format!("DROP DATABASE IF EXISTS {copy}")).await;
    let gone = Raw::try_connect(&named(&other), bed.primacy.port, &[]).await.unwrap_err();
    assert_eq!(gone.field(b'C').as_deref(), Some("3D000"));
}

#[tokio::test]
async fn a_database_that_a_client_is_connected_to_stays() {
    let mut bed = Bed::new().await;
    let database = bed.servers.fresh_database().await;
    let mut client = Raw::connect(&database, bed.primacy.port).await;
    client.run("CREATE TABLE t AS SELECT 7 AS n").await;
    assert_eq!(bed.admin.fails(&format!("DROP DATABASE {}", database.name)).await, "55006");
    assert_eq!(client.value("SELECT n FROM t").await, "7");
    drop(client);
    bed.admin.run(&format!("DROP DATABASE {}", database.name)).await;
}

/// What `EXPLAIN ROUTE` says of a statement's class.
async fn class(client: &mut Raw, statement: &str) -> String {
    let rows = client.rows(&format!("EXPLAIN ROUTE {statement}")).await;
    let rows = rows.into_iter().flatten().flatten();
    rows.filter_map(|row| row.strip_prefix("class: ").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_database_is_not_taken_for_an_earlier_one_of_its_name() {
    let mut bed = Bed::new().await;
    let database = bed.servers.fresh_database().await;
    let mut client = Raw::connect(&database, bed.primacy.port).await;
    client.run("CREATE FUNCTION f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'").await;
    assert_eq!(class(&mut client, "SELECT f()").await, "read");
    drop(client);
    let Database { name, user, .. } = &database;
    bed.admin.run(&format!("DROP DATABASE {name}")).await;
    bed.admin.run(&format!("CREATE DATABASE {name} OWNER {user}")).await;
    let direct = bed.servers.admin(0, name).await;
    let leaks = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $f$ SELECT length(set_config('a.b', 'c', false)) $f$";
    direct.batch_execute(leaks).await.unwrap();
    let mut client = Raw::connect(&database, bed.primacy.port).await;
    assert_eq!(class(&mut client, "SELECT f()").await, "write");
    client.run("SELECT f()").await;
    eventually("the pin is counted", async || {
        let (_, text) = http::get(bed.primacy.admin_port, "/metrics").await.unwrap();
        let pins = text.lines().filter(|line| line.starts_with("primacy_pins_total"));
        let pins = pins.filter(|line| !line.ends_with(" 0.0") && !line.ends_with(" 0"));
        (pins.count() == 1).then_some(())
    })
    .await;
}
