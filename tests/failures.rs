//! Promise: servers that die, restart or change roles cost what cannot be avoided and nothing more: nothing is run twice, nothing that was
//! acknowledged is lost from sight, and whoever can wait does.

use crate::support::{Config, Database, Primacy, Raw, eventually, http, own_cluster, shared};
use futures_util::TryStreamExt as _;
use primacy::engine::embedded::{APP, DATABASE, Embedded, Stop};
use primacy::postgres::embedded::Cluster;
use primacy::task;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryStream};

const CLIENTS: u64 = 16;

async fn connect(port: u16) -> Client {
    shared::connect("127.0.0.1", port, DATABASE, APP.user, APP.password).await.unwrap()
}

async fn front(servers: &Cluster, cluster_lines: &[&str]) -> Primacy {
    let config = cluster_lines.iter().fold(Config::new(&servers.yaml()), |config, line| config.cluster(line));
    let primacy = Primacy::start(config).await;
    let tables = "CREATE TABLE numbers AS SELECT i AS id, i * 7 AS n FROM generate_series(1, 100) AS i;
                  CREATE TABLE log (client int, id int)";
    connect(primacy.port).await.batch_execute(tables).await.unwrap();
    servers.wait_caught_up().await.unwrap();
    primacy
}

fn texts(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let text = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.iter().filter_map(text).collect()
}

async fn ask(client: &Client, text: &str) -> Result<String, Error> {
    Ok(texts(&client.simple_query(text).await?).into_iter().next().unwrap_or_default())
}

async fn node(client: &Client) -> String {
    ask(client, "SHOW primacy.node").await.unwrap()
}

/// Reads until a replica serves it: from then on it is proved that one shows all that the session must see.
async fn on_a_replica(client: &Client) {
    eventually("reads on a replica", async || {
        ask(client, "SELECT n FROM numbers WHERE id = 1").await.unwrap();
        (node(client).await != "pg1").then_some(())
    })
    .await;
}

fn state_of(error: &Error) -> String {
    error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_owned())
}

/// Clients that do the same over and over until they are told to stop.
struct Crowd<T> {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    clients: Vec<JoinHandle<T>>,
}

impl<T: Send + 'static> Crowd<T> {
    fn new() -> Self {
        Self { stop: Arc::default(), turns: Arc::default(), clients: Vec::new() }
    }

    fn join<F: Future<Output = T> + Send + 'static>(
        &mut self,
        work: impl FnOnce(Arc<AtomicBool>, Arc<AtomicU64>) -> F,
    ) {
        self.clients.push(task::spawn("crowd", work(self.stop.clone(), self.turns.clone())));
    }

    /// Waits until all together have done `n` more.
    async fn turns(&self, n: u64) {
        let wanted = self.turns.load(Ordering::Relaxed) + n;
        eventually("load", async || (self.turns.load(Ordering::Relaxed) >= wanted).then_some(())).await;
    }

    async fn end(self) -> Vec<T> {
        self.stop.store(true, Ordering::Relaxed);
        futures_util::future::try_join_all(self.clients).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_under_load() {
    let servers = own_cluster(2).await;
    let primacy = front(&servers, &[]).await;
    primacy.expect_log("node does not answer");
    let port = primacy.port;

    let mut small = Crowd::new();
    for client in 0..CLIENTS {
        small.join(async move |stop, turns| {
            let connection = connect(port).await;
            let statement = connection.prepare("SELECT n FROM numbers WHERE id = $1").await.unwrap();
            let mut reads = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let id = i32::try_from((client * 31 + reads) % 100 + 1).unwrap();
                let row = connection.query_one(&statement, &[&id]).await.expect("no byte of it had left");
                assert_eq!(row.get::<_, i32>(0), id * 7);
                turns.fetch_add(1, Ordering::Relaxed);
                reads += 1;
            }
            reads
        });
    }
    let mut cut = Vec::new();
    for victim in [1, 2] {
        small.turns(200).await;
        let mut readers = Vec::new();
        for _ in 0..6 {
            readers.push(SlowReader::open(port).await);
        }
        servers.stop(victim, Stop::Kill).await.unwrap();
        for reader in readers {
            cut.extend(reader.rest().await);
        }
        small.turns(200).await;
        servers.start_node(victim).await.unwrap();
        eventually("the replica is back", async || {
            let back = format!("\"node answers again\",\"node\":\"pg{}\"", victim + 1);
            primacy.log().iter().any(|line| line.contains(&back)).then_some(())
        })
        .await;
    }
    let reads: u64 = small.end().await.into_iter().sum();
    eprintln!("{reads} small reads without an error; of 12 large ones under way, cut off: {cut:?}");
    assert!(!cut.is_empty(), "some were on the replica that died");
    assert!(cut.iter().all(|state| state == "40001"), "{cut:?}");
}

/// A client in the middle of a large result.
struct SlowReader {
    client: Client,
    stream: Pin<Box<SimpleQueryStream>>,
    next: usize,
}

impl SlowReader {
    const ROWS: usize = 60_000;

    async fn open(port: u16) -> Self {
        let client = connect(port).await;
        on_a_replica(&client).await;
        let text = format!("SELECT i || repeat('x', 500) FROM generate_series(1, {}) AS i", Self::ROWS);
        let stream = Box::pin(client.simple_query_raw(&text).await.unwrap());
        let mut reader = Self { client, stream, next: 1 };
        while reader.next < 10 {
            reader.row().await.unwrap();
        }
        reader
    }

    /// Takes one more message; `false` at the end. Every row is the one that follows the last.
    async fn row(&mut self) -> Result<bool, Error> {
        match self.stream.try_next().await? {
            Some(SimpleQueryMessage::Row(row)) => {
                let row = row.get(0).unwrap();
                assert_eq!(row.len() - row.trim_end_matches('x').len(), 500);
                assert_eq!(row.trim_end_matches('x'), self.next.to_string());
                self.next += 1;
                Ok(true)
            }
            message => Ok(message.is_some()),
        }
    }

    /// Reads to the end; the error that was met there, if one was.
    async fn rest(mut self) -> Option<String> {
        let end = loop {
            match self.row().await {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => break Some(state_of(&error)),
            }
        };
        assert_eq!(
            end.is_none(),
            self.next == Self::ROWS + 1,
            "whole, or an error: {end:?} after {}",
            self.next
        );
        drop(self.stream);
        // One error: the session goes on, unless the cut went through a message.
        if !self.client.is_closed() {
            assert_eq!(ask(&self.client, "SELECT n FROM numbers WHERE id = 5").await.unwrap(), "35");
        }
        end
    }
}

/// What a writer was told of each of its rows.
type Told = BTreeMap<i32, Result<(), String>>;

fn writer(crowd: &mut Crowd<(i32, Told)>, port: u16, client: i32) {
    crowd.join(async move |stop, turns| {
        let connection = connect(port).await;
        let mut told = Told::new();
        let mut acknowledged = 0;
        for id in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let text = format!("INSERT INTO log VALUES ({client}, {id})");
            let result = connection.batch_execute(&text).await.map_err(|error| state_of(&error));
            acknowledged += i64::from(result.is_ok());
            let known = told.len();
            told.insert(id, result);
            let count = format!("SELECT count(*) FROM log WHERE client = {client}");
            let count: i64 =
                ask(&connection, &count).await.expect("a read waits or goes on").parse().unwrap();
            assert!(
                count >= acknowledged && count <= i64::try_from(known).unwrap() + 1,
                "{count} rows, {acknowledged} acknowledged"
            );
            turns.fetch_add(1, Ordering::Relaxed);
        }
        (client, told)
    });
}

/// Every acknowledged row is there once, every one of unknown outcome at most once, no other error was told.
async fn account(port: u16, written: Vec<(i32, Told)>) -> usize {
    let connection = connect(port).await;
    let mut unknown = 0;
    for (client, told) in written {
        let rows = format!("/* primacy:primary */ SELECT id FROM log WHERE client = {client} ORDER BY id");
        let rows = texts(&connection.simple_query(&rows).await.unwrap());
        let found: BTreeSet<i32> = rows.iter().map(|id| id.parse().unwrap()).collect();
        assert_eq!(found.len(), rows.len(), "a row was written twice: {rows:?}");
        for (id, result) in told {
            match result {
                Ok(()) => assert!(found.contains(&id), "acknowledged and gone: {client}, {id}"),
                Err(state) if state == "08007" => unknown += 1,
                Err(state) => panic!("{client}, {id}: {state}"),
            }
        }
    }
    unknown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_killed_and_restarted_within_the_hold() {
    let servers = own_cluster(2).await;
    // At `causal` nobody reads on whose database was being written when the primary died.
    let primacy = front(&servers, &["failover: { hold: 2m }", "routing: { consistency: session }"]).await;
    primacy.expect_log("node does not answer");
    primacy.expect_log("no primary");
    let port = primacy.port;
    let idle = connect(port).await;
    idle.batch_execute("SET application_name = 'idle'").await.unwrap();
    let reader = connect(port).await;
    on_a_replica(&reader).await;
    let mut writers = Crowd::new();
    for client in 0..i32::try_from(CLIENTS).unwrap() {
        writer(&mut writers, port, client);
    }
    writers.turns(100).await;

    servers.stop(0, Stop::Kill).await.unwrap();
    eventually("the primary is missed", async || {
        primacy.log().iter().any(|line| line.contains("no primary")).then_some(())
    })
    .await;
    for id in 1..=50 {
        let n = ask(&reader, &format!("SELECT n FROM numbers WHERE id = {id}")).await.unwrap();
        assert_eq!(n, (id * 7).to_string(), "a session that wrote nothing reads on");
        assert_ne!(node(&reader).await, "pg1");
    }
    let waiting = connect(port).await;
    let waiting =
        task::spawn("waits", async move { waiting.batch_execute("INSERT INTO log VALUES (-1, 0)").await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    servers.start_node(0).await.unwrap();

    waiting.await.unwrap().expect("a write that was not sent waits for the primary");
    writers.turns(100).await;
    let unknown = account(port, writers.end().await).await;
    eprintln!("{unknown} of {CLIENTS} writers were told 08007");
    assert!(unknown <= usize::try_from(CLIENTS).unwrap(), "one each at most");
    assert_eq!(ask(&idle, "SHOW application_name").await.unwrap(), "idle", "idle connections stay");
}

#[tokio::test]
async fn the_primary_gone_for_longer_than_the_hold() {
    let servers = own_cluster(1).await;
    let primacy = front(&servers, &["failover: { hold: 500ms }"]).await;
    primacy.expect_log("node does not answer");
    primacy.expect_log("no primary");
    let client = connect(primacy.port).await;
    on_a_replica(&client).await;
    servers.stop(0, Stop::Kill).await.unwrap();
    let error = client.batch_execute("INSERT INTO log VALUES (1, 1)").await.unwrap_err();
    let said = error.as_db_error().unwrap();
    eprintln!("{said:?}");
    assert_eq!(said.code(), &SqlState::CANNOT_CONNECT_NOW);
    assert!(said.message().contains("primary"), "{said:?}");
    assert!(said.detail().unwrap().contains("not sent"), "{said:?}");
    assert_eq!(
        ask(&client, "SELECT n FROM numbers WHERE id = 2").await.unwrap(),
        "14",
        "the session lives and reads"
    );
    servers.start_node(0).await.unwrap();
    eventually("the primary is back", async || {
        client.batch_execute("INSERT INTO log VALUES (1, 2)").await.ok()
    })
    .await;
    let rows = ask(&client, "SELECT string_agg(id::text, ',') FROM log WHERE client = 1").await.unwrap();
    assert_eq!(rows, "2", "what was refused was not run");
}

/// What a transaction had written when it was lost is nothing that later reads must see: they do not wait for a primary that is not there.
#[tokio::test]
async fn a_lost_transaction_leaves_no_write_behind() {
    let servers = own_cluster(1).await;
    let primacy = front(&servers, &["failover: { hold: 500ms }"]).await;
    primacy.expect_log("node does not answer");
    primacy.expect_log("no primary");
    let client = connect(primacy.port).await;
    on_a_replica(&client).await;
    client.batch_execute("BEGIN; INSERT INTO log VALUES (1, 1)").await.unwrap();
    // The replica proves that it shows what was acknowledged until after that.
    on_a_replica(&connect(primacy.port).await).await;
    servers.pause(0).unwrap();
    primacy.wait_log("no primary").await;
    let error = client.batch_execute("INSERT INTO log VALUES (1, 2)").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error:?}");
    for id in 1..=3 {
        // Of no table: what hangs on one can be asked of nobody.
        assert_eq!(ask(&client, &format!("SELECT {id}")).await.unwrap(), id.to_string());
        assert_eq!(node(&client).await, "pg2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_promotes_a_replica() {
    let servers = own_cluster(2).await;
    let primacy = front(&servers, &["failover: { hold: 2m }"]).await;
    primacy.expect_log("node does not answer");
    primacy.expect_log("no primary");
    let port = primacy.port;
    let pinned = connect(port).await;
    pinned.batch_execute("CREATE TEMP TABLE mine (n int)").await.unwrap();
    let mut writers = Crowd::new();
    for client in 0..i32::try_from(CLIENTS).unwrap() {
        writer(&mut writers, port, client);
    }
    writers.turns(50).await;
    // In order: the replicas have everything.
    servers.stop(0, Stop::Fast).await.unwrap();
    servers.promote(1).await.unwrap();
    writers.turns(50).await;
    servers.follow(2).await.unwrap();
    writers.turns(50).await;

    // The old primary comes back as if nothing had happened, and stays alone.
    servers.start_node(0).await.unwrap();
    primacy.expect_log("pg1");
    writers.turns(200).await;
    let client = connect(port).await;
    client.batch_execute("INSERT INTO log VALUES (-2, 0)").await.unwrap();
    assert_eq!(node(&client).await, "pg2");
    let strangers = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    assert_eq!(servers.sql(0, DATABASE, strangers).await.unwrap()[0][0].as_deref(), Some("0"));
    let last = servers.sql(0, DATABASE, "SELECT count(*) FROM log WHERE client = -2").await.unwrap();
    assert_eq!(last[0][0].as_deref(), Some("0"), "nothing was written to the old one");

    let unknown = account(port, writers.end().await).await;
    eprintln!("{unknown} of {CLIENTS} writers were told 08007");
    let told = pinned.batch_execute("INSERT INTO mine VALUES (1)").await;
    assert!(told.is_err() && pinned.is_closed(), "what the session kept is gone: it must not go on without");
    primacy.wait_log("57P01").await;
}

/// A COMMIT in the middle of a unit is a success like any other: it is not passed on once its primary has lost its office.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_amid_a_unit_is_asked_about_before_it_is_passed_on() {
    use crate::pipelines::scripts::{query, run, sync};
    let servers = own_cluster(1).await;
    let primacy = front(&servers, &["failover: { hold: 2m }"]).await;
    let database = Database { name: DATABASE.into(), user: APP.user.into(), password: APP.password.into() };
    let holder = shared::connect("127.0.0.1", servers.endpoints()[0].port, DATABASE, APP.user, APP.password);
    let holder = holder.await.unwrap();
    holder.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    // Its row is longer than what a server keeps before it sends.
    let waits = "SELECT repeat('x', 20000) FROM (SELECT pg_advisory_xact_lock_shared(1) OFFSET 0) AS lock";
    let insert = |id| format!("INSERT INTO log VALUES (5, {id})");
    let units = [
        query(&format!("BEGIN; {}; COMMIT; {waits}", insert(0))),
        [run("BEGIN"), run(&insert(1)), run("COMMIT"), run(waits), sync()].concat(),
        [run(&insert(2)), run("COMMIT"), run(waits), sync()].concat(),
    ];
    let mut clients = Vec::new();
    for unit in units {
        let mut client = Raw::connect(&database, primacy.port).await;
        client.send(&unit).await;
        clients.push(client);
    }
    eventually("all are committed", async || {
        let count = "SELECT count(*) FROM log WHERE client = 5";
        (ask(&holder, count).await.unwrap() == "3").then_some(())
    })
    .await;
    servers.promote(1).await.unwrap();
    primacy.wait_log("no primary").await;
    holder.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    for mut client in clients {
        let answer = client.read_until("E").await;
        assert_eq!(answer.last().unwrap().field(b'C').as_deref(), Some("08007"), "{answer:?}");
        let told = answer.iter().any(|message| message.tag == b'D' || message.body.starts_with(b"COMMIT"));
        assert!(!told, "{answer:?}");
    }
}

#[tokio::test]
async fn what_a_replica_refuses_is_run_on_the_primary() {
    let servers = own_cluster(1).await;
    let primacy = front(&servers, &[]).await;
    let client = connect(primacy.port).await;
    let setup = "CREATE UNLOGGED TABLE scratch AS SELECT 42 AS n;
                 CREATE FUNCTION f() RETURNS bigint LANGUAGE sql
                     AS 'INSERT INTO log VALUES (9, 9); SELECT count(*) FROM log WHERE client = 9'";
    client.batch_execute(setup).await.unwrap();
    servers.wait_caught_up().await.unwrap();

    // An unlogged table cannot be read on a replica; the hint sends the read there all the same.
    let hinted = "/* primacy:replica */ SELECT n FROM scratch";
    assert_eq!(ask(&client, hinted).await.unwrap(), "42");
    assert_eq!(node(&client).await, "pg1");
    let row = client.query_one(hinted, &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    assert_eq!(node(&client).await, "pg1");

    // A replica refuses every statement of a session that is serializable by default.
    let other = connect(primacy.port).await;
    other.batch_execute("SET default_transaction_isolation = 'serializable'").await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&other, "SELECT n FROM numbers WHERE id = 3").await.unwrap(), "21");
        assert_eq!(node(&other).await, "pg1");
    }

    // A function that writes: once, whatever the hint says.
    for (call, count) in [("SELECT f()", "1"), ("/* primacy:replica */ SELECT f()", "2")] {
        assert_eq!(ask(&client, call).await.unwrap(), count);
        assert_eq!(node(&client).await, "pg1");
    }
    let text =
        http::get(primacy.admin_port, "/metrics").await.map_or_else(|_| String::new(), |(_, text)| text);
    eprintln!("{:?}", text.lines().filter(|line| line.contains("rerun")).collect::<Vec<_>>());
}
