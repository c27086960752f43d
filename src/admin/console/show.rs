//! `SHOW`: which tables there are, and the ones about the process and its clusters.

use super::super::status::{ClusterStatus, Inspect, NodeStatus};
use super::parse::VERBS;
use super::{Flavour, members, stats};
use crate::config::Row;
use crate::engine::table::{Cell, Kind, Table};
use std::collections::BTreeSet;

/// The PgBouncer whose columns [`Flavour::PgBouncer`] has.
const PGBOUNCER: &str = "PgBouncer 1.24.0";

/// What a table is made from.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) inspect: &'a dyn Inspect,
    pub(super) flavour: Flavour,
    pub(super) cluster: &'a str,
}

impl View<'_> {
    /// Whether a row of that cluster is shown.
    pub(super) fn shows(&self, cluster: &str) -> bool {
        self.flavour == Flavour::Primacy || cluster == self.cluster
    }

    /// PgBouncer's columns, then, in our flavour, ours.
    pub(super) fn table(&self, theirs: &[(&'static str, Kind)], ours: &[(&'static str, Kind)]) -> Table {
        match self.flavour {
            Flavour::Primacy => Table::new(&[theirs, ours].concat()),
            Flavour::PgBouncer => Table::new(theirs),
        }
    }

    /// Adds a row of both; what the flavour does not show is cut off.
    pub(super) fn push(&self, table: &mut Table, mut theirs: Vec<Cell>, ours: Vec<Cell>) {
        theirs.extend(ours);
        table.push(theirs);
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        self.inspect.status().clusters.into_iter().filter(|cluster| self.shows(&cluster.name)).collect()
    }
}

/// One table of `SHOW`.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) word: &'static str,
    about: &'static str,
    pub(super) table: fn(&View<'_>) -> Table,
}

const fn topic(word: &'static str, about: &'static str, table: fn(&View<'_>) -> Table) -> Topic {
    Topic { word, about, table }
}

/// Every table of `SHOW`.
pub(super) const TOPICS: &[Topic] = &[
    topic("NODES", "role, state, lag, position and freshness of each node", nodes),
    topic("POOLS", "connections per database, user and node", members::pools),
    topic("CLIENTS", "who is connected to us", members::clients),
    topic("SERVERS", "our connections to the servers", members::servers),
    topic("PINS", "sessions that keep a server's connection, and why", members::pins),
    topic("DOUBTS", "statements that raise floors only because it is not known what they do", stats::doubts),
    topic("STATS", "traffic per database: since the start, and on average", stats::stats),
    topic("STATS_TOTALS", "traffic per database since the start", stats::totals),
    topic("STATS_AVERAGES", "traffic per database of the last one to two minutes", stats::averages),
    topic("TOTALS", "traffic of all databases", stats::sums),
    topic("DATABASES", "the databases that clients can ask for", members::databases),
    topic("USERS", "the users that have pools", members::users),
    topic("LISTS", "how many there are of everything", lists),
    topic("CONFIG", "the configuration in force", config),
    topic("STATE", "active or paused", state),
    topic("MEM", "memory of the process", memory),
    topic("VERSION", "the version", version),
    topic("SOCKETS", "CLIENTS and SERVERS together", members::sockets),
    topic("ACTIVE_SOCKETS", "those of SOCKETS that are at work", members::active_sockets),
    topic("PEERS", "always empty: proxies need not know each other", peers),
    topic("PEER_POOLS", "always empty", peer_pools),
    topic("DNS_HOSTS", "always empty: names are resolved anew at each connect", dns_hosts),
    topic("DNS_ZONES", "always empty", dns_zones),
    topic("HELP", "this list", help),
];

use Kind::{Int, Text};

/// The answer to `SELECT 1`.
pub(super) fn one() -> Table {
    let mut table = Table::new(&[("?column?", Int)]);
    table.push(vec![Cell::Int(1)]);
    table
}

/// The answer to `SHOW` of a setting that drivers ask for.
pub(super) fn fixed(name: &'static str, value: &str) -> Table {
    let mut table = Table::new(&[(name, Text)]);
    table.push(vec![value.into()]);
    table
}

fn help(_: &View<'_>) -> Table {
    let mut table = Table::new(&[("command", Text), ("does", Text)]);
    for topic in TOPICS {
        table.push(vec![format!("SHOW {}", topic.word).into(), topic.about.into()]);
    }
    for &(verb, does) in VERBS {
        table.push(vec![verb.into(), does.into()]);
    }
    table
}

fn version(view: &View<'_>) -> Table {
    let ours = format!("Primacy {}", view.inspect.status().version);
    fixed(
        "version",
        &match view.flavour {
            Flavour::Primacy => ours,
            Flavour::PgBouncer => format!("{PGBOUNCER} ({ours})"),
        },
    )
}

fn nodes(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        ("cluster", Text),
        ("node", Text),
        ("address", Text),
        ("role", Text),
        ("state", Text),
        ("why", Text),
        ("lag_bytes", Int),
        ("lag_seconds", Text),
        ("position", Text),
        ("fresh_age_seconds", Text),
        ("version", Text),
        ("weight", Int),
        ("connections", Int),
        ("connections_limit", Int),
        ("active", Int),
        ("draining", Text),
        ("passive", Text),
        ("epoch", Int),
    ]);
    for cluster in view.clusters() {
        for node in &cluster.nodes {
            table.push(node_row(&cluster, node));
        }
    }
    table
}

fn node_row(cluster: &ClusterStatus, node: &NodeStatus) -> Vec<Cell> {
    vec![
        cluster.name.as_str().into(),
        node.name.as_str().into(),
        node.address.as_str().into(),
        node.role.word().into(),
        node.state.word().into(),
        node.why.clone().into(),
        node.lag_bytes.into(),
        node.lag_seconds.map(seconds).into(),
        node.position.clone().into(),
        node.fresh_age_seconds.map(seconds).into(),
        node.version.as_str().into(),
        node.weight.into(),
        node.connections.into(),
        node.connections_limit.into(),
        node.active.into(),
        yes(node.draining).into(),
        yes(node.passive).into(),
        cluster.epoch.into(),
    ]
}

fn seconds(value: f64) -> String {
    format!("{value:.3}")
}

pub(super) fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn config(view: &View<'_>) -> Table {
    let mut table = Table::new(&[("key", Text), ("value", Text), ("default", Text), ("changeable", Text)]);
    let mut push = |row: &Row| {
        table.push(vec![
            row.key.as_str().into(),
            row.value.as_str().into(),
            row.default.as_str().into(),
            yes(row.changeable).into(),
        ]);
    };
    if view.flavour == Flavour::PgBouncer {
        // PgBouncer's exporters read these two by name.
        let limit: u64 = view.clusters().iter().map(|cluster| cluster.sessions.limit).sum();
        let alias = |key: &str, value: String| Row {
            key: key.to_owned(),
            value: value.clone(),
            default: value,
            changeable: true,
        };
        push(&alias("max_client_conn", limit.to_string()));
        push(&alias("max_user_connections", "0".to_owned()));
    }
    view.inspect.config().iter().for_each(push);
    table
}

fn state(view: &View<'_>) -> Table {
    let clusters = view.clusters();
    let paused = !clusters.is_empty() && clusters.iter().all(|cluster| cluster.paused);
    let mut table = Table::new(&[("key", Text), ("value", Text)]);
    for (key, is) in [("active", !paused), ("paused", paused), ("suspended", false)] {
        table.push(vec![key.into(), yes(is).into()]);
    }
    table
}

fn lists(view: &View<'_>) -> Table {
    let pools: Vec<_> = members::pool_rows(view);
    let users: BTreeSet<_> = pools.iter().map(|pool| &pool.user).collect();
    let databases = view.inspect.databases().iter().filter(|row| view.shows(&row.cluster)).count();
    let clients = view.inspect.clients().iter().filter(|row| view.shows(&row.cluster)).count();
    let servers = view.inspect.servers().iter().filter(|row| view.shows(&row.cluster)).count();
    let mut table = Table::new(&[("list", Text), ("items", Int)]);
    for (list, items) in [
        ("databases", databases),
        ("users", users.len()),
        ("peers", 0),
        ("pools", pools.len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", clients),
        ("login_clients", 0),
        ("free_servers", 0),
        ("used_servers", servers),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ] {
        table.push(vec![list.into(), u64::try_from(items).unwrap_or(u64::MAX).into()]);
    }
    table
}

fn memory(_: &View<'_>) -> Table {
    let mut table =
        Table::new(&[("name", Text), ("size", Int), ("used", Int), ("free", Int), ("memtotal", Int)]);
    if let Some(resident) = super::super::memory::resident() {
        table.push(vec!["process".into(), 1_u64.into(), resident.into(), 0_u64.into(), resident.into()]);
    }
    table
}

fn peers(_: &View<'_>) -> Table {
    Table::new(&[("peer_id", Int), ("host", Text), ("port", Int), ("pool_size", Int)])
}

fn peer_pools(_: &View<'_>) -> Table {
    Table::new(&[
        ("peer_id", Int),
        ("cl_active_cancel_req", Int),
        ("cl_waiting_cancel_req", Int),
        ("sv_active_cancel", Int),
        ("sv_login", Int),
    ])
}

fn dns_hosts(_: &View<'_>) -> Table {
    Table::new(&[("hostname", Text), ("ttl", Int), ("addrs", Text)])
}

fn dns_zones(_: &View<'_>) -> Table {
    Table::new(&[("zonename", Text), ("serial", Int), ("count", Int)])
}
