//! Promise: a database of very many tables and functions is judged like a small one, in bounded memory.

use crate::catalog::{loader, nodes};
use crate::support::raw::Raw;
use crate::support::{Config, Database, Primacy, environment, http, own_cluster, own_cluster_with};
use primacy::catalog::source::Uses;
use primacy::catalog::{Facts, Relation};
use primacy::clock;
use primacy::engine::CatalogLoader as _;
use primacy::engine::embedded::{APP, DATABASE, Embedded, Options};
use primacy::postgres::embedded::Cluster;
use primacy::session;

/// So many tables unless `PRIMACY_TABLES` says otherwise.
const TABLES: usize = 5_000;
/// So many of them are read: each is asked about then.
const READ: usize = 500;
/// Made in one transaction: each holds locks.
const CHUNK: usize = 500;

/// Makes tables `t1` to `t…`, each with its number in it, in steps of one transaction each.
async fn tables(servers: &Cluster, count: usize) {
    for from in (1..=count).step_by(CHUNK) {
        let to = (from + CHUNK - 1).min(count);
        let text = format!(
            "DO $$ BEGIN FOR i IN {from}..{to} LOOP
               EXECUTE format('CREATE TABLE t%s (id int)', i); EXECUTE format('INSERT INTO t%s VALUES (%s)', i, i);
               EXECUTE format('GRANT SELECT ON t%s TO PUBLIC', i); END LOOP; END $$"
        );
        servers.sql(0, DATABASE, &text).await.unwrap();
    }
}

/// Functions `f1` to `f…`: each reads a table of its own and calls another.
async fn functions(servers: &Cluster, count: usize) {
    let text = format!(
        "DO $$ BEGIN FOR i IN 1..{count} LOOP
           EXECUTE format('CREATE FUNCTION f%1$s(n int) RETURNS int LANGUAGE plpgsql AS $f$
             DECLARE found int; BEGIN SELECT count(*) INTO found FROM t%1$s WHERE id < n AND id IS NOT NULL;
             IF found > 10 THEN PERFORM f%2$s(found); END IF; RETURN found + coalesce(length(n::text), 0); END $f$', i, 1 + i % {count});
         END LOOP; END $$"
    );
    servers.sql(0, DATABASE, &text).await.unwrap();
}

async fn read_metric(primacy: &Primacy, reason: &str) -> f64 {
    let (_, text) = http::get(primacy.admin_port, "/metrics").await.unwrap();
    let (class, reason) = ("class=\"read\"", format!("reason=\"{reason}\""));
    let lines = text.lines().filter(|line| {
        line.starts_with("primacy_routed_total") && line.contains(class) && line.contains(&reason)
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// KiB of its process's memory that are not shared.
fn resident(primacy: &Primacy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", primacy.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_very_many_tables() {
    let count = environment("PRIMACY_TABLES").map_or(TABLES, |count| count.parse().unwrap());
    let settings = vec![("autovacuum".to_owned(), "off".to_owned())];
    let servers = own_cluster_with(Options { settings, ..Options::replicas(1) }).await;
    tables(&servers, count).await;
    servers.wait_caught_up().await.unwrap();
    let primacy = Primacy::start(Config::new(&servers.yaml())).await;
    let database = Database { name: DATABASE.into(), user: APP.user.into(), password: APP.password.into() };
    let mut client = Raw::connect(&database, primacy.port).await;
    let began = clock::now();
    assert_eq!(client.value("SELECT id FROM t1").await, "1");
    let first = clock::now().since(began);
    let before = resident(&primacy);
    let began = clock::now();
    let read = (1..=count).step_by((count / READ).max(1));
    for table in read.clone() {
        assert_eq!(client.value(&format!("SELECT id FROM t{table}")).await, table.to_string());
    }
    let all = clock::now().since(began);
    let grown = resident(&primacy).saturating_sub(before);
    let (caution, replicas) = (read_metric(&primacy, "caution").await, read_metric(&primacy, "fresh").await);
    eprintln!(
        "{count} tables: the first read in {first:?}, {:?} for each of others, {grown} KiB more; {replicas} reads on the replica, {caution} by caution",
        all / u32::try_from(read.count()).unwrap()
    );
    assert_eq!(caution, 0.0);
    // Facts of relations, verdicts and shapes: each is bounded by itself.
    assert!(grown < 32 << 10, "{grown} KiB");
    // One among them is another: it is found wherever it stands.
    client
        .run(
            "CREATE FUNCTION leaks() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM set_config('a.b', 'c', false); RETURN NEW; END $f$;
             CREATE TABLE mine (a int); CREATE TRIGGER l AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION leaks()"
        )
        .await;
    client.run("INSERT INTO mine VALUES (1)").await;
    assert_eq!(client.value("SELECT current_setting('a.b')").await, "c", "its backend is kept for it");
}

/// What the catalog of a large database weighs; how long its load takes is measured by `scripts/bench catalog`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_functions_and_tables_weigh_little() {
    const COUNT: usize = 10_000;
    const MOST: u64 = 10 << 20;
    let servers = own_cluster(0).await;
    tables(&servers, COUNT).await;
    functions(&servers, COUNT).await;
    let loader = loader(nodes(&servers, &[0]));
    let began = clock::now();
    let (names, ..) = session::catalog::names(&loader, DATABASE, Vec::new()).await.unwrap();
    let loaded = clock::now().since(began);
    let relation = |number| Relation { schema: "".into(), name: format!("t{number}").into(), written: true };
    let all: Vec<_> = (1..=COUNT).map(relation).collect();
    let began = clock::now();
    let (hangs, _) = loader.relations(DATABASE, "public", &all, Uses::Both).await.unwrap();
    let facts: Vec<_> = hangs.iter().map(|hangs| Facts::judge(hangs, &names)).collect();
    let asked = clock::now().since(began);
    assert!(facts.iter().all(|facts| *facts == Facts::CLEAR));
    // As a snapshot counts them: see its weigher.
    let relations: u64 = all.iter().map(|relation| 170 + relation.name.len() as u64).sum();
    let weight = names.weight() as u64 + relations;
    eprintln!(
        "{COUNT} functions: loaded in {loaded:?}; {COUNT} tables at once: {asked:?}; {} KiB in all",
        weight >> 10
    );
    assert!(weight <= MOST, "{weight} bytes");
}
