//! What a session sets is there for its every statement, whichever backend runs it, as on one connection: through one backend that another client
//! uses, and sets anew, between any two units.

use crate::pooling::primacy_pins;
use crate::support::raw::Message;
use crate::support::{Config, Database, Primacy, Raw, Servers};
use primacy::postgres::wire;

/// A session through Primacy, the same session straight to the server, and somebody else who uses the one backend between their units.
struct Pair {
    database: Database,
    primacy: Primacy,
    ours: Raw,
    direct: Raw,
    stranger: Raw,
    /// Whether the stranger sets a custom setting, too: then the two never share a backend.
    apart: bool,
}

/// What the stranger sets: everything that the programs set, and to nobody's liking. One after the other, so that what it may not set stops nothing.
const STRANGE: &[&str] = &[
    "SET work_mem = '99MB'",
    "SET search_path = strange, pg_catalog",
    "SET application_name = 'stranger'",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET DateStyle = 'German, YMD'",
    "SET statement_timeout = '77s'",
    "SET client_encoding = 'LATIN1'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET ROLE pg_monitor",
];

/// What is compared: everything that a session can see of its settings, a custom one that it never set among it.
const VISIBLE: &str = "SELECT current_setting('work_mem'), current_setting('search_path'), current_setting('application_name'), \
     current_setting('timezone'), current_setting('datestyle'), current_setting('statement_timeout'), current_setting('client_encoding'), \
     current_setting('default_transaction_isolation'), current_setting('default_transaction_read_only'), \
     current_setting('role'), current_user, session_user, \
     coalesce(current_setting('app.tenant', true), 'NULL'), coalesce(current_setting('app.other', true), 'NULL'), \
     coalesce(current_setting('app.never', true), 'NULL')";

impl Pair {
    async fn new(start: &[(&str, &str)]) -> Self {
        Self::with(start, "").await
    }

    /// After the server ran `prepare`, in which `{user}` is the user's name.
    async fn with(start: &[(&str, &str)], prepare: &str) -> Self {
        let servers = Servers::postgres().await;
        let database = servers.fresh_database().await;
        let admin = servers.admin(0, "postgres").await;
        let grants = format!("GRANT pg_monitor, pg_read_all_settings TO {}", database.user);
        admin.batch_execute(&grants).await.unwrap();
        admin.batch_execute(&prepare.replace("{user}", &database.user)).await.unwrap();
        let config = Config::new(&servers.yaml())
            .cluster("pool: { size: 1, queue_timeout: 20s }")
            .cluster("routing: { consistency: session }");
        let primacy = Primacy::start(config).await;
        let mut ours = Raw::try_connect(&database, primacy.port, start).await.unwrap();
        let direct = Raw::try_connect(&database, servers.endpoints[0].port, start).await.unwrap();
        let mut stranger = Raw::connect(&database, primacy.port).await;
        for raw in [&mut ours, &mut stranger] {
            raw.run("SET primacy.route = 'primary'").await;
        }
        Self { database, primacy, ours, direct, stranger, apart: false }
    }

    /// Runs one unit on both, compares the answers, and lets the stranger in if nothing is open.
    async fn run(&mut self, unit: &Unit) {
        let mut bytes = Vec::new();
        unit.write(&mut bytes);
        let mut answers = Vec::new();
        for raw in [&mut self.ours, &mut self.direct] {
            raw.send(&bytes).await;
            let answer = raw.read_until("Z").await;
            let mut answer: Vec<_> = answer.iter().map(shown).collect();
            // In which order a server reports several settings is its own affair.
            let settings = answer.iter().position(|message| message.starts_with('S')).unwrap_or(0);
            let end = answer.len() - 1;
            if let Some(settings) = answer.get_mut(settings..end) {
                settings.sort();
            }
            answers.push(answer);
        }
        assert_eq!(answers[0], answers[1], "{unit:?}, ours and the server's");
        if self.direct.status == b'I' {
            self.interrupt().await;
        }
    }

    /// Runs units, and compares everything that is visible after each.
    async fn program(&mut self, units: &[Unit]) {
        for unit in units {
            self.run(unit).await;
            if self.direct.status != b'E' {
                self.run(&Unit::Text(VISIBLE)).await;
            }
        }
        assert_eq!(primacy_pins(&self.primacy).await, 0, "nothing pins: {units:?}");
    }

    async fn interrupt(&mut self) {
        for text in STRANGE {
            self.stranger.run(text).await;
        }
        if self.apart {
            self.stranger.run("SET strange.one = '1'").await;
        }
        let seen = self.stranger.value("SELECT current_setting('app.tenant', true)").await;
        assert_eq!(seen, "NULL", "a custom setting of another is unknown");
    }
}

/// One unit.
#[derive(Debug)]
enum Unit {
    Text(&'static str),
    /// Statements in one pipeline, up to one Sync.
    Pipeline(&'static [&'static str]),
    /// A statement with bound values.
    Bound(&'static str, &'static [&'static str]),
}

use Unit::{Bound, Pipeline, Text};

impl Unit {
    fn write(&self, out: &mut Vec<u8>) {
        let run = |out: &mut Vec<u8>, text: &str, values: &[&str]| {
            wire::parse(out, b"", text.as_bytes(), &[]);
            wire::bind(out, "", "", values.iter().map(|value| Some(value.as_bytes())));
            wire::execute(out, "", 0);
        };
        match self {
            Text(text) => return wire::query(out, text),
            Pipeline(texts) => texts.iter().for_each(|text| run(out, text, &[])),
            Bound(text, values) => run(out, text, values),
        }
        wire::sync(out);
    }
}

/// What of a message must be the same.
fn shown(message: &Message) -> String {
    match message.tag {
        b'E' | b'N' => {
            format!("{} {:?}", char::from(message.tag), [message.field(b'C'), message.field(b'M')])
        }
        _ => format!("{message:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_keep_and_undo() {
    let mut pair = Pair::new(&[]).await;
    pair.program(&[
        Text("BEGIN"),
        Text("SET work_mem = '7MB'"),
        Text("SET TIME ZONE 'Europe/Berlin'"),
        Text("COMMIT"),
        Text("BEGIN"),
        Text("SET work_mem = '8MB'"),
        Text("ROLLBACK"),
        Text("BEGIN; SET work_mem = '9MB'; COMMIT"),
        Text("BEGIN; SET work_mem = '10MB'; ROLLBACK"),
        Text("SET work_mem = '11MB'; SELECT 1/0"),
        Text("SET work_mem = '12MB'; COMMIT; SET statement_timeout = '3s'; SELECT 1/0"),
        Text("BEGIN"),
        Text("SET work_mem = '13MB'"),
        Text("SAVEPOINT a"),
        Text("SET work_mem = '14MB'"),
        Text("SET application_name = 'inner'"),
        Text("ROLLBACK TO a"),
        Text("COMMIT"),
        Text("BEGIN"),
        Text("SAVEPOINT a"),
        Text("SET work_mem = '15MB'"),
        Text("RELEASE a"),
        Text("SAVEPOINT b"),
        Text("SELECT 1/0"),
        Text("ROLLBACK TO b"),
        Text("COMMIT"),
        Text("BEGIN"),
        Text("SET work_mem = '16MB'"),
        Text("SELECT 1/0"),
        Text("COMMIT"),
        Text("BEGIN"),
        Text("SET LOCAL work_mem = '17MB'"),
        Text("SET LOCAL search_path = pg_catalog"),
        Text("COMMIT"),
        Text("BEGIN; SET work_mem = '18MB'; SET LOCAL work_mem = '19MB'; COMMIT"),
        Text("BEGIN"),
        Text("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"),
        Text("COMMIT AND CHAIN"),
        Text("SHOW transaction_isolation"),
        Text("ROLLBACK"),
        Text("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_keep_what_they_commit() {
    let mut pair = Pair::new(&[]).await;
    pair.program(&[
        Pipeline(&["SET work_mem = '7MB'", "SET search_path = pg_catalog", "SELECT 1"]),
        Pipeline(&["SET work_mem = '8MB'", "SELECT 1/0"]),
        Pipeline(&["BEGIN", "SET work_mem = '9MB'", "COMMIT", "SET work_mem = '10MB'", "SELECT 1/0"]),
        Pipeline(&["BEGIN", "SET work_mem = '11MB'"]),
        Pipeline(&["SET app.tenant = 'x'", "ROLLBACK"]),
        Pipeline(&["BEGIN", "SET DateStyle = DMY"]),
        Pipeline(&["SET DateStyle = SQL", "COMMIT"]),
        Bound("SELECT set_config('work_mem', $1, false)", &["12MB"]),
        Text("BEGIN"),
        Bound("SELECT set_config('work_mem', $1, false)", &["13MB"]),
        Text("COMMIT"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_asked_what_became_of_other_values() {
    let mut pair = Pair::new(&[]).await;
    pair.program(&[
        Text("SELECT set_config('work_mem', (5 + 2)::text || 'MB', false)"),
        Text("SELECT set_config('work_mem', '8MB', false), set_config('app.tenant', 'a', false), 1"),
        Text("SELECT set_config('app.tenant', n::text, false) FROM generate_series(1, 3) n"),
        Text("SELECT n FROM generate_series(1, 3) n WHERE set_config('app.other', n::text, n > 2) <> ''"),
        Text("SELECT 1 WHERE false AND set_config('work_mem', '9MB', false) <> ''"),
        Bound("SELECT set_config('app.tenant', $1, $2::bool)", &["bound", "false"]),
        Bound("SELECT set_config('app.tenant', $1, $2::bool)", &["gone", "true"]),
        Text("SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE"),
        Text("SET DateStyle = 'German'"),
        Text("SET DateStyle = YMD"),
        Text("SET application_name = U&'d\\0061ta'"),
        Text("SET application_name = 'Zür'"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_settings_are_carried_and_null_is_not_empty() {
    let mut pair = Pair::new(&[]).await;
    pair.program(&[
        Text("SET app.tenant = '7'"),
        Text("RESET app.tenant"),
        Text("SET app.tenant = ''"),
        Text("BEGIN"),
        Text("SET app.other = '8'"),
        Text("ROLLBACK"),
        Text("SET app.tenant = 'nine'"),
        Text("RESET ALL"),
        Text("SET app.tenant = 'ten'"),
        Text("DISCARD ALL"),
        Text("SET app.tenant = 'eleven'; SET app.other TO DEFAULT"),
    ])
    .await;
    let mut pair = Pair::new(&[]).await;
    pair.program(&[
        Text("BEGIN; SET LOCAL app.tenant = 'local'; SHOW app.tenant; COMMIT"),
        Text("SELECT set_config('app.other', 'x', true)"),
    ])
    .await;
    let mut pair = Pair::new(&[]).await;
    pair.program(&[
        Text("RESET app.tenant"),
        Text("BEGIN"),
        Text("SELECT 1/0"),
        Text("SET app.other = 'no'"),
        Text("ROLLBACK"),
    ])
    .await;
    pair.apart = true;
    pair.program(&[Text("SET app.tenant = 'apart'"), Text("RESET app.tenant")]).await;
    // At the start-up.
    let mut pair = Pair::new(&[("app.tenant", "first"), ("options", "-c app.other=second")]).await;
    pair.program(&[
        Text("SELECT 1"),
        Text("SET app.tenant = 'x'"),
        Text("BEGIN"),
        Text("SET app.other = 'y'"),
        Text("RESET app.other"),
        Text("RESET ALL"),
        Text("COMMIT"),
        Text("SET app.other = 'z'"),
        Text("DISCARD ALL"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_returns_to_the_clients_own_start() {
    let start = [
        ("work_mem", "5MB"),
        ("application_name", "start"),
        ("search_path", "own, \"$user\""),
        ("TimeZone", "Europe/Paris"),
    ];
    let mut pair = Pair::new(&start).await;
    pair.program(&[
        Text("SET work_mem = '6MB'"),
        Text("RESET work_mem"),
        Text("BEGIN"),
        Text("SET work_mem = '7MB'"),
        Text("SET application_name = 'inner'"),
        Text("SET search_path = pg_catalog"),
        Text("RESET work_mem"),
        Text("RESET ALL"),
        Text("SAVEPOINT a"),
        Text("SET work_mem = '8MB'"),
        Text("SET application_name TO DEFAULT"),
        Text("ROLLBACK TO a"),
        Text("COMMIT"),
        Text("SET application_name = 'outer'; SET TIME ZONE 'UTC'"),
        Text("BEGIN"),
        Text("RESET application_name"),
        Text("SET TIME ZONE LOCAL"),
        Text("ROLLBACK"),
        Pipeline(&["SET work_mem = '9MB'", "RESET work_mem", "RESET application_name"]),
        Pipeline(&["RESET work_mem", "SET work_mem = '10MB'", "SET application_name = 'last'"]),
        Text("RESET application_name; SET application_name = 'again'"),
        Text("BEGIN; RESET ALL; COMMIT"),
        Text("SET application_name = 'outer'"),
        Text("DISCARD ALL"),
        Text("SET work_mem = '11MB'; CLOSE ALL; RESET ALL"),
    ])
    .await;
    // Nothing else changes while a backend is kept.
    pair.run(&Text("LISTEN here; SELECT 1")).await;
    pair.run(&Text("SET work_mem = '12MB'")).await;
    pair.run(&Text("RESET work_mem")).await;
    pair.run(&Text(VISIBLE)).await;
    pair.run(&Text("SET work_mem = '13MB'")).await;
    pair.run(&Text("UNLISTEN *")).await;
    pair.run(&Text(VISIBLE)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_reset_is_back_for_what_follows_it() {
    let start = [
        ("work_mem", "5MB"),
        ("app.tenant", "first"),
        ("search_path", "pg_catalog,public"),
        ("DateStyle", "German"),
    ];
    let mut pair = Pair::new(&start).await;
    pair.program(&[
        Text("SET work_mem = '6MB'; RESET work_mem; SELECT current_setting('work_mem'); SET app.tenant = 'x'"),
        Text("RESET ALL; SELECT current_setting('work_mem'), current_setting('app.tenant'), '2001-02-03'::date"),
        Text("SET search_path = public; SET DateStyle = 'ISO'"),
        Text("SELECT 1; SET search_path TO DEFAULT; SHOW search_path; RESET DateStyle; SHOW DateStyle; SELECT 1"),
        Text("SET app.tenant = 'z'"),
        Text("SELECT set_config('app.tenant', NULL, false)"),
        Text("SET work_mem = '7MB'"),
        Pipeline(&["SELECT 1", "RESET ALL", "SHOW work_mem", "SET work_mem = '9MB'", "RESET work_mem", "SHOW work_mem"]),
        Pipeline(&["SET work_mem = '8MB'", "SET LOCAL work_mem TO DEFAULT", "SHOW work_mem"]),
        Text("SHOW work_mem"),
        Text("BEGIN"),
        Text("SET work_mem = '10MB'; SAVEPOINT a; RESET work_mem; SHOW work_mem"),
        Text("SELECT set_config('work_mem', NULL, true)"),
        Text("ROLLBACK TO a; SHOW work_mem; RESET ALL; SHOW work_mem"),
        Text("COMMIT"),
        // The position of an error is that in the client's own text.
        Text("RESET work_mem; SELECT nothing"),
        Text("RESET ALL; SELECT 1; SELECT FROM WHERE"),
        Text("SET work_mem = '11MB'; RESET ALL; SHOW work_mem; ROLLBACK"),
        // What has no start-up value, or is the last that is said, is as ever.
        Text("SET statement_timeout = '5s'; RESET statement_timeout; SHOW statement_timeout"),
        Text("SELECT 1; RESET work_mem; RESET ALL; CLOSE ALL"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_and_authorizations_are_carried() {
    let servers = Servers::postgres().await;
    let make = "CREATE ROLE role_{user}; GRANT role_{user} TO {user}; ALTER ROLE {user} SUPERUSER";
    let mut pair = Pair::with(&[], make).await;
    let admin = servers.admin(0, "postgres").await;
    let (user, role) = (pair.database.user.clone(), format!("role_{}", pair.database.user));
    let texts = [
        format!("SET ROLE {role}"),
        "SET work_mem = '7MB'".to_owned(),
        "RESET ROLE".to_owned(),
        format!("BEGIN; SET ROLE {role}; COMMIT"),
        format!("BEGIN; SET LOCAL ROLE {user}; COMMIT"),
        format!("SET SESSION AUTHORIZATION {role}"),
        "SET work_mem = '8MB'".to_owned(),
        "BEGIN; RESET SESSION AUTHORIZATION; ROLLBACK".to_owned(),
        "RESET SESSION AUTHORIZATION".to_owned(),
        // Only the superuser may, and it is carried with its rights.
        "SET log_statement = 'none'".to_owned(),
        format!("BEGIN; SET SESSION AUTHORIZATION {role}; SET ROLE {role}; COMMIT"),
        "SHOW log_statement".to_owned(),
        "DISCARD ALL".to_owned(),
        format!("SET SESSION AUTHORIZATION {role}"),
        "RESET ALL".to_owned(),
        "SET SESSION AUTHORIZATION DEFAULT".to_owned(),
    ];
    for text in texts {
        let text: &'static str = text.leak();
        pair.program(&[Text(text)]).await;
    }
    // A role that is gone is the server's to refuse.
    pair.ours.run(&format!("SET ROLE {role}")).await;
    pair.interrupt().await;
    admin.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
    assert_eq!(pair.ours.fails("SELECT 1").await, "22023");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_read_by_the_settings_that_hold() {
    let mut pair = Pair::new(&[]).await;
    let owner = pair.database.connect("127.0.0.1", pair.direct.port).await.unwrap();
    let make = "CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE one.t AS SELECT 1 AS a; CREATE TABLE two.t AS SELECT 2 AS a";
    owner.batch_execute(make).await.unwrap();
    pair.program(&[
        Text("SET search_path = one"),
        Text("SELECT a FROM t"),
        Text("BEGIN"),
        Text("SET search_path = two"),
        Text("SELECT a FROM t"),
        Text("SAVEPOINT s"),
        Text("SET LOCAL search_path = one"),
        Text("SELECT a FROM t"),
        Text("ROLLBACK TO s"),
        Text("SELECT a FROM t"),
        Text("SET LOCAL standard_conforming_strings = off"),
        // Read otherwise, it would listen, and be pinned.
        Text("SELECT '\\'; LISTEN here; --'"),
        Text("ROLLBACK"),
        Text("SELECT a FROM t"),
        Text("SELECT 'a\\', 1"),
        // An own unit between them takes neither the snapshot nor the anonymous statement.
        Text("BEGIN"),
        Text("SET LOCAL search_path = two"),
        Text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        Text("COMMIT"),
    ])
    .await;
    // What a name means in the transaction decides what it may do to the session.
    let make = "CREATE FUNCTION two.f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN set_config('work_mem', '98MB', false); END $$; \
         CREATE VIEW two.v AS SELECT two.f() AS a; CREATE TABLE one.v AS SELECT '1' AS a";
    owner.batch_execute(make).await.unwrap();
    for unit in [Text("BEGIN"), Text("SELECT a FROM v"), Text("COMMIT")] {
        pair.run(&unit).await;
    }
    assert_eq!(primacy_pins(&pair.primacy).await, 0);
    for unit in [
        Text("BEGIN"),
        Text("SET LOCAL search_path = two"),
        Text("SELECT a FROM v"),
        Text("COMMIT"),
        Text(VISIBLE),
    ] {
        pair.run(&unit).await;
    }
    assert_eq!(primacy_pins(&pair.primacy).await, 1, "it may have set anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_has_accepted_goes_ahead_and_a_refusal_is_not_hidden() {
    let mut pair = Pair::new(&[]).await;
    pair.ours.run("CREATE TABLE t (a int)").await;
    pair.ours.run("CREATE TEXT SEARCH CONFIGURATION own (COPY = simple)").await;
    pair.ours.run("SET default_text_search_config = 'own'").await;
    pair.ours.run("SET application_name = 'ours'").await;
    for n in 0..3 {
        // Each gets the backend with the settings of the other.
        pair.stranger.run(&format!("SET application_name = 'stranger {n}'")).await;
        assert_eq!(pair.ours.value("SHOW default_text_search_config").await, "public.own");
        assert_eq!(pair.ours.value("SHOW application_name").await, "ours");
        let seen = pair.stranger.value("SHOW default_text_search_config").await;
        assert_ne!(seen, "public.own");
        assert_eq!(pair.stranger.value("SHOW application_name").await, format!("stranger {n}"));
    }
    pair.direct.run("DROP TEXT SEARCH CONFIGURATION own").await;
    // It was sent together with the settings, and they were refused: nobody can say under which it ran.
    assert_eq!(pair.ours.fails("INSERT INTO t VALUES (1)").await, "08007");
    assert_eq!(pair.ours.fails("INSERT INTO t VALUES (2)").await, "22023", "now the server's own words");
    assert_eq!(
        pair.stranger.value("SHOW application_name").await,
        "stranger 2",
        "others are not touched by it"
    );
    pair.ours.run("DISCARD ALL").await;
    pair.ours.run("INSERT INTO t VALUES (3)").await;
    let rows = pair.ours.value("SELECT string_agg(a::text, ' ' ORDER BY a) FROM t WHERE a <> 1").await;
    assert_eq!(rows, "3", "what was refused did not run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_go_where_the_defaults_that_hold_allow() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let mut reader = Raw::connect(&database, primacy.port).await;
    reader.run("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").await;
    let mut tries = 0;
    loop {
        reader.run("BEGIN").await;
        let replica = reader.value("SELECT pg_is_in_recovery()").await == "t";
        reader.run("COMMIT").await;
        if replica {
            break;
        }
        tries += 1;
        assert!(tries < 10_000, "a transaction that is read-only by default begins on a replica");
    }
    // One that turns to writing is told to begin again, and then begins on the primary.
    reader.run("BEGIN").await;
    assert_eq!(reader.fails("SET TRANSACTION READ WRITE").await, "40001");
    reader.run("ROLLBACK").await;
    reader.run("BEGIN").await;
    reader.run("SET TRANSACTION READ WRITE").await;
    reader.run("CREATE TABLE t (a int)").await;
    reader.run("COMMIT").await;
    // A standby knows no serializable transactions: a role's own default counts like the session's.
    let own = servers.fresh_database().await;
    let admin = servers.admin(0, "postgres").await;
    let alter = format!("ALTER ROLE {} SET default_transaction_isolation = 'serializable'", own.user);
    admin.batch_execute(&alter).await.unwrap();
    let mut by_role = Raw::connect(&own, primacy.port).await;
    let mut by_session = Raw::connect(&database, primacy.port).await;
    by_session.run("SET default_transaction_isolation = serializable").await;
    let primary = by_session.value("SHOW primacy.node").await;
    for _ in 0..20 {
        for raw in [&mut by_role, &mut by_session] {
            raw.run("SELECT count(*) FROM pg_class").await;
            assert_eq!(raw.value("SHOW primacy.node").await, primary);
            raw.run("BEGIN READ ONLY").await;
            assert_eq!(raw.value("SELECT pg_is_in_recovery()").await, "f");
            raw.run("COMMIT").await;
        }
    }
}
