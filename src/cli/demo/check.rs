//! `primacy demo --check`: what must hold, measured through the running demo.

use super::load::{self, Session, Tally, percent};
use super::{CLUSTER, Demo};
use crate::app::App;
use crate::cli::admin::columns;
use anyhow::Context;
use std::fmt;
use std::sync::Arc;

/// Sessions that work at the same time.
const SESSIONS: i32 = 64;
/// What each of them writes and reads back.
const PAIRS: usize = 40;
/// Reads one after the other, without a pause.
const CLOSED_LOOP: usize = 1000;
/// The least share of them, after a write, that replicas must have served, in percent.
const COME_BACK: f64 = 95.0;
/// How far a replica's share may be from its weight's, of that share.
const TOLERANCE: f64 = 0.10;

/// What happened.
#[derive(Debug, Default)]
pub(super) struct Report {
    nodes: Vec<Vec<String>>,
    promises: Vec<Promise>,
    note: Option<String>,
}

#[derive(Debug)]
struct Promise {
    what: &'static str,
    wanted: String,
    found: String,
    held: bool,
}

/// Runs the workload.
///
/// # Errors
/// When it cannot even begin.
pub(super) async fn run(demo: &Demo, app: &App) -> anyhow::Result<Report> {
    let owner = load::connect(demo.port).await.context("logging in through Primacy")?;
    let rows = SESSIONS + 2;
    owner
        .batch_execute(&format!(
            "CREATE TABLE primacy_demo AS SELECT id, 0 AS n FROM generate_series(1, {rows}) AS id"
        ))
        .await
        .context("making the workload's table")?;
    let pins_before = pins(app);
    let mixed = load::sessions(demo.port, SESSIONS, PAIRS).await;
    let after_write = closed_loop(demo, SESSIONS + 1, true).await;
    let reader = closed_loop(demo, SESSIONS + 2, false).await;
    let pins = pins(app).saturating_sub(pins_before);
    owner.batch_execute("DROP TABLE primacy_demo").await.context("dropping the workload's table")?;
    Ok(Report::new(demo, &mixed, &after_write, &reader, pins))
}

async fn closed_loop(demo: &Demo, row: i32, writes: bool) -> Tally {
    match Session::open(demo.port, row).await {
        Ok(mut session) => {
            if writes {
                session.write().await;
            }
            session.reads(CLOSED_LOOP).await;
            session.close()
        }
        Err(error) => Tally { errors: 1, first_error: Some(error.to_string()), ..Tally::default() },
    }
}

/// Sessions that got pinned so far.
fn pins(app: &App) -> u64 {
    app.traffic.cluster(&Arc::from(CLUSTER)).totals().pins.iter().map(|(_, sessions)| sessions).sum()
}

impl Report {
    fn new(demo: &Demo, mixed: &Tally, after_write: &Tally, reader: &Tally, pins: u64) -> Self {
        let names = || demo.servers.endpoints().iter().map(|endpoint| endpoint.name.as_str());
        let primary = names().next().unwrap_or_default();
        let mut report = Self::default();
        report.shares(mixed, names().skip(1), primary);
        let all = [mixed, after_write, reader];
        let sum = |of: fn(&Tally) -> u64| all.iter().map(|tally| of(tally)).sum::<u64>();
        report.none("own reads that miss the session's last write", sum(|tally| tally.stale));
        report.none("reads on another connection that miss it", sum(|tally| tally.elsewhere));
        report.none("reads that go back in time", sum(|tally| tally.backwards));
        report.none("errors", sum(|tally| tally.errors));
        report.none("sessions pinned to a server connection", pins);
        let back = after_write.on_replicas(primary);
        report.at_least("of 1,000 reads after one write, on replicas", COME_BACK, back);
        report.at_least("of 1,000 reads without a write, on replicas", 100.0, reader.on_replicas(primary));
        report.note = all.iter().find_map(|tally| tally.first_error.clone());
        report
    }

    fn shares<'a>(&mut self, mixed: &Tally, replicas: impl Iterator<Item = &'a str> + Clone, primary: &str) {
        let served = |node: &str| mixed.reads.get(node).copied().unwrap_or(0);
        let reads: u64 = mixed.reads.values().sum();
        let spread: u64 = replicas.clone().map(served).sum();
        let weight = 100.0 / replicas.clone().count().max(1) as f64;
        let row = |node: &str, cells: [String; 3]| [vec![node.to_owned()], cells.to_vec()].concat();
        self.nodes.push(row("NODE", ["READS", "OF REPLICAS' READS", "BY WEIGHT"].map(str::to_owned)));
        self.nodes.push(row(primary, [served(primary).to_string(), "-".to_owned(), "-".to_owned()]));
        let mut even = spread > 0;
        for node in replicas {
            let share = percent(served(node), spread);
            even &= (share - weight).abs() <= weight * TOLERANCE;
            self.nodes.push(row(
                node,
                [served(node).to_string(), format!("{share:.1} %"), format!("{weight:.1} %")],
            ));
        }
        let on_replicas = percent(spread, reads);
        self.nodes.push(row(
            "",
            [
                format!("{reads} by {SESSIONS} sessions that made {} writes,", mixed.writes),
                format!("{on_replicas:.1} % on replicas"),
                String::new(),
            ],
        ));
        self.promises.push(Promise {
            what: "each replica's share of the reads",
            wanted: "weight ± 10 %".to_owned(),
            found: if even { "even" } else { "uneven" }.to_owned(),
            held: even,
        });
    }

    fn none(&mut self, what: &'static str, found: u64) {
        let promise = Promise { what, wanted: "0".to_owned(), found: found.to_string(), held: found == 0 };
        self.promises.push(promise);
    }

    fn at_least(&mut self, what: &'static str, least: f64, found: f64) {
        let wanted = if least < 100.0 { format!("≥ {least:.0} %") } else { "100 %".to_owned() };
        self.promises.push(Promise { what, wanted, found: format!("{found:.1} %"), held: found >= least });
    }

    /// Whether every promise held.
    pub(super) fn held(&self) -> bool {
        self.promises.iter().all(|promise| promise.held)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut promises = vec![["PROMISE", "WANTED", "FOUND", ""].map(str::to_owned).to_vec()];
        promises.extend(self.promises.iter().map(|promise| {
            let verdict = if promise.held { "held" } else { "NOT HELD" };
            vec![promise.what.to_owned(), promise.wanted.clone(), promise.found.clone(), verdict.to_owned()]
        }));
        write!(f, "{}\n{}", columns("  ", &self.nodes), columns("  ", &promises))?;
        if let Some(note) = &self.note {
            writeln!(f, "\nThe first error: {note}")?;
        }
        let broken: Vec<&str> =
            self.promises.iter().filter(|promise| !promise.held).map(|promise| promise.what).collect();
        if broken.is_empty() {
            writeln!(f, "\nAll held.")
        } else {
            writeln!(f, "\nNOT HELD: {}", broken.join("; "))
        }
    }
}
