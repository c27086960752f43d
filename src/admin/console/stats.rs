//! `SHOW STATS` and its kin: PgBouncer's figures, its way of averaging them, its order.

use super::show::View;
use crate::engine::table::{Cell, Kind, Table};
use crate::telemetry::Count;
use crate::telemetry::counters::Totals;
use crate::telemetry::traffic::Row;
use std::sync::Arc;

use Kind::{Int, Text};

// PgBouncer's order: name in totals, name in averages, name in the tables of one kind, figure.
const FIGURES: &[(&str, &str, &str, Count)] = &[
    (
        "total_server_assignment_count",
        "avg_server_assignment_count",
        "server_assignment_count",
        Count::Assignments,
    ),
    ("total_xact_count", "avg_xact_count", "xact_count", Count::Transactions),
    ("total_query_count", "avg_query_count", "query_count", Count::Queries),
    ("total_received", "avg_recv", "bytes_received", Count::Received),
    ("total_sent", "avg_sent", "bytes_sent", Count::Sent),
    ("total_xact_time", "avg_xact_time", "xact_time", Count::XactTime),
    ("total_query_time", "avg_query_time", "query_time", Count::QueryTime),
    ("total_wait_time", "avg_wait_time", "wait_time", Count::WaitTime),
    ("total_client_parse_count", "avg_client_parse_count", "client_parse_count", Count::ClientParses),
    ("total_server_parse_count", "avg_server_parse_count", "server_parse_count", Count::ServerParses),
    ("total_bind_count", "avg_bind_count", "bind_count", Count::Binds),
];

struct Traffic {
    cluster: Arc<str>,
    database: Arc<str>,
    total: Totals,
    recent: Totals,
    window_us: u64,
}

impl Traffic {
    fn totals(&self) -> impl Iterator<Item = Cell> {
        FIGURES.iter().map(|figure| self.total.get(figure.3).into())
    }

    fn averages(&self) -> impl Iterator<Item = Cell> {
        FIGURES.iter().map(|figure| average(&self.recent, self.window_us, figure.3).into())
    }

    fn merge(&mut self, other: &Self) {
        self.total = self.total.plus(&other.total);
        self.recent = self.recent.plus(&other.recent);
        self.window_us = self.window_us.max(other.window_us);
    }
}

impl From<&Row> for Traffic {
    fn from(row: &Row) -> Self {
        Self {
            cluster: Arc::clone(&row.whose.cluster),
            database: Arc::clone(&row.whose.database),
            total: row.total,
            recent: row.recent,
            window_us: u64::try_from(row.window.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

// Durations are per transaction or query, everything else (waiting too) is per second.
fn average(recent: &Totals, window_us: u64, figure: Count) -> u64 {
    let amount = u128::from(recent.get(figure));
    let (times, by) = match figure {
        Count::XactTime => (1, recent.get(Count::Transactions)),
        Count::QueryTime => (1, recent.get(Count::Queries)),
        _ => (1_000_000, window_us),
    };
    (amount * times).checked_div(u128::from(by)).map_or(0, |value| u64::try_from(value).unwrap_or(u64::MAX))
}

// The users' traffic together, one line per database. The rows come in order of cluster and database.
fn by_database(view: &View<'_>) -> Vec<Traffic> {
    let mut lines: Vec<Traffic> = Vec::new();
    for row in view.inspect.stats().iter().filter(|row| view.shows(&row.whose.cluster)) {
        let line = Traffic::from(row);
        match lines.last_mut().filter(|last| last.cluster == line.cluster && last.database == line.database) {
            Some(last) => last.merge(&line),
            None => lines.push(line),
        }
    }
    lines
}

/// `SHOW DOUBTS`: after those that are told apart, one row for all others.
pub(super) fn doubts(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        ("cluster", Text),
        ("database", Text),
        ("raised", Int),
        ("reason", Text),
        ("statement", Text),
    ]);
    for (cluster, stats) in view.inspect.traffic().clusters() {
        if !view.shows(&cluster) {
            continue;
        }
        let (shapes, others) = stats.doubts.all();
        for one in shapes {
            let (database, reason, text) =
                (one.database.to_string(), one.reason.to_string(), one.text.to_string());
            table.push(vec![
                cluster.to_string().into(),
                database.into(),
                one.raised.into(),
                reason.into(),
                text.into(),
            ]);
        }
        if others > 0 {
            let empty = || Cell::from("");
            table.push(vec![cluster.to_string().into(), empty(), others.into(), "others".into(), empty()]);
        }
    }
    table
}

/// `SHOW STATS`.
pub(super) fn stats(view: &View<'_>) -> Table {
    let mut columns = vec![("database", Text)];
    columns.extend(FIGURES.iter().map(|figure| (figure.0, Int)));
    columns.extend(FIGURES.iter().map(|figure| (figure.1, Int)));
    let mut table = view.table(&columns, &[("total_client_login_count", Int), ("cluster", Text)]);
    for line in by_database(view) {
        let mut theirs = vec![Cell::from(&*line.database)];
        theirs.extend(line.totals());
        theirs.extend(line.averages());
        view.push(&mut table, theirs, vec![line.total.get(Count::Logins).into(), (&*line.cluster).into()]);
    }
    table
}

/// `SHOW STATS_TOTALS`.
pub(super) fn totals(view: &View<'_>) -> Table {
    one_kind(view, |line| line.totals().collect())
}

/// `SHOW STATS_AVERAGES`.
pub(super) fn averages(view: &View<'_>) -> Table {
    one_kind(view, |line| line.averages().collect())
}

fn one_kind(view: &View<'_>, figures: impl Fn(&Traffic) -> Vec<Cell>) -> Table {
    let mut columns = vec![("database", Text)];
    columns.extend(FIGURES.iter().map(|figure| (figure.2, Int)));
    let mut table = view.table(&columns, &[("cluster", Text)]);
    for line in by_database(view) {
        let mut theirs = vec![Cell::from(&*line.database)];
        theirs.extend(figures(&line));
        view.push(&mut table, theirs, vec![(&*line.cluster).into()]);
    }
    table
}

/// `SHOW TOTALS`.
pub(super) fn sums(view: &View<'_>) -> Table {
    let mut table = Table::new(&[("name", Text), ("value", Int)]);
    let (total, recent) = (Totals::default(), Totals::default());
    let mut all = Traffic { cluster: "".into(), database: "".into(), total, recent, window_us: 0 };
    by_database(view).iter().for_each(|line| all.merge(line));
    let totals = FIGURES.iter().map(|figure| figure.0).zip(all.totals());
    let averages = FIGURES.iter().map(|figure| figure.1).zip(all.averages());
    totals.chain(averages).for_each(|(name, value)| table.push(vec![name.into(), value]));
    table
}
