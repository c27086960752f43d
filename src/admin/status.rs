//! What an operator can see and do: the one model behind HTTP, metrics, console and `primacy status`.

use super::command::{Command, CommandError};
use super::rows::{DatabaseRow, PinRow, PoolRow, SocketRow};
use crate::config;
use crate::telemetry::{Traffic, traffic};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Implemented by whoever owns the live registries. Looking is cheap and never waits.
pub trait Inspect: Send + Sync + 'static {
    /// The process and its clusters.
    fn status(&self) -> Status;
    /// The pools of one cluster, or of all.
    fn pools(&self, cluster: Option<&str>) -> Vec<PoolRow>;
    /// Who is connected to us.
    fn clients(&self) -> Vec<SocketRow>;
    /// Our connections to the servers.
    fn servers(&self) -> Vec<SocketRow>;
    /// The sessions that keep a backend, and why.
    fn pins(&self) -> Vec<PinRow>;
    /// The traffic of each database and user.
    fn stats(&self) -> Vec<traffic::Row>;
    /// The databases that clients use or that the configuration names.
    fn databases(&self) -> Vec<DatabaseRow>;
    /// The configuration in force, secrets masked.
    fn config(&self) -> Vec<config::Row>;
    /// All counters, for metrics.
    fn traffic(&self) -> Arc<Traffic>;
    /// Does what the operator says; the text says what was done. Ends when it is done (a pause: when nothing is running any more).
    fn command(&self, command: Command) -> BoxFuture<'_, Result<String, CommandError>>;
    /// Why this statement would go where it would go, now.
    ///
    /// # Errors
    /// When there is no such cluster.
    fn explain(&self, cluster: &str, database: Option<&str>, sql: &str) -> Result<Explanation, CommandError>;
}

/// The process and its clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Primacy's own version.
    pub version: String,
    /// Whether it takes new clients.
    pub state: ProcessState,
    /// Since the process started.
    pub uptime_seconds: f64,
    /// In the order of the file.
    pub clusters: Vec<ClusterStatus>,
}

/// Whether the process takes new clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It is not listening yet.
    Starting,
    /// It does.
    Running,
    /// It is going away: transactions end, nobody new comes in.
    Draining,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The key in the file.
    pub name: String,
    /// `postgres | mysql | mariadb`.
    pub engine: String,
    /// Counts changes of primary.
    pub epoch: u64,
    /// What is promised now: consistency and failover, in words.
    pub promise: String,
    /// The node that writes go to; `None` = nobody knows, writes wait.
    pub primary: Option<String>,
    /// An operator paused it.
    pub paused: bool,
    /// In the order of the file.
    pub nodes: Vec<NodeStatus>,
    /// Its pools.
    pub pools: Vec<PoolRow>,
    /// Its clients.
    pub sessions: Sessions,
}

/// How many clients a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// Logged in.
    pub connected: u64,
    /// The most that may be (`pool.max_clients`).
    pub limit: u64,
    /// Waiting for a backend.
    pub waiting: u64,
    /// Inside a transaction.
    pub in_transaction: u64,
    /// Replication connections.
    #[serde(default)]
    pub replicating: u64,
    /// Keeping a backend beyond the transaction.
    pub pinned: u64,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Not seen yet.
    Unknown,
    /// Takes writes.
    Primary,
    /// Follows.
    Replica,
}

/// Whether a node can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Not seen yet.
    Unknown,
    /// Answers.
    Up,
    /// Does not.
    Down,
    /// Answers, but must not be spoken to.
    Quarantined,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The key in the file.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// What it is.
    pub role: NodeRole,
    /// Whether it can be used …
    pub state: NodeState,
    /// … and if not, or not for everything, why.
    pub why: Option<String>,
    /// Configured as `standby`: promoted, never read from.
    pub passive: bool,
    /// An operator took it out of reads.
    pub draining: bool,
    /// Share of the reads.
    pub weight: u32,
    /// Behind the primary in bytes; `None` = not known.
    pub lag_bytes: Option<u64>,
    /// Behind the primary in seconds; `None` = not known.
    pub lag_seconds: Option<f64>,
    /// How far it is, in the server's own form.
    pub position: Option<String>,
    /// How long ago the writes were acknowledged that are known to be visible on it, all of them; `None` = nothing is known.
    pub fresh_age_seconds: Option<f64>,
    /// The server's version.
    pub version: String,
    /// Connections that we hold on it …
    pub connections: u32,
    /// … of so many.
    pub connections_limit: Option<u32>,
    /// Statements of ours that it is running now.
    pub active: u32,
}

impl NodeRole {
    /// The word that operators read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

impl NodeState {
    /// The word that operators read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Quarantined => "quarantined",
        }
    }
}

impl NodeStatus {
    /// Whether it serves reads of clients that allow it to be `max_lag` seconds behind.
    #[must_use]
    pub fn reads_within(&self, max_lag: Option<f64>) -> bool {
        let near = max_lag.is_none_or(|max| self.lag_seconds.is_some_and(|lag| lag <= max));
        self.role == NodeRole::Replica
            && self.state == NodeState::Up
            && !self.passive
            && !self.draining
            && near
    }
}

impl ClusterStatus {
    /// The primary that may be spoken to, if it answers.
    #[must_use]
    pub fn live_primary(&self) -> Option<&NodeStatus> {
        let name = self.primary.as_ref()?;
        self.nodes.iter().find(|node| node.name == *name && node.state == NodeState::Up)
    }
}

impl Status {
    /// Why this process should get no new clients; empty = it should. A cluster that has lost its primary is *not* a reason: its reads go
    /// on, its writes wait, and every other proxy in front of it is in the same place.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.state {
            ProcessState::Starting => reasons.push("starting: not listening yet".to_owned()),
            ProcessState::Running => {}
            ProcessState::Draining => reasons.push("draining: no new clients are taken".to_owned()),
        }
        for cluster in &self.clusters {
            let name = &cluster.name;
            if cluster.nodes.iter().any(|node| node.state == NodeState::Up) {
                continue;
            }
            let why = |node: &NodeStatus| match &node.why {
                Some(why) => format!("{}: {} ({why})", node.name, node.state.word()),
                None => format!("{}: {}", node.name, node.state.word()),
            };
            let whys: Vec<_> = cluster.nodes.iter().map(why).collect();
            reasons.push(format!("cluster {name}: no node can be used: {}", whys.join(", ")));
        }
        reasons
    }

    /// The cluster of that name.
    ///
    /// # Errors
    /// When there is none; the error names those that there are.
    pub fn cluster(&self, name: &str) -> Result<&ClusterStatus, CommandError> {
        self.clusters.iter().find(|cluster| cluster.name == name).ok_or_else(|| CommandError::Unknown {
            what: "cluster",
            name: name.to_owned(),
            known: self.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
        })
    }
}

/// Why a statement goes where it goes: steps in order, each with what was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// (step, what was found).
    pub rows: Vec<(String, String)>,
}
