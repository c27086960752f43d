//! `/metrics`: what the model of status says, and what was counted.

use super::memory;
use super::rows::PoolRow;
use super::status::{ClusterStatus, Inspect, NodeRole, NodeState, NodeStatus, Status};
use crate::clock;
use crate::engine::PinReason;
use crate::telemetry::metrics::{Exposition, Labels};

type Gauge = (&'static str, &'static str, fn(&PoolRow) -> f64);

// PgBouncer's stems.
const POOL: &[Gauge] = &[
    ("cl_active", "Clients that hold a backend, or none and wait for nothing", |row| row.cl_active as f64),
    ("cl_waiting", "Clients that wait for a backend", |row| row.cl_waiting as f64),
    ("cl_active_cancel_req", "Cancel requests passed on", |row| row.cl_active_cancel_req as f64),
    ("cl_waiting_cancel_req", "Cancel requests that wait", |row| row.cl_waiting_cancel_req as f64),
    ("sv_active", "Backends that serve a client", |row| row.sv_active as f64),
    ("sv_active_cancel", "Backends that carry a cancel request", |row| row.sv_active_cancel as f64),
    ("sv_being_canceled", "Backends that wait for a cancel request's end", |row| {
        row.sv_being_canceled as f64
    }),
    ("sv_idle", "Backends that can be lent at once", |row| row.sv_idle as f64),
    ("sv_used", "Backends that are looked at before they are lent", |row| row.sv_used as f64),
    ("sv_tested", "Backends that are being reset or looked at", |row| row.sv_tested as f64),
    ("sv_login", "Backends that are logging in", |row| row.sv_login as f64),
    ("sv_pinned", "Backends that a session keeps beyond its transaction", |row| row.sv_pinned as f64),
    ("pool_size", "The most backends of the pool", |row| f64::from(row.size)),
    ("maxwait_seconds", "How long the first in the queue has waited", |row| row.maxwait_us as f64 * 1e-6),
];

/// The text of `/metrics`.
///
/// # Errors
/// When a metric cannot be written down: a mistake of ours.
pub fn text(inspect: &dyn Inspect) -> Result<String, std::fmt::Error> {
    let status = inspect.status();
    let mut out = Exposition::default();
    process(&mut out, &status);
    clusters(&mut out, &status);
    nodes(&mut out, &status);
    pools(&mut out, &inspect.pools(None));
    pinned(&mut out, inspect, &status);
    out.traffic(&inspect.traffic(), clock::now());
    out.render()
}

fn process(out: &mut Exposition, status: &Status) {
    let version = vec![("version", status.version.clone())];
    out.gauge("build", "Always 1; the version is a label", vec![(version, 1.0)]);
    out.gauge("uptime_seconds", "Since the process started", vec![(Vec::new(), status.uptime_seconds)]);
    out.gauge(
        "ready",
        "Whether new clients are welcome",
        vec![(Vec::new(), flag(status.not_ready().is_empty()))],
    );
    let resident = memory::resident().map(|bytes| (Vec::new(), bytes as f64));
    out.gauge("resident_memory_bytes", "Memory of the process", resident.into_iter().collect());
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn clusters(out: &mut Exposition, status: &Status) {
    let rows = |value: fn(&ClusterStatus) -> f64| {
        let label = |cluster: &ClusterStatus| (vec![("cluster", cluster.name.clone())], value(cluster));
        status.clusters.iter().map(label).collect()
    };
    out.gauge("cluster_epoch", "Counts changes of primary", rows(|one| one.epoch as f64));
    out.gauge(
        "cluster_has_primary",
        "Whether writes can be served",
        rows(|one| flag(one.live_primary().is_some())),
    );
    out.gauge("cluster_paused", "Whether an operator paused it", rows(|one| flag(one.paused)));
    out.gauge("clients", "Clients that are logged in", rows(|one| one.sessions.connected as f64));
    out.gauge("clients_limit", "The most clients", rows(|one| one.sessions.limit as f64));
    out.gauge(
        "clients_in_transaction",
        "Clients in a transaction",
        rows(|one| one.sessions.in_transaction as f64),
    );
    out.gauge("clients_replicating", "Replication connections", rows(|one| one.sessions.replicating as f64));
}

fn nodes(out: &mut Exposition, status: &Status) {
    let with = |value: &dyn Fn(&NodeStatus) -> Vec<(Labels, f64)>| {
        let mut rows = Vec::new();
        for cluster in &status.clusters {
            for node in &cluster.nodes {
                let own = [("cluster", cluster.name.clone()), ("node", node.name.clone())];
                rows.extend(
                    value(node).into_iter().map(|(more, value)| ([own.to_vec(), more].concat(), value)),
                );
            }
        }
        rows
    };
    let plain = |value: f64| vec![(Vec::new(), value)];
    let maybe = |value: Option<f64>| value.map(plain).unwrap_or_default();
    out.gauge(
        "node_role",
        "1 for the role that the node has",
        with(&|node| {
            let roles = [NodeRole::Primary, NodeRole::Replica, NodeRole::Unknown];
            roles.map(|role| (vec![("role", role.word().to_owned())], flag(role == node.role))).to_vec()
        }),
    );
    out.gauge(
        "node_up",
        "Whether it answers and may be used",
        with(&|node| plain(flag(node.state == NodeState::Up))),
    );
    out.gauge("node_draining", "Whether an operator took it out", with(&|node| plain(flag(node.draining))));
    out.gauge(
        "node_lag_bytes",
        "Behind the primary",
        with(&|node| maybe(node.lag_bytes.map(|bytes| bytes as f64))),
    );
    out.gauge("node_lag_seconds", "Behind the primary", with(&|node| maybe(node.lag_seconds)));
    out.gauge(
        "node_fresh_age_seconds",
        "Age of the newest acknowledgements that are known to be visible on it",
        with(&|node| maybe(node.fresh_age_seconds)),
    );
    out.gauge("node_connections", "Connections held on it", with(&|node| plain(f64::from(node.connections))));
    out.gauge(
        "node_connections_limit",
        "The most",
        with(&|node| maybe(node.connections_limit.map(f64::from))),
    );
    out.gauge("node_active", "Statements that it is running", with(&|node| plain(f64::from(node.active))));
}

fn pools(out: &mut Exposition, pools: &[PoolRow]) {
    let labels = |row: &PoolRow| {
        vec![
            ("cluster", row.cluster.clone()),
            ("database", row.database.clone()),
            ("user", row.user.clone()),
            ("node", row.node.clone().unwrap_or_default()),
        ]
    };
    for &(name, help, value) in POOL {
        out.gauge(name, help, pools.iter().map(|row| (labels(row), value(row))).collect());
    }
}

// Zeros are shown: an alert on a reason that has never happened must find it.
fn pinned(out: &mut Exposition, inspect: &dyn Inspect, status: &Status) {
    let pins = inspect.pins();
    let mut rows = Vec::new();
    for cluster in &status.clusters {
        for reason in PinReason::ALL.map(PinReason::word) {
            let here = pins.iter().filter(|pin| pin.cluster == cluster.name && pin.reason == reason).count();
            rows.push((vec![("cluster", cluster.name.clone()), ("reason", reason.to_owned())], here as f64));
        }
    }
    out.gauge("pinned", "Sessions that keep a backend now, by reason", rows);
}

#[cfg(test)]
mod tests;
