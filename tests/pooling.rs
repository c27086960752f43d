//! What one client leaves on a backend, no other ever sees; and no backend goes back to a pool before it is clean.

use crate::support::raw::Message;
use crate::support::{Config, Database, Primacy, Raw, Servers, eventually};
use primacy::postgres::wire;
use tokio::task::JoinSet;

/// One row per thing that a stranger left on the backend (facts of the server: settings, role, statements, cursors, channels, temporary objects,
/// locks).
const LEFT: &str = "SELECT 'setting', name || '=' || setting FROM pg_settings WHERE source = 'session' \
     UNION ALL SELECT 'role', current_user || '/' || session_user WHERE current_user <> session_user \
     UNION ALL SELECT 'statement', name FROM pg_prepared_statements WHERE name NOT LIKE '\\_\\_primacy\\_%' \
     UNION ALL SELECT 'cursor', name FROM pg_cursors WHERE name <> '' \
     UNION ALL SELECT 'channel', c FROM pg_listening_channels() c \
     UNION ALL SELECT 'temporary', relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() \
     UNION ALL SELECT 'lock', locktype || ' ' || mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype NOT IN ('virtualxid', 'relation')";

/// A Primacy with one backend per node for each user and database.
async fn one_backend() -> (&'static Servers, Database, Primacy) {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let admin = servers.admin(0, "postgres").await;
    admin.batch_execute(&format!("GRANT pg_monitor TO {}", database.user)).await.unwrap();
    let config = Config::new(&servers.yaml())
        .cluster("pool: { size: 1, queue_timeout: 3s }")
        .cluster("routing: { consistency: session }");
    (servers, database, Primacy::start(config).await)
}

/// What a stranger finds on the primary's backend.
async fn left(stranger: &mut Raw) -> Vec<String> {
    let rows = stranger.rows(&format!("/* primacy:primary */ {LEFT}")).await;
    rows.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" ")).collect()
}

/// Texts that leave something in a session.
const LEAVE: &[&str] = &[
    "SET work_mem = '7MB'",
    "SET search_path = pg_catalog",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET client_encoding = 'LATIN1'",
    "SET application_name = 'somebody'",
    "SET statement_timeout = 12345",
    "SELECT set_config('work_mem', '9MB', false)",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET ROLE pg_monitor",
    "SET custom.tenant = 'stranger'",
    "BEGIN; SET work_mem = '11MB'; COMMIT",
    "DO $$ BEGIN PERFORM set_config('lock_timeout', '5s', false); END $$",
    "CREATE TEMP TABLE mine (a int)",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "SELECT 1 AS a INTO TEMP mine",
    "DO $$ BEGIN CREATE TEMP TABLE mine (a int); END $$",
    "CREATE TEMP SEQUENCE mine",
    "SELECT pg_advisory_lock(42)",
    "SELECT pg_try_advisory_lock(42)",
    "SELECT pg_advisory_lock_shared(42)",
    "DO $$ BEGIN PERFORM pg_advisory_lock(42); END $$",
    "LISTEN mine",
    "LISTEN mine; SELECT 1",
    "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
    "PREPARE mine AS SELECT 1",
    "SELECT setseed(0.5)",
    "SELECT leave_something()",
];

const FUNCTION: &str = "CREATE FUNCTION leave_something() RETURNS int LANGUAGE plpgsql VOLATILE AS \
     $$ BEGIN PERFORM set_config('work_mem', '13MB', false); PERFORM pg_advisory_lock(43); RETURN 1; END $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_client_leaves_is_there_for_the_next() {
    let (servers, database, primacy) = one_backend().await;
    let owner = database.connect("127.0.0.1", servers.endpoints[0].port).await.unwrap();
    owner.batch_execute(FUNCTION).await.unwrap();
    let mut stranger = Raw::connect(&database, primacy.port).await;
    for text in LEAVE {
        // While its owner is there, and after it has gone.
        let mut client = Raw::connect(&database, primacy.port).await;
        client.run(text).await;
        assert_eq!(left(&mut stranger).await, Vec::<String>::new(), "beside a client that said {text}");
        drop(client);
        for _ in 0..3 {
            assert_eq!(left(&mut stranger).await, Vec::<String>::new(), "after a client that said {text}");
        }
        let custom = stranger.value("SELECT current_setting('custom.tenant', true)").await;
        assert_eq!(custom, "NULL", "who never set it does not know it; after {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_follow_their_client_from_backend_to_backend() {
    let (_, database, primacy) = one_backend().await;
    let mut a = Raw::connect(&database, primacy.port).await;
    let start = [("work_mem", "5MB"), ("application_name", "b")];
    let mut b = Raw::try_connect(&database, primacy.port, &start).await.unwrap();
    for round in 0..3 {
        a.run("SET work_mem = '7MB'").await;
        a.run("SET application_name = 'a'").await;
        b.run("SET work_mem = '6MB'").await;
        assert_eq!(
            (a.value("SHOW work_mem").await, b.value("SHOW work_mem").await),
            ("7MB".into(), "6MB".into())
        );
        assert_eq!(a.value("SHOW application_name").await, "a");
        b.run(["RESET work_mem", "RESET ALL", "DISCARD ALL"][round]).await;
        assert_eq!(b.value("SHOW work_mem").await, "5MB", "RESET returns to the start-up's value");
        assert_eq!(b.value("SHOW application_name").await, "b");
        a.run("RESET ALL").await;
        assert_eq!(a.value("SHOW work_mem").await, "4MB");
        assert_eq!(b.value("SHOW work_mem").await, "5MB");
    }
    a.run("SET ROLE pg_monitor").await;
    assert_eq!(b.value("SELECT current_user").await, database.user);
    assert_eq!(a.value("SELECT current_user").await, "pg_monitor");
    a.run("RESET ALL").await;
    assert_eq!(a.value("SELECT current_user").await, "pg_monitor", "RESET ALL keeps the role");
    a.run("RESET ROLE").await;
    assert_eq!(a.value("SELECT current_user").await, database.user);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_answer_as_on_one_connection_or_fail() {
    let (_, database, primacy) = one_backend().await;
    let mut a = Raw::connect(&database, primacy.port).await;
    let mut b = Raw::connect(&database, primacy.port).await;
    a.run("CREATE TABLE ids (id serial, by text)").await;
    for _ in 0..5 {
        a.run("INSERT INTO ids (by) VALUES ('a')").await;
        // Nobody's value: either the session's own or the server's refusal.
        assert_eq!(b.fails("SELECT lastval()").await, "55000");
        assert_eq!(b.fails("SELECT currval('ids_id_seq')").await, "55000");
    }
    let mut c = Raw::connect(&database, primacy.port).await;
    let given = c.value("SELECT nextval('ids_id_seq')").await;
    a.run("INSERT INTO ids (by) VALUES ('a')").await;
    let said = c.query("SELECT currval('ids_id_seq'), lastval()").await;
    match said.iter().find(|message| message.tag == b'D').map(Message::values) {
        Some(row) => assert_eq!(row, [Some(given.clone()), Some(given)]),
        None => assert_eq!(said[0].field(b'C').as_deref(), Some("55000"), "{said:?}"),
    }
}

/// A session has its own values as long as nobody else has had its connection; who is seen to ask keeps it from its first write on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_values_of_sequences_are_kept_for_who_asks() {
    let (servers, database, primacy) = one_backend().await;
    let mut a = Raw::try_connect(&database, primacy.port, &[("application_name", "asks")]).await.unwrap();
    let mut b = Raw::try_connect(&database, primacy.port, &[("application_name", "draws")]).await.unwrap();
    let owner = database.connect("127.0.0.1", servers.endpoints[0].port).await.unwrap();
    let objects = "CREATE SEQUENCE s; CREATE TABLE ids (id int DEFAULT nextval('s'), by text)";
    owner.batch_execute(objects).await.unwrap();
    let given = a.value("SELECT nextval('s')").await;
    assert_eq!(primacy_pins(&primacy).await, 0, "to draw pins nothing");
    assert_eq!(a.value("SELECT currval('s')").await, given, "nobody had the connection meanwhile");
    assert_eq!(a.value("SELECT lastval()").await, given);
    b.run("INSERT INTO ids (by) VALUES ('b')").await;
    assert_eq!(a.fails("SELECT currval('s')").await, "55000");
    // Its like are known by now: a value that is drawn is there when it is asked for.
    let mut again = Raw::try_connect(&database, primacy.port, &[("application_name", "asks")]).await.unwrap();
    for _ in 0..3 {
        let given = again.value("INSERT INTO ids (by) VALUES ('a') RETURNING id").await;
        b.run("INSERT INTO ids (by) VALUES ('b')").await;
        assert_eq!(again.value("SELECT currval('s')").await, given);
        assert_eq!(b.fails("SELECT setval('nothing', 1)").await, "42P01");
    }
    assert_eq!(primacy_pins(&primacy).await, 1, "and who does not ask keeps nothing");
    again.run("DISCARD SEQUENCES").await;
    eventually("the pin ends", async || (primacy_pins(&primacy).await == 0).then_some(())).await;
    assert_eq!(again.fails("SELECT lastval()").await, "55000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines, reason = "a list of ways to die")]
async fn a_client_killed_anywhere_leaves_a_clean_pool() {
    let (servers, database, primacy) = one_backend().await;
    let mut stranger = Raw::connect(&database, primacy.port).await;
    stranger.run("CREATE TABLE t (id int)").await;
    let admin = servers.admin(0, "postgres").await;
    let insert = |out: &mut Vec<u8>| {
        wire::parse(out, b"", b"INSERT INTO t VALUES (1)", &[]);
        wire::bind(out, "", "", std::iter::empty());
        wire::execute(out, "", 0);
    };
    for way in 0..7 {
        let mut client = Raw::connect(&database, primacy.port).await;
        let mut out = Vec::new();
        match way {
            0 => client.run("BEGIN; INSERT INTO t VALUES (1)").await,
            1 => {
                client.run("BEGIN").await;
                client.fails("SELECT 1/0").await;
            }
            2 => {
                wire::query(&mut out, "COPY t FROM STDIN");
                client.send(&out).await;
                client.read_until("G").await;
                out.clear();
                wire::message(&mut out, b'd', |out| out.extend_from_slice(b"1\n"));
                client.send(&out[..6]).await;
            }
            3 => {
                insert(&mut out);
                wire::flush(&mut out);
                client.send(&out).await;
                client.read_until("C").await;
            }
            4 => {
                wire::query(&mut out, "INSERT INTO t SELECT 1 FROM pg_sleep(300)");
                client.send(&out).await;
                let runs = "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND state = 'active'";
                eventually("it runs", async || admin.query_opt(runs, &[&database.name]).await.unwrap()).await;
            }
            5 => {
                wire::query(
                    &mut out,
                    "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT",
                );
                client.send(&out).await;
                client.read_until("d").await;
            }
            _ => {
                (0..500).for_each(|_| insert(&mut out));
                client.send(&out).await;
            }
        }
        drop(client);
        assert_eq!(left(&mut stranger).await, Vec::<String>::new(), "way {way}");
        let rows = stranger.value("/* primacy:primary */ SELECT count(*) FROM t").await;
        assert_eq!(rows, "0", "what was not committed is not there; way {way}");
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND (state LIKE 'idle in%' OR state = 'active')";
    eventually("no transaction is open", async || {
        let count: i64 = admin.query_one(open, &[&database.name]).await.unwrap().get(0);
        (count == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_says_so_in_time() {
    let (_, database, primacy) = one_backend().await;
    let mut holder = Raw::connect(&database, primacy.port).await;
    let mut waiter = Raw::connect(&database, primacy.port).await;
    holder.run("BEGIN").await;
    let said = waiter.query("BEGIN").await;
    let error = said.iter().find(|message| message.tag == b'E').unwrap();
    assert_eq!(error.field(b'C').as_deref(), Some("53300"), "{error:?}");
    assert!(error.field(b'M').unwrap().contains("pool.queue_timeout"), "{error:?}");
    // It was an error of the statement, not of the session.
    holder.run("COMMIT").await;
    waiter.run("BEGIN; COMMIT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pins_end_with_what_pinned() {
    let (servers, database, primacy) = one_backend().await;
    let admin = servers.admin(0, "postgres").await;
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    let mut client = Raw::connect(&database, primacy.port).await;
    let mut other = Raw::connect(&database, primacy.port).await;
    let ends = [
        ("LISTEN here; SELECT 1", "UNLISTEN *"),
        ("SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock_all()"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE ALL"),
        ("CREATE TEMP TABLE x (a int)", "DISCARD TEMP"),
        ("LISTEN here; SELECT 1", "UNLISTEN here"),
        ("SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"),
        ("SELECT pg_advisory_lock_shared(1)", "SELECT pg_advisory_unlock_shared(1)"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"),
        ("CREATE TEMP TABLE x (a int)", "DROP TABLE x"),
        ("CREATE TEMP SEQUENCE x", "DROP SEQUENCE x"),
    ];
    for (pins, ends) in ends {
        client.run(pins).await;
        // Beside the pinned backend another one serves the rest.
        other.run("/* primacy:primary */ SELECT 1").await;
        let count: i64 = admin.query_one(backends, &[&database.name]).await.unwrap().get(0);
        assert!(count >= 2, "{pins}: {count}");
        let begun = format!("{pins} pins");
        eventually(&begun, async || (primacy_pins(&primacy).await >= 1).then_some(())).await;
        client.run(ends).await;
        // The client has its answer a moment before the backend is let go.
        let gone = format!("the pin of {pins} ends with {ends}");
        eventually(&gone, async || (primacy_pins(&primacy).await == 0).then_some(())).await;
        assert_eq!(left(&mut other).await, Vec::<String>::new());
    }
}

/// What pins ends when nothing of its kind is left, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pins_end_when_the_last_of_a_kind_is_gone() {
    let (_, database, primacy) = one_backend().await;
    let mut client = Raw::connect(&database, primacy.port).await;
    let pinned = async |text: &str, expected: u64| {
        let what = format!("{expected} pins after {text}");
        eventually(&what, async || (primacy_pins(&primacy).await == expected).then_some(())).await;
    };
    // Each step, and how many kinds of state pin the session after it.
    let steps = [
        ("CREATE TEMP TABLE x (a int)", 1),
        ("CREATE TEMP TABLE y (a int)", 1),
        ("DROP TABLE x", 1),
        ("SELECT pg_advisory_lock(1)", 2),
        ("DROP TABLE y", 1),
        ("SELECT pg_advisory_lock(1)", 1),
        ("SELECT pg_advisory_unlock(1)", 1),
        ("SELECT pg_advisory_unlock(1)", 0),
        ("LISTEN a; SELECT 1", 1),
        ("LISTEN b; SELECT 1", 1),
        ("UNLISTEN a", 1),
        ("UNLISTEN b", 0),
        // What a transaction undoes, or ends.
        ("BEGIN", 0),
        ("LISTEN a; SELECT 1", 1),
        ("ROLLBACK", 0),
        ("BEGIN", 0),
        ("CREATE TEMP TABLE x (a int) ON COMMIT DROP", 1),
        ("COMMIT", 0),
        ("BEGIN", 0),
        ("CREATE TEMP TABLE x (a int)", 1),
        ("COMMIT", 1),
        ("DROP TABLE x", 0),
        // Beside what may be there nothing ends.
        ("LISTEN a; SELECT 1", 1),
        ("DO $$ BEGIN PERFORM 1; END $$", 2),
        ("UNLISTEN a", 2),
        ("DISCARD ALL", 0),
    ];
    for (text, expected) in steps {
        client.run(text).await;
        pinned(text, expected).await;
    }
    // What fails pins nothing.
    client.run("CREATE TABLE here (a int)").await;
    assert_eq!(client.fails("CREATE TEMP TABLE x AS SELECT nothing FROM here").await, "42703");
    pinned("a failure", 0).await;
    let mut other = Raw::connect(&database, primacy.port).await;
    assert_eq!(left(&mut other).await, Vec::<String>::new());
}

/// A notification that comes while the backend is asked is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_notification_is_lost_to_a_probe() {
    let (servers, database, primacy) = one_backend().await;
    let mut client = Raw::connect(&database, primacy.port).await;
    client.run("LISTEN a; SELECT 1").await;
    let sender = database.connect("127.0.0.1", servers.endpoints[0].port).await.unwrap();
    let told = primacy::task::spawn("sender", async move {
        for n in 0..300 {
            sender.batch_execute(&format!("NOTIFY a, '{n}'")).await.unwrap();
        }
    });
    let mut heard = 0;
    while heard < 300 {
        // Each asks what is left.
        let said = client.query("UNLISTEN nobody").await;
        assert!(!said.iter().any(|message| message.tag == b'!'), "{heard}: {said:?}");
        let came = said.iter().filter(|message| message.tag == b'A');
        for message in came {
            let payload = format!("a\0{heard}\0");
            assert!(message.body.ends_with(payload.as_bytes()), "{heard}: {message:?}");
            heard += 1;
        }
    }
    told.await.unwrap();
}

/// Sessions that are pinned now, as the metrics say.
pub async fn primacy_pins(primacy: &Primacy) -> u64 {
    let (status, text) = crate::support::http::get(primacy.admin_port, "/metrics").await.unwrap();
    assert_eq!(status, 200, "{text}");
    let pinned = text.lines().filter(|line| line.starts_with("primacy_pinned"));
    pinned.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(|n| n as u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_share_five_backends() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let config = Config::new(&servers.yaml()).cluster("pool: { size: 5, queue_timeout: 60s }");
    let primacy = Primacy::start(config).await;
    let mut first = Raw::connect(&database, primacy.port).await;
    first.run("CREATE TABLE t (client int, n int)").await;
    let mut clients = JoinSet::new();
    for client in 0..500 {
        let (database, port) = (database.clone(), primacy.port);
        clients.spawn(async move {
            let mut raw = Raw::connect(&database, port).await;
            for n in 0..3 {
                raw.run(&format!("INSERT INTO t VALUES ({client}, {n})")).await;
                let seen = raw.value(&format!("SELECT count(*) FROM t WHERE client = {client}")).await;
                assert_eq!(seen, (n + 1).to_string(), "client {client}");
            }
            raw
        });
    }
    let all = clients.join_all().await;
    assert_eq!(all.len(), 500);
    let admin = servers.admin(0, "postgres").await;
    let count =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'";
    // One more asks for the catalog. A server's process outlives its connection by a moment.
    eventually("no more than five backends and the catalog's", async || {
        let backends: i64 = admin.query_one(count, &[&database.name]).await.unwrap().get(0);
        (backends <= 6).then_some(())
    })
    .await;
    assert_eq!(first.value("/* primacy:primary */ SELECT count(*) FROM t").await, "1500");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_session_mode_a_client_keeps_its_backend() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let config = Config::new(&servers.yaml()).cluster("pool: { mode: session, size: 3 }");
    let primacy = Primacy::start(config).await;
    let mut a = Raw::connect(&database, primacy.port).await;
    a.run("CREATE TEMP TABLE mine AS SELECT 1 AS a").await;
    a.run("SET custom.x = 'a'").await;
    let mut b = Raw::connect(&database, primacy.port).await;
    assert_eq!(b.fails("SELECT * FROM mine").await, "42P01");
    assert_eq!(a.value("SELECT a FROM mine").await, "1");
    assert_eq!(a.value("SELECT current_setting('custom.x')").await, "a");
    drop((a, b));
    let mut c = Raw::connect(&database, primacy.port).await;
    assert_eq!(left(&mut c).await, Vec::<String>::new());
}
