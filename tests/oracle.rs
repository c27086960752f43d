//! Promise: what is called a read is the same on a replica as on the primary: its answer, its notices, the locks that it holds; it leaves
//! nothing in the session, and no replica refuses it. Real servers are asked, with the very catalog that the product would load.

use crate::catalog::{loader, nodes_of};
use crate::statements::Builder;
use crate::support::raw::{Message, Raw};
use crate::support::shared::Servers;
use crate::support::{Database, eventually};
use primacy::catalog::source::Uses;
use primacy::catalog::{Answer, Facts, Names, Relation};
use primacy::engine::{CatalogLoader as _, Class};
use primacy::session;
use primacy::sql::{Context, Dialect, Effect, Reason, judge_uncached};
use std::collections::HashMap;
use std::sync::Arc;

const TABLE: &str = include_str!("statements/postgres.txt");

/// Code of users of every kind, harmless and not, and the tables that statements of the table name most.
const SET_UP: &str = r"
CREATE TABLE t (a int, b int, c text, d timestamptz, id int, i int);
INSERT INTO t SELECT g, g, 'x' || g, '2020-01-01', g, g FROM generate_series(1, 5) g;
CREATE TABLE u AS TABLE t; CREATE TABLE a AS TABLE t; CREATE TABLE b AS TABLE t; CREATE TABLE c AS TABLE t;
CREATE UNLOGGED TABLE fleeting (a int);
CREATE SEQUENCE sq;
CREATE TABLE log (line text);
CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION looks(int) RETURNS bigint LANGUAGE plpgsql STABLE AS $f$ BEGIN RETURN (SELECT count(*) FROM t WHERE a < $1); END $f$;
CREATE FUNCTION talks(int) RETURNS int LANGUAGE plpgsql STABLE AS $f$ BEGIN RAISE NOTICE 'hello %', $1; RETURN $1; END $f$;
CREATE FUNCTION fails(int) RETURNS int LANGUAGE plpgsql STABLE AS $f$ BEGIN RAISE EXCEPTION 'no %', $1; END $f$;
CREATE FUNCTION writes(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (''x''); SELECT $1';
CREATE FUNCTION wraps(int) RETURNS int LANGUAGE plpgsql STABLE AS $f$ BEGIN RETURN writes($1); END $f$;
CREATE FUNCTION sets(int) RETURNS int LANGUAGE plpgsql STABLE AS $f$ BEGIN PERFORM set_config('app.x', 'set', false); RETURN $1; END $f$;
CREATE FUNCTION hides(int) RETURNS int LANGUAGE plpgsql STABLE AS $f$ BEGIN EXECUTE 'SELECT sets(1)'; RETURN $1; END $f$;
CREATE FUNCTION deeper(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT hides($1)';
CREATE FUNCTION locks(int) RETURNS int LANGUAGE plpgsql STABLE AS $f$ BEGIN PERFORM pg_advisory_lock($1); RETURN $1; END $f$;
CREATE FUNCTION describes(int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT pg_is_in_recovery()';
CREATE FUNCTION reads_fleeting(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM fleeting';
CREATE FUNCTION total(t) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1.a + $1.b';
CREATE FUNCTION loud(t) RETURNS int LANGUAGE sql STABLE AS 'SELECT sets(1)';
CREATE FUNCTION nearly(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT abs($1 - $2) < 2';
CREATE OPERATOR ~~~ (leftarg = int, rightarg = int, function = nearly);
CREATE FUNCTION badly(int, int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT sets(1) > 0';
CREATE OPERATOR ### (leftarg = int, rightarg = int, function = badly);
CREATE AGGREGATE adds(int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE FUNCTION adds_badly(int, int) RETURNS int LANGUAGE sql AS 'SELECT sets($1)';
CREATE AGGREGATE bad_sum(int) (sfunc = adds_badly, stype = int, initcond = '0');
CREATE DOMAIN small AS int CHECK (pure(value) < 1000);
CREATE DOMAIN risky AS int CHECK (sets(value) > 0);
CREATE VIEW seen AS SELECT a, pure(b) AS b FROM t;
CREATE VIEW risen AS SELECT a, sets(b) AS b FROM t;
CREATE VIEW written AS SELECT a, writes(b) AS b FROM t;
CREATE VIEW where_we_are AS SELECT pg_is_in_recovery() AS a;
CREATE TABLE tenants AS TABLE t;
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY; ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON tenants USING (pure(a) > 2);
CREATE TABLE watched AS TABLE t;
ALTER TABLE watched ENABLE ROW LEVEL SECURITY; ALTER TABLE watched FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON watched USING (sets(a) > 0);
CREATE TABLE parted (a int, b int) PARTITION BY RANGE (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
INSERT INTO parted SELECT g, g FROM generate_series(1, 9) g;
CREATE MATERIALIZED VIEW kept AS SELECT a, b FROM t;
ANALYZE;
";

/// What a generated query may have in it, beside plain grammar.
const EXPRESSIONS: [&str; 25] = [
    "pure(1)",
    "public.pure(r.a)",
    "looks(3)::int",
    "talks(1)",
    "fails(1)",
    "writes(1)",
    "wraps(1)",
    "sets(1)",
    "hides(1)",
    "deeper(1)",
    "locks(1)",
    "describes(1)::int",
    "reads_fleeting(1)::int",
    "(r.total)",
    "(r.loud)",
    "(1 ~~~ 2)::int",
    "(1 ### 2)::int",
    "(select adds(a) from t)",
    "(select bad_sum(a) from t)",
    "'5'::small",
    "'5'::risky",
    "(select count(*) from seen)::int",
    "(select count(b) from (select b from risen offset 0) x)::int",
    "(select max(a) from kept)",
    "nextval('sq')::int",
];

const RELATIONS: [&str; 10] = [
    "seen #",
    "risen #",
    "written #",
    "tenants #",
    "watched #",
    "parted #",
    "kept #",
    "fleeting as # (a, b)",
    "where_we_are as # (a)",
    "looks(2) as # (a)",
];

/// Words of texts whose answer is another one each time.
const FICKLE: [&str; 18] = [
    "random",
    "now()",
    "clock",
    "timeofday",
    "uuid",
    "analyze",
    "analyse",
    "statement_timestamp",
    "transaction_timestamp",
    "current_time",
    "localtime",
    "current_date",
    "tablesample",
    "pg_sleep",
    "age(",
    "gen_random",
    "'now",
    "pg_size",
];

const STATE: &str = "SELECT string_agg(s, ' ' ORDER BY s) FROM (
    SELECT name || '=' || setting AS s FROM pg_settings WHERE source = 'session'
    UNION ALL SELECT 'app.x=' || coalesce(current_setting('app.x', true), 'NULL')
    UNION ALL SELECT 'role ' || current_user || session_user
    UNION ALL SELECT 'prepared ' || name FROM pg_prepared_statements
    UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE name <> ''
    UNION ALL SELECT 'listens ' || c FROM pg_listening_channels() c
    UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
    UNION ALL SELECT 'lock ' || locktype || mode FROM pg_locks
              WHERE pid = pg_backend_pid() AND locktype NOT IN ('virtualxid', 'relation')) state (s)";

const LOCKS: &str = "SELECT locktype, relation::regclass, mode, granted FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid' AND relation IS DISTINCT FROM 'pg_locks'::regclass ORDER BY 1, 2, 3";

/// One server's session, and what it was like at its start.
struct Side {
    raw: Raw,
    state: String,
}

impl Side {
    async fn new(database: &Database, port: u16) -> Self {
        let mut raw = Raw::connect(database, port).await;
        let state = raw.value(STATE).await;
        Self { raw, state }
    }

    /// What a client sees of the statement, what it holds at its end, and that it left nothing behind.
    async fn run(&mut self, text: &str, fickle: bool) -> (Vec<Message>, Vec<Message>) {
        let mut seen = self.raw.query(text).await;
        let failed = seen.iter().any(|message| message.tag == b'E');
        let locks = if failed {
            Vec::new()
        } else {
            self.raw.run("BEGIN").await;
            let again = self.raw.query(text).await;
            let locks = if again.iter().any(|message| message.tag == b'E') {
                again
            } else {
                self.raw.query(LOCKS).await
            };
            self.raw.run("ROLLBACK").await;
            locks
        };
        assert_eq!(self.raw.value(STATE).await, self.state, "it left something in the session: {text}");
        if fickle {
            seen.iter_mut().for_each(|message| message.body.clear());
        }
        (seen, locks)
    }
}

struct Oracle {
    names: Arc<Names>,
    database: Database,
    primary: Side,
    replica: Side,
}

impl Oracle {
    async fn new() -> Self {
        let servers = Servers::postgres().await;
        let database = servers.fresh_database().await;
        let (primary, replica) = (&servers.endpoints[0], &servers.endpoints[1]);
        database.connect(&primary.host, primary.port).await.unwrap().batch_execute(SET_UP).await.unwrap();
        let admin = servers.admin(0, "postgres").await;
        let position: String =
            admin.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
        let behind = servers.admin(1, "postgres").await;
        eventually("the replica has it", async || {
            let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
            behind.query_one(&reached, &[]).await.unwrap().get::<_, bool>(0).then_some(())
        })
        .await;
        let loader = loader(nodes_of(&servers.endpoints[..1]));
        let (names, ..) = session::catalog::names(&loader, &database.name, Vec::new()).await.unwrap();
        let primary = Side::new(&database, primary.port).await;
        let replica = Side::new(&database, replica.port).await;
        Self { names, database, primary, replica }
    }

    /// Those of `texts` that the product would call reads.
    async fn reads<'a>(&self, texts: &'a [String]) -> Vec<&'a str> {
        let servers = Servers::postgres().await;
        let loader = loader(nodes_of(&servers.endpoints[..1]));
        let major = servers.version.split('.').next().and_then(|major| major.parse().ok()).unwrap();
        let context = Context {
            names: Some(&self.names),
            search_path: "public",
            ..Context::bare(Dialect::Postgres, major)
        };
        let mut known: HashMap<Relation, bool> = HashMap::new();
        let mut reads = Vec::new();
        for text in texts {
            let verdict = judge_uncached(text.as_bytes(), &context);
            let plain = verdict.class == Class::Read
                && verdict.effect == Effect::None
                && verdict.reason == Reason::Read;
            if !plain {
                continue;
            }
            let mut clear = true;
            for relation in &verdict.relations {
                if !known.contains_key(relation) {
                    let asked = std::slice::from_ref(relation);
                    let answer = loader.relations(&self.database.name, "public", asked, Uses::Both).await;
                    let facts = Facts::judge(&answer.unwrap().0[0], &self.names);
                    known.insert(relation.clone(), *facts.of(relation.written) == YES);
                }
                clear &= known[relation];
            }
            if clear {
                reads.push(text.as_str());
            }
        }
        reads
    }

    /// Compares; returns how many were answered without an error.
    async fn compare(&mut self, reads: &[&str]) -> usize {
        let mut answered = 0;
        for text in reads {
            let lower = text.to_lowercase();
            let fickle = FICKLE.iter().any(|word| lower.contains(word));
            let (here, there) = tokio::join!(self.primary.run(text, fickle), self.replica.run(text, fickle));
            assert_eq!(here.0, there.0, "the answers differ: {text}");
            assert_eq!(here.1, there.1, "the locks differ: {text}");
            let harmless = |message: &Message| {
                message.tag != b'D' || message.values().iter().flatten().all(|value| value != "ExclusiveLock")
            };
            assert!(here.1.iter().all(harmless), "it locks: {text}");
            answered += usize::from(!here.0.iter().any(|message| message.tag == b'E'));
        }
        answered
    }
}

/// Nothing hangs on a relation.
const YES: Answer = Answer::CLEAR;

#[tokio::test(flavor = "multi_thread")]
async fn every_read_of_the_table_is_alike_on_a_replica() {
    let mut oracle = Oracle::new().await;
    let texts: Vec<String> = TABLE
        .lines()
        .filter_map(|line| line.splitn(3, " | ").nth(2))
        .map(|text| text.replace("\\n", "\n"))
        .collect();
    let reads = oracle.reads(&texts).await;
    let answered = oracle.compare(&reads).await;
    println!("{} of {} statements are reads, {answered} were answered", reads.len(), texts.len());
    assert!(reads.len() > 100 && answered > 60, "the test proves little");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_generated_read_is_alike_on_a_replica() {
    let mut oracle = Oracle::new().await;
    let mut builder = Builder::new(0x1234_5678_9abc_def1, &EXPRESSIONS, &RELATIONS);
    let mut texts: Vec<String> = (0..1_000).map(|_| builder.statement()).collect();
    texts.extend(EXPRESSIONS.iter().map(|expression| format!("select {expression} from t r")));
    texts.extend(RELATIONS.iter().map(|relation| format!("select * from {}", relation.replace('#', "r"))));
    let reads = oracle.reads(&texts).await;
    let answered = oracle.compare(&reads).await;
    println!("{} of {} statements are reads, {answered} were answered", reads.len(), texts.len());
    assert!(reads.len() > 300 && answered > 200, "the test proves little");
    // Caution must not be the reason that all is well: what is harmless is called so.
    for harmless in ["pure(1)", "looks(3)::int", "talks(1)", "(r.total)", "(1 ~~~ 2)::int", "'5'::small"] {
        let text = format!("select {harmless} from t r");
        assert!(reads.contains(&text.as_str()), "{text} is no read");
    }
    for relation in ["seen r", "tenants r", "parted r", "kept r"] {
        let text = format!("select * from {relation}");
        assert!(reads.contains(&text.as_str()), "{text} is no read");
    }
}
