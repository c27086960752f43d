//! Promise: with `reads_in_transactions: until_first_write` the reads of a transaction run on replicas until it does more, and nobody can tell but by
//! where they run: what belongs to the transaction begins it on the primary first.

use crate::pooling::primacy_pins;
use crate::support::raw::Message;
use crate::support::{Config, Database, Primacy, Raw, Servers, eventually, http, own_cluster};
use primacy::engine::embedded::{Embedded as _, Stop};
use primacy::postgres::wire;

const ROUTING: &str = "routing: { consistency: session, consistency_wait: 5s, reads_in_transactions: until_first_write, \
     functions: { secretly: { class: read, state: none } } }";

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'), (2, 'two'); CREATE SEQUENCE s; \
     CREATE FUNCTION secretly() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (50, ''secret'') RETURNING id'; \
     CREATE FUNCTION plainly(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1 + 1'; \
     CREATE FUNCTION begun() RETURNS timestamptz STABLE LANGUAGE sql AS 'SELECT now()'; \
     CREATE FUNCTION began() RETURNS timestamptz STABLE LANGUAGE plpgsql AS 'BEGIN RETURN current_timestamp; END'; \
     CREATE VIEW plain AS SELECT * FROM t; CREATE VIEW timed AS SELECT *, now() FROM t; \
     CREATE VIEW dated AS SELECT * FROM t WHERE current_date > date '2000-01-01'; CREATE VIEW through AS SELECT * FROM dated; \
     CREATE TABLE secured (id int); ALTER TABLE secured ENABLE ROW LEVEL SECURITY; \
     CREATE POLICY p ON secured USING (id < extract(epoch FROM localtimestamp))";

async fn bed(routing: &str) -> (&'static Servers, Database, Primacy) {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let owner = database.connect("127.0.0.1", servers.endpoints[0].port).await.unwrap();
    owner.batch_execute(TABLES).await.unwrap();
    let config = Config::new(&servers.yaml()).cluster("pool: { size: 4 }").cluster(routing);
    (servers, database, Primacy::start(config).await)
}

/// A session whose reads are on a replica.
async fn reader(database: &Database, primacy: &Primacy) -> Raw {
    let raw = tokio::sync::Mutex::new(Raw::connect(database, primacy.port).await);
    eventually("reads on a replica", async || {
        let mut raw = raw.lock().await;
        raw.run("SELECT count(*) FROM t").await;
        on_replica(&mut raw).await.then_some(())
    })
    .await;
    raw.into_inner()
}

async fn on_replica(raw: &mut Raw) -> bool {
    raw.value("SHOW primacy.node").await != "pg1"
}

async fn event(primacy: &Primacy, name: &str) -> u64 {
    let (_, text) = http::get(primacy.admin_port, "/metrics").await.unwrap();
    let line = format!("primacy_events_total{{cluster=\"main\",event=\"{name}\"}} ");
    let value = text.lines().find_map(|found| found.strip_prefix(&line)).unwrap_or_else(|| panic!("{line}"));
    value.parse::<f64>().unwrap() as u64
}

fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

/// The tag of the first command in an answer.
fn command(messages: &[Message]) -> String {
    let complete = messages.iter().find(|message| message.tag == b'C');
    let complete = complete.unwrap_or_else(|| panic!("nothing was completed: {messages:?}"));
    String::from_utf8_lossy(&complete.body).trim_end_matches('\0').to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_reads_from_replicas_until_its_first_write() {
    let (servers, database, primacy) = bed(ROUTING).await;
    let mut a = reader(&database, &primacy).await;
    let admin = servers.admin(0, "postgres").await;
    let open = async || {
        let text =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state LIKE 'idle in transaction%'";
        admin.query_one(text, &[&database.name]).await.unwrap().get::<_, i64>(0)
    };
    for end in ["ROLLBACK", "COMMIT"] {
        assert_eq!((command(&a.query("BEGIN").await).as_str(), a.status), ("BEGIN", b'T'));
        for _ in 0..3 {
            assert_eq!(a.value("SELECT v FROM t WHERE id = 1").await, "one");
            assert_eq!(a.status, b'T');
            assert!(on_replica(&mut a).await, "a read of a transaction that has not written");
        }
        assert_eq!(open().await, 0, "no server knows of it");
        a.run("INSERT INTO t VALUES (3, 'three')").await;
        assert!(!on_replica(&mut a).await);
        assert_eq!(open().await, 1, "now the primary does");
        assert_eq!(a.value("SELECT v FROM t WHERE id = 3").await, "three");
        assert!(!on_replica(&mut a).await, "it has one node from its first write on");
        assert_eq!((command(&a.query(end).await).as_str(), a.status), (end, b'I'));
        assert_eq!(a.value("SELECT count(*) FROM t").await, if end == "COMMIT" { "3" } else { "2" });
    }
    for (begin, end) in [("START TRANSACTION", "END"), ("begin;", "ABORT"), ("BEGIN WORK", "ROLLBACK")] {
        let tag = if begin.starts_with("START") { "START TRANSACTION" } else { "BEGIN" };
        assert_eq!(command(&a.query(begin).await), tag);
        a.run("TABLE t").await;
        let tag = if end == "END" { "COMMIT" } else { "ROLLBACK" };
        assert_eq!((command(&a.query(end).await).as_str(), a.status), (tag, b'I'));
    }
    assert_eq!((event(&primacy, "deferred").await, event(&primacy, "deferred_begun").await), (5, 2));
}

/// What can be told from outside of its transaction, or leaves something there.
const BOUND: &[&str] = &[
    "SELECT now()",
    "SELECT pg_catalog.transaction_timestamp()",
    "SELECT current_timestamp(3)",
    "SELECT CURRENT_DATE, 1",
    "SELECT v FROM t WHERE localtime > '00:00'",
    "SELECT age(timestamp '2000-01-01')",
    "SELECT 'Now'::timestamptz",
    "SELECT timestamp 'today 12:00'",
    "SELECT E'n\\x6fw'::timestamptz",
    "SELECT begun()",
    "SELECT * FROM t WHERE began() IS NOT NULL",
    "TABLE timed",
    "SELECT * FROM through",
    "TABLE secured",
    "EXPLAIN SELECT now()",
    "COPY (SELECT now()) TO STDOUT",
    "DECLARE c CURSOR FOR TABLE t",
    "SHOW transaction_isolation",
    "SHOW work_mem",
    "SAVEPOINT a",
    "SET LOCAL work_mem = '5MB'",
    "SET work_mem = '5MB'",
    "SELECT set_config('work_mem', '5MB', true)",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SELECT * FROM t FOR UPDATE",
    "LOCK TABLE t IN SHARE MODE",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT pg_current_xact_id()",
    "SELECT pg_current_xact_id_if_assigned()",
    "SELECT pg_export_snapshot()",
    "SELECT nextval('s')",
    "SELECT setval('s', 5)",
    "NOTIFY c",
    "CREATE TABLE made (id int)",
    "BEGIN",
    "SELECT 1; SELECT now()",
    "SELECT pg_is_in_recovery()",
];

/// What cannot.
const APART: &[&str] = &[
    "TABLE t",
    "SELECT * FROM t a JOIN t b USING (id) WHERE a.id = 1",
    "SELECT count(*) FROM plain",
    "VALUES (1), (2)",
    "WITH x AS (SELECT * FROM t) SELECT * FROM x",
    "EXPLAIN SELECT * FROM t",
    "COPY t TO STDOUT",
    "SELECT plainly(1), clock_timestamp() > statement_timestamp()",
    "SELECT 'known yesterdays', 'nowhere' AS nothing",
    "SELECT 1; SELECT 2",
    "",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_a_transaction_begins_it_on_the_primary() {
    let (_, database, primacy) = bed(ROUTING).await;
    let mut a = reader(&database, &primacy).await;
    for (texts, replica) in [(BOUND, false), (APART, true)] {
        for text in texts {
            a.run("BEGIN").await;
            a.run("SELECT v FROM t").await;
            assert!(on_replica(&mut a).await);
            let answer = a.query(text).await;
            assert!(!tags(&answer).contains('E'), "{text}: {answer:?}");
            assert_eq!((on_replica(&mut a).await, a.status), (replica, b'T'), "{text}");
            a.run("ROLLBACK").await;
        }
    }
    assert_eq!(event(&primacy, "deferred_begun").await, BOUND.len() as u64);
    // It began when it first asked, and is as old as that to its end.
    a.run("BEGIN").await;
    a.run("TABLE t").await;
    let began = a.value("SELECT now()").await;
    a.run("SELECT pg_sleep(0.01)").await;
    assert_eq!(a.value("SELECT begun()").await, began);
    assert_eq!(a.value("SELECT current_timestamp").await, began);
    a.run("COMMIT").await;
    // What must come before any query comes too late.
    a.run("BEGIN").await;
    a.run("TABLE t").await;
    assert_eq!(a.fails("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await, "25001");
    a.run("ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_read_committed_transactions_wait_for_their_first_write() {
    let (_, database, primacy) = bed(ROUTING).await;
    let mut a = reader(&database, &primacy).await;
    let cases: &[(&str, &str, bool)] = &[
        ("", "BEGIN", true),
        ("", "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE", true),
        ("", "START TRANSACTION READ WRITE", true),
        ("", "BEGIN ISOLATION LEVEL REPEATABLE READ", false),
        ("", "BEGIN ISOLATION LEVEL SERIALIZABLE", false),
        ("", "BEGIN ISOLATION LEVEL READ UNCOMMITTED", false),
        ("", "BEGIN NOT DEFERRABLE", false),
        ("", "/* primacy:primary */ BEGIN", false),
        ("SET default_transaction_isolation = 'repeatable read'", "BEGIN", false),
        (
            "SET default_transaction_isolation = 'repeatable read'",
            "BEGIN ISOLATION LEVEL READ COMMITTED",
            false,
        ),
        ("RESET default_transaction_isolation", "BEGIN", true),
        ("SET primacy.route = 'primary'", "BEGIN", false),
        ("SET primacy.route = 'auto'", "BEGIN", true),
        ("SET primacy.consistency = 'strong'", "BEGIN", false),
        ("SET primacy.consistency = 'session'", "BEGIN", true),
        // Read-only ones run on a replica whole.
        ("", "BEGIN READ ONLY", true),
        ("SELECT pg_advisory_lock(7)", "BEGIN", false),
    ];
    let mut deferred = 0;
    for (before, begin, replica) in cases {
        if !before.is_empty() {
            a.run(before).await;
        }
        a.run(begin).await;
        a.run("SELECT v FROM t WHERE id = 1").await;
        assert_eq!(on_replica(&mut a).await, *replica, "{before}; {begin}");
        a.run("COMMIT").await;
        deferred += u64::from(*replica && !begin.contains("ONLY"));
    }
    assert_eq!(event(&primacy, "deferred").await, deferred);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_the_transactions() {
    let (_, database, primacy) = bed(ROUTING).await;
    let mut a = reader(&database, &primacy).await;
    let fail = async |a: &mut Raw| {
        a.run("BEGIN").await;
        a.run("TABLE t").await;
        assert_eq!((a.fails("SELECT 1 / 0").await.as_str(), a.status), ("22012", b'E'));
    };
    for end in ["ROLLBACK", "COMMIT"] {
        fail(&mut a).await;
        assert_eq!((command(&a.query(end).await).as_str(), a.status), ("ROLLBACK", b'I'));
    }
    assert_eq!(event(&primacy, "deferred_begun").await, 0, "no server knows of it");
    fail(&mut a).await;
    assert_eq!((tags(&a.query("").await).as_str(), a.status), ("IZ", b'E'));
    assert_eq!((a.fails("SELECT 1").await.as_str(), a.status), ("25P02", b'E'));
    assert_eq!((a.fails("INSERT INTO t VALUES (4, 'four')").await.as_str(), a.status), ("25P02", b'E'));
    assert_eq!(a.fails("ROLLBACK TO SAVEPOINT none").await, "3B001");
    a.run("ROLLBACK; SELECT 2").await;
    assert_eq!(a.status, b'I');
    fail(&mut a).await;
    a.run("ROLLBACK; BEGIN; INSERT INTO t VALUES (4, 'four')").await;
    assert_eq!(command(&a.query("COMMIT").await), "COMMIT");
    assert_eq!(a.value("SELECT v FROM t WHERE id = 4").await, "four");
    // What a replica refuses because it writes after all is the transaction's, too.
    a.run("BEGIN").await;
    a.run("TABLE t").await;
    assert_eq!(a.value("SELECT secretly()").await, "50");
    assert_eq!(a.status, b'T');
    a.run("ROLLBACK").await;
    assert_eq!(a.value("SELECT count(*) FROM t WHERE id = 50").await, "0");
}

fn run(out: &mut Vec<u8>, name: &str, text: &str) {
    if !text.is_empty() {
        wire::parse(out, name.as_bytes(), text.as_bytes(), &[]);
    }
    wire::bind(out, "", name, std::iter::empty());
    wire::describe(out, b'P', b"");
    wire::execute(out, "", 0);
}

/// A pipeline up to its Sync.
async fn pipeline(a: &mut Raw, statements: &[(&str, &str)]) -> Vec<Message> {
    let mut out = Vec::new();
    statements.iter().for_each(|(name, text)| run(&mut out, name, text));
    wire::sync(&mut out);
    a.send(&out).await;
    a.read_until("Z").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_may_begin_with_it() {
    let (_, database, primacy) = bed(ROUTING).await;
    let mut a = reader(&database, &primacy).await;
    // As JDBC does it: the first time with a text, then by its name.
    for text in ["BEGIN", ""] {
        let answer = pipeline(&mut a, &[("b", text), ("", "SELECT v FROM t WHERE id = 1")]).await;
        let expected = if text.is_empty() { "2nC12TDCZ" } else { "12nC12TDCZ" };
        assert_eq!((tags(&answer).as_str(), a.status), (expected, b'T'));
        assert_eq!(command(&answer), "BEGIN");
        assert!(on_replica(&mut a).await);
        let answer = pipeline(&mut a, &[("", "TABLE t")]).await;
        assert_eq!((tags(&answer).as_str(), a.status), ("12TDDCZ", b'T'));
        assert!(on_replica(&mut a).await);
        let commit = if text.is_empty() { "" } else { "COMMIT" };
        let answer = pipeline(&mut a, &[("c", commit)]).await;
        assert_eq!((command(&answer).as_str(), a.status), ("COMMIT", b'I'));
    }
    assert_eq!(event(&primacy, "deferred_begun").await, 0);
    // What writes behind it goes where it writes, in one go.
    let answer = pipeline(&mut a, &[("b", ""), ("", "INSERT INTO t VALUES (5, 'five')")]).await;
    assert_eq!((tags(&answer).as_str(), a.status), ("2nC12nCZ", b'T'));
    a.run("ROLLBACK").await;
    assert_eq!(event(&primacy, "deferred_begun").await, 0);
    // A failure behind it is the transaction's.
    let answer = pipeline(&mut a, &[("b", ""), ("", "SELECT 1 / (id - 1) FROM t"), ("", "TABLE t")]).await;
    assert_eq!((tags(&answer).as_str(), a.status), ("2nC12TEZ", b'E'));
    assert_eq!(command(&pipeline(&mut a, &[("c", "")]).await), "ROLLBACK");
    // A portal is there to the transaction's end.
    let mut out = Vec::new();
    a.run("BEGIN").await;
    wire::parse(&mut out, b"", b"TABLE t", &[]);
    wire::bind(&mut out, "p", "", std::iter::empty());
    wire::execute(&mut out, "p", 1);
    wire::sync(&mut out);
    a.send(&out).await;
    assert_eq!(tags(&a.read_until("Z").await), "12DsZ");
    assert!(!on_replica(&mut a).await);
    out.clear();
    wire::execute(&mut out, "p", 0);
    wire::sync(&mut out);
    a.send(&out).await;
    assert_eq!(tags(&a.read_until("Z").await), "DCZ");
    a.run("COMMIT").await;
    // What is only prepared where it may be prepared is run where it must.
    a.run("BEGIN").await;
    out.clear();
    wire::parse(&mut out, b"w", b"INSERT INTO t VALUES (6, 'six')", &[]);
    wire::flush(&mut out);
    a.send(&out).await;
    assert_eq!(tags(&a.read_until("1").await), "1");
    let answer = pipeline(&mut a, &[("w", "")]).await;
    assert_eq!((tags(&answer).as_str(), a.status), ("2nCZ", b'T'));
    a.run("ROLLBACK").await;
    assert_eq!(a.value("SELECT count(*) FROM t").await, "2");
}

/// Each of its reads sees what any session was told of before it began, as outside of transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_read_sees_what_was_committed_before_it() {
    let routing = ROUTING.replace("consistency: session", "consistency: causal");
    let (_, database, primacy) = bed(&routing).await;
    let mut a = reader(&database, &primacy).await;
    let mut writer = Raw::connect(&database, primacy.port).await;
    let (mut replica, turns) = (0, 200);
    a.run("BEGIN").await;
    for turn in 1..=turns {
        writer.run(&format!("UPDATE t SET v = '{turn}' WHERE id = 2")).await;
        assert_eq!(a.value("SELECT v FROM t WHERE id = 2").await, turn.to_string());
        let there = on_replica(&mut a).await;
        replica += i32::from(there);
        if !there {
            a.run("COMMIT").await;
            a.run("BEGIN").await;
        }
    }
    eprintln!("{replica} of {turns} reads right behind somebody's write on replicas");
    assert!(replica > turns / 2, "{replica}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_turns_it_on_and_a_database_may_have_its_own() {
    let never = ROUTING.replace("until_first_write", "never");
    let (servers, database, primacy) = bed(&never).await;
    let client = tokio::sync::Mutex::new(reader(&database, &primacy).await);
    let reads_on_replica = async || {
        let mut a = client.lock().await;
        a.run("BEGIN").await;
        a.run("TABLE t").await;
        let there = on_replica(&mut a).await;
        a.run("COMMIT").await;
        there
    };
    assert!(!reads_on_replica().await);
    let config = Config::new(&servers.yaml()).cluster("pool: { size: 4 }").cluster(ROUTING);
    primacy.reload(&config);
    eventually("it is on", async || reads_on_replica().await.then_some(())).await;
    let name = &database.name;
    let own =
        format!("databases: {{ {name}: {{ name: {name}, routing: {{ reads_in_transactions: never }} }} }}");
    primacy.reload(&config.cluster(&own));
    eventually("it is off", async || (!reads_on_replica().await).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_replica_is_none_of_the_transactions() {
    let cluster = own_cluster(2).await;
    let servers = Servers::of_postgres(&cluster);
    let database = servers.fresh_database().await;
    let owner = database.connect("127.0.0.1", servers.endpoints[0].port).await.unwrap();
    owner.batch_execute(TABLES).await.unwrap();
    cluster.wait_caught_up().await.unwrap();
    let primacy = Primacy::start(Config::new(&servers.yaml()).cluster(ROUTING)).await;
    primacy.expect_log("node does not answer");
    let mut a = reader(&database, &primacy).await;
    a.run("BEGIN").await;
    a.run("TABLE t").await;
    assert!(on_replica(&mut a).await);
    for node in [1, 2] {
        cluster.stop(node, Stop::Immediate).await.unwrap();
        assert_eq!(a.value("SELECT v FROM t WHERE id = 1").await, "one");
    }
    assert!(!on_replica(&mut a).await);
    a.run("INSERT INTO t VALUES (7, 'seven')").await;
    a.run("COMMIT").await;
    assert_eq!(a.value("SELECT v FROM t WHERE id = 7").await, "seven");
}

/// It is a transaction to everybody who asks, though no server has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_waited_for_when_the_proxy_stops() {
    let (_, database, mut primacy) = bed(ROUTING).await;
    let mut a = reader(&database, &primacy).await;
    a.run("BEGIN").await;
    a.run("TABLE t").await;
    assert_eq!(a.fails("DISCARD ALL").await, "25001");
    a.run("ROLLBACK").await;
    a.run("BEGIN").await;
    a.run("TABLE t").await;
    primacy.signal(nix::sys::signal::Signal::SIGTERM);
    primacy.wait_log("waiting for running transactions").await;
    assert_eq!(a.value("SELECT v FROM t WHERE id = 1").await, "one");
    assert_eq!(command(&a.query("COMMIT").await), "COMMIT");
    assert_eq!(tags(&a.read_until("E$").await), "E!");
    assert!(primacy.ended().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_not_be_idle_for_longer_than_others() {
    let limit = format!("{ROUTING}\n    timeouts: {{ idle_in_transaction: 300ms }}");
    let (_, database, primacy) = bed(&limit).await;
    let mut a = reader(&database, &primacy).await;
    a.run("BEGIN").await;
    let end = a.read_until("E$").await;
    assert_eq!((tags(&end).as_str(), end[0].field(b'C').unwrap().as_str()), ("E!", "25P03"));
}

/// What is listened to, a server's end of the transaction decides; and who listens is told of nothing within one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listening_begins_it_and_who_listens_is_told_behind_it() {
    let (servers, database, primacy) = bed(ROUTING).await;
    let (mut a, mut b) = (reader(&database, &primacy).await, reader(&database, &primacy).await);
    let mut stranger = Raw::connect(&database, servers.endpoints[0].port).await;
    a.run("BEGIN").await;
    a.fails("SELECT 1 / 0").await;
    assert_eq!((a.fails("LISTEN c").await.as_str(), a.status), ("25P02", b'E'));
    assert_eq!((command(&a.query("COMMIT").await).as_str(), a.status), ("ROLLBACK", b'I'));
    for (end, listened) in [("ROLLBACK", "SELECT 0"), ("COMMIT", "SELECT 1")] {
        let before = event(&primacy, "deferred_begun").await;
        a.run("BEGIN").await;
        a.run("TABLE t").await;
        assert!(on_replica(&mut a).await);
        assert_eq!((command(&a.query("LISTEN c").await).as_str(), a.status), ("LISTEN", b'T'));
        assert_eq!(event(&primacy, "deferred_begun").await, before + 1, "the primary has it now");
        stranger.run("NOTIFY c, 'too early'").await;
        assert_eq!(a.value("SELECT v FROM t WHERE id = 1").await, "one");
        assert!(!on_replica(&mut a).await);
        let ended = a.query(end).await;
        assert_eq!((command(&ended).as_str(), tags(&ended).as_str(), a.status), (end, "CZ", b'I'));
        assert_eq!(command(&a.query("SELECT pg_listening_channels()").await), listened);
    }
    stranger.run("NOTIFY c, 'in time'").await;
    let told = a.read_until("A").await;
    assert!(String::from_utf8_lossy(&told[0].body).contains("in time"), "{told:?}");

    b.run("LISTEN c").await;
    let before = event(&primacy, "deferred").await;
    a.run("BEGIN").await;
    a.run("TABLE t").await;
    stranger.run("NOTIFY c, 'within'").await;
    b.read_until("A").await;
    assert_eq!(tags(&a.query("TABLE t").await), "TDDCZ", "one that is heard waits for the end");
    assert_eq!(tags(&a.query("COMMIT").await), "CAZ");
    assert_eq!(event(&primacy, "deferred").await, before);
    a.run("UNLISTEN *").await;
    a.run("BEGIN").await;
    assert_eq!((command(&a.query("UNLISTEN c").await).as_str(), a.status), ("UNLISTEN", b'T'));
    a.run("COMMIT").await;
    assert_eq!(event(&primacy, "deferred").await, before + 1, "it listens no more");
    assert_eq!(primacy_pins(&primacy).await, 0);
}
