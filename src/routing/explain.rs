//! Why a statement would go where it would go: the router's own decision, shown.

use super::balance::Balancer;
use super::router::{Ask, Choice, LeftOut, Why, choose, judge};
use crate::cluster::ClusterView;
use crate::config::settings::Routing;
use crate::engine::NodeId;
use std::sync::Arc;

/// What the router would do now, and what it thinks of each node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Where the statement would go.
    pub choice: Choice,
    /// Why.
    pub why: Why,
    /// All nodes, in the configuration's order.
    pub candidates: Vec<Candidate>,
}

/// One node, as the router judges it for this statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: Arc<str>,
    /// Why it cannot serve it as a read; `None` = it can.
    pub left_out: Option<LeftOut>,
}

/// Routes `ask` without counting the draw, and says how each node was judged.
#[must_use]
pub fn explain(ask: &Ask, view: &ClusterView, settings: &Routing, balancer: &Balancer) -> Explained {
    let (choice, why) = choose(ask, view, settings, balancer, false);
    let candidates = view.nodes.iter().map(|node| Candidate {
        node: node.id,
        name: node.name.clone(),
        left_out: judge(node, ask, view, settings).err(),
    });
    Explained { choice, why, candidates: candidates.collect() }
}
