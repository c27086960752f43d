//! From answers to the published view: roles, frontier, gate. No sockets, no clock.

use super::freshness::Frontier;
use super::node::Watched;
use super::{ClusterState, ClusterView, NodeLive, NodeView};
use crate::clock::Tick;
use crate::config::settings::Cluster;
use crate::engine::{NodeId, NodeSet, Observation, Part, Position, ProbeError};
use crate::failover::Pass;
use crate::failover::observe::{Decision, Memory, decide};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One probe's result.
#[derive(Debug)]
pub(super) struct Answer {
    /// Who was asked.
    pub(super) node: NodeId,
    /// Read just before the question was written.
    pub(super) sent: Tick,
    /// The question went over a new connection: nothing that was known of this node's readers holds any more, because a server may come back
    /// from a crash with less than it had shown.
    pub(super) anew: bool,
    /// What came back.
    pub(super) result: Result<Observation, ProbeError>,
}

/// What the monitor knows.
#[derive(Debug)]
pub(super) struct Watch {
    settings: Arc<Cluster>,
    state: Arc<ClusterState>,
    nodes: Vec<Watched>,
    frontier: Frontier,
    memory: Memory,
    primary: Option<NodeId>,
    number: u64,
    /// The last answer of the primary had a position that was not durable yet, so many times in a row.
    gaps: u32,
    /// It said that nobody receives what it writes.
    quorum_lost: bool,
}

impl Watch {
    pub(super) fn new(settings: Arc<Cluster>, state: Arc<ClusterState>) -> Self {
        let view = state.view.load();
        let nodes = settings.nodes.iter().zip(&view.nodes);
        let nodes = nodes.map(|(node, view)| Watched::new(node.clone(), view.live.clone())).collect();
        let (frontier, number) = (Frontier::new(settings.nodes.len()), view.number);
        drop(view);
        Self {
            settings,
            state,
            nodes,
            frontier,
            memory: Memory::default(),
            primary: None,
            number,
            gaps: 0,
            quorum_lost: false,
        }
    }

    /// Goes on with other settings. A node at the same place with the same name and address keeps what is known of it. Returns the nodes that
    /// did not.
    pub(super) fn reload(&mut self, settings: Arc<Cluster>, now: Tick) -> NodeSet {
        let mut changed = NodeSet::EMPTY;
        let mut old = std::mem::take(&mut self.nodes).into_iter();
        for (id, node) in (0u8..).map(NodeId).zip(&settings.nodes) {
            match old.next() {
                Some(mut same) if is_same(&same.settings, node) => {
                    same.settings = node.clone();
                    self.nodes.push(same);
                }
                _ => {
                    self.nodes.push(Watched::new(node.clone(), Arc::new(NodeLive::default())));
                    changed = changed.with(id);
                }
            }
        }
        self.frontier = Frontier::new(settings.nodes.len());
        if self.memory.primary.is_some_and(|id| changed.has(id) || usize::from(id.0) >= self.nodes.len()) {
            // The epoch goes on counting; who was primary is found anew.
            self.memory =
                Memory { epoch: self.memory.epoch, system: self.memory.system, ..Memory::default() };
        }
        self.settings = settings;
        self.tick(now);
        changed
    }

    pub(super) fn settings(&self) -> &Arc<Cluster> {
        &self.settings
    }

    pub(super) fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    /// The primary that may be spoken to.
    pub(super) fn primary(&self) -> Option<NodeId> {
        self.primary
    }

    /// Nodes that failed and are not given up yet.
    pub(super) fn has_doubts(&self) -> bool {
        self.nodes.iter().any(Watched::is_doubtful)
    }

    /// Whether the primary's position stays ahead of what is durable, and that is what freshness waits for.
    pub(super) fn wants_nudge(&self) -> bool {
        self.gaps >= 2 && !self.quorum_lost && self.state.async_commit_seen.load(Ordering::Acquire)
    }

    /// The best frontier of all replicas.
    pub(super) fn freshest(&self) -> Tick {
        let replicas = (0u8..).map(NodeId).take(self.nodes.len()).filter(|id| self.primary != Some(*id));
        replicas.map(|id| self.frontier.fresh_as_of(id)).max().unwrap_or_default()
    }

    /// Takes an answer in, and publishes what follows from it.
    pub(super) fn take(&mut self, answer: Answer, now: Tick) {
        let Answer { node: id, sent, anew, result } = answer;
        let Some(node) = self.nodes.get_mut(usize::from(id.0)) else { return };
        if anew || result.is_err() {
            self.frontier.forget(id);
            // Before the view names another start: nobody may take the old start's freshness for the new one's.
            node.live.fresh_as_of.store(0, Ordering::Release);
        }
        match result {
            Ok(said) => {
                let part = said.part.clone();
                node.answered(said, anew, now);
                self.decide(now);
                self.learn(id, sent, &part);
            }
            Err(error) => {
                node.failed(&error);
                self.decide(now);
            }
        }
        self.show(now);
    }

    /// Time passed, or an operator did something: witnesses grow old, nodes are drained.
    pub(super) fn tick(&mut self, now: Tick) {
        self.decide(now);
        self.show(now);
    }

    fn learn(&mut self, id: NodeId, sent: Tick, part: &Part) {
        match *part {
            Part::Writable { written, durable, early_acknowledgement, quorum_lost, .. }
                if self.primary == Some(id) =>
            {
                self.quorum_lost = quorum_lost;
                if early_acknowledgement && !self.state.async_commit_seen.swap(true, Ordering::AcqRel) {
                    tracing::info!(
                        "writes may be acknowledged before they are durable (synchronous_commit=off): freshness is proved by the position written"
                    );
                }
                self.gaps = if durable.covers(written) { 0 } else { self.gaps.saturating_add(1) };
                // Read after the answer: whoever lets such a write through raises the flag before it can be acknowledged.
                let early = self.state.async_commit_seen.load(Ordering::Acquire);
                self.frontier.lead(sent, if early { written } else { durable });
            }
            Part::Writable { .. } => self.frontier.follow(id, Position::Unordered),
            Part::Follows { replayed, .. } => self.frontier.follow(id, replayed),
        }
    }

    fn decide(&mut self, now: Tick) {
        let known: Vec<_> = self.nodes.iter().map(Watched::known).collect();
        let failover = &self.settings.failover;
        let decision = decide(failover.mode, failover.witness, self.memory, &known, now);
        let before = self.primary;
        self.primary = decision.primary.as_ref().ok().copied();
        let said = self.primary.and_then(|id| self.nodes.get(usize::from(id.0))).and_then(Watched::answer);
        let changed = match (self.primary, said) {
            (Some(id), Some(said)) => self.memory.learn(id, said),
            _ => false,
        };
        if changed {
            self.frontier.new_primary();
            self.gaps = 0;
        }
        self.report(before, changed, &decision);
        self.publish(decision);
    }

    /// View and gate, in the order in which nobody can be misled: a closed gate before the view without a primary, a view with the new primary
    /// before its gate.
    fn publish(&mut self, decision: Decision) {
        let pass = self.primary.map(|node| Pass { node, epoch: self.memory.epoch });
        if pass.is_none() || self.state.gate.now().is_some_and(|open| Some(open) != pass) {
            self.state.gate.close();
        }
        let drained = self.state.drained();
        let timeline = self.primary.map(|_| self.memory.timeline);
        let view = |(id, node): (NodeId, &Watched)| {
            let barred = decision.barred.iter().find(|(barred, _)| *barred == id).map(|(_, why)| why.clone());
            NodeView { draining: drained.has(id), ..node.view(id, barred, timeline) }
        };
        let nodes: Box<[_]> = (0u8..).map(NodeId).zip(&self.nodes).map(view).collect();
        let next = ClusterView {
            number: self.number + 1,
            epoch: self.memory.epoch,
            primary: self.primary,
            no_primary: decision.primary.err(),
            nodes,
        };
        if !next.says_the_same(&self.state.view.load()) {
            self.number = next.number;
            self.state.view.store(Arc::new(next));
        }
        if let Some(pass) = pass
            && self.state.gate.now() != Some(pass)
        {
            self.state.gate.open(pass);
        }
    }

    /// The figures that move between views.
    fn show(&self, now: Tick) {
        for (id, node) in (0u8..).map(NodeId).zip(&self.nodes) {
            let is_primary = self.primary == Some(id);
            let behind = self.frontier.behind(id, now);
            let time = if is_primary { Duration::ZERO } else { self.lag(id, node, behind.time) };
            let bytes = if is_primary { 0 } else { behind.bytes.unwrap_or(0) };
            let live = &node.live;
            live.lag_nanos.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            live.lag_bytes.store(bytes, Ordering::Relaxed);
            live.fresh_as_of.store(self.frontier.fresh_as_of(id).0, Ordering::Release);
            *live.position.lock() = node.position();
        }
    }

    /// A replica that has never been seen to have replayed everything may be behind by much more than we have watched it.
    fn lag(&self, id: NodeId, node: &Watched, seen: Duration) -> Duration {
        let never = self.frontier.fresh_as_of(id) == Tick::ZERO && !seen.is_zero();
        match node.answer().map(|said| &said.part) {
            Some(Part::Follows { replay_age: Some(age), .. }) if never => seen.max(*age),
            _ => seen,
        }
    }

    fn report(&self, before: Option<NodeId>, changed: bool, decision: &Decision) {
        let name = |id: NodeId| self.nodes.get(usize::from(id.0)).map_or("?", |node| &node.settings.name);
        let cluster = &self.settings.name;
        match (before, &decision.primary) {
            (_, Ok(id)) if changed => {
                let (epoch, timeline) = (self.memory.epoch.0, self.memory.timeline);
                tracing::info!(%cluster, primary = name(*id), epoch, timeline, "new primary");
            }
            (None, Ok(id)) => tracing::info!(%cluster, primary = name(*id), "the primary is back"),
            (Some(_), Err(why)) => tracing::warn!(%cluster, %why, "no primary: writes wait"),
            _ => {}
        }
    }
}

fn is_same(a: &crate::config::settings::Node, b: &crate::config::settings::Node) -> bool {
    (&a.name, &a.host, a.port, &a.tls) == (&b.name, &b.host, b.port, &b.tls)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
