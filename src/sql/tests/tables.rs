//! The tables of statements with their expected class and effect.

use super::*;

/// Checks every row of `table`; returns how many there are.
fn check(table: &str, judge: impl Fn(&str) -> Verdict) -> usize {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut columns = line.splitn(3, " | ");
        let (Some(class), Some(effect), Some(text)) = (columns.next(), columns.next(), columns.next()) else {
            panic!("not three columns: {line}");
        };
        rows += 1;
        let text = text.replace("\\n", "\n");
        let verdict = judge(&text);
        let found = (verdict.class.to_string(), effect_word(&verdict.effect));
        if found != (class.to_owned(), effect.to_owned()) {
            wrong.push(format!(
                "{text}\n    expected {class} {effect}, found {found:?}: {:?}",
                verdict.reason
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {rows} wrong:\n{}", wrong.len(), wrong.join("\n"));
    rows
}

#[test]
fn every_statement_of_postgres_has_its_class() {
    assert!(check(include_str!("../../../tests/statements/postgres.txt"), judge) >= 300);
}

#[test]
fn every_statement_of_mysql_has_its_class() {
    let judge = |text: &str| judge_uncached(text.as_bytes(), &Context::bare(Dialect::Mysql, 8));
    assert!(check(include_str!("../../../tests/statements/mysql.txt"), judge) >= 100);
}

/// What each driver sends at connect, reset and release (measured on the wire, or read in its source).
const DRIVERS: [(&str, &[&str]); 8] = [
    ("libpq", &["SHOW transaction_read_only", "SELECT pg_catalog.pg_is_in_recovery()"]),
    (
        "asyncpg",
        &[
            "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
            "SELECT pg_catalog.pg_is_in_recovery()",
            "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
            "SELECT set_config('jit', $1::text, false)",
            "BEGIN;",
            "COMMIT;",
        ],
    ),
    (
        "pgjdbc",
        &[
            "SET extra_float_digits = 3",
            "SET application_name = 'PostgreSQL JDBC Driver'",
            "show transaction_read_only",
            "SHOW TRANSACTION ISOLATION LEVEL",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "BEGIN",
            "BEGIN READ ONLY",
            "",
        ],
    ),
    ("psycopg", &["BEGIN", "COMMIT", "ROLLBACK", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"]),
    (
        "npgsql",
        &[
            "select pg_is_in_recovery(); SHOW default_transaction_read_only",
            "DISCARD ALL",
            "CLOSE ALL;UNLISTEN *;RESET ALL;DISCARD SEQUENCES;SELECT pg_advisory_unlock_all();DISCARD TEMP",
            "SET SESSION AUTHORIZATION DEFAULT",
        ],
    ),
    ("postgres.js", &["show transaction_read_only; select pg_catalog.pg_is_in_recovery()"]),
    (
        "Rails and Django",
        &[
            "SET client_min_messages TO 'warning'",
            "SET standard_conforming_strings = on",
            "SET SESSION timezone TO 'UTC'",
            "SET intervalstyle = iso_8601",
            "SELECT set_config('TimeZone', 'UTC', false)",
            "DEALLOCATE ALL",
            "DEALLOCATE \"a1\"",
            "RESET ROLE",
            "SET ROLE 'app'",
            "SET CONSTRAINTS ALL IMMEDIATE",
        ],
    ),
    (
        "pg_dump",
        &[
            "SELECT pg_catalog.set_config('search_path', '', false);",
            "SET DATESTYLE = ISO",
            "SET INTERVALSTYLE = POSTGRES",
            "SET extra_float_digits TO 3",
            "SET synchronize_seqscans TO off",
            "SET statement_timeout = 0",
            "SET row_security = off",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            "BEGIN",
        ],
    ),
];

#[test]
fn what_drivers_send_never_pins() {
    for (driver, texts) in DRIVERS {
        let together = texts.join(";");
        for text in texts.iter().copied().chain([together.as_str()]) {
            let verdict = judge(text);
            assert!(!matches!(verdict.effect, Effect::Pins(..)), "{driver}: {text}: {verdict:?}");
            assert_ne!(verdict.class, Class::Write, "{driver}: {text}: {verdict:?}");
        }
    }
}
