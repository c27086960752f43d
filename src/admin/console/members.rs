//! `SHOW` of what there are many of: pools, clients, servers, pins, databases, users.

use super::super::rows::{PoolRow, SocketRow};
use super::Flavour;
use super::show::{View, yes};
use crate::admin::when;
use crate::engine::table::{Cell, Kind, Table};
use std::collections::BTreeMap;

use Kind::{Int, Text};

const MICRO: u64 = 1_000_000;

/// The pools that are shown: PgBouncer has one per database and user, we have one per node besides.
pub(super) fn pool_rows(view: &View<'_>) -> Vec<PoolRow> {
    let rows = view.inspect.pools(match view.flavour {
        Flavour::Primacy => None,
        Flavour::PgBouncer => Some(view.cluster),
    });
    if view.flavour == Flavour::Primacy {
        return rows;
    }
    let mut merged: BTreeMap<(String, String), PoolRow> = BTreeMap::new();
    for row in rows {
        let key = (row.database.clone(), row.user.clone());
        match merged.get_mut(&key) {
            Some(into) => merge(into, &row),
            None => drop(merged.insert(key, row)),
        }
    }
    merged.into_values().collect()
}

fn merge(into: &mut PoolRow, row: &PoolRow) {
    into.cl_active += row.cl_active;
    into.cl_waiting += row.cl_waiting;
    into.cl_active_cancel_req += row.cl_active_cancel_req;
    into.cl_waiting_cancel_req += row.cl_waiting_cancel_req;
    into.sv_active += row.sv_active;
    into.sv_active_cancel += row.sv_active_cancel;
    into.sv_being_canceled += row.sv_being_canceled;
    into.sv_idle += row.sv_idle;
    into.sv_used += row.sv_used;
    into.sv_tested += row.sv_tested;
    into.sv_login += row.sv_login;
    into.sv_pinned += row.sv_pinned;
    into.maxwait_us = into.maxwait_us.max(row.maxwait_us);
}

/// `SHOW POOLS`.
pub(super) fn pools(view: &View<'_>) -> Table {
    let mut table = view.table(
        &[
            ("database", Text),
            ("user", Text),
            ("cl_active", Int),
            ("cl_waiting", Int),
            ("cl_active_cancel_req", Int),
            ("cl_waiting_cancel_req", Int),
            ("sv_active", Int),
            ("sv_active_cancel", Int),
            ("sv_being_canceled", Int),
            ("sv_idle", Int),
            ("sv_used", Int),
            ("sv_tested", Int),
            ("sv_login", Int),
            ("maxwait", Int),
            ("maxwait_us", Int),
            ("pool_mode", Text),
            ("load_balance_hosts", Text),
        ],
        &[("cluster", Text), ("node", Text), ("sv_pinned", Int), ("pool_size", Int), ("paused", Text)],
    );
    for row in pool_rows(view) {
        let theirs = vec![
            row.database.into(),
            row.user.into(),
            row.cl_active.into(),
            row.cl_waiting.into(),
            row.cl_active_cancel_req.into(),
            row.cl_waiting_cancel_req.into(),
            row.sv_active.into(),
            row.sv_active_cancel.into(),
            row.sv_being_canceled.into(),
            row.sv_idle.into(),
            row.sv_used.into(),
            row.sv_tested.into(),
            row.sv_login.into(),
            (row.maxwait_us / MICRO).into(),
            (row.maxwait_us % MICRO).into(),
            row.mode.into(),
            Cell::Null,
        ];
        let ours = vec![
            row.cluster.into(),
            row.node.into(),
            row.sv_pinned.into(),
            row.size.into(),
            yes(row.paused).into(),
        ];
        view.push(&mut table, theirs, ours);
    }
    table
}

const SOCKET: [(&str, Kind); 21] = [
    ("type", Text),
    ("user", Text),
    ("database", Text),
    ("replication", Text),
    ("state", Text),
    ("addr", Text),
    ("port", Int),
    ("local_addr", Text),
    ("local_port", Int),
    ("connect_time", Text),
    ("request_time", Text),
    ("wait", Int),
    ("wait_us", Int),
    ("close_needed", Int),
    ("ptr", Text),
    ("link", Text),
    ("remote_pid", Int),
    ("tls", Text),
    ("application_name", Text),
    ("prepared_statements", Int),
    ("id", Int),
];

/// `SHOW CLIENTS`.
pub(super) fn clients(view: &View<'_>) -> Table {
    socket_table(view, &SOCKET, view.inspect.clients().into_iter().map(|row| ("C", row)))
}

/// `SHOW SERVERS`.
pub(super) fn servers(view: &View<'_>) -> Table {
    socket_table(view, &SOCKET, view.inspect.servers().into_iter().map(|row| ("S", row)))
}

/// `SHOW SOCKETS`.
pub(super) fn sockets(view: &View<'_>) -> Table {
    socket_table(view, &with_positions(), both(view))
}

/// `SHOW ACTIVE_SOCKETS`.
pub(super) fn active_sockets(view: &View<'_>) -> Table {
    socket_table(view, &with_positions(), both(view).filter(|(_, row)| row.state.ends_with("active")))
}

// PgBouncer says `cl_active` and `sv_idle` where clients and servers stand in one table.
fn both(view: &View<'_>) -> impl Iterator<Item = (&'static str, SocketRow)> {
    let of = |prefix: &'static str, kind: &'static str, rows: Vec<SocketRow>| {
        rows.into_iter().map(move |row| (kind, SocketRow { state: format!("{prefix}_{}", row.state), ..row }))
    };
    of("cl", "C", view.inspect.clients()).chain(of("sv", "S", view.inspect.servers()))
}

// Where its buffers stand; we have none that outlive a query.
fn with_positions() -> Vec<(&'static str, Kind)> {
    let positions =
        ["recv_pos", "pkt_pos", "pkt_remain", "send_pos", "send_remain", "pkt_avail", "send_avail"];
    SOCKET.into_iter().chain(positions.map(|name| (name, Int))).collect()
}

fn socket_table(
    view: &View<'_>,
    columns: &[(&'static str, Kind)],
    rows: impl Iterator<Item = (&'static str, SocketRow)>,
) -> Table {
    let mut table = view.table(columns, &[("cluster", Text), ("node", Text), ("pin", Text)]);
    for (kind, row) in rows.filter(|(_, row)| view.shows(&row.cluster)) {
        let ours = vec![row.cluster.as_str().into(), row.node.clone().into(), row.pin.clone().into()];
        let mut theirs = socket_row(kind, row);
        theirs.resize(columns.len(), Cell::Int(0));
        view.push(&mut table, theirs, ours);
    }
    table
}

fn socket_row(kind: &str, row: SocketRow) -> Vec<Cell> {
    // PgBouncer shows addresses of its own memory here: what counts is that `link` is the `ptr` of the other side.
    let other = if kind == "C" { "S" } else { "C" };
    vec![
        kind.into(),
        row.user.into(),
        row.database.into(),
        row.replication.into(),
        row.state.into(),
        row.addr.into(),
        row.port.into(),
        row.local_addr.into(),
        row.local_port.into(),
        when::utc(row.connected_us).into(),
        when::utc(row.request_us).into(),
        (row.wait_us / MICRO).into(),
        (row.wait_us % MICRO).into(),
        row.close_needed.into(),
        format!("{kind}{}", row.id).into(),
        row.link.map(|link| format!("{other}{link}")).unwrap_or_default().into(),
        row.remote_pid.into(),
        row.tls.into(),
        row.application_name.into(),
        row.prepared_statements.into(),
        row.id.into(),
    ]
}

/// `SHOW PINS`.
pub(super) fn pins(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        ("client", Int),
        ("server", Int),
        ("cluster", Text),
        ("node", Text),
        ("database", Text),
        ("user", Text),
        ("application_name", Text),
        ("reason", Text),
        ("certainty", Text),
        ("age_seconds", Int),
        ("statement", Text),
    ]);
    for row in view.inspect.pins().into_iter().filter(|row| view.shows(&row.cluster)) {
        table.push(vec![
            row.client.into(),
            row.server.into(),
            row.cluster.into(),
            row.node.into(),
            row.database.into(),
            row.user.into(),
            row.application_name.into(),
            row.reason.into(),
            row.certainty.into(),
            (row.age_us / MICRO).into(),
            row.statement.into(),
        ]);
    }
    table
}

/// `SHOW DATABASES`.
pub(super) fn databases(view: &View<'_>) -> Table {
    let mut table = view.table(
        &[
            ("name", Text),
            ("host", Text),
            ("port", Int),
            ("database", Text),
            ("force_user", Text),
            ("pool_size", Int),
            ("min_pool_size", Int),
            ("reserve_pool_size", Int),
            ("server_lifetime", Int),
            ("pool_mode", Text),
            ("load_balance_hosts", Text),
            ("max_connections", Int),
            ("current_connections", Int),
            ("max_client_connections", Int),
            ("current_client_connections", Int),
            ("paused", Int),
            ("disabled", Int),
        ],
        &[("cluster", Text)],
    );
    for row in view.inspect.databases().into_iter().filter(|row| view.shows(&row.cluster)) {
        let theirs = vec![
            row.name.into(),
            row.host.into(),
            row.port.into(),
            row.database.into(),
            Cell::Null,
            row.pool_size.into(),
            row.min_idle.into(),
            Cell::Int(0),
            row.max_age_seconds.into(),
            row.mode.into(),
            Cell::Null,
            row.max_connections.into(),
            row.connections.into(),
            row.max_clients.into(),
            row.clients.into(),
            row.paused.into(),
            Cell::Int(0),
        ];
        view.push(&mut table, theirs, vec![row.cluster.into()]);
    }
    table
}

/// `SHOW USERS`.
pub(super) fn users(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        ("name", Text),
        ("pool_size", Text),
        ("reserve_pool_size", Text),
        ("pool_mode", Text),
        ("max_user_connections", Int),
        ("current_connections", Int),
        ("max_user_client_connections", Int),
        ("current_client_connections", Int),
    ]);
    let mut users: BTreeMap<String, (PoolRow, u64, u64)> = BTreeMap::new();
    for row in pool_rows(view) {
        let servers = row.sv_active + row.sv_idle + row.sv_used + row.sv_tested + row.sv_login;
        let clients = row.cl_active + row.cl_waiting;
        let user = users.entry(row.user.clone()).or_insert((row, 0, 0));
        (user.1, user.2) = (user.1 + servers, user.2 + clients);
    }
    for (name, (row, servers, clients)) in users {
        let (size, mode) = (row.size.to_string(), row.mode);
        let zero = || Cell::Int(0);
        table.push(vec![
            name.into(),
            size.into(),
            "".into(),
            mode.into(),
            zero(),
            servers.into(),
            zero(),
            clients.into(),
        ]);
    }
    table
}
