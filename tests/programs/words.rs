//! What programs are made of: kinds of statements, and which kinds make which theme. `@r1` and `@r2` are roles that the client is a member of.

use super::generate::{Maker, Random};

/// Writes one statement.
pub type Kind = fn(&mut Maker) -> String;

/// Settings with what they are set to: plain values, odd ones, and some that are refused.
const SETTINGS: &[(&str, &[&str])] = &[
    ("work_mem", &["'5MB'", "'6MB'", "7168", "'1 GB'", "'nonsense'"]),
    (
        "search_path",
        &["one", "two", "one, two", "'two'", "public, one", "\"$user\", public", "''", "nowhere"],
    ),
    ("application_name", &["'a'", "b", "''", "'it''s'", "'a b'"]),
    ("timezone", &["'Asia/Tokyo'", "'UTC'", "'America/St_Johns'", "-3", "'nowhere'"]),
    ("datestyle", &["'German'", "'ISO, DMY'", "SQL, MDY", "'Postgres'", "'bad'"]),
    ("intervalstyle", &["'iso_8601'", "'postgres_verbose'", "'sql_standard'"]),
    ("client_encoding", &["'LATIN1'", "'UTF8'", "'nonsense'"]),
    ("statement_timeout", &["'100s'", "0", "90000", "-5"]),
    ("lock_timeout", &["'30s'", "'1min'", "0"]),
    ("default_transaction_isolation", &["'serializable'", "'repeatable read'", "'read committed'"]),
    ("default_transaction_read_only", &["on", "off", "off"]),
    ("default_transaction_deferrable", &["on", "off"]),
    ("extra_float_digits", &["0", "3", "-10", "99"]),
    ("standard_conforming_strings", &["on", "off"]),
    ("client_min_messages", &["'warning'", "'error'", "'notice'"]),
    ("bytea_output", &["'escape'", "'hex'"]),
    ("row_security", &["off", "on"]),
    ("enable_seqscan", &["off", "true"]),
    ("random_page_cost", &["1.5", "'2'", "-1"]),
    ("synchronous_commit", &["off", "local", "on"]),
    ("array_nulls", &["off", "on"]),
    ("xmloption", &["'document'", "'content'"]),
    ("check_function_bodies", &["off", "on"]),
    ("plan_cache_mode", &["force_generic_plan", "auto"]),
    ("transaction_isolation", &["'repeatable read'", "'serializable'"]),
    ("transaction_read_only", &["on", "off"]),
    ("log_statement", &["'all'"]),
    ("max_connections", &["10"]),
    ("no_such_setting", &["1"]),
];

/// Custom settings.
const CUSTOM: &[&str] = &["my.a", "my.b", "my.c"];
const CUSTOM_VALUES: &[&str] = &["'x'", "'y'", "''", "z", "'it''s'", "1"];

/// Names of prepared statements, whichever way they are prepared.
pub const NAMES: &[&str] = &["", "p1", "p2", "Q"];
const SQL_NAMES: &[&str] = &["p1", "p2", "\"Q\"", "P1"];

/// What is prepared by the protocol, with values for its parameters.
pub const PREPARED: &[(&str, &[&str])] = &[
    ("SELECT 1 AS a", &[]),
    ("SELECT x FROM w", &[]),
    ("SELECT * FROM d", &[]),
    ("SELECT v FROM t WHERE id = $1", &["1"]),
    ("SELECT $1::int / $2::int AS q", &["6", "3"]),
    ("SELECT $1::int / $2::int AS r", &["6", "0"]),
    ("INSERT INTO n (v) VALUES ($1) RETURNING id", &["p"]),
    ("INSERT INTO n (v) VALUES ($1)", &["q"]),
    ("UPDATE t SET v = $2 WHERE id = $1", &["2", "u"]),
    ("SELECT set_config($1, $2, false)", &["work_mem", "8MB"]),
    ("SELECT set_config($1, $2, false)", &["timezone", "Asia/Tokyo"]),
    ("SELECT set_config('application_name', $1, false)", &["bound"]),
    ("SELECT set_config($1, $2, $3)", &["lock_timeout", "40s", "true"]),
    ("SELECT current_setting($1, true)", &["my.a"]),
    ("SELECT '2001-02-03 04:05:06+00'::timestamptz", &[]),
    ("SET work_mem = '11MB'", &[]),
    ("RESET work_mem", &[]),
    ("SHOW work_mem", &[]),
    ("BEGIN", &[]),
    ("COMMIT", &[]),
    ("ROLLBACK", &[]),
    ("SELECT current_user, session_user", &[]),
    ("SELECT * FROM public.c", &[]),
    ("INSERT INTO public.c (a) VALUES (5) RETURNING *", &[]),
    ("RESET ALL", &[]),
    ("SELECT set_config('my.a', $1, false)", &["bound"]),
    ("SELECT set_config('search_path', $1, true)", &["two"]),
];

/// The settings that are looked at.
pub const LOOK: &str = "SELECT current_setting('work_mem', true), current_setting('search_path', true), current_setting('application_name', true), \
     current_setting('timezone', true), current_setting('datestyle', true), current_setting('intervalstyle', true), \
     current_setting('client_encoding', true), current_setting('statement_timeout', true), current_setting('lock_timeout', true), \
     current_setting('default_transaction_isolation', true), current_setting('default_transaction_read_only', true), \
     current_setting('default_transaction_deferrable', true), current_setting('extra_float_digits', true), \
     current_setting('standard_conforming_strings', true), current_setting('client_min_messages', true), \
     current_setting('bytea_output', true), current_setting('row_security', true), current_setting('enable_seqscan', true), \
     current_setting('random_page_cost', true), current_setting('synchronous_commit', true), current_setting('array_nulls', true), \
     current_setting('xmloption', true), current_setting('check_function_bodies', true), current_setting('plan_cache_mode', true), \
     current_setting('transaction_isolation', true), current_setting('transaction_read_only', true), current_setting('role', true), \
     current_setting('session_authorization', true), current_user, session_user, current_schema(), current_setting('log_statement', true), \
     current_setting('my.a', true), current_setting('my.b', true), current_setting('my.c', true), current_setting('my.never', true)";

/// All that the server lists. Custom settings are not among it.
pub const LOOK_AT_ALL: &str =
    "SELECT name, setting FROM pg_settings WHERE setting IS DISTINCT FROM boot_val ORDER BY name";

/// Start-up parameters of a program.
pub fn start(random: &mut Random, theme: &str) -> Vec<(&'static str, &'static str)> {
    const PLAIN: &[(&str, &str)] = &[
        ("application_name", "started"),
        ("work_mem", "3MB"),
        ("search_path", "two"),
        ("TimeZone", "Europe/Berlin"),
        ("DateStyle", "ISO, YMD"),
        ("client_encoding", "'utf-8'"),
        ("default_transaction_isolation", "repeatable read"),
    ];
    const OPTIONS: &[&str] = &[
        "-c lock_timeout=50s -c statement_timeout=80s",
        "--intervalstyle=iso_8601 -c search_path=one,\\ two",
        "-cbytea_output=escape --default-transaction-read-only=off",
    ];
    let mut start: Vec<_> = PLAIN.iter().copied().filter(|_| random.chance(15)).collect();
    if matches!(theme, "sequences" | "functions" | "everything") {
        // Programs like one that asks for values of sequences keep their connections, too.
        start.retain(|(name, _)| *name != "application_name");
        start.push(("application_name", "asker"));
    }
    if random.chance(15) {
        start.push(("options", random.pick(OPTIONS)));
    }
    if matches!(theme, "custom" | "everything") && random.chance(80) {
        start.extend([("my.a", "started"), ("my.b", ""), ("my.c", "c")]);
    }
    start
}

fn value(
    (name, values): (&'static str, &'static [&'static str]),
    random: &mut Random,
) -> (&'static str, String) {
    (name, random.pick(values).to_owned())
}

fn quoted(text: &str) -> String {
    if text.starts_with('\'') { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn set(m: &mut Maker) -> String {
    let chosen = m.random.pick(SETTINGS);
    let (name, value) = value(chosen, &mut m.random);
    match m.random.below(20) {
        0 => format!("SET SESSION {name} TO {value}"),
        1 => format!("set  {} = {value}", name.to_uppercase()),
        2 => format!("SET LOCAL {name} = {value}"),
        3 => format!("SET {name} TO DEFAULT"),
        7 if m.random.chance(30) => format!("SET LOCAL {name} TO DEFAULT"),
        4..6 => format!("RESET {name}"),
        6 => format!("SHOW {name}"),
        _ => format!("SET {name} = {value}"),
    }
}

fn set_otherwise(m: &mut Maker) -> String {
    let of = [
        "RESET ALL",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE",
        "SET TIME ZONE LOCAL",
        "SET NAMES 'LATIN1'",
        "SET NAMES",
        "SET SCHEMA 'one'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE, ISOLATION LEVEL READ COMMITTED",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET TRANSACTION READ ONLY, DEFERRABLE",
        "SET LOCAL TIME ZONE LOCAL",
        "SET XML OPTION DOCUMENT",
        "SHOW TIME ZONE",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "SET CONSTRAINTS ALL DEFERRED",
    ];
    m.random.pick(&of).to_owned()
}

fn set_config(m: &mut Maker) -> String {
    let chosen = m.random.pick(SETTINGS);
    let (name, value) = value(chosen, &mut m.random);
    let value = quoted(&value);
    match m.random.below(10) {
        0 => format!("SELECT set_config('{name}', {value}, true)"),
        1 => format!("SELECT set_config('{name}', {value} || '', false)"),
        2 => format!("SELECT set_config('{name}', {value}, false), current_setting('{name}')"),
        3 => format!("SELECT set_config('{name}', {value}, false) FROM t WHERE id < 3"),
        4 if m.random.chance(50) => {
            format!("SELECT set_config('{name}', NULL, {})", m.random.pick(&["false", "true"]))
        }
        4 => format!("SELECT set_config('{name}', {value}, false) WHERE false"),
        5 if m.random.chance(30) => {
            format!("SELECT set_config(n, {value}, false) FROM (VALUES ('{name}')) AS x (n)")
        }
        6 => format!("SELECT set_config('work_mem', '12MB', false), set_config('{name}', {value}, false)"),
        _ => format!("SELECT set_config('{name}', {value}, false)"),
    }
}

fn custom(m: &mut Maker) -> String {
    let (name, value) = (m.random.pick(CUSTOM), m.random.pick(CUSTOM_VALUES));
    match m.random.below(12) {
        0..3 => format!("SET {name} = {value}"),
        3 => format!("SET LOCAL {name} = {value}"),
        4 => format!("RESET {name}"),
        5 => format!("SET {name} TO DEFAULT"),
        6 => format!("SHOW {name}"),
        7 => format!("SELECT set_config('{name}', {}, true)", quoted(value)),
        8 => format!("SELECT set_config('{name}', NULL, false)"),
        9 => format!("SELECT set_config('{name}', {}, false)", quoted(value)),
        _ => format!("SELECT current_setting('{name}', true), current_setting('{name}', true) IS NULL"),
    }
}

fn role(m: &mut Maker) -> String {
    let of = [
        "SET ROLE @r1",
        "SET ROLE @r2",
        "SET ROLE NONE",
        "RESET ROLE",
        "SET LOCAL ROLE @r1",
        "SET ROLE no_such_role",
        "SELECT set_config('role', '@r2', false)",
        "SELECT current_user, session_user",
        "SHOW role",
    ];
    m.random.pick(&of).to_owned()
}

fn authorization(m: &mut Maker) -> String {
    let of = [
        "SET SESSION AUTHORIZATION @r1",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET SESSION AUTHORIZATION",
        "SET LOCAL SESSION AUTHORIZATION @r2",
        "SHOW is_superuser",
        "SELECT current_user, session_user",
    ];
    m.random.pick(&of).to_owned()
}

fn transaction(m: &mut Maker) -> String {
    if !m.open {
        m.open = m.random.chance(90);
        m.depth = 0;
        if !m.open {
            let of = [
                "COMMIT",
                "ROLLBACK",
                "SAVEPOINT a",
                "ROLLBACK TO a",
                "COMMIT AND CHAIN",
                "SET LOCAL work_mem = '9MB'",
            ];
            return m.random.pick(&of).to_owned();
        }
        let of = [
            "BEGIN",
            "BEGIN",
            "BEGIN",
            "START TRANSACTION",
            "BEGIN READ ONLY",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "START TRANSACTION READ WRITE",
        ];
        return m.random.pick(&of).to_owned();
    }
    match m.random.below(20) {
        0..6 => {
            m.open = false;
            m.random.pick(&["COMMIT", "END", "COMMIT WORK"]).to_owned()
        }
        6..11 => {
            m.open = false;
            m.random.pick(&["ROLLBACK", "ABORT", "ROLLBACK WORK"]).to_owned()
        }
        11 => m.random.pick(&["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"]).to_owned(),
        12 => m.random.pick(&["BEGIN", "SET TRANSACTION READ ONLY"]).to_owned(),
        13..16 => {
            m.depth += 1;
            m.random.pick(&["SAVEPOINT a", "SAVEPOINT b"]).to_owned()
        }
        16..18 => m.random.pick(&["ROLLBACK TO a", "ROLLBACK TO SAVEPOINT b"]).to_owned(),
        _ => m.random.pick(&["RELEASE a", "RELEASE SAVEPOINT b"]).to_owned(),
    }
}

fn fails(m: &mut Maker) -> String {
    let of = [
        "SELECT 1 / 0",
        "SELECT nothing",
        "INSERT INTO t VALUES (1, 'again')",
        "SELECT FROM WHERE",
        "TABLE nowhere",
        "SELECT f_fails('work_mem', '14MB')",
        "INSERT INTO late VALUES (1), (1)",
    ];
    m.random.pick(&of).to_owned()
}

fn read(m: &mut Maker) -> String {
    let of = [
        "SELECT id, v FROM t ORDER BY id",
        "SELECT count(*) FROM n",
        "SELECT x FROM w",
        "SELECT * FROM d",
        "SELECT '2001-02-03 04:05:06+00'::timestamptz, interval '1 day 2 hours'",
        "SELECT 'a\\b', '\\x01'::bytea, 1.1::float8 / 3",
        "SELECT current_schema(), current_user",
        "SHOW search_path",
        "SELECT 1 AS one",
        "",
        "VALUES (1, 'a'), (2, NULL)",
    ];
    m.random.pick(&of).to_owned()
}

fn write(m: &mut Maker) -> String {
    let id = m.random.below(9);
    match m.random.below(9) {
        0..2 => format!("INSERT INTO t VALUES ({id}, 'w')"),
        2 => format!("UPDATE t SET v = v || 'u' WHERE id = {id} RETURNING v"),
        3 => format!("DELETE FROM t WHERE id = {id}"),
        4 => "INSERT INTO n (v) VALUES ('w') RETURNING id".into(),
        5 => "WITH x AS (DELETE FROM n RETURNING id) SELECT count(*) FROM x".into(),
        6 => format!("SELECT v FROM t WHERE id = {id} FOR UPDATE"),
        7 => "CREATE TABLE IF NOT EXISTS public.t (id int)".into(),
        _ => format!("INSERT INTO t VALUES ({id}, 'w') ON CONFLICT DO NOTHING"),
    }
}

fn sequence(m: &mut Maker) -> String {
    let of = [
        "SELECT nextval('s1')",
        "SELECT nextval('s2'), nextval('s1')",
        "SELECT currval('s1')",
        "SELECT currval('s2')",
        "SELECT lastval()",
        "SELECT setval('s2', 500)",
        "INSERT INTO n (v) VALUES ('s')",
        "SELECT currval('n_id_seq')",
        "SELECT f_next()",
        "DISCARD SEQUENCES",
    ];
    m.random.pick(&of).to_owned()
}

fn prepare(m: &mut Maker) -> String {
    let (name, other) = (m.random.pick(SQL_NAMES), m.random.pick(SQL_NAMES));
    match m.random.below(14) {
        0 => format!("PREPARE {name} AS SELECT x FROM w"),
        1 => format!("PREPARE {name} (int) AS SELECT v FROM t WHERE id = $1"),
        2 if m.random.chance(50) => format!("PREPARE {name} AS TABLE c"),
        2 => format!("PREPARE {name} (text) AS SELECT set_config('work_mem', $1, false)"),
        3 => format!("PREPARE {name} AS INSERT INTO n (v) VALUES ('p') RETURNING id"),
        4..7 => format!("EXECUTE {name}"),
        7 => format!("EXECUTE {name} (1)"),
        8 => format!("EXECUTE {name} ('13MB')"),
        9..11 => format!("DEALLOCATE {other}"),
        11 => "DEALLOCATE ALL".into(),
        12 => format!("EXPLAIN (COSTS OFF) EXECUTE {name} (1)"),
        _ => format!("DEALLOCATE PREPARE {other}"),
    }
}

// Of a table that every program has to itself: what was prepared before may not be what it was.
fn ddl(m: &mut Maker) -> String {
    let of = [
        "ALTER TABLE c ADD COLUMN z int DEFAULT 7",
        "ALTER TABLE c DROP COLUMN b",
        "ALTER TABLE c ALTER COLUMN a TYPE bigint",
        "ALTER TABLE c RENAME COLUMN a TO a2",
        "CREATE INDEX ON c (a)",
        "SELECT * FROM c",
        "DROP TABLE c; CREATE TABLE c AS SELECT 'new' AS n",
    ];
    m.random.pick(&of).to_owned()
}

fn temporary(m: &mut Maker) -> String {
    let of = [
        "CREATE TEMP TABLE tt1 (v text)",
        "CREATE TEMP TABLE tt1 AS SELECT 'mine'::text AS v",
        "CREATE TEMP TABLE tt2 (v text) ON COMMIT DROP",
        "INSERT INTO tt1 VALUES ('mine')",
        "SELECT v FROM tt1",
        "SELECT v FROM tt2",
        "DROP TABLE tt1",
        "DROP TABLE IF EXISTS tt1, tt2",
        "DISCARD TEMP",
        "SELECT f_temp()",
        "CREATE TEMP VIEW t AS SELECT 'hidden' AS v",
        "SELECT 1 AS v INTO TEMP tt2",
    ];
    m.random.pick(&of).to_owned()
}

fn cursor(m: &mut Maker) -> String {
    let of = [
        "DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id",
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id",
        "FETCH 1 FROM c",
        "FETCH ALL FROM c",
        "CLOSE c",
        "CLOSE ALL",
    ];
    m.random.pick(&of).to_owned()
}

fn discard(m: &mut Maker) -> String {
    let of = [
        "DISCARD ALL",
        "DISCARD ALL",
        "DISCARD PLANS",
        "DISCARD SEQUENCES",
        "DISCARD TEMP",
        "RESET ALL",
        "UNLISTEN *",
        "CLOSE ALL",
        "DEALLOCATE ALL",
        "SELECT pg_advisory_unlock_all()",
        "SET SESSION AUTHORIZATION DEFAULT",
    ];
    m.random.pick(&of).to_owned()
}

fn function(m: &mut Maker) -> String {
    let chosen = m.random.pick(SETTINGS);
    let (name, value) = value(chosen, &mut m.random);
    let custom = m.random.pick(CUSTOM);
    let value = quoted(&value);
    match m.random.below(20) {
        0 => "SELECT f_pure(1), f_reads()".into(),
        1 => "SELECT f_writes('f')".into(),
        2 => "SELECT f_set()".into(),
        3..5 => format!("SELECT f_set_any('{name}', {value})"),
        5 => format!("SELECT f_set_any('{custom}', 'f')"),
        6 => format!("SELECT f_set_local('{name}', {value})"),
        7 => "SELECT f_clause(), current_setting('work_mem')".into(),
        8 => "SELECT f_clause_sets()".into(),
        9 => format!("SELECT f_fails('{custom}', 'f')"),
        10 => format!("SELECT f_catches('{name}', {value})"),
        11 => "SELECT f_execute('SET ROLE @r1')".into(),
        12 => "SELECT f_execute('PREPARE p1 AS SELECT 1 AS from_function')".into(),
        13 => format!("INSERT INTO watched VALUES (1, '{custom}')"),
        14 => "SELECT v FROM v_sets".into(),
        15 => format!("CALL p_sets('{name}', {value})"),
        16 => format!("CALL p_commits('{custom}')"),
        17 => format!("DO $$ BEGIN PERFORM set_config('{name}', {value}, false); END $$"),
        18 => "SELECT f_last()".into(),
        _ => "DO $$ BEGIN RAISE NOTICE 'said %', current_setting('work_mem'); END $$".into(),
    }
}

/// Themes whose programs mostly keep their connection.
pub const PINNING: &[&str] = &["functions", "temporary", "everything", "sequences"];

/// A theme's name, and its kinds of statements by their weight.
pub type Theme = (&'static str, &'static [(usize, Kind)]);

/// What programs are about. Those whose state is carried come more often than those that keep their connection: it is between programs
/// that share one where strangers could meet.
pub const THEMES: &[(usize, Theme)] = &[
    (
        24,
        (
            "settings",
            &[
                (30, set),
                (10, set_otherwise),
                (15, set_config),
                (5, role),
                (20, read),
                (8, write),
                (6, fails),
                (4, transaction),
                (3, discard),
            ],
        ),
    ),
    (
        18,
        (
            "transactions",
            &[
                (22, set),
                (4, set_otherwise),
                (9, set_config),
                (4, role),
                (25, transaction),
                (12, read),
                (8, write),
                (9, fails),
                (1, discard),
            ],
        ),
    ),
    (
        14,
        (
            "prepared",
            &[
                (10, set),
                (25, prepare),
                (6, ddl),
                (18, read),
                (8, write),
                (4, fails),
                (8, transaction),
                (3, discard),
                (3, set_config),
            ],
        ),
    ),
    (
        8,
        (
            "custom",
            &[(35, custom), (8, set), (10, read), (5, write), (5, fails), (14, transaction), (3, discard)],
        ),
    ),
    (8, ("sequences", &[(40, sequence), (8, transaction), (10, read), (8, write), (4, fails), (3, discard)])),
    (
        6,
        (
            "roles",
            &[
                (20, role),
                (15, authorization),
                (10, set),
                (10, read),
                (10, transaction),
                (4, fails),
                (3, discard),
            ],
        ),
    ),
    (6, ("functions", &[(35, function), (10, set), (10, read), (10, transaction), (4, fails), (3, discard)])),
    (
        5,
        (
            "temporary",
            &[
                (25, temporary),
                (15, cursor),
                (10, read),
                (14, transaction),
                (5, set),
                (4, fails),
                (4, discard),
            ],
        ),
    ),
    (
        5,
        (
            "everything",
            &[
                (8, set),
                (3, set_otherwise),
                (5, set_config),
                (6, custom),
                (3, role),
                (2, authorization),
                (10, transaction),
                (6, read),
                (6, write),
                (4, fails),
                (6, sequence),
                (6, prepare),
                (2, ddl),
                (4, temporary),
                (3, cursor),
                (3, discard),
                (6, function),
            ],
        ),
    ),
];
