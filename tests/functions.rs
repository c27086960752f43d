//! Promise: users' functions run where the catalog says that they may, keep a connection only when they may leave something behind, and a
//! catalog that changes or cannot be read makes nothing wrong.

use crate::support::raw::Raw;
use crate::support::{Config, Database, Primacy, Servers, eventually, http};

const SET_UP: &str = r"
CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 5);
CREATE TABLE log (line text);
CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION looks() RETURNS bigint LANGUAGE plpgsql STABLE AS $f$ BEGIN RETURN (SELECT count(*) FROM t); END $f$;
CREATE FUNCTION lazy() RETURNS bigint LANGUAGE plpgsql AS $f$ BEGIN RETURN (SELECT count(*) FROM t); END $f$;
CREATE FUNCTION notes(text) RETURNS text LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING line';
CREATE FUNCTION wraps(text) RETURNS text LANGUAGE plpgsql STABLE AS $f$ BEGIN RETURN notes($1); END $f$;
CREATE FUNCTION hides(text) RETURNS text LANGUAGE plpgsql STABLE AS $f$ DECLARE r text; BEGIN r := lazily($1); RETURN r; END $f$;
CREATE FUNCTION lazily(text) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN IF $1 <> '' THEN RETURN notes($1); END IF; RETURN ''; END $f$;
CREATE FUNCTION sets() RETURNS text LANGUAGE sql AS $f$ SELECT set_config('app.x', 'y', false) $f$;
CREATE PROCEDURE tidies() LANGUAGE plpgsql AS $f$ BEGIN DELETE FROM log; COMMIT; END $f$;
CREATE FUNCTION stamps() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO log VALUES (tg_op); RETURN NEW; END $f$;
CREATE TABLE audited (id serial, a int);
CREATE TRIGGER s AFTER INSERT OR UPDATE ON audited FOR EACH ROW EXECUTE FUNCTION stamps();
CREATE FUNCTION leaks() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM sets(); RETURN NEW; END $f$;
CREATE TABLE leaking (a int);
CREATE TRIGGER l AFTER INSERT ON leaking FOR EACH ROW EXECUTE FUNCTION leaks();
CREATE VIEW counted AS SELECT a, pure(a) AS next FROM t;
CREATE UNLOGGED TABLE fleeting (a int);
";

struct Bed {
    servers: &'static Servers,
    database: Database,
    primacy: Primacy,
}

impl Bed {
    async fn new(line: &str) -> Self {
        let servers = Servers::postgres().await;
        let database = servers.fresh_database().await;
        let primacy = Primacy::start(Config::new(&servers.yaml()).cluster(line)).await;
        let bed = Self { servers, database, primacy };
        bed.direct().await.run(SET_UP).await;
        for replica in &bed.servers.endpoints[1..] {
            eventually("the replica has it all", async || {
                let mut replica = Raw::try_connect(&bed.database, replica.port, &[]).await.ok()?;
                (replica.value("SELECT to_regclass('fleeting')").await != "NULL").then_some(())
            })
            .await;
        }
        bed
    }

    /// Its reads go to replicas however long ago these were seen: where a statement may run is asked here, not what it sees.
    async fn client(&self) -> Raw {
        let mut client = Raw::connect(&self.database, self.primacy.port).await;
        client.run("SET primacy.consistency = 'eventual'").await;
        client
    }

    /// Past the proxy, to the primary.
    async fn direct(&self) -> Raw {
        Raw::connect(&self.database, self.servers.endpoints[0].port).await
    }

    async fn metric(&self, start: &str) -> f64 {
        let (_, text) = http::get(self.primacy.admin_port, "/metrics").await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    async fn pins(&self) -> f64 {
        self.metric("primacy_pins_total").await
    }
}

/// What `EXPLAIN ROUTE` says of a statement's class.
async fn class(client: &mut Raw, statement: &str) -> String {
    let rows = client.rows(&format!("EXPLAIN ROUTE {statement}")).await;
    let rows = rows.into_iter().flatten().flatten();
    rows.filter_map(|row| row.strip_prefix("class: ").map(str::to_owned)).collect()
}

/// Runs it until a replica answers.
async fn on_a_replica(client: &mut Raw, statement: &str, expected: &str) {
    let client = tokio::sync::Mutex::new(client);
    eventually(&format!("a replica answers {statement}"), async || {
        let mut client = client.lock().await;
        assert_eq!(client.value(statement).await, expected, "{statement}");
        (client.value("SHOW primacy.node").await != "pg1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn functions_run_where_they_may() {
    let bed = Bed::new("").await;
    let mut client = bed.client().await;
    for (statement, expected) in [
        ("SELECT pure(1)", "2"),
        ("SELECT looks()", "5"),
        ("SELECT sum(next) FROM counted", "20"),
        ("SELECT pure(a) FROM t WHERE looks() > 1 AND a = 1", "2"),
    ] {
        on_a_replica(&mut client, statement, expected).await;
    }
    for (statement, expected) in [
        ("SELECT lazy()", "5"),
        ("SELECT notes('a')", "a"),
        ("SELECT wraps('b')", "b"),
        ("SELECT hides('c')", "c"),
        ("SELECT hides('d')", "d"),
        ("SELECT count(*) FROM fleeting", "0"),
    ] {
        assert_eq!(client.value(statement).await, expected, "{statement}");
        assert_eq!(client.value("SHOW primacy.node").await, "pg1", "{statement}");
    }
    client.run("CALL tidies()").await;
    client.run("INSERT INTO audited (a) VALUES (1)").await;
    client.run("UPDATE audited SET a = 2").await;
    assert_eq!(client.value("/* primacy:primary */ SELECT count(*) FROM log").await, "2");
    assert_eq!(bed.pins().await, 0.0);
    client.run("INSERT INTO leaking VALUES (1)").await;
    eventually("the first pin", async || (bed.pins().await == 1.0).then_some(())).await;
    assert_eq!(client.value("SELECT current_setting('app.x')").await, "y");
    let mut other = bed.client().await;
    other.run("SELECT sets()").await;
    // It is counted behind the answer.
    eventually("the second pin", async || (bed.pins().await == 2.0).then_some(())).await;
    let mut third = bed.client().await;
    assert_eq!(third.value("SELECT current_setting('app.x', true)").await, "NULL");
}

#[tokio::test]
async fn a_change_that_passed_by_is_noticed() {
    let bed = Bed::new("").await;
    let mut client = bed.client().await;
    assert_eq!(class(&mut client, "SELECT pure(1)").await, "read");
    assert_eq!(class(&mut client, "SELECT * FROM counted").await, "read");
    let mut direct = bed.direct().await;
    let change =
        "CREATE OR REPLACE FUNCTION pure(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT length(sets())'";
    direct.run(change).await;
    let client = tokio::sync::Mutex::new(client);
    eventually("the change is noticed", async || {
        let mut client = client.lock().await;
        (class(&mut client, "SELECT pure(1)").await == "write").then_some(())
    })
    .await;
    let mut client = client.into_inner();
    assert_eq!(class(&mut client, "SELECT * FROM counted").await, "write");
    // Through the proxy it is known at once.
    client
        .run("CREATE OR REPLACE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'")
        .await;
    assert_eq!(class(&mut client, "SELECT pure(1)").await, "read");
    assert_eq!(bed.pins().await, 0.0);
}

#[tokio::test]
async fn the_configuration_overrules_the_catalog() {
    let bed = Bed::new("routing: { functions: { lazy: { class: read }, notes: { class: read }, public.looks: { class: write } } }").await;
    let mut client = bed.client().await;
    // Who is wrong is refused by the replica, and served by the primary.
    assert_eq!(client.value("SELECT notes('a')").await, "a");
    assert_eq!(client.value("SHOW primacy.node").await, "pg1");
    on_a_replica(&mut client, "SELECT lazy()", "5").await;
    assert_eq!(class(&mut client, "SELECT looks()").await, "write");
    let config =
        Config::new(&bed.servers.yaml()).cluster("routing: { functions: { sets: { state: none } } }");
    bed.primacy.reload(&config);
    let client = tokio::sync::Mutex::new(client);
    eventually("the new rules hold", async || {
        let mut client = client.lock().await;
        (class(&mut client, "SELECT looks()").await == "read").then_some(())
    })
    .await;
    let mut client = client.into_inner();
    assert_eq!(class(&mut client, "SELECT lazy()").await, "write");
    client.run("SELECT sets()").await;
    assert_eq!(bed.pins().await, 0.0);
}

#[tokio::test]
async fn a_function_that_is_gone_is_the_servers_own_error() {
    let bed = Bed::new("").await;
    let mut client = bed.client().await;
    on_a_replica(&mut client, "SELECT pure(1)", "2").await;
    bed.direct().await.run("DROP FUNCTION pure CASCADE").await;
    let client = tokio::sync::Mutex::new(client);
    eventually("the replicas have dropped it", async || {
        let answer = client.lock().await.query("SELECT pure(1)").await;
        let error = answer.iter().find(|message| message.tag == b'E')?;
        assert_eq!(error.field(b'C').as_deref(), Some("42883"));
        Some(())
    })
    .await;
    assert_eq!(client.into_inner().value("SELECT looks()").await, "5");
}

/// A call waits for its backend while another session changes the function that it was judged by.
#[tokio::test]
async fn a_function_may_change_while_its_call_waits() {
    let bed = Bed::new("pool: { size: 1 }").await;
    let call = "/* primacy:primary */ SELECT pure(1)";
    let mut caller = bed.client().await;
    let mut changer = bed.client().await;
    let mut third = bed.client().await;
    assert_eq!(caller.value(call).await, "2");
    let change = async |change: &str, caller: &mut Raw, changer: &mut Raw| {
        changer.run("BEGIN").await;
        let mut out = Vec::new();
        primacy::postgres::wire::query(&mut out, call);
        caller.send(&out).await;
        let waits = || bed.metric("primacy_cl_waiting{");
        eventually("the call waits", async || (waits().await == 1.0).then_some(())).await;
        changer.run(change).await;
        changer.run("COMMIT").await;
        caller.read_until("Z").await
    };
    let leaks =
        "CREATE OR REPLACE FUNCTION pure(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT length(sets())'";
    let answer = change(leaks, &mut caller, &mut changer).await;
    let row = answer.iter().find(|message| message.tag == b'D').expect("a row");
    assert_eq!(row.values(), [Some("1".to_owned())], "the new one ran");
    eventually("what it left is the caller's", async || (bed.pins().await == 1.0).then_some(())).await;
    assert_eq!(third.value("/* primacy:primary */ SELECT current_setting('app.x', true)").await, "NULL");
    drop(caller);

    let cleans = "CREATE OR REPLACE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'";
    changer.run(cleans).await;
    let mut caller = bed.client().await;
    assert_eq!(caller.value(call).await, "2");
    let answer = change("DROP FUNCTION pure CASCADE", &mut caller, &mut changer).await;
    let error = answer.iter().find(|message| message.tag == b'E').expect("an error");
    assert_eq!(error.field(b'C').as_deref(), Some("42883"), "the server's own");
    assert_eq!(caller.value("SELECT looks()").await, "5");
}

#[tokio::test]
async fn a_monitor_that_may_not_look_makes_all_doubtful() {
    let bed = Bed::new("").await;
    let Database { name, user, .. } = &bed.database;
    let admin = bed.servers.admin(0, "postgres").await;
    let text =
        format!("REVOKE CONNECT ON DATABASE {name} FROM public; GRANT CONNECT ON DATABASE {name} TO {user}");
    admin.batch_execute(&text).await.unwrap();
    let mut client = bed.client().await;
    for statement in ["SELECT pure(1)", "SELECT a FROM t", "SELECT '1'::int + 1"] {
        assert_eq!(class(&mut client, statement).await, "write", "{statement}");
    }
    assert_eq!(class(&mut client, "BEGIN").await, "read");
    assert_eq!(client.value("SELECT pure(1)").await, "2");
    assert_eq!(client.value("SHOW primacy.node").await, "pg1");
    eventually("the pin is counted", async || (bed.pins().await == 1.0).then_some(())).await;
}

#[tokio::test]
async fn a_search_path_of_a_hundred_schemas() {
    let bed = Bed::new("").await;
    let mut direct = bed.direct().await;
    let schemas: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    for schema in &schemas {
        direct.run(&format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.only_{schema} (a int)")).await;
    }
    direct.run("CREATE FUNCTION s99.pure(int) RETURNS int LANGUAGE sql AS 'SELECT length(sets())'").await;
    direct.run("CREATE TABLE s0.deep (a int); CREATE TABLE s98.deep (a int)").await;
    direct.run("CREATE TRIGGER l AFTER INSERT ON s98.deep FOR EACH ROW EXECUTE FUNCTION leaks()").await;
    let mut client = bed.client().await;
    client.run(&format!("SET search_path = public, {}", schemas[..99].join(", "))).await;
    assert_eq!(class(&mut client, "SELECT pure(1)").await, "read");
    client.run("SELECT * FROM only_s42").await;
    client.run("INSERT INTO s0.deep VALUES (1)").await;
    assert_eq!(bed.pins().await, 0.0);
    // Whichever comes first: any of them may be meant.
    client.run("INSERT INTO deep VALUES (1)").await;
    eventually("the pin is counted", async || (bed.pins().await == 1.0).then_some(())).await;
    let mut other = bed.client().await;
    other.run(&format!("SET search_path = {}, public", schemas.join(", "))).await;
    assert_eq!(class(&mut other, "SELECT pure(1)").await, "write");
}

#[tokio::test]
async fn caution_is_counted() {
    let bed = Bed::new("").await;
    let mut client = bed.client().await;
    for _ in 0..100 {
        client.run("SELECT * FROM t WHERE a = 1").await;
    }
    let start = "primacy_routed_total{cluster=\"main\",class=\"read\",role=\"primary\",reason=\"caution\"}";
    assert_eq!(bed.metric(start).await, 0.0);
    client.run("SELECT lazy()").await;
    assert_eq!(bed.metric(start).await, 1.0);
    client.run("SELECT nextval('audited_id_seq')").await;
    client.run("INSERT INTO t VALUES (9)").await;
    assert_eq!(bed.metric(start).await, 1.0);
}
