//! Which node serves a statement: a pure function of what it does, what it must see, and the view.

use super::balance::Balancer;
use crate::clock::Tick;
use crate::cluster::{ClusterView, Health, NodeView, Role};
use crate::config::settings::{Consistency, ReadsOnPrimary, RouteSetting, Routing};
use crate::engine::{Class, NodeId, NodeSet};
use std::time::Duration;

/// A node that came back reaches its full share after so long.
pub const SLOW_START: Duration = Duration::from_secs(10);
const FULL: u32 = 1000;

/// The replica that a session read from last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sticky {
    /// Which.
    pub node: NodeId,
    /// Which start of it: another start may show less than the one before.
    pub start: u64,
}

/// What is asked of the router.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What the statement (or the unit's strongest) does.
    pub class: Class,
    /// The class is `Write` only because it was not understood: a hint may overrule it.
    pub doubt: bool,
    /// A hint in the text itself; wins over `route`.
    pub hint: Option<RouteSetting>,
    /// The session's own setting.
    pub route: RouteSetting,
    /// What the read must see.
    pub consistency: Consistency,
    /// What a replica that is not the sticky one must have seen: no less than the end of the session's last read, if it has a sticky one.
    pub floor: Tick,
    /// The replica that the session read from last, if it did not read from the primary since.
    pub sticky: Option<Sticky>,
    /// What the sticky replica must have seen.
    pub sticky_floor: Tick,
    /// Nodes that have failed this statement before.
    pub exclude: NodeSet,
    /// The statement begins a read-only transaction: a replica may serve it whole.
    pub read_only_tx: bool,
    /// How long this read may wait yet for a replica to be fresh enough; zero = not at all.
    pub patience: Duration,
    /// How long that takes at present (`Rounds::expected`).
    pub expected: Duration,
    /// Now.
    pub now: Tick,
}

impl Ask {
    /// An ordinary statement of that class, with no floor and nothing special.
    #[must_use]
    pub fn new(class: Class, consistency: Consistency, now: Tick) -> Self {
        Self {
            class,
            doubt: false,
            hint: None,
            route: RouteSetting::Auto,
            consistency,
            floor: Tick::ZERO,
            sticky: None,
            sticky_floor: Tick::ZERO,
            exclude: NodeSet::EMPTY,
            read_only_tx: false,
            patience: Duration::ZERO,
            expected: Duration::ZERO,
            now,
        }
    }
}

/// Where a statement goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// To this replica.
    Node(NodeId),
    /// To the primary of the current epoch, through the gate.
    Primary,
    /// A replica is expected to be fresh enough in time: ask for a round, wait for it, and route again.
    Wait,
    /// Nobody may serve it as things are.
    Nobody,
}

/// Why it goes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It writes, or may.
    Class,
    /// It describes the server.
    NodeLocal,
    /// A hint in the text.
    Hint,
    /// A setting of the session.
    Setting,
    /// It must see every write of anybody: only the primary is known to show them.
    Strong,
    /// The replica that the session read from last.
    Sticky,
    /// Drawn among those that qualify.
    Drawn,
    /// No replica is configured.
    NoReplica,
    /// No replica can be used.
    ReplicasOut,
    /// Every usable replica is too far behind.
    Lag,
    /// No replica has seen what the read must see.
    NotFresh,
}

impl Why {
    /// The stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::NodeLocal => "node_local",
            Self::Hint => "hint",
            Self::Setting => "setting",
            Self::Strong => "strong",
            Self::Sticky => "sticky",
            Self::Drawn => "drawn",
            Self::NoReplica => "no_replica",
            Self::ReplicasOut => "replicas_out",
            Self::Lag => "lag",
            Self::NotFresh => "not_fresh",
        }
    }

    /// Every reason, for metrics that must show zeros too.
    pub const ALL: [Self; 11] = [
        Self::Class,
        Self::NodeLocal,
        Self::Hint,
        Self::Setting,
        Self::Strong,
        Self::Sticky,
        Self::Drawn,
        Self::NoReplica,
        Self::ReplicasOut,
        Self::Lag,
        Self::NotFresh,
    ];
}

/// Why a node cannot serve a read; in the order in which it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// It is the primary, and reads stay away from it as long as a replica can serve.
    Primary,
    /// It is configured as `standby`.
    Passive,
    /// Its weight is 0.
    Weight,
    /// An operator took it out.
    Draining,
    /// It has not been seen yet.
    Unknown,
    /// It does not answer.
    Down,
    /// It must not be spoken to.
    Quarantined,
    /// It has failed this statement before.
    Excluded,
    /// Its position cannot be compared with the primary's.
    Unfit,
    /// It is further behind than `max_lag` or `max_lag_bytes`.
    Lag,
    /// It has not seen what the read must see.
    NotFresh,
}

impl LeftOut {
    /// The stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Passive => "passive",
            Self::Weight => "weight",
            Self::Draining => "draining",
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Quarantined => "quarantined",
            Self::Excluded => "excluded",
            Self::Unfit => "unfit",
            Self::Lag => "lag",
            Self::NotFresh => "not_fresh",
        }
    }
}

/// Chooses. The draw counts in `balancer`.
#[must_use]
pub fn route(ask: &Ask, view: &ClusterView, settings: &Routing, balancer: &Balancer) -> (Choice, Why) {
    choose(ask, view, settings, balancer, true)
}

/// The same decision; `keep` = the draw counts.
pub(super) fn choose(
    ask: &Ask,
    view: &ClusterView,
    settings: &Routing,
    balancer: &Balancer,
    keep: bool,
) -> (Choice, Why) {
    if let Some(why) = bound_to_primary(ask) {
        return (Choice::Primary, why);
    }
    let fit = |node: &&NodeView| judge(node, ask, view, settings).is_ok();
    let fresh_other =
        view.nodes.iter().any(|node| !is_sticky(node, ask) && view.primary != Some(node.id) && fit(&node));
    // A session stays with its replica while no other one qualifies; once another does, it draws anew, so that shares are even.
    if !fresh_other && let Some(node) = view.nodes.iter().find(|node| is_sticky(node, ask) && fit(node)) {
        return (Choice::Node(node.id), Why::Sticky);
    }
    let fit_nodes = view.nodes.iter().filter(fit);
    match balancer.draw(settings.balance, fit_nodes, ask.now, keep) {
        Some(id) if view.primary == Some(id) => (Choice::Primary, Why::Drawn),
        Some(id) => (Choice::Node(id), replica_reason(ask).unwrap_or(Why::Drawn)),
        None => without_replica(ask, view, settings),
    }
}

/// No replica qualifies.
fn without_replica(ask: &Ask, view: &ClusterView, settings: &Routing) -> (Choice, Why) {
    let left_out = view.nodes.iter().filter_map(|node| judge(node, ask, view, settings).err());
    let why = match left_out.max() {
        Some(LeftOut::NotFresh) => Why::NotFresh,
        Some(LeftOut::Lag) => Why::Lag,
        Some(LeftOut::Primary | LeftOut::Passive | LeftOut::Weight) | None => Why::NoReplica,
        Some(_) => Why::ReplicasOut,
    };
    let never = settings.reads_on_primary == ReadsOnPrimary::Never && why != Why::NoReplica;
    if why == Why::NotFresh && !ask.patience.is_zero() && (never || ask.expected <= ask.patience) {
        (Choice::Wait, why)
    } else if never {
        (Choice::Nobody, why)
    } else {
        (Choice::Primary, why)
    }
}

/// Whether the statement must go to the primary whatever the replicas are like.
fn bound_to_primary(ask: &Ask) -> Option<Why> {
    let wish = ask.hint.unwrap_or(ask.route);
    let said = if ask.hint.is_some() { Why::Hint } else { Why::Setting };
    match (wish, ask.class) {
        (RouteSetting::Primary, _) => Some(said),
        (RouteSetting::Replica, Class::NodeLocal) => None,
        (_, Class::Read) if ask.consistency == Consistency::Strong => Some(Why::Strong),
        _ if ask.read_only_tx && ask.consistency == Consistency::Strong => Some(Why::Strong),
        (RouteSetting::Replica, Class::Write) if ask.consistency == Consistency::Strong => Some(Why::Class),
        (RouteSetting::Replica, Class::Write) if ask.doubt => None,
        _ if ask.read_only_tx => None,
        (_, Class::Read) => None,
        (_, Class::NodeLocal) => Some(Why::NodeLocal),
        (_, Class::Write) => Some(Why::Class),
    }
}

/// What brought a statement to a replica that its class alone would not have.
fn replica_reason(ask: &Ask) -> Option<Why> {
    match ask.hint {
        Some(RouteSetting::Replica) => Some(Why::Hint),
        _ if ask.route == RouteSetting::Replica => Some(Why::Setting),
        _ => None,
    }
}

/// Whether `node` is what the session read from last, and shows at least as much as then. `floor` is no less than the end of that read: was the
/// node watched without a break since, it has not crashed in between.
fn is_sticky(node: &NodeView, ask: &Ask) -> bool {
    ask.sticky == Some(Sticky { node: node.id, start: node.start }) && ask.floor >= node.watched
}

/// Whether `node` can serve the read that is asked for.
///
/// # Errors
/// The first reason why not.
pub(super) fn judge(
    node: &NodeView,
    ask: &Ask,
    view: &ClusterView,
    settings: &Routing,
) -> Result<(), LeftOut> {
    if view.primary == Some(node.id) {
        return judge_primary(node, ask, settings);
    }
    match () {
        () if node.passive => Err(LeftOut::Passive),
        () if node.weight == 0 => Err(LeftOut::Weight),
        () if node.draining => Err(LeftOut::Draining),
        () if node.role == Role::Unknown => Err(LeftOut::Unknown),
        () if node.role == Role::Primary => Err(LeftOut::Quarantined),
        () => match node.health {
            Health::Unknown => Err(LeftOut::Unknown),
            Health::Down(_) => Err(LeftOut::Down),
            Health::Quarantined(_) => Err(LeftOut::Quarantined),
            Health::Up => judge_replica(node, ask, view, settings),
        },
    }
}

fn judge_primary(node: &NodeView, ask: &Ask, settings: &Routing) -> Result<(), LeftOut> {
    let wanted = settings.reads_on_primary == ReadsOnPrimary::Always && node.weight > 0 && !node.draining;
    let to_replica = replica_reason(ask).is_some();
    if wanted && !to_replica && !ask.exclude.has(node.id) { Ok(()) } else { Err(LeftOut::Primary) }
}

fn judge_replica(node: &NodeView, ask: &Ask, view: &ClusterView, settings: &Routing) -> Result<(), LeftOut> {
    let floor = if is_sticky(node, ask) { ask.sticky_floor } else { ask.floor };
    if ask.exclude.has(node.id) {
        Err(LeftOut::Excluded)
    } else if node.unfit.is_some() && ask.consistency > Consistency::Eventual {
        Err(LeftOut::Unfit)
    } else if view.primary.is_some() && too_far_behind(node, settings) {
        Err(LeftOut::Lag)
    } else if ask.consistency > Consistency::Eventual && node.live.fresh_as_of() < floor {
        Err(LeftOut::NotFresh)
    } else {
        Ok(())
    }
}

/// Lag limits rest while no primary answers; floors never do.
fn too_far_behind(node: &NodeView, settings: &Routing) -> bool {
    let bytes = node.live.lag_bytes.load(std::sync::atomic::Ordering::Relaxed);
    node.live.lag() > settings.max_lag || (settings.max_lag_bytes.0 > 0 && bytes > settings.max_lag_bytes.0)
}

/// A node's share of the draws now: its weight, rising from a twentieth to the whole while it is let in again.
pub(super) fn share(node: &NodeView, now: Tick) -> u32 {
    let full = node.weight.saturating_mul(FULL);
    if node.since == Tick::ZERO {
        return full;
    }
    let back = now.since(node.since).as_millis().min(SLOW_START.as_millis());
    let percent = u32::try_from(back * 100 / SLOW_START.as_millis()).unwrap_or(100).max(5);
    (u64::from(full) * u64::from(percent) / 100).try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
