//! Promise: what VACUUM on the primary does to long reads on replicas is seen by no client whose answer had not begun; an answer that had ends with
//! one error, and the session goes on.

use crate::support::raw::{Message, Raw};
use crate::support::{Config, Database, Primacy, eventually, http, own_cluster};
use primacy::engine::embedded::{APP, DATABASE, Embedded};
use primacy::postgres::embedded::Cluster;
use primacy::postgres::wire;
use primacy::task;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const READERS: usize = 12;
/// So many conflicts must have been met, and so many answers cut.
const CONFLICTS: f64 = 40.0;
const CUTS: u64 = 10;

/// What readers met.
#[derive(Default)]
struct Met {
    whole: AtomicU64,
    cut: AtomicU64,
    stop: AtomicBool,
}

async fn metric(primacy: &Primacy, start: &str) -> f64 {
    let (_, text) = http::get(primacy.admin_port, "/metrics").await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Rows that reads need are changed, deleted and cleaned away all the time, the end of the table is cut off, and its index shrinks.
async fn churn(servers: Arc<Cluster>, met: Arc<Met>) {
    let mut turn = 0;
    while !met.stop.load(Ordering::Relaxed) {
        turn += 1;
        for text in [
            &*format!("UPDATE hot SET n = n + 1 WHERE id % 10 = {}", turn % 10),
            "DELETE FROM hot WHERE id > 2000",
            "VACUUM hot",
            "INSERT INTO hot SELECT g, 0, repeat('x', 200) FROM generate_series(2001, 2500) g",
        ] {
            servers.sql(0, DATABASE, text).await.unwrap();
        }
    }
}

/// A read whose answer comes at its end, one whose rows come as they are found, and the first as a prepared statement. What is never repeated (its
/// alias) makes each of them its own shape: a shape that was hit twice would stay on the primary.
fn read(reader: usize, turn: usize) -> (Vec<u8>, bool) {
    // Some are always the same.
    let alias = if reader % 6 == 5 { "same".to_owned() } else { format!("r{reader}_{turn}") };
    let whole = format!(
        "SELECT sum({alias}.id), (SELECT pg_sleep(0.15) IS NULL) FROM hot {alias} WHERE {alias}.id <= 2000"
    );
    let rows = format!("SELECT {alias}.id, pad, pg_sleep(0.002) FROM hot {alias} WHERE {alias}.id <= 200");
    let mut out = Vec::new();
    match reader % 3 {
        0 => wire::query(&mut out, &whole),
        1 => wire::query(&mut out, &rows),
        _ => {
            wire::parse(&mut out, b"", whole.as_bytes(), &[]);
            wire::bind(&mut out, "", "", std::iter::empty());
            wire::describe(&mut out, b'P', b"");
            wire::execute(&mut out, "", 0);
            wire::sync(&mut out);
        }
    }
    (out, reader % 3 == 1)
}

/// Whether the answer is whole; else it had begun, and is cut by the one error that may cut it.
fn is_whole(answer: &[Message], by_rows: bool) -> bool {
    let errors: Vec<_> = answer.iter().filter(|message| message.tag == b'E').collect();
    let rows: Vec<_> = answer.iter().filter(|message| message.tag == b'D').collect();
    let Some(error) = errors.first() else {
        if by_rows {
            assert_eq!(rows.len(), 200);
        } else {
            assert_eq!(rows[0].values()[0].as_deref(), Some("2001000"), "{answer:?}");
        }
        return true;
    };
    assert!(!rows.is_empty(), "no byte of the answer had left, and it is an error: {error:?}");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(error.field(b'C').as_deref(), Some("40001"), "{error:?}");
    let [.., before, last] = answer else { panic!("{answer:?}") };
    assert_eq!((before.tag, last.tag, &*last.body), (b'E', b'Z', &b"I"[..]), "{last:?}");
    false
}

async fn reads(port: u16, reader: usize, met: Arc<Met>) {
    let database = Database { name: DATABASE.into(), user: APP.user.into(), password: APP.password.into() };
    let mut client = Raw::connect(&database, port).await;
    let mut turn = 0;
    while !met.stop.load(Ordering::Relaxed) {
        turn += 1;
        let (bytes, by_rows) = read(reader, turn);
        client.send(&bytes).await;
        let answer = client.read_until("Z").await;
        assert!(!answer.iter().any(|message| message.tag == b'!'), "{answer:?}");
        let kind = if is_whole(&answer, by_rows) { &met.whole } else { &met.cut };
        kind.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_costs_no_read_whose_answer_had_not_begun() {
    let servers = Arc::new(own_cluster(2).await);
    for node in [1, 2] {
        servers.sql(node, "postgres", "ALTER SYSTEM SET max_standby_streaming_delay = '20ms'").await.unwrap();
        servers.sql(node, "postgres", "SELECT pg_reload_conf()").await.unwrap();
    }
    let made = "CREATE TABLE hot (id int, n int, pad text) WITH (autovacuum_enabled = off); CREATE INDEX ON hot (id);
                INSERT INTO hot SELECT g, 0, repeat('x', 200) FROM generate_series(1, 2000) g; GRANT SELECT ON hot TO PUBLIC";
    servers.sql(0, DATABASE, made).await.unwrap();
    servers.wait_caught_up().await.unwrap();
    let primacy = Primacy::start(Config::new(&servers.yaml()).cluster("pool: { size: 12 }")).await;
    let met = Arc::new(Met::default());
    let mut work = vec![task::spawn("churn", churn(Arc::clone(&servers), Arc::clone(&met)))];
    for reader in 0..READERS {
        work.push(task::spawn("reader", reads(primacy.port, reader, Arc::clone(&met))));
    }
    let conflicts = "primacy_events_total{cluster=\"main\",event=\"conflicts\"}";
    eventually("many reads have met VACUUM", async || {
        // Whoever fails says so at once.
        let enough =
            metric(&primacy, conflicts).await >= CONFLICTS && met.cut.load(Ordering::Relaxed) >= CUTS;
        (enough || work.iter().any(|work| work.is_finished())).then_some(())
    })
    .await;
    met.stop.store(true, Ordering::Relaxed);
    futures_util::future::try_join_all(work).await.unwrap();
    let on = async |role: &str| {
        let (_, text) = http::get(primacy.admin_port, "/metrics").await.unwrap();
        let (class, role) = ("class=\"read\"", format!("role=\"{role}\""));
        let lines = text.lines().filter(|line| {
            line.starts_with("primacy_routed_total") && line.contains(class) && line.contains(&role)
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let (replicas, primary) = (on("replica").await, on("primary").await);
    eprintln!(
        "{} reads whole, {} cut in the middle, {} conflicts before the first byte; sent to replicas {replicas} times, to the primary {primary} times",
        met.whole.load(Ordering::Relaxed),
        met.cut.load(Ordering::Relaxed),
        metric(&primacy, conflicts).await,
    );
    assert!(replicas > primary, "too few reads were on replicas to prove anything");
}
