//! The lists that an operator reads: pools, connections, pins, databases, settings.

use serde::{Deserialize, Serialize};

/// One pool: a node's connections in the name of one user on one database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PoolRow {
    /// The cluster.
    pub cluster: String,
    /// The database, as clients name it.
    pub database: String,
    /// The user.
    pub user: String,
    /// The node; `None` = no pool, but the clients of this user and database that hold no backend.
    pub node: Option<String>,
    /// Clients that hold a backend of it, or none and wait for nothing.
    pub cl_active: u64,
    /// Clients that wait for a backend of it.
    pub cl_waiting: u64,
    /// Cancel requests that were passed on and are not answered yet.
    pub cl_active_cancel_req: u64,
    /// Cancel requests that wait to be passed on.
    pub cl_waiting_cancel_req: u64,
    /// Backends that serve a client.
    pub sv_active: u64,
    /// Backends that only carry a cancel request.
    pub sv_active_cancel: u64,
    /// Backends that wait for the end of a cancel request.
    pub sv_being_canceled: u64,
    /// Backends that can be lent at once.
    pub sv_idle: u64,
    /// Backends that have been idle for long and are looked at before they are lent.
    pub sv_used: u64,
    /// Backends that are being reset or looked at.
    pub sv_tested: u64,
    /// Backends that are logging in.
    pub sv_login: u64,
    /// Of `sv_active`: the ones that a session keeps beyond its transaction.
    pub sv_pinned: u64,
    /// How long the first in the queue has waited, in microseconds.
    pub maxwait_us: u64,
    /// `transaction | session`.
    pub mode: String,
    /// The most backends that it may have.
    pub size: u32,
    /// An operator paused it.
    pub paused: bool,
}

/// One connection: of a client to us, or of ours to a server. Instants in microseconds since 1970, 0 = never.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SocketRow {
    /// Unique in this process.
    pub id: u64,
    /// The cluster.
    pub cluster: String,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// `none | logical | physical`.
    pub replication: String,
    /// A client's: `active | idle | waiting`; a server's: `active | idle | used | tested | new | active_cancel | being_canceled`.
    pub state: String,
    /// The other end.
    pub addr: String,
    /// The other end's port.
    pub port: u16,
    /// Our end.
    pub local_addr: String,
    /// Our end's port.
    pub local_port: u16,
    /// When it was opened.
    pub connected_us: u64,
    /// When the last request came or was sent.
    pub request_us: u64,
    /// How long it has waited now, in microseconds.
    pub wait_us: u64,
    /// It is closed as soon as it can be.
    pub close_needed: bool,
    /// The connection on the other side that it is tied to now.
    pub link: Option<u64>,
    /// The server's process, or the client's on a unix socket; 0 = not known.
    pub remote_pid: u32,
    /// Version and cipher; empty = plain.
    pub tls: String,
    /// What the client calls itself.
    pub application_name: String,
    /// Prepared statements that it has.
    pub prepared_statements: u64,
    /// A server's node; the node that served a client's last statement.
    pub node: Option<String>,
    /// Why client and server are kept together beyond the transaction.
    pub pin: Option<String>,
}

/// A session that keeps a backend beyond the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PinRow {
    /// The client's connection.
    pub client: u64,
    /// The backend.
    pub server: u64,
    /// The cluster.
    pub cluster: String,
    /// The node that the backend is of.
    pub node: String,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// What the client calls itself.
    pub application_name: String,
    /// The word of the reason.
    pub reason: String,
    /// `known | possible`.
    pub certainty: String,
    /// How long it has been so, in microseconds.
    pub age_us: u64,
    /// The command of the statement that did it.
    pub statement: String,
}

/// A database that clients can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatabaseRow {
    /// The cluster.
    pub cluster: String,
    /// What clients ask for.
    pub name: String,
    /// What it is called on the servers.
    pub database: String,
    /// The primary's host.
    pub host: String,
    /// The primary's port.
    pub port: u16,
    /// Backends per node and user.
    pub pool_size: u32,
    /// Backends kept open.
    pub min_idle: u32,
    /// The greatest age of a backend, in seconds.
    pub max_age_seconds: u64,
    /// `transaction | session`.
    pub mode: String,
    /// The most backends that it may have; 0 = as many as the nodes allow.
    pub max_connections: u32,
    /// Backends that it has.
    pub connections: u32,
    /// The most clients; 0 = as many as the cluster allows.
    pub max_clients: u32,
    /// Clients that it has.
    pub clients: u32,
    /// An operator paused it.
    pub paused: bool,
}
