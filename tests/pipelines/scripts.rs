//! The conversations: what a client sends in one write, and which messages it waits for before it goes on.

use primacy::postgres::wire;

/// A conversation.
pub struct Script {
    pub name: &'static str,
    pub steps: Vec<(Vec<u8>, &'static str)>,
}

fn built(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut out);
    out
}

pub fn query(text: &str) -> Vec<u8> {
    built(|out| wire::query(out, text))
}

pub fn parse(name: &str, text: &str) -> Vec<u8> {
    built(|out| wire::parse(out, name.as_bytes(), text.as_bytes(), &[]))
}

fn bind(portal: &str, name: &str, values: &[&str]) -> Vec<u8> {
    built(|out| wire::bind(out, portal, name, values.iter().map(|value| Some(value.as_bytes()))))
}

pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    built(|out| wire::describe(out, kind, name.as_bytes()))
}

fn execute(portal: &str, rows: u32) -> Vec<u8> {
    built(|out| wire::execute(out, portal, rows))
}

/// Closes a statement.
pub fn close(name: &str) -> Vec<u8> {
    built(|out| wire::close(out, b'S', name.as_bytes()))
}

fn close_portal(name: &str) -> Vec<u8> {
    built(|out| wire::close(out, b'P', name.as_bytes()))
}

pub fn sync() -> Vec<u8> {
    built(wire::sync)
}

pub fn flush() -> Vec<u8> {
    built(wire::flush)
}

fn raw(tag: u8, body: &[u8]) -> Vec<u8> {
    built(|out| wire::message(out, tag, |out| out.extend_from_slice(body)))
}

fn data(text: &str) -> Vec<u8> {
    raw(b'd', text.as_bytes())
}

fn copy_done() -> Vec<u8> {
    raw(b'c', b"")
}

fn copy_fail() -> Vec<u8> {
    raw(b'f', b"no more\0")
}

/// Parse, Bind and Execute without a name.
pub fn run(text: &str) -> Vec<u8> {
    [parse("", text), bind("", "", &[]), execute("", 0)].concat()
}

/// Bind and Execute of a statement.
pub fn call(name: &str, values: &[&str]) -> Vec<u8> {
    [bind("", name, values), execute("", 0)].concat()
}

fn all(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

fn script(name: &'static str, steps: &[(&[Vec<u8>], &'static str)]) -> Script {
    Script { name, steps: steps.iter().map(|(parts, until)| (all(parts), *until)).collect() }
}

fn insert(id: u32) -> String {
    format!("INSERT INTO t VALUES ({id}, 'new')")
}

/// A function call of `int4pl(1, 2)` (OID 177), in text.
fn function_call(oid: u32) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend([0, 0, 0, 2, 0, 0, 0, 1, b'1', 0, 0, 0, 1, b'2', 0, 0]);
    raw(b'F', &body)
}

/// All conversations.
pub fn scripts() -> Vec<Script> {
    [pipelines(), moved(), errors(), simple(), prepared(), by_sql(), portals(), copies(), odd()]
        .into_iter()
        .flatten()
        .collect()
}

fn pipelines() -> Vec<Script> {
    vec![
        script("one read", &[(&[run("SELECT v FROM t WHERE id = 1"), sync()], "Z")]),
        script(
            "reads in one pipeline",
            &[(&[run("SELECT 1"), run("SELECT 'two'"), run("TABLE t"), sync()], "Z")],
        ),
        script(
            "writes share a transaction to the Sync",
            &[(&[run(&insert(4)), run(&insert(5)), sync()], "Z")],
        ),
        script(
            "several units in one write",
            &[(
                &[
                    run("SELECT 1"),
                    sync(),
                    run(&insert(4)),
                    sync(),
                    run("TABLE t"),
                    sync(),
                    query("SELECT 2"),
                ],
                "ZZZZ",
            )],
        ),
        script("a read, then a write, one unit", &[(&[run("SELECT 1"), run(&insert(4)), sync()], "Z")]),
        script(
            "Flush before Sync",
            &[(&[run(&insert(4)), flush()], "C"), (&[run("TABLE t"), flush()], "C"), (&[sync()], "Z")],
        ),
        script(
            "asyncpg's first run of a read",
            &[
                (&[parse("s", "SELECT v FROM t WHERE id = $1::int"), describe(b'S', "s"), flush()], "T"),
                (&[call("s", &["2"]), sync()], "Z"),
                (&[call("s", &["3"]), sync()], "Z"),
            ],
        ),
        script(
            "asyncpg's first run of a write",
            &[
                (&[parse("s", "INSERT INTO t VALUES ($1::int, 'x')"), describe(b'S', "s"), flush()], "n"),
                (&[call("s", &["9"]), sync()], "Z"),
                (&[call("s", &["10"]), sync()], "Z"),
            ],
        ),
        script(
            "only a Flush, then only a Sync",
            &[(&[flush()], ""), (&[sync()], "Z"), (&[query("SELECT 1")], "Z")],
        ),
        script(
            "a Flush behind the Sync, then a write",
            &[(&[run("SELECT 1"), sync(), flush()], "Z"), (&[query(&insert(4))], "Z")],
        ),
        script(
            "only prepared and flushed, then a write's Query",
            &[
                (&[parse("s", "SELECT * FROM t LIMIT 1"), describe(b'S', "s"), flush()], "T"),
                (&[query(&insert(4))], "Z"),
                (&[call("s", &[]), sync()], "Z"),
            ],
        ),
        script(
            "only prepared and flushed, a write's Query in the same write",
            &[
                (&[parse("", "TABLE t"), describe(b'S', ""), flush(), query(&insert(4))], "Z"),
                (&[call("", &[]), sync()], "Z"),
            ],
        ),
        script("only Syncs", &[(&[sync(), sync(), sync()], "ZZZ")]),
        script(
            "no Sync, then a Query",
            &[(&[run(&insert(4)), query("SELECT count(*) FROM t")], "Z"), (&[sync()], "Z")],
        ),
        script(
            "Parse only, then a Query",
            &[(&[parse("s", "SELECT 5"), query("SELECT 6")], "Z"), (&[call("s", &[]), sync()], "Z")],
        ),
        script(
            "COMMIT in a pipeline",
            &[(&[run(&insert(4)), run("COMMIT"), run(&insert(5)), run("SELECT 1/0"), sync()], "Z")],
        ),
        script(
            "BEGIN in the middle",
            &[(&[run(&insert(4)), run("BEGIN"), run(&insert(5)), sync()], "Z"), (&[query("ROLLBACK")], "Z")],
        ),
        script(
            "BEGIN to COMMIT in one pipeline",
            &[(&[run("BEGIN"), run(&insert(4)), run("COMMIT"), run("SELECT 1"), sync()], "Z")],
        ),
        script(
            "BEGIN with the first statement",
            &[
                (&[run("BEGIN"), run("SELECT v FROM t WHERE id = 1"), sync()], "Z"),
                (&[run(&insert(4)), sync()], "Z"),
                (&[run("COMMIT"), sync()], "Z"),
            ],
        ),
        script(
            "a read-only transaction",
            &[
                (&[query("BEGIN READ ONLY")], "Z"),
                (&[run("TABLE t"), sync()], "Z"),
                (&[query("COMMIT")], "Z"),
            ],
        ),
        script(
            "a deferred constraint fails at Sync",
            &[(&[run("INSERT INTO late VALUES (1), (1)"), sync()], "Z"), (&[query("SELECT 1")], "Z")],
        ),
        script(
            "SET LOCAL in a pipeline",
            &[
                (&[run("SET LOCAL work_mem = '3MB'"), run("SHOW work_mem"), sync()], "Z"),
                (&[query("SHOW work_mem")], "Z"),
            ],
        ),
        script(
            "VACUUM first, and not first",
            &[(&[run("VACUUM t"), sync()], "Z"), (&[run("SELECT 1"), run("VACUUM t"), sync()], "Z")],
        ),
        script(
            "LOCK TABLE and SAVEPOINT outside a block",
            &[(&[run("LOCK TABLE t"), sync()], "Z"), (&[run("SAVEPOINT a"), sync()], "Z")],
        ),
        script(
            "COMMIT AND CHAIN",
            &[
                (&[query("BEGIN")], "Z"),
                (&[query(&insert(4))], "Z"),
                (&[query("COMMIT AND CHAIN")], "Z"),
                (&[query(&insert(5))], "Z"),
                (&[query("ROLLBACK")], "Z"),
                (&[query("COMMIT AND CHAIN")], "Z"),
            ],
        ),
        script(
            "settings in a pipeline are undone by its error",
            &[
                (&[run("SET work_mem = '3MB'"), run("SELECT 1/0"), sync()], "Z"),
                (&[query("SHOW work_mem")], "Z"),
            ],
        ),
        script(
            "reported settings come before the end",
            &[
                (&[run("SET DateStyle = 'SQL, MDY'"), flush()], "C"),
                (&[sync()], "Z"),
                (&[query("SELECT '2020-01-31'::date")], "Z"),
                (&[query("RESET DateStyle")], "Z"),
            ],
        ),
    ]
}

// What is prepared and flushed may be a replica's; what follows is the primary's.
fn moved() -> Vec<Script> {
    let reads = || all(&[parse("s", "SELECT v FROM t WHERE id = $1::int"), describe(b'S', "s"), flush()]);
    let writes = || all(&[parse("w", &insert(4)), call("w", &[])]);
    vec![
        script(
            "only prepared and flushed, then a write's run",
            &[
                (&[reads()], "T"),
                (&[writes(), call("s", &["4"]), sync()], "Z"),
                (&[call("s", &["1"]), sync(), call("w", &[]), sync()], "ZZ"),
            ],
        ),
        script(
            "only prepared and flushed, a write's run in the same write",
            &[(&[reads(), writes(), call("s", &["4"]), sync(), query("TABLE t")], "ZZ")],
        ),
        script(
            "prepared and flushed step by step, then run step by step",
            &[
                (&[reads()], "T"),
                (&[parse("s2", "TABLE t"), describe(b'S', "s2"), flush()], "T"),
                (&[parse("w", &insert(4)), describe(b'S', "w"), flush()], "n"),
                (&[call("s2", &[]), flush()], "C"),
                (&[call("w", &[]), flush()], "C"),
                (&[call("s", &["4"]), describe(b'S', "s"), close("s"), sync()], "Z"),
                (&[call("s", &["4"]), sync()], "Z"),
            ],
        ),
        script(
            "the unnamed statement is flushed, then another is",
            &[
                (&[parse("", "TABLE t"), describe(b'S', ""), flush()], "T"),
                (&[run(&insert(4)), sync()], "Z"),
                (&[call("", &[]), sync()], "Z"),
            ],
        ),
        script(
            "the unnamed statement is flushed and run behind a write",
            &[
                (&[parse("", "TABLE t"), describe(b'S', ""), flush()], "T"),
                (&[writes(), call("", &[]), sync()], "Z"),
                (&[call("", &[]), sync()], "Z"),
            ],
        ),
        script(
            "flushed, then a write that fails",
            &[
                (&[reads()], "T"),
                (&[writes(), run("SELECT 1/0"), run(&insert(5)), call("s", &["1"]), sync()], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
            ],
        ),
        script(
            "an error in what is flushed, a write in the same write",
            &[(&[parse("s", "SELEC"), flush(), writes(), sync()], "Z"), (&[query("TABLE t")], "Z")],
        ),
        script(
            "an error in what is flushed, a write's Query in the same write",
            &[
                (&[parse("s", "SELECT nothing"), flush(), query(&insert(4)), flush()], "E"),
                (&[writes(), flush()], ""),
                (&[sync()], "Z"),
                (&[query("TABLE t")], "Z"),
            ],
        ),
        script(
            "flushed and closed, then a write",
            &[
                (&[reads()], "T"),
                (&[close("s"), flush()], "3"),
                (&[writes(), call("s", &["1"]), sync()], "Z"),
            ],
        ),
        script(
            "flushed, then a large write",
            &[
                (&[reads()], "T"),
                (
                    &[
                        parse("w", "INSERT INTO t VALUES (4, $1)"),
                        bind("", "w", &[&"z".repeat(200_000)]),
                        execute("", 0),
                        sync(),
                    ],
                    "Z",
                ),
                (&[query("SELECT max(length(v)) FROM t")], "Z"),
            ],
        ),
        script(
            "flushed, then COPY",
            &[
                (&[reads()], "T"),
                (&[run("COPY t FROM STDIN"), flush()], "G"),
                (&[data("4\tfour\n"), copy_done(), call("s", &["4"]), sync()], "Z"),
            ],
        ),
        script(
            "flushed, then a function call",
            &[(&[reads()], "T"), (&[function_call(177)], "Z"), (&[sync()], "Z")],
        ),
        script(
            "flushed, then a block",
            &[
                (&[reads()], "T"),
                (&[run("BEGIN"), writes(), call("s", &["4"]), sync()], "Z"),
                (&[run("ROLLBACK"), sync()], "Z"),
            ],
        ),
        script(
            "rows by Flush, then a write",
            &[
                (&[run("SELECT 1"), flush()], "C"),
                (&[writes(), flush()], "C"),
                (&[run("SELECT 1/0"), sync()], "Z"),
            ],
        ),
        script(
            "prepared and flushed, rows by Flush, then a write",
            &[(&[reads()], "T"), (&[call("s", &["1"]), flush()], "C"), (&[writes(), sync()], "Z")],
        ),
    ]
}

fn errors() -> Vec<Script> {
    let ready = [query("SELECT 7")];
    vec![
        script(
            "an error skips to the Sync",
            &[(&[run(&insert(4)), run("SELECT 1/0"), run(&insert(5)), sync(), run("TABLE t"), sync()], "ZZ")],
        ),
        script(
            "a read's error skips to the Sync",
            &[
                (&[run("SELECT 1"), run("SELECT 1/0"), run("SELECT 2"), sync()], "Z"),
                (&[run("SELECT 3"), sync()], "Z"),
            ],
        ),
        script(
            "a syntax error in Parse",
            &[
                (&[parse("s", "SELEC 1"), call("s", &[]), sync()], "Z"),
                (&[call("s", &[]), sync()], "Z"),
                (&ready, "Z"),
            ],
        ),
        script("two statements in a Parse", &[(&[run("SELECT 1; SELECT 2"), sync()], "Z")]),
        script(
            "an error, Flush, then more to the Sync",
            &[
                (&[run("SELECT 1/0"), flush()], "E"),
                (&[run("SELECT 1"), flush()], ""),
                (&[run(&insert(4)), sync()], "Z"),
                (&ready, "Z"),
            ],
        ),
        script(
            "a Query after an extended error is swallowed",
            &[(&[run("SELECT 1/0"), query(&insert(4)), sync()], "Z"), (&ready, "Z")],
        ),
        script(
            "a Query after an extended error that was flushed",
            &[
                (&[run("SELECT 1/0"), flush()], "E"),
                (&[query(&insert(4))], ""),
                (&[query(&insert(5)), sync()], "Z"),
                (&[query("TABLE t")], "Z"),
            ],
        ),
        script(
            "a Query after a Describe of nothing",
            &[(&[describe(b'S', "none"), query(&insert(4)), sync()], "Z"), (&[query("TABLE t")], "Z")],
        ),
        script(
            "a Query after an extended error, the Sync later",
            &[(&[run("SELECT 1/0"), query(&insert(4))], "E"), (&[sync()], "Z"), (&ready, "Z")],
        ),
        script(
            "an error in a block",
            &[
                (&[query("BEGIN")], "Z"),
                (&[run(&insert(4)), run("SELECT 1/0"), sync()], "Z"),
                (&[run("SELECT 1"), sync()], "Z"),
                (&[query("SELECT 2")], "Z"),
                (&[parse("s", "SELECT 3"), sync()], "Z"),
                (&[run("COMMIT"), sync()], "Z"),
                (&ready, "Z"),
            ],
        ),
        script(
            "BEGIN, an error and ROLLBACK in one pipeline",
            &[
                (&[run("BEGIN"), run("SELECT 1/0"), run("ROLLBACK"), sync()], "Z"),
                (&[query("ROLLBACK")], "Z"),
            ],
        ),
        script(
            "savepoints",
            &[
                (&[query("BEGIN; INSERT INTO t VALUES (4, 'a'); SAVEPOINT a")], "Z"),
                (&[query("SELECT 1/0")], "Z"),
                (&[query("ROLLBACK TO a")], "Z"),
                (&[query(&insert(5))], "Z"),
                (&[query("COMMIT")], "Z"),
            ],
        ),
        script(
            "an unknown table, function and type",
            &[
                (&[run("SELECT * FROM nowhere"), sync()], "Z"),
                (&[query("SELECT nothing()")], "Z"),
                (&[query("SELECT 1::nix")], "Z"),
            ],
        ),
        script(
            "refused in a read-only transaction",
            &[
                (&[query("/* primacy:primary */ BEGIN READ ONLY")], "Z"),
                (&[query(&insert(4))], "Z"),
                (&[query("ROLLBACK")], "Z"),
            ],
        ),
        script("an error after rows", &[(&[query("SELECT 1/(500 - id) FROM many")], "Z"), (&ready, "Z")]),
    ]
}

fn simple() -> Vec<Script> {
    vec![
        script("several statements", &[(&[query("SELECT 1; SELECT 'two'; TABLE t")], "Z")]),
        script(
            "several writes are one transaction",
            &[(&[query("INSERT INTO t VALUES (4, 'a'); SELECT 1/0; INSERT INTO t VALUES (5, 'b')")], "Z")],
        ),
        script(
            "COMMIT in a text",
            &[(
                &[query("INSERT INTO t VALUES (4, 'a'); COMMIT; INSERT INTO t VALUES (5, 'b'); SELECT 1/0")],
                "Z",
            )],
        ),
        script(
            "BEGIN in a text takes what stands before",
            &[(
                &[query("INSERT INTO t VALUES (4, 'a'); BEGIN; INSERT INTO t VALUES (5, 'b'); ROLLBACK")],
                "Z",
            )],
        ),
        script(
            "a block stays open",
            &[
                (&[query("BEGIN; INSERT INTO t VALUES (4, 'a')")], "Z"),
                (&[query("TABLE t")], "Z"),
                (&[query("COMMIT")], "Z"),
            ],
        ),
        script("a syntax error runs nothing", &[(&[query("INSERT INTO t VALUES (4, 'a'); SELEC 1")], "Z")]),
        script(
            "SET and its error",
            &[(&[query("SET work_mem = '3MB'; SELECT 1/0")], "Z"), (&[query("SHOW work_mem")], "Z")],
        ),
        script(
            "empty texts",
            &[
                (&[query("")], "Z"),
                (&[query(";;")], "Z"),
                (&[query("-- nothing")], "Z"),
                (&[query("/* nothing */ ;")], "Z"),
            ],
        ),
        script(
            "empty extended query",
            &[
                (&[run(""), sync()], "Z"),
                (&[parse("", ""), bind("", "", &[]), describe(b'P', ""), execute("", 0), sync()], "Z"),
            ],
        ),
        script(
            "VACUUM and DISCARD among others",
            &[
                (&[query("SELECT 1; VACUUM")], "Z"),
                (&[query("DISCARD ALL; SELECT 1")], "Z"),
                (&[query("SELECT 1; SAVEPOINT s")], "Z"),
            ],
        ),
        script(
            "DISCARD ALL",
            &[
                (&[query("DISCARD ALL")], "Z"),
                (&[query("BEGIN")], "Z"),
                (&[query("DISCARD ALL")], "Z"),
                (&[query("ROLLBACK")], "Z"),
            ],
        ),
        script(
            "transaction control out of place",
            &[
                (&[query("COMMIT")], "Z"),
                (&[query("ROLLBACK")], "Z"),
                (&[query("BEGIN")], "Z"),
                (&[query("BEGIN")], "Z"),
                (&[query("END")], "Z"),
            ],
        ),
        script(
            "a notice",
            &[
                (&[query("DROP TABLE IF EXISTS nowhere")], "Z"),
                (&[query("DO $$ BEGIN RAISE NOTICE 'so'; END $$")], "Z"),
            ],
        ),
        script(
            "settings",
            &[
                (&[query("SET application_name = 'mine'")], "Z"),
                (&[query("SHOW application_name")], "Z"),
                (&[query("SET TIME ZONE 'Asia/Tokyo'")], "Z"),
                (&[query("SELECT '2020-01-01 00:00Z'::timestamptz")], "Z"),
                (&[query("RESET ALL")], "Z"),
                (&[query("SHOW TimeZone")], "Z"),
                (&[query("SET nothing.at_all = 'x'")], "Z"),
                (&[query("SHOW nothing.at_all")], "Z"),
                (&[query("SET no_such_setting = 1")], "Z"),
                (&[query("SET work_mem = 'x'")], "Z"),
            ],
        ),
        script(
            "settings within transactions",
            &[
                (&[query("BEGIN")], "Z"),
                (&[query("SET DateStyle = 'SQL, MDY'")], "Z"),
                (&[query("ROLLBACK")], "Z"),
                (&[query("SELECT '2020-01-31'::date")], "Z"),
                (&[query("BEGIN; SET LOCAL DateStyle = 'SQL, MDY'")], "Z"),
                (&[query("COMMIT")], "Z"),
                (&[query("SELECT '2020-01-31'::date")], "Z"),
                (&[query("BEGIN; SET DateStyle = 'SQL, MDY'; COMMIT")], "Z"),
                (&[query("SELECT '2020-01-31'::date")], "Z"),
            ],
        ),
        script(
            "LISTEN and NOTIFY",
            &[
                (&[query("LISTEN here")], "Z"),
                (&[query("NOTIFY here, 'word'")], "Z"),
                (&[query("UNLISTEN *")], "Z"),
                (&[query("NOTIFY here")], "Z"),
            ],
        ),
    ]
}

fn prepared() -> Vec<Script> {
    let one = || parse("s", "SELECT v FROM t WHERE id = $1::int");
    vec![
        script(
            "prepared, flushed and run in one write",
            &[(&[one(), describe(b'S', "s"), flush(), call("s", &["1"]), sync()], "Z")],
        ),
        script(
            "unnamed, flushed and run in one write",
            &[(&[parse("", "SELECT 5"), flush(), call("", &[]), sync()], "Z")],
        ),
        script(
            "a named statement over units",
            &[
                (&[one(), sync()], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
                (&[call("s", &["2"]), call("s", &["3"]), sync()], "Z"),
            ],
        ),
        script(
            "prepared, described, run in one pipeline",
            &[(
                &[
                    one(),
                    describe(b'S', "s"),
                    bind("", "s", &["1"]),
                    describe(b'P', ""),
                    execute("", 0),
                    sync(),
                ],
                "Z",
            )],
        ),
        script(
            "the same name twice",
            &[
                (&[one(), sync()], "Z"),
                (&[one(), sync()], "Z"),
                (&[one(), call("s", &["1"]), sync()], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
            ],
        ),
        script(
            "the same name twice in a pipeline",
            &[(&[one(), one(), call("s", &["1"]), sync()], "Z"), (&[call("s", &["1"]), sync()], "Z")],
        ),
        script(
            "two names for one text",
            &[
                (
                    &[
                        one(),
                        parse("s2", "SELECT v FROM t WHERE id = $1::int"),
                        call("s", &["1"]),
                        call("s2", &["2"]),
                        sync(),
                    ],
                    "Z",
                ),
                (&[close("s"), sync()], "Z"),
                (&[call("s2", &["2"]), sync()], "Z"),
                (&[call("s", &["2"]), sync()], "Z"),
            ],
        ),
        script(
            "closed and prepared anew",
            &[
                (&[one(), sync()], "Z"),
                (&[close("s"), parse("s", "SELECT 5"), call("s", &[]), sync()], "Z"),
                (&[call("s", &[]), sync()], "Z"),
            ],
        ),
        script(
            "unknown statements",
            &[
                (&[call("none", &[]), sync()], "Z"),
                (&[describe(b'S', "none"), sync()], "Z"),
                (&[close("none"), sync()], "Z"),
                (&[call("", &[]), sync()], "Z"),
            ],
        ),
        script(
            "unknown portals",
            &[
                (&[execute("none", 0), sync()], "Z"),
                (&[describe(b'P', "none"), sync()], "Z"),
                (&[close_portal("none"), sync()], "Z"),
            ],
        ),
        script(
            "wrong number of parameters",
            &[
                (&[one(), sync()], "Z"),
                (&[call("s", &[]), sync()], "Z"),
                (&[call("s", &["1", "2"]), sync()], "Z"),
                (&[call("s", &["x"]), sync()], "Z"),
            ],
        ),
        script(
            "Describe of statements with and without rows",
            &[(
                &[one(), describe(b'S', "s"), parse("s2", "DELETE FROM t"), describe(b'S', "s2"), sync()],
                "Z",
            )],
        ),
        script(
            "the unnamed statement lives through Sync",
            &[
                (&[parse("", "SELECT $1::text"), sync()], "Z"),
                (&[call("", &["a"]), sync()], "Z"),
                (&[call("", &["b"]), sync()], "Z"),
            ],
        ),
        script(
            "the unnamed statement dies at a Query",
            &[
                (&[parse("", "SELECT 5"), sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
                (&[call("", &[]), sync()], "Z"),
            ],
        ),
        script(
            "the unnamed statement and a failed Parse",
            &[
                (&[parse("", "SELECT 5"), sync()], "Z"),
                (&[parse("", "SELEC"), sync()], "Z"),
                (&[call("", &[]), sync()], "Z"),
            ],
        ),
        script(
            "the unnamed statement is closed",
            &[
                (&[parse("", "SELECT 5"), sync()], "Z"),
                (&[close(""), sync()], "Z"),
                (&[call("", &[]), sync()], "Z"),
            ],
        ),
        script(
            "a Parse survives ROLLBACK",
            &[
                (&[query("BEGIN")], "Z"),
                (&[one(), sync()], "Z"),
                (&[query("ROLLBACK")], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
            ],
        ),
        script(
            "a Parse survives an error behind it",
            &[(&[one(), run("SELECT 1/0"), sync()], "Z"), (&[call("s", &["1"]), sync()], "Z")],
        ),
        script(
            "a Parse behind an error does not happen",
            &[(&[run("SELECT 1/0"), one(), sync()], "Z"), (&[call("s", &["1"]), sync()], "Z")],
        ),
        script(
            "a Close behind an error does not happen",
            &[
                (&[one(), sync()], "Z"),
                (&[run("SELECT 1/0"), close("s"), sync()], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
            ],
        ),
        script(
            "a Parse of a write",
            &[
                (
                    &[
                        parse("s", "INSERT INTO t VALUES ($1::int, $2) RETURNING *"),
                        describe(b'S', "s"),
                        call("s", &["7", "x"]),
                        sync(),
                    ],
                    "Z",
                ),
                (&[call("s", &["7", "x"]), sync()], "Z"),
                (&[call("s", &["8", "y"]), sync()], "Z"),
            ],
        ),
        script(
            "DEALLOCATE",
            &[
                (&[one(), sync()], "Z"),
                (&[query("DEALLOCATE s")], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
                (&[query("DEALLOCATE s")], "Z"),
                (&[one(), call("s", &["1"]), sync()], "Z"),
                (&[query("DEALLOCATE ALL")], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
            ],
        ),
        script(
            "DEALLOCATE ALL keeps the unnamed statement when extended",
            &[
                (&[parse("", "SELECT 5"), sync()], "Z"),
                (&[parse("s", "DEALLOCATE ALL"), bind("", "s", &[]), execute("", 0), sync()], "Z"),
                (&[call("", &[]), sync()], "Z"),
                (&[call("s", &[]), sync()], "Z"),
            ],
        ),
        script(
            "DISCARD ALL forgets",
            &[(&[one(), sync()], "Z"), (&[query("DISCARD ALL")], "Z"), (&[call("s", &["1"]), sync()], "Z")],
        ),
        script(
            "what is only prepared or described sets nothing",
            &[
                (&[parse("s", "SET work_mem = '7MB'"), describe(b'S', "s"), sync()], "Z"),
                (&[query("SHOW work_mem")], "Z"),
                (&[call("s", &[]), sync()], "Z"),
                (&[query("SHOW work_mem")], "Z"),
                (&[query("RESET work_mem")], "Z"),
                (&[describe(b'S', "s"), sync()], "Z"),
                (&[parse("", "SET work_mem = '8MB'"), run("SELECT 1"), sync()], "Z"),
                (&[query("SHOW work_mem")], "Z"),
                (&[parse("f", "SET work_mem = '9MB'"), describe(b'S', "f"), flush()], "n"),
                (&[call("f", &[]), sync()], "Z"),
                (&[query("SHOW work_mem")], "Z"),
            ],
        ),
        script(
            "DEALLOCATE ALL and DISCARD ALL, prepared first",
            &[
                (&[parse("q", "SELECT 1"), sync()], "Z"),
                (&[parse("s", "DEALLOCATE ALL"), describe(b'S', "s"), sync()], "Z"),
                (&[call("q", &[]), sync()], "Z"),
                (&[call("s", &[]), sync()], "Z"),
                (&[call("q", &[]), sync()], "Z"),
                (&[call("s", &[]), sync()], "Z"),
                (&[query("SET work_mem = '7MB'")], "Z"),
                (&[parse("d", "DISCARD ALL"), describe(b'S', "d"), sync()], "Z"),
                (&[query("SHOW work_mem")], "Z"),
                (&[call("d", &[]), sync()], "Z"),
                (&[query("SHOW work_mem")], "Z"),
            ],
        ),
        script(
            "DEALLOCATE of either kind",
            &[
                (&[one(), sync()], "Z"),
                (&[query("PREPARE q AS SELECT 5")], "Z"),
                (&[query("DEALLOCATE q")], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
                (&[query("PREPARE q AS SELECT 6")], "Z"),
                (&[query("DEALLOCATE s")], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
                (&[query("EXECUTE q")], "Z"),
                (&[one(), sync()], "Z"),
                (&[query("DEALLOCATE ALL")], "Z"),
                (&[query("EXECUTE q")], "Z"),
                (&[call("s", &["1"]), sync()], "Z"),
            ],
        ),
        script(
            "SQL's PREPARE beside the protocol's",
            &[
                (&[query("PREPARE s AS SELECT 5")], "Z"),
                (&[query("EXECUTE s")], "Z"),
                (&[query("DEALLOCATE s")], "Z"),
                (&[query("EXECUTE s")], "Z"),
            ],
        ),
        script(
            "BEGIN and COMMIT as named statements",
            &[
                (&[parse("s", "BEGIN"), parse("s2", "COMMIT"), sync()], "Z"),
                (&[call("s", &[]), run(&insert(4)), sync()], "Z"),
                (&[call("s2", &[]), sync()], "Z"),
                (&[call("s", &[]), run("SELECT 1/0"), sync()], "Z"),
                (&[call("s2", &[]), sync()], "Z"),
            ],
        ),
        script(
            "a statement under another search_path",
            &[
                (&[parse("s", "SELECT id FROM t WHERE id = 1"), sync()], "Z"),
                (&[query("SET search_path = pg_catalog")], "Z"),
                (&[call("s", &[]), sync()], "Z"),
                (&[query("SET search_path = public")], "Z"),
                (&[call("s", &[]), sync()], "Z"),
            ],
        ),
        script(
            "set_config with a bound value",
            &[
                (
                    &[
                        parse("", "SELECT set_config('work_mem', $1, false)"),
                        bind("", "", &["3MB"]),
                        execute("", 0),
                        sync(),
                    ],
                    "Z",
                ),
                (&[query("SHOW work_mem")], "Z"),
            ],
        ),
    ]
}

/// Each text a unit.
fn texts(name: &'static str, texts: &[&str]) -> Script {
    Script { name, steps: texts.iter().map(|text| (query(text), "Z")).collect() }
}

fn by_sql() -> Vec<Script> {
    let unit = |parts: &[Vec<u8>]| (all(&[all(parts), sync()]), "Z");
    vec![
        texts(
            "SQL prepares, runs and drops",
            &[
                "PREPARE s (int) AS SELECT v FROM t WHERE id = $1",
                "EXECUTE s(1)",
                "EXECUTE s(2)",
                "EXECUTE s(1, 2)",
                "EXECUTE s('x')",
                "PREPARE s AS SELECT 1",
                "PREPARE s AS SELECT nothing",
                "PREPARE s AS SELEC",
                "EXECUTE s(3)",
                "DEALLOCATE s",
                "EXECUTE s(1)",
                "DEALLOCATE s",
                "PREPARE s AS SELECT 'other'",
                "EXECUTE s",
                "DEALLOCATE PREPARE ALL",
                "EXECUTE s",
            ],
        ),
        texts(
            "errors point into the client's own text",
            &[
                "PREPARE s (int) AS SELECT nothing FROM t",
                "/* \u{e9}\u{e9} */ PREPARE s (int) AS SELECT $1 + FROM t",
                "PREPARE s (int) AS SELECT $1",
                "/* \u{e9} */ EXECUTE s(nothing)",
                "EXECUTE s(1 +)",
                "PREPARE a_rather_long_name_of_a_statement AS SELECT 1; SELECT nothing",
                "SELECT 1; EXECUTE s(2), 3",
                "EXECUTE s(1); EXECUTE s(nothing)",
            ],
        ),
        texts(
            "no rollback undoes a PREPARE, and a failed one prepares nothing",
            &[
                "BEGIN",
                "PREPARE s AS SELECT 1",
                "PREPARE s2 AS SELECT nothing",
                "EXECUTE s",
                "ROLLBACK",
                "EXECUTE s",
                "EXECUTE s2",
                "BEGIN",
                "DEALLOCATE s",
                "ROLLBACK",
                "EXECUTE s",
                "BEGIN",
                "SELECT 1/0",
                "PREPARE s AS SELECT 2",
                "DEALLOCATE s",
                "DEALLOCATE ALL",
                "ROLLBACK",
                "EXECUTE s",
            ],
        ),
        texts(
            "several in one text",
            &[
                "PREPARE s AS SELECT 1; EXECUTE s; EXECUTE s; DEALLOCATE s",
                "PREPARE s AS SELECT 1; SELECT 1/0; PREPARE s2 AS SELECT 2",
                "EXECUTE s; EXECUTE s2",
                "DEALLOCATE s; PREPARE s AS SELECT 1; EXECUTE s",
                "DEALLOCATE s; EXECUTE s",
                "DEALLOCATE nobody; SELECT 1",
                "PREPARE s AS SELECT 1; PREPARE s2 AS SELECT 1; EXECUTE s; DEALLOCATE s",
                "EXECUTE s2",
                "DEALLOCATE ALL; PREPARE s AS SELECT 3; EXECUTE s; EXECUTE s2",
                "EXECUTE s",
                "SELECT 1; DEALLOCATE ALL; SELECT 1/0",
                "EXECUTE s",
            ],
        ),
        texts(
            "what is run is what was prepared",
            &[
                "PREPARE s (int) AS INSERT INTO t VALUES ($1, 'by SQL')",
                "EXECUTE s(7)",
                "EXECUTE s(7)",
                "EXPLAIN (COSTS off) EXECUTE s(8)",
                "PREPARE s2 AS SELECT id FROM t ORDER BY id",
                "EXECUTE s2",
                "EXPLAIN (COSTS off) EXECUTE s2",
                "BEGIN; CREATE TABLE made AS EXECUTE s2; SELECT id + 0 FROM made; ROLLBACK",
                "BEGIN READ ONLY; EXECUTE s2; EXECUTE s(9)",
                "ROLLBACK",
                "EXECUTE nobody",
                "EXPLAIN EXECUTE nobody",
            ],
        ),
        Script {
            name: "SQL and the protocol share one space of names",
            steps: vec![
                unit(&[parse("s", "SELECT v FROM t WHERE id = $1::int"), parse("Two Words", "SELECT 2")]),
                (query("EXECUTE s(1)"), "Z"),
                (query("EXECUTE \"Two Words\""), "Z"),
                (query("PREPARE s AS SELECT 1"), "Z"),
                (query("PREPARE s2 (int) AS SELECT id FROM t WHERE id = $1"), "Z"),
                unit(&[describe(b'S', "s2"), call("s2", &["1"])]),
                unit(&[parse("s2", "SELECT 1")]),
                unit(&[parse("s2", "SELEC")]),
                unit(&[parse("s", "SELECT nothing")]),
                unit(&[close("s2")]),
                (query("EXECUTE s2(1)"), "Z"),
                (query("DEALLOCATE s"), "Z"),
                unit(&[call("s", &["1"])]),
                (query("PREPARE s AS VALUES (1)"), "Z"),
                unit(&[bind("", "s", &[]), describe(b'P', ""), execute("", 0)]),
                (query("DEALLOCATE ALL"), "Z"),
                unit(&[call("s", &[])]),
            ],
        },
        Script {
            name: "SQL's own by the protocol",
            steps: vec![
                unit(&[run("PREPARE s (int) AS SELECT v FROM t WHERE id = $1")]),
                unit(&[run("EXECUTE s(2)")]),
                unit(&[parse("", "EXECUTE s(1)"), describe(b'S', ""), call("", &[])]),
                unit(&[run("PREPARE s2 AS SELECT 1"), run("EXECUTE s2"), run("DEALLOCATE s2")]),
                unit(&[run("EXECUTE s2")]),
                unit(&[parse("run", "EXECUTE s(3)")]),
                unit(&[call("run", &[]), call("run", &[])]),
                unit(&[run("DEALLOCATE s")]),
                unit(&[call("run", &[])]),
                (query("PREPARE s (int) AS SELECT $1 + 1"), "Z"),
                unit(&[call("run", &[])]),
                unit(&[run("PREPARE s AS SELECT 1")]),
                unit(&[run("PREPARE s3 AS SELECT nothing")]),
                unit(&[run("EXECUTE s(nothing)")]),
                unit(&[run("DEALLOCATE ALL")]),
                unit(&[run("EXECUTE s(1)")]),
            ],
        },
        Script {
            name: "what is skipped behind an error leaves the unnamed statement",
            steps: vec![
                unit(&[parse("", "SELECT 1")]),
                unit(&[run_named("nobody"), parse("", "SELECT 2")]),
                unit(&[call("", &[])]),
                unit(&[run_named("nobody"), close("")]),
                unit(&[call("", &[])]),
                unit(&[parse("", "SELEC")]),
                unit(&[call("", &[])]),
            ],
        },
    ]
}

fn run_named(name: &str) -> Vec<u8> {
    call(name, &[])
}

fn portals() -> Vec<Script> {
    let many = || parse("", "SELECT id FROM many ORDER BY id LIMIT 5");
    vec![
        script(
            "a row limit outside a block",
            &[
                (
                    &[
                        many(),
                        bind("", "", &[]),
                        execute("", 2),
                        execute("", 2),
                        execute("", 2),
                        execute("", 2),
                        sync(),
                    ],
                    "Z",
                ),
                (&[execute("", 2), sync()], "Z"),
            ],
        ),
        script(
            "a limit of exactly all rows",
            &[(&[many(), bind("", "", &[]), execute("", 5), execute("", 5), sync()], "Z")],
        ),
        script(
            "a named portal in a block lives across Syncs",
            &[
                (&[query("BEGIN")], "Z"),
                (&[many(), bind("p", "", &[]), execute("p", 2), sync()], "Z"),
                (&[execute("p", 2), sync()], "Z"),
                (&[query("FETCH 1 FROM p")], "Z"),
                (&[close_portal("p"), sync()], "Z"),
                (&[execute("p", 2), sync()], "Z"),
                (&[query("COMMIT")], "Z"),
            ],
        ),
        script(
            "a named portal outside a block dies at Sync",
            &[
                (&[many(), bind("p", "", &[]), execute("p", 2), sync()], "Z"),
                (&[execute("p", 2), sync()], "Z"),
            ],
        ),
        script("a portal that exists", &[(&[many(), bind("p", "", &[]), bind("p", "", &[]), sync()], "Z")]),
        script(
            "RETURNING with a limit",
            &[(
                &[
                    parse("", "INSERT INTO t VALUES (4, 'a'), (5, 'b') RETURNING id"),
                    bind("", "", &[]),
                    execute("", 1),
                    sync(),
                ],
                "Z",
            )],
        ),
        script(
            "rows by Flush",
            &[
                (&[many(), bind("", "", &[]), execute("", 2), flush()], "s"),
                (&[execute("", 2), flush()], "s"),
                (&[execute("", 2), sync()], "Z"),
            ],
        ),
        script(
            "a cursor",
            &[
                (&[query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM many ORDER BY id")], "Z"),
                (&[query("FETCH 3 FROM c")], "Z"),
                (&[query("MOVE 5 IN c; FETCH 1 FROM c")], "Z"),
                (&[query("CLOSE c; COMMIT")], "Z"),
            ],
        ),
        script(
            "a cursor outside a block",
            &[(&[query("DECLARE c CURSOR FOR SELECT 1")], "Z"), (&[query("FETCH 1 FROM c")], "Z")],
        ),
        script(
            "a cursor WITH HOLD",
            &[
                (&[query("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM many ORDER BY id")], "Z"),
                (&[query("FETCH 2 FROM c")], "Z"),
                (&[query("CLOSE c")], "Z"),
                (&[query("FETCH 2 FROM c")], "Z"),
            ],
        ),
    ]
}

fn copies() -> Vec<Script> {
    let copy_in = "COPY t FROM STDIN";
    let rows = || data("4\tfour\n5\tfive\n");
    vec![
        script(
            "COPY out",
            &[
                (&[query("COPY t TO STDOUT")], "Z"),
                (&[run("COPY t TO STDOUT"), sync()], "Z"),
                (&[query("COPY (SELECT id FROM many) TO STDOUT; SELECT 9")], "Z"),
            ],
        ),
        script(
            "COPY in",
            &[(&[query(copy_in)], "G"), (&[rows(), data("6\tsix\n")], ""), (&[copy_done()], "Z")],
        ),
        script("COPY in at one go", &[(&[query(copy_in), rows(), copy_done(), query("TABLE t")], "ZZ")]),
        script(
            "COPY in and more in one text",
            &[(&[query("COPY t FROM STDIN; SELECT count(*) FROM t")], "G"), (&[rows(), copy_done()], "Z")],
        ),
        script(
            "two COPY in one text",
            &[
                (&[query("COPY t FROM STDIN; COPY late FROM STDIN")], "G"),
                (&[rows(), copy_done()], "G"),
                (&[data("1\n"), copy_done()], "Z"),
            ],
        ),
        script(
            "COPY in, extended",
            &[
                (&[run(copy_in), flush()], "G"),
                (&[rows(), copy_done(), sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "COPY in, extended, at one go",
            &[(&[run(copy_in), rows(), copy_done(), sync(), run("TABLE t"), sync()], "ZZ")],
        ),
        script(
            "COPY in, extended, the Sync before the data",
            &[
                (&[run(copy_in), sync()], "G"),
                (&[rows(), sync(), flush(), copy_done(), sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "COPY in, extended, a Sync amid data that comes along",
            &[
                (&[run(copy_in), rows(), sync()], "G"),
                (&[data("6\tsix\n"), copy_done(), sync(), query("SELECT 1")], "ZZ"),
            ],
        ),
        script(
            "two COPY in with their data in one pipeline",
            &[(
                &[run(copy_in), rows(), copy_done(), run(copy_in), data("6\tsix\n"), copy_done(), sync()],
                "Z",
            )],
        ),
        script(
            "COPY in of much that ends badly",
            &[
                (&[query(copy_in)], "G"),
                (&[data("x\ty\n"), data(&"y".repeat(500_000)), copy_done(), query("SELECT 1")], "ZZ"),
            ],
        ),
        script(
            "COPY in among others in a pipeline",
            &[
                (&[run(&insert(8)), run(copy_in), flush()], "G"),
                (&[rows(), copy_done(), run("TABLE t"), sync()], "Z"),
            ],
        ),
        script(
            "CopyFail",
            &[(&[query(copy_in)], "G"), (&[rows(), copy_fail()], "Z"), (&[query("SELECT 1")], "Z")],
        ),
        script(
            "CopyFail, extended",
            &[
                (&[run(copy_in), flush()], "G"),
                (&[rows(), copy_fail(), sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "bad data",
            &[(&[query(copy_in)], "G"), (&[data("x\ty\n"), copy_done()], "Z"), (&[query("SELECT 1")], "Z")],
        ),
        script(
            "bad data, more behind it",
            &[
                (&[query(copy_in)], "G"),
                (&[data("x\ty\n")], ""),
                (&[rows(), copy_done(), query("SELECT 1")], "ZZ"),
            ],
        ),
        script(
            "bad data, extended",
            &[
                (&[run(copy_in), flush()], "G"),
                (&[data("x\ty\n"), rows(), copy_done(), sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "COPY in inside a block",
            &[
                (&[query("BEGIN")], "Z"),
                (&[query(copy_in)], "G"),
                (&[rows(), copy_done()], "Z"),
                (&[query("ROLLBACK")], "Z"),
            ],
        ),
        script(
            "COPY that is refused, data behind it",
            &[(&[query("COPY nowhere FROM STDIN"), rows(), copy_done(), query("SELECT 1")], "ZZ")],
        ),
        script(
            "COPY data out of place",
            &[
                (&[rows(), copy_done(), copy_fail(), query("SELECT 1")], "Z"),
                (&[run("SELECT 1"), rows(), sync()], "Z"),
            ],
        ),
        script("a Query during COPY in", &[(&[query(copy_in)], "G"), (&[rows(), query("SELECT 1")], "$")]),
    ]
}

fn odd() -> Vec<Script> {
    vec![
        script(
            "a function call",
            &[
                (&[function_call(177)], "Z"),
                (&[query("SELECT 1")], "Z"),
                (&[function_call(4_000_000)], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script("a Sync with a body", &[(&[raw(b'S', b"x")], "Z"), (&[query("SELECT 1")], "Z")]),
        script(
            "a Sync with a body behind a write",
            &[(&[run(&insert(4)), raw(b'S', b"x"), query("TABLE t")], "ZZ")],
        ),
        script(
            "a Sync with a body in a block",
            &[(&[query("BEGIN")], "Z"), (&[raw(b'S', b"x")], "Z"), (&[query("SELECT 1")], "Z")],
        ),
        script(
            "a Flush with a body",
            &[
                (&[raw(b'H', b"x")], "E"),
                (&[query("SELECT 1"), flush()], ""),
                (&[sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "a Flush with a body behind a Parse",
            &[
                (&[parse("s", "SELECT 1"), raw(b'H', b"x")], "E"),
                (&[run(&insert(4)), sync()], "Z"),
                (&[call("s", &[]), sync()], "Z"),
            ],
        ),
        script(
            "a Flush with a body before a write",
            &[(&[raw(b'H', b"x"), run(&insert(4)), sync()], "Z"), (&[query("TABLE t")], "Z")],
        ),
        script(
            "a Sync that is too long",
            &[(&[query("SELECT 1"), run(&insert(4)), raw(b'S', &[0; 100_000])], "Z$")],
        ),
        script("a Flush that is too long", &[(&[run("SELECT 1"), raw(b'H', &[0; 10_000])], "$")]),
        script("an Execute that is too long", &[(&[raw(b'E', &[0; 10_000])], "$")]),
        script("a Describe that is too long", &[(&[raw(b'D', &[b'S'; 9_997])], "$")]),
        script("a Close that is as long as can be", &[(&[close(&"s".repeat(9_994)), sync()], "Z")]),
        script("a Close that is too long", &[(&[close(&"s".repeat(9_995)), sync()], "$")]),
        script("a Terminate with a body", &[(&[query("SELECT 1"), raw(b'X', b"x")], "Z$")]),
        script("an unknown message type", &[(&[query("SELECT 1")], "Z"), (&[raw(b'!', b"")], "$")]),
        script(
            "large rows",
            &[
                (&[query("SELECT repeat('x', 300000)")], "Z"),
                (&[run("SELECT repeat('y', 300000) FROM t"), sync()], "Z"),
            ],
        ),
        script(
            "a large parameter",
            &[
                (
                    &[
                        parse("", "SELECT length($1::text)"),
                        bind("", "", &[&"z".repeat(200_000)]),
                        execute("", 0),
                        sync(),
                    ],
                    "Z",
                ),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "a large text",
            &[
                (&[query(&format!("SELECT 1 /* {} */", "c".repeat(150_000)))], "Z"),
                (&[run(&format!("SELECT 2 /* {} */", "c".repeat(150_000))), sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "a large text in a named statement",
            &[
                (
                    &[
                        parse("s", &format!("SELECT 2 /* {} */", "c".repeat(150_000))),
                        describe(b'S', "s"),
                        call("s", &[]),
                        sync(),
                    ],
                    "Z",
                ),
                (&[query("SELECT 1")], "Z"),
                (&[call("s", &[]), sync()], "Z"),
            ],
        ),
        script(
            "a long pipeline",
            &[
                (&[(0..3000).flat_map(|n| run(&format!("SELECT {n}"))).collect(), sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "a long pipeline of writes with an error in the middle",
            &[
                (&[(10..2000).flat_map(|n| run(&insert(n % 1500))).collect(), sync()], "Z"),
                (&[query("SELECT 1")], "Z"),
            ],
        ),
        script(
            "temporary tables",
            &[
                (&[query("CREATE TEMP TABLE x AS SELECT 1 AS a")], "Z"),
                (&[query("SELECT count(*) FROM x")], "Z"),
                (&[query("DROP TABLE x")], "Z"),
                (&[query("SELECT count(*) FROM x")], "Z"),
            ],
        ),
        script(
            "sequences",
            &[
                (&[query("SELECT lastval()")], "Z"),
                (&[query("CREATE TEMP SEQUENCE q; SELECT nextval('q')")], "Z"),
                (&[query("SELECT lastval(), currval('q')")], "Z"),
            ],
        ),
    ]
}
