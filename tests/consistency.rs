//! Promise: a read sees what its level says (at `causal`, what any session was told of; at `session`, what its own was told of), never
//! goes back in time, whatever the replicas' replay does; and it is served by replicas all the same.
//!
//! `PRIMACY_PAIRS=200` makes every round of pairs 10,000 pairs.

use crate::support::{Config, Primacy, environment, eventually, own_cluster};
use primacy::clock;
use primacy::engine::embedded::{APP, DATABASE, Embedded, Stop};
use primacy::postgres::embedded::Cluster;
use primacy::task;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, Statement};

const CONNECTIONS: i32 = 50;
/// Pairs of each connection, unless the environment says otherwise.
const PAIRS: i32 = 20;
/// Upper ends of the buckets of think time, in milliseconds.
const BUCKETS: [u64; 6] = [1, 2, 5, 10, 20, 50];

/// Who reads what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The session that wrote it.
    Same,
    /// A session that never writes.
    Other,
    /// A session that logs in between.
    Anew,
}

/// One session.
struct Session {
    client: Client,
    read: Statement,
    write: Statement,
}

/// A row of `pairs` that nobody else writes.
struct Pairs {
    port: u16,
    level: &'static str,
    way: Way,
    writer: Session,
    reader: Option<Session>,
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
        let (reads, replicas) = self.sums();
        let share = percent(replicas, reads);
        eprintln!(
            "{what}: {} stale, {} backwards of {reads}; {share:.1} % on replicas",
            self.stale, self.backwards
        );
        let buckets: Vec<_> = BUCKETS
            .iter()
            .zip(self.reads)
            .map(|(limit, (reads, replicas))| format!("<{limit} ms: {:.1} %", percent(replicas, reads)))
            .collect();
        eprintln!("  by think time: {}", buckets.join(", "));
    }

    /// Nothing was stale and nothing went back; the share of replicas in percent.
    fn check(&self, what: &str) -> f64 {
        self.print(what);
        assert_eq!((self.stale, self.backwards), (0, 0), "{what}");
        let (reads, replicas) = self.sums();
        percent(replicas, reads)
    }

    fn sums(&self) -> (u64, u64) {
        self.reads.iter().fold((0, 0), |sum, (reads, replicas)| (sum.0 + reads, sum.1 + replicas))
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

impl Session {
    async fn open(port: u16, level: &str) -> Self {
        let client = connect_at(port, level).await;
        let read = client.prepare("SELECT n FROM pairs WHERE id = $1").await.unwrap();
        let write = client.prepare("UPDATE pairs SET n = $1 WHERE id = $2").await.unwrap();
        Self { client, read, write }
    }

    /// The value, and whether a replica gave it. The node's name is asked for in the same go: no pause for a replica to catch up.
    async fn read(&self, row: i32) -> (i32, bool) {
        let row: [&(dyn ToSql + Sync); 1] = [&row];
        let value = self.client.query_one(&self.read, &row);
        let (value, node) = tokio::try_join!(value, self.client.simple_query("SHOW primacy.node")).unwrap();
        (value.get(0), only(&node) != "pg1")
    }
}

impl Pairs {
    async fn open(port: u16, row: i32) -> Self {
        Self::of(port, row, "causal", Way::Same).await
    }

    async fn of(port: u16, row: i32, level: &'static str, way: Way) -> Self {
        let writer = Session::open(port, level).await;
        let reader = if way == Way::Other { Some(Session::open(port, level).await) } else { None };
        Self { port, level, way, writer, reader, row, written: 0, seen: 0 }
    }

    async fn write(&mut self) {
        self.written += 1;
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.written, &self.row];
        assert_eq!(self.writer.client.execute(&self.writer.write, &parameters).await.unwrap(), 1);
    }

    async fn read(&self) -> (i32, bool) {
        self.reader.as_ref().unwrap_or(&self.writer).read(self.row).await
    }

    async fn pairs(&mut self, times: i32) -> Seen {
        let mut all = Seen::default();
        for _ in 0..times {
            self.write().await;
            let think = random_below(50_000);
            tokio::time::sleep(Duration::from_micros(think)).await;
            if self.way == Way::Anew {
                self.writer = Session::open(self.port, self.level).await;
            }
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

async fn connect_at(port: u16, level: &str) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).dbname(DATABASE).user(APP.user).password(APP.password);
    config.options(format!("-c primacy.consistency={level}"));
    let (client, connection) = config.connect(NoTls).await.unwrap();
    task::spawn("test", connection);
    client
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
    let owner = connect_at(primacy.port, "causal").await;
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

async fn many_pairs(port: u16, level: &'static str, way: Way) -> Seen {
    let times = environment("PRIMACY_PAIRS").map_or(PAIRS, |pairs| pairs.parse().unwrap());
    let sessions: Vec<_> = (1..=CONNECTIONS)
        .map(|row| {
            task::spawn("pairs", async move { Pairs::of(port, row, level, way).await.pairs(times).await })
        })
        .collect();
    let mut all = Seen::default();
    for session in sessions {
        all.add(&session.await.unwrap());
    }
    all
}

/// One replica applies late, the other stops and goes on.
async fn delay(servers: &Arc<Cluster>) -> JoinHandle<()> {
    set(servers, 1, "recovery_min_apply_delay", "15ms").await;
    let servers = servers.clone();
    task::spawn("hiccups", async move {
        loop {
            servers.set_replay_paused(2, true).await.unwrap();
            tokio::time::sleep(Duration::from_micros(random_below(60_000))).await;
            servers.set_replay_paused(2, false).await.unwrap();
            tokio::time::sleep(Duration::from_micros(random_below(60_000))).await;
        }
    })
}

/// Pairs of these ways at `level`, with replay running and with replay delayed: at first as ever, to see how many reads replicas serve
/// then, and then with so much patience that most are theirs.
async fn what_was_written_is_seen(level: &'static str, ways: &[Way]) {
    let servers = Arc::new(own_cluster(2).await);
    let primacy = front(&servers, |config| config).await;
    many_pairs(primacy.port, level, Way::Same).await.check(&format!("{level}, Same, replay running"));
    drop(primacy);
    let patient = Config::new(&servers.yaml()).cluster("routing: { consistency_wait: 100ms }");
    let primacy = Primacy::start(patient).await;
    let mut hiccups = None;
    for replay in ["running", "delayed"] {
        if replay == "delayed" {
            hiccups = Some(delay(&servers).await);
        }
        for way in ways {
            let share = many_pairs(primacy.port, level, *way).await;
            let share = share.check(&format!("{level}, {way:?}, replay {replay}, consistency_wait 100ms"));
            let proves = replay == "delayed" || share > 50.0;
            assert!(proves, "a proxy that sends all to the primary proves nothing: {share} %");
        }
    }
    if let Some(hiccups) = hiccups {
        hiccups.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn causal_reads_see_what_any_session_wrote() {
    what_was_written_is_seen("causal", &[Way::Same, Way::Other, Way::Anew]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_reads_see_what_their_session_wrote() {
    what_was_written_is_seen("session", &[Way::Same, Way::Anew]).await;
}

/// What is seen where nothing is promised, for comparison.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eventual_reads_promise_nothing_and_stay_on_replicas() {
    let servers = Arc::new(own_cluster(2).await);
    let primacy = front(&servers, |config| config).await;
    for way in [Way::Same, Way::Other, Way::Anew] {
        let seen = many_pairs(primacy.port, "eventual", way).await;
        seen.print(&format!("eventual, {way:?}, replay running"));
        let (reads, replicas) = seen.sums();
        assert_eq!(reads, replicas, "nothing keeps them from replicas");
    }
}

/// Nobody thinks, and the replica is fresh but late: whoever is too early reads what was there before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_seen_the_moment_that_it_is_known() {
    let servers = Arc::new(own_cluster(1).await);
    let primacy = front(&servers, |config| config.cluster("routing: { consistency_wait: 300ms }")).await;
    set(&servers, 1, "recovery_min_apply_delay", "10ms").await;
    let mut pairs = Pairs::of(primacy.port, 1, "causal", Way::Other).await;
    for _ in 0..PAIRS {
        eventually("reads are on the replica", async || pairs.read().await.1.then_some(())).await;
        pairs.write().await;
        assert_eq!(pairs.read().await.0, pairs.written);
    }
}

/// A listener learns of a commit before the one who commits does: what it then reads, and what it tells others to read, is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_counts_as_the_write_that_it_tells_of() {
    let servers = own_cluster(1).await;
    let primacy =
        front(&servers, |config| config.cluster("routing: { max_lag: 1h, consistency_wait: 300ms }")).await;
    let reader = Session::open(primacy.port, "causal").await;
    eventually("reads are on the replica", async || reader.read(1).await.1.then_some(())).await;
    let (listener, mut told) = listener(primacy.port).await;
    listener.batch_execute("LISTEN pairs").await.unwrap();
    eventually("reads are on the replica", async || reader.read(1).await.1.then_some(())).await;
    servers.set_replay_paused(1, true).await.unwrap();
    // Another proxy's client, as far as this one knows.
    let stranger = servers.sql(0, DATABASE, "UPDATE pairs SET n = 7 WHERE id = 1; NOTIFY pairs");
    stranger.await.unwrap();
    told.recv().await.unwrap();
    assert_eq!(reader.read(1).await, (7, false));
}

/// A procedure may commit and then fail: what it committed is there as soon as the error is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_may_tell_of_a_write() {
    let servers = own_cluster(1).await;
    let primacy =
        front(&servers, |config| config.cluster("routing: { max_lag: 1h, consistency_wait: 300ms }")).await;
    let writer = connect_at(primacy.port, "causal").await;
    let procedure = "CREATE PROCEDURE half(to_n int) LANGUAGE plpgsql AS $$ BEGIN
        UPDATE pairs SET n = to_n WHERE id = 1; COMMIT; RAISE division_by_zero; END $$";
    writer.batch_execute(procedure).await.unwrap();
    let reader = Session::open(primacy.port, "causal").await;
    eventually("reads are on the replica", async || reader.read(1).await.1.then_some(())).await;
    servers.set_replay_paused(1, true).await.unwrap();
    for n in 1..10 {
        let error = writer.batch_execute(&format!("CALL half({n})")).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "22012");
        assert_eq!(reader.read(1).await, (n, false));
    }
}

/// What is uncommitted binds nobody; the COMMIT does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_binds_nobody_until_it_commits() {
    let servers = own_cluster(1).await;
    let primacy =
        front(&servers, |config| config.cluster("routing: { max_lag: 1h, consistency_wait: 300ms }")).await;
    let writer = connect_at(primacy.port, "causal").await;
    let reader = Session::open(primacy.port, "causal").await;
    eventually("reads are on the replica", async || reader.read(1).await.1.then_some(())).await;
    servers.set_replay_paused(1, true).await.unwrap();
    writer.batch_execute("BEGIN").await.unwrap();
    writer.batch_execute("UPDATE pairs SET n = 5 WHERE id = 1").await.unwrap();
    assert_eq!(reader.read(1).await, (0, true), "nothing was committed");
    writer.batch_execute("COMMIT").await.unwrap();
    assert_eq!(reader.read(1).await, (5, false));
    servers.set_replay_paused(1, false).await.unwrap();
    eventually("reads are on the replica", async || reader.read(1).await.1.then_some(())).await;
    servers.set_replay_paused(1, true).await.unwrap();
    writer.batch_execute("BEGIN; SELECT n FROM pairs; COMMIT").await.unwrap();
    assert_eq!(reader.read(1).await, (5, true), "the COMMIT of a transaction that wrote nothing is no write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strong_reads_are_the_primarys() {
    let servers = own_cluster(1).await;
    let primacy = front(&servers, |config| config.cluster("routing: { reads_on_primary: never }")).await;
    let session = Session::open(primacy.port, "strong").await;
    for hint in ["", "/* primacy:replica */ "] {
        session.client.simple_query(&format!("{hint}SELECT n FROM pairs WHERE id = 1")).await.unwrap();
        assert_eq!(only(&session.client.simple_query("SHOW primacy.node").await.unwrap()), "pg1");
    }
    let level = session.client.simple_query("SHOW primacy.consistency").await.unwrap();
    assert_eq!(only(&level), "strong");
    let route = session.client.simple_query("EXPLAIN ROUTE SELECT n FROM pairs").await.unwrap();
    let lines: Vec<_> = route
        .iter()
        .filter_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None })
        .collect();
    assert!(lines.contains(&"consistency: strong: the primary answers"), "{lines:?}");
    assert!(lines.contains(&"goes to: pg1, the primary: it must see what anybody wrote"), "{lines:?}");
}

/// A client whose notifications are passed on.
async fn listener(port: u16) -> (Client, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).dbname(DATABASE).user(APP.user).password(APP.password);
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let (sender, told) = tokio::sync::mpsc::unbounded_channel();
    task::spawn("listener", async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if matches!(message, tokio_postgres::AsyncMessage::Notification(_)) {
                sender.send(()).unwrap();
            }
        }
    });
    (client, told)
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
    let mut reader = Pairs::of(primacy.port, 1, "session", Way::Same).await;
    reader.closed_loop(10).await;
    for node in [1, 2] {
        servers.set_replay_paused(node, true).await.unwrap();
    }
    Pairs::open(primacy.port, 2).await.write().await;
    let insert = reader.writer.client.prepare("INSERT INTO pairs (id, n) VALUES ($1, 0)").await.unwrap();
    assert_eq!(
        reader.closed_loop(10).await,
        10,
        "nothing was written: what the replicas had shown is enough"
    );
    reader.writer.client.execute(&insert, &[&20_000]).await.unwrap();
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
    let mut session = Pairs::of(primacy.port, 1, "eventual", Way::Same).await;
    session.write().await;
    let (value, replica) = session.read().await;
    assert_eq!((value, replica), (0, true), "eventual does not wait for its own write");
    session.writer.client.batch_execute("SET primacy.consistency = 'session'").await.unwrap();
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
    let mut writer = Pairs::of(primacy.port, 1, "session", Way::Same).await;
    let mut reader = Pairs::of(primacy.port, 1, "session", Way::Same).await;
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
