//! What the monitor of a cluster shares with everybody else.

use super::{ClusterView, Health, NodeLive, NodeView, Role, Rounds, Writes};
use crate::clock::{self, Tick};
use crate::config::settings::{Cluster, NodeRole};
use crate::engine::{Epoch, NodeId, NodeSet};
use crate::failover::Gate;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One per cluster, shared as `Arc`. The monitor writes `view` and `gate`; sessions read them and report what they met.
#[derive(Debug)]
pub struct ClusterState {
    /// The nodes, as last understood.
    pub view: ArcSwap<ClusterView>,
    /// Whether, and where, a primary may be spoken to now.
    pub gate: Gate,
    /// Fresh reads: asking and waiting.
    pub rounds: Rounds,
    /// When each database was last written: sessions raise it, and read it at `causal`.
    pub writes: Writes,
    /// Set by a session *before* it lets `synchronous_commit=off` (or its like) through: from then on a write may be acknowledged before it is
    /// durable, and the frontier uses a stricter position. Never cleared.
    pub async_commit_seen: AtomicBool,
    suspects: AtomicU64,
    drained: AtomicU64,
}

impl ClusterState {
    /// Nothing is known yet: no primary, the gate closed.
    #[must_use]
    pub fn new(settings: &Cluster) -> Self {
        Self {
            view: ArcSwap::from_pointee(unknown(settings)),
            gate: Gate::default(),
            rounds: Rounds::default(),
            writes: Writes::new(clock::now()),
            async_commit_seen: AtomicBool::new(false),
            suspects: AtomicU64::new(0),
            drained: AtomicU64::new(0),
        }
    }

    /// A session met something at `node` that only a change of its state explains (a refused connection, a read-only refusal from the believed
    /// primary, a shutdown notice): the monitor asks all nodes at once. `why` is for the log.
    pub fn suspect(&self, node: NodeId, why: &str) {
        let before = self.suspects.fetch_or(NodeSet::EMPTY.with(node).0, Ordering::AcqRel);
        if !NodeSet(before).has(node) {
            tracing::debug!(node = node.0, why, "node suspected");
        }
        self.rounds.wake();
    }

    /// An operator takes `node` out of reads, or gives it back.
    pub fn drain(&self, node: NodeId, out: bool) {
        let bit = NodeSet::EMPTY.with(node).0;
        if out {
            self.drained.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.drained.fetch_and(!bit, Ordering::AcqRel);
        }
        self.rounds.wake();
    }

    /// The nodes suspected since the last call.
    pub(super) fn take_suspects(&self) -> NodeSet {
        NodeSet(self.suspects.swap(0, Ordering::AcqRel))
    }

    /// Whether a suspicion waits to be looked into.
    pub(super) fn has_suspects(&self) -> bool {
        self.suspects.load(Ordering::Acquire) != 0
    }

    /// The nodes that an operator took out of reads.
    pub(super) fn drained(&self) -> NodeSet {
        NodeSet(self.drained.load(Ordering::Acquire))
    }
}

fn unknown(settings: &Cluster) -> ClusterView {
    let nodes = (0u8..).zip(&settings.nodes).map(|(id, node)| NodeView {
        id: NodeId(id),
        name: node.name.clone(),
        role: Role::Unknown,
        health: Health::Unknown,
        weight: node.weight,
        passive: node.role == NodeRole::Standby,
        draining: false,
        identity: 0,
        start: 0,
        timeline: 0,
        slots: 0,
        since: Tick::ZERO,
        watched: Tick::ZERO,
        upstream: None,
        unfit: None,
        version: Arc::from(""),
        live: Arc::new(NodeLive::default()),
    });
    ClusterView {
        number: 0,
        epoch: Epoch(0),
        primary: None,
        no_primary: Some(Arc::from("no node has been asked yet")),
        nodes: nodes.collect(),
    }
}
