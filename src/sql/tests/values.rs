//! What a verdict says beside class and effect: values of settings, relations, transactions, lexing, versions.

use super::*;

fn changes(text: &str) -> Vec<Change> {
    match judge(text).effect {
        Effect::Changes(changes) => changes.into_vec(),
        other => panic!("{text}: {other:?}"),
    }
}

fn constant(name: &str, value: &str) -> Vec<Change> {
    vec![Change::Set { name: name.into(), value: Value::Constant(value.into()) }]
}

fn list(name: &str, value: &str) -> Vec<Change> {
    vec![Change::Set { name: name.into(), value: Value::List(value.into()) }]
}

#[test]
fn values_are_what_set_config_takes() {
    for (text, expected) in [
        ("SET work_mem = '64MB'", constant("work_mem", "64MB")),
        ("SET Work_Mem TO 64", constant("work_mem", "64")),
        ("set session statement_timeout to -1", constant("statement_timeout", "-1")),
        ("SET jit = ON", constant("jit", "on")),
        ("SET application_name = 'it''s; x'", constant("application_name", "it's; x")),
        ("SET application_name = $$a'b$$", constant("application_name", "a'b")),
        ("SET \"App\".Tenant = \"Big\"", constant("app.tenant", "Big")),
        ("SET search_path = a, \"B c\", 'D', \"$user\"", list("search_path", "a, \"B c\", \"D\", \"$user\"")),
        ("SET search_path = 'a, b'", list("search_path", "\"a, b\"")),
        ("SET search_path = ''", list("search_path", "\"\"")),
        ("SET DateStyle TO ISO, DMY", list("datestyle", "iso, dmy")),
        ("SET DateStyle = ISO", constant("datestyle", "iso")),
        ("SET TIME ZONE 'Europe/Berlin'", constant("timezone", "Europe/Berlin")),
        ("SET TIME ZONE -7", constant("timezone", "-7")),
        ("SET NAMES 'LATIN1'", constant("client_encoding", "LATIN1")),
        ("SET ROLE none", constant("role", "none")),
        ("SET role TO 'x'", constant("role", "x")),
        ("SET SCHEMA 's'", list("search_path", "s")),
        ("SELECT set_config('Search_Path', 'a, b', false)", constant("search_path", "a, b")),
        ("SELECT set_config('a.b', 'c'::text, 'f') AS x", constant("a.b", "c")),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            constant("default_transaction_read_only", "on"),
        ),
    ] {
        assert_eq!(changes(text), expected, "{text}");
    }
    assert_eq!(changes("SET x.y TO DEFAULT"), [Change::Reset("x.y".into())]);
    assert_eq!(changes("SELECT set_config('x.y', NULL, false)"), [Change::Reset("x.y".into())]);
    let local = |name: &str, value| Change::SetLocal { name: name.into(), value };
    assert_eq!(changes("SELECT set_config('x', $2, true)"), [local("x", Some(Value::Parameter(1)))]);
    assert_eq!(changes("SET LOCAL a.b = c"), [local("a.b", Some(Value::Constant("c".into())))]);
    assert_eq!(changes("SET LOCAL a.b TO DEFAULT"), [local("a.b", None)]);
    assert_eq!(changes("SET LOCAL ROLE x"), [local("role", Some(Value::Constant("x".into())))]);
    assert_eq!(changes("SET transaction_isolation = 'serializable'"), [Change::Local]);
    assert_eq!(changes("SET SESSION AUTHORIZATION 'x'"), constant("session_authorization", "x"));
    assert_eq!(changes("SET Sort_Mem = 5"), constant("work_mem", "5"));
    assert_eq!(
        changes("SELECT set_config('x.y', $2, false)"),
        [Change::Set { name: "x.y".into(), value: Value::Parameter(1) }]
    );
    assert_eq!(
        changes("SET primacy.consistency = eventual; RESET primacy.consistency; SHOW primacy.node"),
        [
            Change::Primacy { name: "consistency".into(), value: Some("eventual".into()) },
            Change::Primacy { name: "consistency".into(), value: None },
            Change::ShowPrimacy("node".into()),
        ]
    );
}

#[test]
fn strings_with_escapes_are_no_plain_values() {
    // The name is enough to ask a server what became of it.
    let touched = |name: &str| [Change::Touch(name.into())];
    assert_eq!(changes("SET a.b = E'x\\'y'"), touched("a.b"));
    assert_eq!(changes("SET a.b = U&'d\\0061'"), touched("a.b"));
    assert_eq!(changes("SELECT 1 WHERE set_config('a.b', x, $1) = ''"), touched("a.b"));
    // What a text that pins does beside it is known all the same, and a name is never taken from another text's verdict.
    for (text, known) in [
        ("LOAD 'a'; SET a.b = 'c'", 1),
        ("SELECT set_config($1, 'a', false)", 1),
        ("SELECT set_config('seed', '0.5', false)", 1),
    ] {
        assert_eq!(judge(text).effect.changes().len(), known, "{text}");
    }
    assert!(matches!(judge("LOAD 'a'; SET a.b = 'c'").effect, Effect::Mixed(..)));
    assert_eq!(
        changes("RESET a; SELECT 1; RESET b"),
        [Change::Reset("a".into()), Change::Looks, Change::Reset("b".into())]
    );
    assert_eq!(changes("SELECT 1; RESET a; COMMIT; CLOSE ALL").len(), 2);
}

#[test]
fn what_returns_is_found_where_it_stands() {
    use crate::sql::ReturnForm::{Default, LocalDefault, Null, Reset};
    for (text, expected) in [
        ("SELECT 1; RESET Work_Mem ;", vec![(Some("work_mem"), "RESET Work_Mem", 1, Reset)]),
        (
            "set a.b to default; RESET ALL",
            vec![(Some("a.b"), "set a.b to default", 0, Default), (None, "RESET ALL", 1, Reset)],
        ),
        ("SET LOCAL TIME ZONE LOCAL", vec![(Some("timezone"), "SET LOCAL TIME ZONE LOCAL", 0, LocalDefault)]),
        ("SELECT 1, set_config('x', NULL, true)", vec![(Some("x"), "NULL", 0, Null)]),
        ("SET a.b = 'default'; SET LOCAL work_mem = '1MB'; DISCARD ALL", vec![]),
    ] {
        let found = judge(text).returns;
        let found: Vec<_> = found
            .iter()
            .map(|found| {
                (found.name.as_deref(), text.get(found.at.clone()).unwrap(), found.statement, found.form)
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }
}

fn relations(text: &str) -> Vec<String> {
    judge(text)
        .relations
        .iter()
        .map(|relation| {
            let dot = if relation.schema.is_empty() { "" } else { "." };
            let sign = if relation.written { "!" } else { "" };
            format!("{}{dot}{}{sign}", relation.schema, relation.name)
        })
        .collect()
}

#[test]
fn relations_are_found_where_they_stand() {
    for (text, expected) in [
        ("SELECT * FROM a, b.c x, ONLY d, (SELECT * FROM e) f JOIN g ON f.i = g.i", "a b.c d e g"),
        ("SELECT * FROM (a JOIN b ON a.i = b.i) WHERE EXISTS (SELECT 1 FROM c)", "a b c"),
        ("SELECT extract(day FROM d), substring(a FROM 1) FROM t WHERE a IS DISTINCT FROM b", "t"),
        ("SELECT * FROM generate_series(1, 2) AS g(x), t", "t"),
        ("SELECT (SELECT max(x) FROM u) FROM t", "u t"),
        ("WITH x AS (SELECT * FROM a) SELECT * FROM x JOIN b USING (i)", "a b"),
        // Not recursive: the inner name is the table's.
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", "t"),
        ("WITH RECURSIVE t AS (SELECT 1 UNION SELECT * FROM t) SELECT * FROM t", ""),
        ("TABLE a", "a"),
        ("SELECT * FROM \"Odd Name\".\"x\"\"y\"", "Odd Name.x\"y"),
        ("SELECT * FROM pg_class, pg_catalog.pg_type, information_schema.tables", ""),
        ("INSERT INTO s.t (a) SELECT b FROM u ON CONFLICT (a) DO UPDATE SET b = 1", "s.t! u"),
        ("UPDATE t AS x SET a = 1 FROM u, v WHERE u.i = v.i", "t! u v"),
        ("DELETE FROM ONLY t USING u", "t! u"),
        ("MERGE INTO t USING s ON t.i = s.i WHEN MATCHED THEN UPDATE SET a = 1", "t! s"),
        ("WITH x AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM x", "a! b!"),
        ("COPY a.b (x) FROM STDIN", "a.b!"),
        ("COPY a TO STDOUT", "a"),
        ("TRUNCATE a, ONLY b", "a! b!"),
        ("SELECT 1; SELECT * FROM a; DELETE FROM a", "a a!"),
        ("EXPLAIN SELECT * FROM a", "a"),
        ("SELECT * FROM a TABLESAMPLE system (1), b", "a b"),
        ("SELECT * FROM set, merge", "set merge"),
    ] {
        assert_eq!(relations(text).join(" "), expected, "{text}");
    }
}

#[test]
fn transactions_are_told() {
    use Isolation::{RepeatableRead, Serializable};
    let of = |read_only, isolation, deferrable| Transaction::Begin { read_only, isolation, deferrable };
    let begin = |read_only, isolation| of(read_only, isolation, false);
    for (text, expected) in [
        ("BEGIN", begin(None, None)),
        ("BEGIN READ WRITE", begin(Some(false), None)),
        ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY", begin(Some(true), Some(Serializable))),
        ("begin work isolation level repeatable read, not deferrable", of(None, Some(RepeatableRead), true)),
        ("COMMIT;", Transaction::Commit),
        ("END TRANSACTION AND NO CHAIN", Transaction::Commit),
        ("ABORT", Transaction::Rollback),
        ("COMMIT AND CHAIN", Transaction::Other),
        ("ROLLBACK TO s", Transaction::Other),
        ("SAVEPOINT s", Transaction::Other),
        ("BEGIN; SELECT 1", Transaction::Other),
        ("SELECT 1; SELECT 2", Transaction::None),
        ("PREPARE TRANSACTION 'x'", Transaction::Other),
    ] {
        assert_eq!(judge(text).transaction, expected, "{text}");
    }
}

#[test]
fn what_belongs_to_its_transaction_is_told() {
    for text in [
        "SELECT now()",
        "SELECT 1 WHERE pg_catalog.transaction_timestamp() > x",
        "SELECT current_date",
        "SELECT Current_Timestamp(3)",
        "SELECT localtime AS a FROM t",
        "WITH x AS (SELECT age(d) FROM t) SELECT * FROM x",
        "EXPLAIN SELECT now()",
        "SELECT 1; SELECT now()",
        "SHOW work_mem",
        "DECLARE c CURSOR FOR SELECT 1",
        "FETCH c",
        "MOVE c",
        "CLOSE c",
        "SELECT loread(1, 2)",
    ] {
        assert!(judge(text).bound, "{text}");
    }
    for text in [
        "SELECT clock_timestamp(), statement_timestamp()",
        "SELECT \"now\", t.now FROM t",
        "SELECT lo_get(1)",
        "",
    ] {
        assert!(!judge(text).bound, "{text}");
    }
    for (text, now) in [
        ("'now'", true),
        ("'NOW'", true),
        ("'today 10:00'", true),
        ("x,yesterday", true),
        ("tomorrow", true),
        ("'known'", false),
        ("nowhere", false),
        ("snow", false),
        ("todays", false),
        ("", false),
    ] {
        assert_eq!(crate::sql::speaks_of_now(text.as_bytes()), now, "{text}");
    }
}

#[test]
fn statements_are_counted_and_named() {
    for (text, statements, command) in [
        ("", 0, ""),
        ("-- x", 0, ""),
        (";;", 0, ""),
        ("select 1;", 1, "SELECT"),
        ("select 1; insert into t values (1);", 2, "SELECT"),
        ("CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b)", 1, "CREATE"),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", 1, "CREATE"),
    ] {
        let verdict = judge(text);
        assert_eq!((verdict.statements, verdict.command), (statements, command), "{text}");
    }
    assert_eq!(judge("").reason, Reason::Empty);
}

#[test]
fn only_single_traceless_statements_are_repeatable() {
    for (text, repeatable) in [
        ("SELECT 1", true),
        ("INSERT INTO t VALUES (1)", true),
        ("SELECT nextval('s')", true),
        ("SELECT 1; SELECT 2", false),
        ("BEGIN", false),
        ("SELECT touch(1)", false),
        ("CALL p()", false),
        ("FROBNICATE", false),
    ] {
        assert_eq!(judge(text).repeatable, repeatable, "{text}");
    }
}

#[test]
fn catalog_changes_are_told() {
    for (text, ddl) in [
        ("CREATE TABLE t (a int)", true),
        ("SELECT 1; DROP TABLE t", true),
        ("SELECT * INTO n FROM t", true),
        ("EXPLAIN CREATE TABLE t AS SELECT 1", false),
        ("INSERT INTO t VALUES (1)", false),
        ("GRANT SELECT ON t TO r", true),
        ("VACUUM", false),
    ] {
        assert_eq!(judge(text).ddl, ddl, "{text}");
    }
}

#[test]
fn an_event_trigger_makes_every_ddl_suspect() {
    let mut names = Names::default();
    names.add_events(Does::WRITES);
    let verdict = judge_uncached(b"DROP TABLE t", &context(&names));
    assert_eq!(effect_word(&verdict.effect), "none");
    names.add_events(Does::UNKNOWN);
    let verdict = judge_uncached(b"DROP TABLE t", &context(&names));
    assert_eq!(effect_word(&verdict.effect), "user_function?");
}

#[test]
fn functions_count_from_their_version_on() {
    for (text, major, class) in [
        ("SELECT uuidv7()", 17, Class::Write),
        ("SELECT uuidv7()", 18, Class::Read),
        ("SELECT random_normal()", 15, Class::Write),
        ("SELECT random_normal()", 16, Class::Read),
        ("SELECT regexp_like(a, 'b') FROM t", 14, Class::Write),
        ("SELECT json_value(a, 'b') FROM t", 16, Class::Write),
        ("SELECT lower('a')", 14, Class::Read),
    ] {
        let verdict = judge_uncached(text.as_bytes(), &Context::bare(Dialect::Postgres, major));
        assert_eq!(verdict.class, class, "{text} on {major}");
    }
}

#[test]
fn an_operator_of_users_hides_behind_grammar() {
    let mut names = Names::default();
    names.add_operator("=", Does::UNKNOWN);
    names.add_operator("*", Does::UNKNOWN);
    for text in [
        "SELECT a = b",
        "SELECT a IN (1, 2)",
        "SELECT nullif(a, b)",
        "SELECT * FROM a NATURAL JOIN b",
        "SELECT * FROM a JOIN b USING (i)",
        "SELECT a IS DISTINCT FROM b",
        "SELECT CASE a WHEN 1 THEN 2 END",
        "SELECT a * b",
    ] {
        assert_eq!(judge_uncached(text.as_bytes(), &context(&names)).class, Class::Write, "{text}");
    }
    for text in ["SELECT *, t.*, count(*) FROM t", "SELECT a < b"] {
        assert_eq!(judge_uncached(text.as_bytes(), &context(&names)).class, Class::Read, "{text}");
    }
}

#[test]
fn a_backslash_means_what_the_session_says() {
    let names = names();
    let mut context = context(&names);
    let text = br"SELECT 'a\'; DELETE FROM t; --'";
    assert_eq!(judge_uncached(text, &context).class, Class::Write);
    context.lexing.standard_conforming_strings = false;
    assert_eq!(judge_uncached(text, &context).class, Class::Read);
    // The next line's segment is read like the first.
    let text = b"SELECT E'a' -- comment\n '\\'; DELETE FROM t; --'";
    assert_eq!(judge_uncached(text, &context).class, Class::Read);
}

#[test]
fn an_encoding_with_ambiguous_bytes_is_not_read() {
    let names = names();
    let mut context = context(&names);
    context.lexing.ambiguous_bytes = true;
    assert_eq!(judge_uncached(b"SELECT 'a'", &context).class, Class::Read);
    assert_eq!(judge_uncached(b"SELECT E'\x83\\'", &context).class, Class::Write);
}

#[test]
fn long_texts_are_reads_only_when_surely_so() {
    let long = |head: &str, tail: &str| {
        let numbers = "1, ".repeat(PARSED_MAX / 2);
        judge(&format!("{head}{numbers}1{tail}"))
    };
    assert_eq!(long("SELECT * FROM t WHERE a IN (", ")").class, Class::Read);
    let insert = long("INSERT INTO t VALUES (", ")");
    assert_eq!((insert.class, insert.effect), (Class::Write, Effect::None));
    let hidden = long("SELECT * FROM t WHERE a IN (", "); SET ROLE admin; FROBNICATE");
    assert_eq!((hidden.class, effect_word(&hidden.effect).as_str()), (Class::Write, "long_text?+changes"));
    let huge = judge(&format!("SELECT '{}'", "x".repeat(READ_MAX)));
    assert_eq!((huge.class, huge.reason), (Class::Write, Reason::LongText));
}

#[test]
fn names_are_cut_like_the_servers() {
    let long = "f".repeat(63);
    let mut names = Names::default();
    names.add_type(&long, Does::UNKNOWN);
    let text = format!("SELECT 'x'::{}", "f".repeat(80));
    assert_eq!(judge_uncached(text.as_bytes(), &context(&names)).class, Class::Write);
}

#[test]
fn hints_are_read_in_comments_only() {
    for (text, expected) in [
        ("/* primacy:primary */ SELECT 1", Some(Hint::Primary)),
        ("SELECT 1 /*primacy:replica*/", Some(Hint::Replica)),
        ("SELECT 1 -- primacy:replica", Some(Hint::Replica)),
        ("/* primacy:consistency=eventual */ SELECT 1", Some(Hint::Consistency(HintedLevel::Eventual))),
        ("/* primacy:consistency=session */ SELECT 1", Some(Hint::Consistency(HintedLevel::Session))),
        ("/* primacy:consistency=causal */ SELECT 1", Some(Hint::Consistency(HintedLevel::Causal))),
        ("/* primacy:consistency=strong */ SELECT 1", Some(Hint::Consistency(HintedLevel::Strong))),
        ("/* primacy:nonsense */ SELECT 1 /* primacy:primary */", Some(Hint::Primary)),
        ("SELECT 'primacy:replica'", None),
        ("SELECT '/* primacy:replica */'", None),
        ("SELECT 1", None),
        ("/* primacy: */", None),
    ] {
        assert_eq!(hint(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn explain_route_is_the_proxys() {
    let lexing = Lexing::new(Dialect::Postgres);
    for (text, expected) in [
        ("EXPLAIN ROUTE SELECT 1", Some("SELECT 1")),
        ("/* c */ explain route\n delete from t;", Some("delete from t;")),
        ("EXPLAIN ROUTE", None),
        ("EXPLAIN SELECT 1", None),
        ("EXPLAIN 'ROUTE' SELECT 1", None),
        ("", None),
    ] {
        assert_eq!(explained_route(text.as_bytes(), lexing), expected.map(str::as_bytes), "{text}");
    }
}

#[test]
fn functions_of_users_are_what_the_catalog_says() {
    for (text, class, effect, repeatable) in [
        ("SELECT pure(1, 2)", Class::Read, "none", true),
        ("SELECT (t).pure FROM t", Class::Read, "none", true),
        ("SELECT 1 <=> 2", Class::Read, "none", true),
        ("SELECT 1 OPERATOR(public.<=>) 2", Class::Read, "none", true),
        ("SELECT logs(1)", Class::Write, "none", true),
        ("SELECT whereami()", Class::NodeLocal, "none", true),
        // What may act outside the database is never run a second time.
        ("SELECT native()", Class::Read, "none", false),
        ("SELECT native(logs())", Class::Write, "none", false),
        ("SELECT touch(1)", Class::Write, "user_function?", false),
        ("SELECT pure(touch(1))", Class::Write, "user_function?", false),
        ("SELECT public.pure()", Class::Read, "none", true),
        ("SELECT hidden()", Class::Read, "none", true),
        ("SELECT other.hidden()", Class::Write, "user_function?", false),
        ("SELECT nowhere.pure()", Class::Write, "user_function?", false),
        ("SELECT db.public.pure()", Class::Write, "user_function?", false),
        ("SELECT * FROM pure(1) AS f (a int)", Class::Read, "none", true),
        ("EXPLAIN SELECT logs(1)", Class::Write, "none", true),
        ("CALL pure(1)", Class::Write, "none", true),
        ("CALL touch(1)", Class::Write, "procedure?", false),
        ("CALL missing(1)", Class::Write, "procedure?", false),
        ("ALTER TABLE t ADD COLUMN c int DEFAULT logs()", Class::Write, "none", true),
        ("ALTER TABLE t ADD COLUMN c int DEFAULT touch()", Class::Write, "user_function?", false),
    ] {
        let verdict = judge(text);
        let found = (verdict.class, effect_word(&verdict.effect), verdict.repeatable);
        assert_eq!(found, (class, effect.to_owned(), repeatable), "{text}");
    }
}

#[test]
fn arguments_are_counted() {
    for (text, known) in [
        ("SELECT narrow()", false),
        ("SELECT narrow(1)", true),
        ("SELECT narrow(1, 2)", true),
        ("SELECT narrow((1, 2, 3), ARRAY[1, 2, 3])", true),
        ("SELECT narrow(f.x[1, 2, 3])", true),
        ("SELECT narrow(DISTINCT a ORDER BY b, c, d)", true),
        ("SELECT narrow(*)", false),
        ("SELECT narrow(1, 2, 3)", false),
        ("SELECT narrow(CASE WHEN a THEN lower(b, c, d) END)", true),
        ("SELECT narrow(a => 1, b => 2)", true),
        // Counting stops where the brackets do not fit: any candidate may be meant.
        ("SELECT narrow(1, 2, 3]", true),
    ] {
        let verdict = judge(text);
        let doubt = matches!(&verdict.reason, Reason::Function(name) if &**name == "narrow");
        assert_eq!(!doubt, known, "{text}: {:?}", verdict.reason);
    }
}

#[test]
fn what_runs_unnamed_counts_where_rows_are_read() {
    let mut names = names();
    names.add_everywhere(Does::UNKNOWN);
    let class = |text: &str| judge_uncached(text.as_bytes(), &context(&names)).class;
    assert_eq!(class("SELECT a FROM t ORDER BY a"), Class::Write);
    assert_eq!(class("SELECT 1"), Class::Read);
}
