//! Promise: at `session`, a session sees its own acknowledged writes and never goes back in time, whatever the replicas' replay does; and
//! it is served by replicas all the same.

use crate::support::{Config, Primacy, eventually, own_cluster, shared};
use primacy::clock;
use primacy::engine::embedded::{APP, DATABASE, Embedded, Stop};
use primacy::postgres::embedded::Cluster;
use primacy::task;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

const CONNECTIONS: i32 = 50;
const PAIRS: i32 = 200;
/// Upper ends of the buckets of think time, in milliseconds.
const BUCKETS: [u64; 6] = [1, 2, 5, 10, 20, 50];

/// A row of `pairs` that only one session writes.
struct Pairs {
    client: Client,
    read: Statement,
    write: Statement,
    row: i32,
    written: i32,
    seen: i32,
}

/// What was seen: reads and those of them on replicas by bucket of think time, stale and backward ones.
#[derive(Debug, Default)]
struct Seen {
    reads: [(u64, u64); BUCKETS.len()],
    stale: u64,
    backwards: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        for (own, more) in self.reads.iter_mut().zip(other.reads) {
            *own = (own.0 + more.0, own.1 + more.1);
        }
        self.stale += other.stale;
        self.backwards += other.backwards;
    }

    fn print(&self, what: &str) {
        eprintln!("{what}: {} stale, {} backwards; on replicas by think time:", self.stale, self.backwards);
        for (limit, (reads, replicas)) in BUCKETS.iter().zip(self.reads) {
            eprintln!("  below {limit:>2} ms: {:>5.1} % of {reads}", percent(replicas, reads));
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

impl Pairs {
    async fn open(port: u16, row: i32) -> Self {
        let client = connect(port).await;
        let read = client.prepare("SELECT n FROM pairs WHERE id = $1").await.unwrap();
        let write = client.prepare("UPDATE pairs SET n = $1 WHERE id = $2").await.unwrap();
        Self { client, read, write, row, written: 0, seen: 0 }
    }

    async fn write(&mut self) {
        self.written += 1;
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.written, &self.row];
        assert_eq!(self.client.execute(&self.write, &parameters).await.unwrap(), 1);
    }

    /// The value, and whether a replica gave it. The node's name is asked for in the same go: no pause for a replica to catch up.
    async fn read(&self) -> (i32, bool) {
        let row: [&(dyn ToSql + Sync); 1] = [&self.row];
        let value = self.client.query_one(&self.read, &row);
        let (value, node) = tokio::try_join!(value, self.client.simple_query("SHOW primacy.node")).unwrap();
        (value.get(0), only(&node) != "pg1")
    }

    async fn pairs(&mut self, times: i32) -> Seen {
        let mut all = Seen::default();
        for _ in 0..times {
            self.write().await;
            let think = random_below(50_000);
            tokio::time::sleep(Duration::from_micros(think)).await;
            let (value, replica) = self.read().await;
            all.stale += u64::from(value != self.written);
            all.backwards += u64::from(value < self.seen);
            self.seen = value;
            let bucket = BUCKETS.iter().position(|limit| think < limit * 1000).unwrap();
            all.reads[bucket].0 += 1;
            all.reads[bucket].1 += u64::from(replica);
        }
        all
    }

    /// Reads without a pause; how many of them a replica served.
    async fn closed_loop(&mut self, times: u64) -> u64 {
        let mut replicas = 0;
        for _ in 0..times {
            let (value, replica) = self.read().await;
            assert!(
                value >= self.written.max(self.seen),
                "read {value} after {} and {}",
                self.written,
                self.seen
            );
            self.seen = value;
            replicas += u64::from(replica);
        }
        replicas
    }
}

async fn connect(port: u16) -> Client {
    shared::connect("127.0.0.1", port, DATABASE, APP.user, APP.password).await.unwrap()
}

fn only(messages: &[SimpleQueryMessage]) -> String {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap().to_owned()
}

fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    clock::random(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % limit
}

async fn front(servers: &Cluster, config: impl FnOnce(Config) -> Config) -> Primacy {
    let primacy = Primacy::start(config(Config::new(&servers.yaml()))).await;
    let owner = connect(primacy.port).await;
    let table =
        format!("CREATE TABLE pairs AS SELECT id, 0 AS n FROM generate_series(0, {CONNECTIONS}) AS id");
    owner.batch_execute(&table).await.unwrap();
    servers.wait_caught_up().await.unwrap();
    primacy
}

async fn set(servers: &Cluster, node: usize, name: &str, value: &str) {
    servers.sql(node, "postgres", &format!("ALTER SYSTEM SET {name} = '{value}'")).await.unwrap();
    servers.sql(node, "postgres", "SELECT pg_reload_conf()").await.unwrap();
}

async fn ten_thousand_pairs(port: u16) -> Seen {
    let sessions: Vec<_> = (1..=CONNECTIONS)
        .map(|row| task::spawn("pairs", async move { Pairs::open(port, row).await.pairs(PAIRS).await }))
        .collect();
    let mut all = Seen::default();
    for session in sessions {
        all.add(&session.await.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_seen_while_replay_lags() {
    let servers = Arc::new(own_cluster(2).await);
    let primacy = front(&servers, |config| config).await;
    let running = ten_thousand_pairs(primacy.port).await;
    running.print("replay running");

    // One replica applies late, the other stops and goes on.
    set(&servers, 1, "recovery_min_apply_delay", "15ms").await;
    let hiccups = {
        let servers = servers.clone();
        task::spawn("hiccups", async move {
            loop {
                servers.set_replay_paused(2, true).await.unwrap();
                tokio::time::sleep(Duration::from_micros(random_below(60_000))).await;
                servers.set_replay_paused(2, false).await.unwrap();
                tokio::time::sleep(Duration::from_micros(random_below(60_000))).await;
            }
        })
    };
    let delayed = ten_thousand_pairs(primacy.port).await;
    hiccups.abort();
    delayed.print("replay delayed");
    for seen in [&running, &delayed] {
        assert_eq!(seen.reads.iter().map(|(reads, _)| reads).sum::<u64>(), 10_000);
        assert_eq!((seen.stale, seen.backwards), (0, 0));
    }
    let on_replicas: u64 = running.reads.iter().map(|(_, replicas)| replicas).sum();
    assert!(on_replicas > 5_000, "a proxy that sends all to the primary proves nothing: {on_replicas}");
}

#[tokio::test]
async fn readers_come_back_to_replicas_after_a_write() {
    let servers = own_cluster(2).await;
    let primacy = front(&servers, |config| config).await;
    let mut reader = Pairs::open(primacy.port, 1).await;
    let never_writes = reader.closed_loop(1000).await;
    eprintln!("a session that never writes: {never_writes} of 1000 reads on replicas");
    reader.write().await;
    let after_a_write = reader.closed_loop(1000).await;
    eprintln!("after one write: {after_a_write} of 1000 reads on replicas");
    assert_eq!(never_writes, 1000);
    assert!(after_a_write >= 950, "{after_a_write}");
}

#[tokio::test]
async fn a_write_that_is_only_prepared_leaves_reads_where_they_are() {
    let servers = own_cluster(2).await;
    let primacy = front(&servers, |config| config).await;
    let mut reader = Pairs::open(primacy.port, 1).await;
    reader.closed_loop(10).await;
    for node in [1, 2] {
        servers.set_replay_paused(node, true).await.unwrap();
    }
    Pairs::open(primacy.port, 2).await.write().await;
    let insert = reader.client.prepare("INSERT INTO pairs (id, n) VALUES ($1, 0)").await.unwrap();
    assert_eq!(
        reader.closed_loop(10).await,
        10,
        "nothing was written: what the replicas had shown is enough"
    );
    reader.client.execute(&insert, &[&20_000]).await.unwrap();
    assert_eq!(reader.closed_loop(10).await, 0, "no replica has the row that was written");
}

#[tokio::test]
async fn eventual_reads_stay_on_replicas_however_late() {
    let servers = own_cluster(2).await;
    let primacy =
        front(&servers, |config| config.cluster("routing: { consistency: eventual, max_lag: 1h }")).await;
    for node in [1, 2] {
        servers.set_replay_paused(node, true).await.unwrap();
    }
    let mut session = Pairs::open(primacy.port, 1).await;
    session.write().await;
    let (value, replica) = session.read().await;
    assert_eq!((value, replica), (0, true), "eventual does not wait for its own write");
    session.client.batch_execute("SET primacy.consistency = 'session'").await.unwrap();
    let (value, replica) = session.read().await;
    assert_eq!((value, replica), (1, false), "session does");
    for node in [1, 2] {
        servers.set_replay_paused(node, false).await.unwrap();
    }
    eventually("session reads are back on replicas", async || session.read().await.1.then_some(())).await;
    assert_eq!(session.read().await.0, 1);
}

/// A standby that crashed comes back with less than it had shown: its recovery shows what is consistent, not all that it has.
#[tokio::test]
async fn a_restarted_standby_is_not_the_one_that_was_read_from() {
    let servers = own_cluster(1).await;
    let primacy = front(&servers, |config| config).await;
    primacy.expect_log("node does not answer");
    // The standby's recovery starts behind the table's creation.
    for node in [0, 1] {
        servers.sql(node, "postgres", "CHECKPOINT").await.unwrap();
        servers.wait_caught_up().await.unwrap();
    }
    let mut writer = Pairs::open(primacy.port, 1).await;
    let mut reader = Pairs::open(primacy.port, 1).await;
    writer.write().await;
    // The reader's own promise does not cover the writer's commit; once seen, it must stay seen.
    eventually("the reader sees the write on the replica", async || {
        (reader.read().await == (1, true)).then_some(())
    })
    .await;
    reader.seen = 1;
    // From its next start on, the standby shows nothing of the last hour.
    let setting = "ALTER SYSTEM SET recovery_min_apply_delay = '1h'";
    servers.sql(1, "postgres", setting).await.unwrap();
    servers.stop(1, Stop::Kill).await.unwrap();
    servers.start_node(1).await.unwrap();
    let shown = servers.sql(1, DATABASE, "SELECT n FROM pairs WHERE id = 1").await.unwrap();
    eprintln!("the restarted standby shows {shown:?}");
    assert_eq!(reader.closed_loop(200).await, 0, "the standby has not proved that it has the write");
    set(&servers, 1, "recovery_min_apply_delay", "0").await;
    eventually("reads are back on the replica", async || reader.read().await.1.then_some(())).await;
    reader.closed_loop(10).await;
}
