//! Real clients work whole through Primacy, in transaction mode.

mod caution;
mod orms;
mod rails;

use crate::pooling::primacy_pins;
use crate::support::{Config, Database, Primacy, Servers, http};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

struct Bed {
    servers: &'static Servers,
    database: Database,
    primacy: Primacy,
}

impl Bed {
    async fn new() -> Self {
        Self::with("pool: { size: 4 }").await
    }

    /// With one more key of the cluster.
    async fn with(key: &str) -> Self {
        let servers = Servers::postgres().await;
        let database = servers.fresh_database().await;
        let config = Config::new(&servers.yaml()).cluster(key);
        let primacy = Primacy::start(config).await;
        Self { servers, database, primacy }
    }

    /// One of the server's own programs, on this bed's Primacy (or straight at the primary).
    fn program(&self, name: &str, port: u16) -> Command {
        let own = self.servers.programs.join(name);
        let mut command = Command::new(if own.exists() { own } else { PathBuf::from(name) });
        command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGUSER", &self.database.user);
        command.env("PGPASSWORD", &self.database.password).env("PGDATABASE", &self.database.name);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn psql(&self, port: u16) -> Command {
        let mut command = self.program("psql", port);
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    fn direct(&self) -> u16 {
        self.servers.endpoints[0].port
    }

    fn dsn(&self) -> String {
        let Database { name, user, password } = &self.database;
        format!("postgresql://{user}:{password}@127.0.0.1:{}/{name}", self.primacy.port)
    }

    /// Statements that went to (the primary, replicas), as the metrics say.
    async fn routed(&self) -> (f64, f64) {
        let (_, text) = http::get(self.primacy.admin_port, "/metrics").await.unwrap();
        let sum = |role: &str| {
            let role = format!("role=\"{role}\"");
            let lines =
                text.lines().filter(|line| line.starts_with("primacy_routed_total") && line.contains(&role));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        (sum("primary"), sum("replica"))
    }

    async fn no_pins(&self, whose: &str) {
        let (_, text) = http::get(self.primacy.admin_port, "/metrics").await.unwrap();
        let ever = text.lines().filter(|line| {
            line.starts_with("primacy_pins_total") && !line.ends_with(" 0.0") && !line.ends_with(" 0")
        });
        assert_eq!(ever.collect::<Vec<_>>(), Vec::<&str>::new(), "pins of {whose}");
        assert_eq!(primacy_pins(&self.primacy).await, 0, "{whose}");
    }
}

fn good(what: &str, output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

async fn run(mut command: Command) -> String {
    let what = format!("{:?}", command.as_std());
    good(&what, command.output().await.unwrap())
}

/// Starts a driver's program, which says "ok" and then waits for the end of its input.
async fn ok(mut command: Command) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = [0; 2];
    if child.stdout.as_mut().unwrap().read_exact(&mut said).await.is_err() || &said != b"ok" {
        drop(child.stdin.take());
        let output = child.wait_with_output().await.unwrap();
        panic!("{:?}: {}", command.as_std(), String::from_utf8_lossy(&output.stderr));
    }
    child
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name)
}

/// The Python that `scripts/setup` gave the drivers; `None` (and a word about it) without it.
fn python() -> Option<Command> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    if !program.exists() {
        eprintln!("skipped: no {}: run scripts/setup", program.display());
        return None;
    }
    Some(Command::new(program))
}

fn java() -> Option<Command> {
    let driver = Path::new("/usr/share/java/postgresql.jar");
    if !driver.exists() {
        eprintln!("skipped: no {}: run scripts/setup", driver.display());
        return None;
    }
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"]).arg(driver).arg(file("Jdbc.java"));
    Some(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_works_whole() {
    let bed = Bed::new().await;
    let script = "CREATE TABLE t (id serial PRIMARY KEY, v text);\nINSERT INTO t (v) VALUES ('a'), ('b') RETURNING id;\n\
        BEGIN; UPDATE t SET v = 'c' WHERE id = 1; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT;\nTABLE t;\n\
        CREATE TEMP TABLE x AS SELECT * FROM t;\nSELECT count(*) FROM x;\n\\d t\n\\dt public.*\nPREPARE p AS SELECT $1::int + 1;\nEXECUTE p (2);\n\
        \\copy t (v) FROM PROGRAM 'seq 1 500'\nSELECT count(*), currval('t_id_seq') FROM t;\nSELECT 6 \\gdesc\nDO $$ BEGIN RAISE NOTICE 'n'; END $$;\n\
        DROP TABLE t;\n";
    let mut said = Vec::new();
    for port in [bed.direct(), bed.primacy.port] {
        let mut command = bed.psql(port);
        command.arg("-c").arg("SELECT 1");
        assert_eq!(run(command).await, "1\n");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("script.sql");
        std::fs::write(&path, script).unwrap();
        let mut command = bed.psql(port);
        command.arg("-f").arg(&path);
        said.push(run(command).await);
    }
    assert_eq!(said[0], said[1]);
    let mut command = bed.psql(bed.primacy.port);
    command.args(["-c", "SELECT nothing"]);
    assert!(!command.output().await.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbench_loses_nothing_in_any_protocol() {
    let bed = Bed::new().await;
    let mut command = bed.program("pgbench", bed.primacy.port);
    command.args(["-i", "-q", "-s", "1"]);
    run(command).await;
    let mut transactions = 0;
    for protocol in ["simple", "extended", "prepared"] {
        for kind in ["tpcb-like", "select-only"] {
            let mut command = bed.program("pgbench", bed.primacy.port);
            // A thread each: pgbench prepares without letting its thread's other clients go on, who may hold all backends.
            command.args(["-n", "-c", "8", "-j", "8", "-t", "50", "-M", protocol, "-b", kind]);
            let said = run(command).await;
            let processed = "number of transactions actually processed: 400/400";
            assert!(said.contains(processed), "{protocol} {kind}: {said}");
            assert!(
                !said.contains("failed transactions") || said.contains("failed transactions: 0 "),
                "{said}"
            );
        }
        transactions += 400;
    }
    let mut command = bed.psql(bed.primacy.port);
    command.args([
        "-c",
        "SELECT count(*), sum(delta) = (SELECT sum(abalance) FROM pgbench_accounts) FROM pgbench_history",
    ]);
    assert_eq!(run(command).await, format!("{transactions}|t\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pg_dump_and_pg_restore_give_an_equal_database() {
    let bed = Bed::new().await;
    let mut command = bed.psql(bed.direct());
    command.args(["-c", "CREATE TABLE a (id serial PRIMARY KEY, v text, at timestamptz DEFAULT now()); INSERT INTO a (v) SELECT repeat('x', g % 500) FROM generate_series(1, 20000) g;\
        CREATE TABLE b (a int REFERENCES a, n numeric CHECK (n > 0)); INSERT INTO b SELECT g, g FROM generate_series(1, 1000) g; CREATE INDEX ON b (n);\
        CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'; CREATE VIEW v AS SELECT f(a) FROM b; CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM a"]);
    run(command).await;
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("dump");
    let mut command = bed.program("pg_dump", bed.primacy.port);
    command.args(["-Fc", "-f"]).arg(&archive);
    run(command).await;
    let second = Bed::new().await;
    let mut command = second.program("pg_restore", second.primacy.port);
    command.args(["--no-owner", "--exit-on-error", "-d", &second.database.name]).arg(&archive);
    run(command).await;
    let mut dumps = Vec::new();
    for bed in [&bed, &second] {
        let mut command = bed.program("pg_dump", bed.direct());
        command.args(["--no-owner"]);
        let text = run(command).await;
        // Newer ones guard a script by a random word.
        let lines =
            text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        dumps.push(lines.map(str::to_owned).collect::<Vec<_>>());
    }
    assert!(dumps[0] == dumps[1], "the dumps differ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres_works_whole() {
    let bed = Bed::new().await;
    let mut client = bed.database.connect("127.0.0.1", bed.primacy.port).await.unwrap();
    for n in 0..3 {
        let other = bed.database.connect("127.0.0.1", bed.primacy.port).await.unwrap();
        assert_eq!(other.query_one("SELECT $1::int", &[&n]).await.unwrap().get::<_, i32>(0), n);
    }
    bed.no_pins("tokio-postgres").await;
    client.batch_execute("CREATE TABLE tp (id int PRIMARY KEY, v text)").await.unwrap();
    let insert = client.prepare("INSERT INTO tp VALUES ($1, $2)").await.unwrap();
    let read = client.prepare("SELECT v FROM tp WHERE id = $1").await.unwrap();
    for n in 0..20 {
        client.execute(&insert, &[&n, &format!("v{n}")]).await.unwrap();
        assert_eq!(client.query_one(&read, &[&n]).await.unwrap().get::<_, String>(0), format!("v{n}"));
    }
    let pipelined = futures_util::future::join_all((0..20).map(|n| {
        let (client, read) = (&client, &read);
        async move { client.query_one(read, &[&n]).await.unwrap().get::<_, String>(0) }
    }));
    assert_eq!(pipelined.await.len(), 20);
    let transaction = client.transaction().await.unwrap();
    transaction.execute(&insert, &[&100, &"x"]).await.unwrap();
    let portal = transaction.bind("SELECT id FROM tp ORDER BY id", &[]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 7).await.unwrap().len(), 7);
    assert_eq!(transaction.query_portal(&portal, 0).await.unwrap().len(), 14);
    transaction.rollback().await.unwrap();
    let sink = client.copy_in::<_, bytes::Bytes>("COPY tp FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    futures_util::SinkExt::send(&mut sink, bytes::Bytes::from_static(b"500\ta\n501\tb\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 2);
    assert_eq!(client.query_one("SELECT count(*) FROM tp", &[]).await.unwrap().get::<_, i64>(0), 22);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlx_works_whole() {
    let bed = Bed::new().await;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(5).connect(&bed.dsn()).await.unwrap();
    sqlx::query("CREATE TABLE sx (id int PRIMARY KEY, v text)").execute(&pool).await.unwrap();
    for n in 0..20 {
        sqlx::query("INSERT INTO sx VALUES ($1, $2)")
            .bind(n)
            .bind(format!("v{n}"))
            .execute(&pool)
            .await
            .unwrap();
    }
    for n in 0..20 {
        // Another of its connections may read what this one has written: that is one session of many.
        let mut connection = pool.acquire().await.unwrap();
        let read =
            sqlx::query_scalar::<_, String>("/* primacy:primary */ SELECT v FROM sx WHERE id = $1").bind(n);
        assert_eq!(read.fetch_one(&mut *connection).await.unwrap(), format!("v{n}"));
    }
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("DELETE FROM sx").execute(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("DELETE FROM sx WHERE id >= 10").execute(&mut *transaction).await.unwrap();
    let count =
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sx").fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(count, 10);
    transaction.commit().await.unwrap();
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg_works_whole_and_pins_nothing() {
    let bed = Bed::new().await;
    for what in ["release", "whole"] {
        let Some(mut command) = python() else { return };
        command.arg(file("psycopg_driver.py")).arg(bed.dsn()).arg(what);
        let _alive = ok(command).await;
        if what == "release" {
            bed.no_pins("psycopg").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asyncpg_works_whole_pins_nothing_and_reads_from_replicas() {
    let bed = Bed::new().await;
    for what in ["reads", "whole"] {
        for cache in ["0", "100"] {
            let Some(mut command) = python() else { return };
            let before = bed.routed().await;
            command.arg(file("asyncpg_driver.py")).arg(bed.dsn()).arg(what).arg(cache);
            let _alive = ok(command).await;
            if what == "reads" {
                bed.no_pins("asyncpg").await;
                let after = bed.routed().await;
                let (primary, replicas) = (after.0 - before.0, after.1 - before.1);
                assert!(replicas >= 380.0, "cache {cache}: {replicas} on replicas, {primary} on the primary");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_listen_and_pin_nothing() {
    let bed = Bed::new().await;
    for whose in ["psycopg", "asyncpg"] {
        let Some(mut command) = python() else { return };
        command.arg(file("listen_driver.py")).arg(bed.dsn()).arg(whose);
        let _alive = ok(command).await;
        bed.no_pins(whose).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgjdbc_works_whole_and_pins_nothing() {
    let bed = Bed::new().await;
    for what in ["release", "whole"] {
        let Some(mut command) = java() else { return };
        let url = format!("jdbc:postgresql://127.0.0.1:{}/{}", bed.primacy.port, bed.database.name);
        command.arg(url).arg(&bed.database.user).arg(&bed.database.password).arg(what);
        let _alive = ok(command).await;
        if what == "release" {
            bed.no_pins("pgjdbc").await;
        }
    }
}
