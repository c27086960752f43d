//! The OpenMetrics text that `/metrics` answers: families are gathered from snapshots, prometheus-client writes them down.

use super::counters::{ClusterStats, Count, Totals};
use super::histogram;
use super::traffic::{Row, Traffic};
use crate::clock::Tick;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::fmt;

/// What [`Exposition::render`] is: the value of the HTTP header `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric's labels, in order.
pub type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Rows {
    Gauge(Vec<(Labels, f64)>),
    Counter(Vec<(Labels, f64)>),
    Histogram(Vec<(Labels, histogram::Snapshot)>),
}

/// Families of metrics, gathered for one scrape. Names are given without the prefix `primacy_` and without `_total`; each is given once.
#[derive(Debug, Default)]
pub struct Exposition(Vec<(&'static str, &'static str, Rows)>);

impl Exposition {
    /// Adds a family of values that rise and fall.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, rows: Vec<(Labels, f64)>) {
        self.0.push((name, help, Rows::Gauge(rows)));
    }

    /// Adds a family of values that only rise.
    pub fn counter(&mut self, name: &'static str, help: &'static str, rows: Vec<(Labels, f64)>) {
        self.0.push((name, help, Rows::Counter(rows)));
    }

    /// Adds a family of durations, in seconds.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        rows: Vec<(Labels, histogram::Snapshot)>,
    ) {
        self.0.push((name, help, Rows::Histogram(rows)));
    }

    /// Everything that was counted on the queries' way.
    pub fn traffic(&mut self, traffic: &Traffic, now: Tick) {
        self.traffic_by_user(&traffic.rows(now));
        self.traffic_by_cluster(traffic);
    }

    fn traffic_by_user(&mut self, rows: &[Row]) {
        for count in Count::ALL {
            let (name, help, scale) = describe(count);
            let value = |totals: &Totals| totals.get(count) as f64 * scale;
            self.counter(name, help, rows.iter().map(|row| (labels(row), value(&row.total))).collect());
        }
    }

    fn traffic_by_cluster(&mut self, traffic: &Traffic) {
        let clusters = traffic.clusters();
        let (mut events, mut routed, mut pins, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut queries, mut steps, mut doubts) = (Vec::new(), Vec::new(), Vec::new());
        for (name, stats) in &clusters {
            let cluster = || ("cluster", name.to_string());
            let totals = stats.totals();
            let with = |label: &'static str, word: &str| vec![cluster(), (label, word.to_owned())];
            events.extend(totals.counts.iter().map(|&(word, value)| (with("event", word), value as f64)));
            pins.extend(totals.pins.iter().map(|&(word, value)| (with("reason", word), value as f64)));
            errors.extend(totals.errors.iter().map(|&(word, value)| (with("fault", word), value as f64)));
            routed.extend(totals.routed.iter().map(|&(word, value)| {
                let mut labels = vec![cluster()];
                labels
                    .extend(["class", "role", "reason"].into_iter().zip(word.split(':').map(str::to_owned)));
                (labels, value as f64)
            }));
            doubts.extend(doubtful(name, stats));
            queries.push((with("role", "primary"), stats.query_primary.snapshot()));
            queries.push((with("role", "replica"), stats.query_replica.snapshot()));
            steps.push((with("step", "wait"), stats.wait.snapshot()));
            steps.push((with("step", "barrier"), stats.barrier.snapshot()));
            steps.push((with("step", "connect"), stats.connect.snapshot()));
            steps.push((with("step", "login"), stats.login.snapshot()));
        }
        self.counter("events", "Things that happened, by kind", events);
        self.counter("routed", "Statements by class, the role of the node that served them, and why", routed);
        self.counter("pins", "Sessions that got pinned to a backend, by reason", pins);
        self.counter("errors", "Errors by whose fault they are", errors);
        let help =
            "Statements that raised the floor of a database's reads because it is not known what they do";
        self.counter("doubtful_writes", help, doubts);
        self.histogram("query_duration_seconds", "From a unit's first byte to the end of its reply", queries);
        self.histogram(
            "step_duration_seconds",
            "Waiting for a backend or for freshness, connecting, logging in",
            steps,
        );
    }

    /// The text, ended by `# EOF`.
    ///
    /// # Errors
    /// When a metric's name or value cannot be written down: a mistake of ours.
    pub fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("primacy");
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

fn doubtful(cluster: &str, stats: &ClusterStats) -> Vec<(Labels, f64)> {
    let (shapes, others) = stats.doubts.all();
    let row = |database: &str, reason: &str, statement: &str, raised: u64| {
        let labels = [("database", database), ("reason", reason), ("statement", statement)];
        let labels = labels.map(|(name, value)| (name, value.to_owned()));
        ([vec![("cluster", cluster.to_owned())], labels.to_vec()].concat(), raised as f64)
    };
    let mut rows: Vec<_> =
        shapes.iter().map(|one| row(&one.database, &one.reason, &one.text, one.raised)).collect();
    rows.push(row("", "others", "", others));
    rows
}

fn labels(row: &Row) -> Labels {
    vec![
        ("cluster", row.whose.cluster.to_string()),
        ("database", row.whose.database.to_string()),
        ("user", row.whose.user.to_string()),
    ]
}

fn describe(count: Count) -> (&'static str, &'static str, f64) {
    const MICRO: f64 = 1e-6;
    match count {
        Count::Assignments => ("server_assignment_count", "Backends lent to a client", 1.0),
        Count::Transactions => ("xact_count", "Transactions, single statements included", 1.0),
        Count::Queries => ("query_count", "Queries", 1.0),
        Count::Received => ("received_bytes", "Bytes from clients", 1.0),
        Count::Sent => ("sent_bytes", "Bytes to clients", 1.0),
        Count::XactTime => ("xact_time_seconds", "Time inside transactions", MICRO),
        Count::QueryTime => ("query_time_seconds", "Time that servers took to answer", MICRO),
        Count::WaitTime => ("wait_time_seconds", "Time that clients waited for a backend", MICRO),
        Count::ClientParses => ("client_parse_count", "Statements prepared by clients", 1.0),
        Count::ServerParses => ("server_parse_count", "Statements prepared on servers", 1.0),
        Count::Binds => ("bind_count", "Prepared statements bound", 1.0),
        Count::Logins => ("client_login_count", "Logins that succeeded", 1.0),
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, help, rows) in &self.0 {
            match rows {
                Rows::Gauge(rows) => {
                    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                    each(&mut family, rows, |metric, value| metric.encode_gauge(value))?;
                }
                Rows::Counter(rows) => {
                    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                    each(&mut family, rows, |metric, value| {
                        metric.encode_counter::<NoLabelSet, _, f64>(value, None)
                    })?;
                }
                Rows::Histogram(rows) => {
                    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
                    each(&mut family, rows, |metric, value| {
                        let buckets = buckets(value);
                        let sum = value.sum_us as f64 * 1e-6;
                        metric.encode_histogram::<NoLabelSet>(sum, value.count(), &buckets, None)
                    })?;
                }
            }
        }
        Ok(())
    }
}

fn each<V>(
    family: &mut MetricEncoder<'_>,
    rows: &[(Labels, V)],
    encode: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
) -> fmt::Result {
    rows.iter().try_for_each(|(labels, value)| {
        if labels.is_empty() {
            return encode(family, value);
        }
        let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, escaped(value))).collect();
        encode(&mut family.encode_family(&labels)?, value)
    })
}

// The library writes values as they are, but a database's name may hold anything.
fn escaped(value: &str) -> Cow<'_, str> {
    if value.contains(['\\', '"', '\n']) {
        return Cow::Owned(value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
    }
    Cow::Borrowed(value)
}

// The library's word for infinity is the greatest number.
fn buckets(snapshot: &histogram::Snapshot) -> Vec<(f64, u64)> {
    snapshot.doublings().into_iter().map(|(bound, count)| (bound.min(f64::MAX), count)).collect()
}
