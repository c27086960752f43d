//! What is true of the nodes: an immutable, numbered snapshot, and the figures that move between two snapshots.

use crate::clock::Tick;
use crate::engine::{Epoch, NodeId, Position};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The cluster as the monitor last understood it. Published whole; readers keep what they loaded for one decision.
#[derive(Debug)]
pub struct ClusterView {
    /// Rises with each publication.
    pub number: u64,
    /// Counts changes of primary.
    pub epoch: Epoch,
    /// The primary of this epoch that may be spoken to; `None` = nobody knows, statements to a primary wait.
    pub primary: Option<NodeId>,
    /// Why there is no primary; for people.
    pub no_primary: Option<Arc<str>>,
    /// By `NodeId`.
    pub nodes: Box<[NodeView]>,
}

/// One node as the monitor last understood it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Its index.
    pub id: NodeId,
    /// Its configured name.
    pub name: Arc<str>,
    /// What it is.
    pub role: Role,
    /// Whether it can be used, and if not why.
    pub health: Health,
    /// Share of reads; 0 = none.
    pub weight: u32,
    /// Configured as `standby`: promoted, never read from.
    pub passive: bool,
    /// An operator took it out of reads.
    pub draining: bool,
    /// Which system this is: PostgreSQL's system identifier, a hash of MySQL's `server_uuid`; 0 = not known. A new backend proves that it
    /// leads to the same one.
    pub identity: u64,
    /// Which start of the server this is (PostgreSQL: `pg_postmaster_start_time()` in microseconds since 1970): changes with each restart.
    /// Sticky reads hold for one start only, and a new backend proves that it leads to the same one.
    pub start: u64,
    /// How often its history has forked (PostgreSQL's timeline); 0 = not known.
    pub timeline: u32,
    /// Connections that the server gives to ordinary users in all; 0 = not known.
    pub slots: u32,
    /// When it came back; `Tick::ZERO` for a node that was up from the start. Reads are let in gradually from then on.
    pub since: Tick,
    /// Since when the monitor's connection to it has held without a break. What a session read there before may be more than it shows now: a
    /// server can come back from a crash with less, and under the same start.
    pub watched: Tick,
    /// Who feeds it now, as `host:port`, as far as the monitor's account may see; for people.
    pub upstream: Option<Arc<str>>,
    /// Whether positions can be compared with the current primary's (same system, same history); `None` = yes, else why not.
    pub unfit: Option<Arc<str>>,
    /// The server's version as it says itself, e.g. `15.18`.
    pub version: Arc<str>,
    /// What moves between two views.
    pub live: Arc<NodeLive>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Not seen yet.
    Unknown,
    /// Takes writes.
    Primary,
    /// Follows.
    Replica,
}

/// Whether a node can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not seen yet.
    Unknown,
    /// Answers.
    Up,
    /// Does not, and why.
    Down(Arc<str>),
    /// Answers, but must not be spoken to (a returned old primary, a stranger's system), and why.
    Quarantined(Arc<str>),
}

/// Figures that move faster than views are published; written by the monitor, read by the hot path.
#[derive(Debug, Default)]
pub struct NodeLive {
    /// The instant up to which every write acknowledged through this proxy is known to be visible on it (`Tick`).
    pub fresh_as_of: AtomicU64,
    /// Bytes behind the primary's last known position.
    pub lag_bytes: AtomicU64,
    /// Nanoseconds behind: how old the oldest write is that the node has not replayed yet, as far as is known.
    pub lag_nanos: AtomicU64,
    /// Statements of ours that it is running now (for `least_connections`).
    pub active: AtomicU32,
    /// How far it said that it is; for people.
    pub position: Mutex<Position>,
}

impl NodeLive {
    /// The freshness frontier of this node.
    #[must_use]
    pub fn fresh_as_of(&self) -> Tick {
        Tick(self.fresh_as_of.load(Ordering::Acquire))
    }

    /// How far it said that it is.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.lock()
    }

    /// How far behind it is in time.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::from_nanos(self.lag_nanos.load(Ordering::Relaxed))
    }
}

impl ClusterView {
    /// The node of that id; `None` when it is not of this cluster.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        self.nodes.get(usize::from(id.0))
    }

    /// Whether no node that answers is known to be further than `at`.
    #[must_use]
    pub fn is_covered_by(&self, at: Position) -> bool {
        let up = self.nodes.iter().filter(|node| node.health == Health::Up);
        at.is_ordered() && up.map(|node| node.live.position()).all(|position| at.covers(position))
    }

    /// A node that no other is known to be further than, among those that answer.
    #[must_use]
    pub fn furthest(&self) -> Option<&NodeView> {
        let mut up = self.nodes.iter().filter(|node| node.health == Health::Up);
        up.find(|node| self.is_covered_by(node.live.position()))
    }

    /// Whether nothing differs but the number: then it is not published anew.
    #[must_use]
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        (self.epoch, self.primary, &self.no_primary) == (other.epoch, other.primary, &other.no_primary)
            && self.nodes == other.nodes
    }
}

impl PartialEq for NodeLive {
    /// The same figures, not equal ones: two views differ when a node's figures are kept elsewhere.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
