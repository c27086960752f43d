//! Draws one of several nodes, by weight.

use super::router::share;
use crate::clock::Tick;
use crate::cluster::NodeView;
use crate::config::settings::Balance;
use crate::engine::NodeId;
use crate::engine::words::NODES_MAX;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::sync::atomic::Ordering;

/// Shared by all sessions of a cluster: the draws are even over all of them, not within each.
#[derive(Debug)]
pub struct Balancer {
    // Smooth weighted round robin: each draw adds every candidate's share to its credit, and takes the sum from the winner's.
    credit: Mutex<[i64; NODES_MAX]>,
}

impl Default for Balancer {
    fn default() -> Self {
        Self { credit: Mutex::new([0; NODES_MAX]) }
    }
}

impl Balancer {
    /// Draws one of `candidates`; `None` when there is none. With `keep` the draw counts, else it only shows what would be drawn.
    pub fn draw<'a>(
        &self,
        by: Balance,
        candidates: impl Iterator<Item = &'a NodeView> + Clone,
        now: Tick,
        keep: bool,
    ) -> Option<NodeId> {
        match by {
            Balance::RoundRobin => self.in_turn(candidates, now, keep),
            Balance::LeastConnections => {
                let least = candidates.clone().map(|node| load(node, now)).min()?;
                self.in_turn(candidates.filter(|node| load(node, now) == least), now, keep)
            }
        }
    }

    fn in_turn<'a>(
        &self,
        candidates: impl Iterator<Item = &'a NodeView>,
        now: Tick,
        keep: bool,
    ) -> Option<NodeId> {
        let mut credit = self.credit.lock();
        let before = *credit;
        let mut sum = 0;
        let mut best: Option<(i64, Reverse<NodeId>)> = None;
        for node in candidates {
            let share = i64::from(share(node, now));
            let Some(own) = credit.get_mut(usize::from(node.id.0)) else { continue };
            *own += share;
            sum += share;
            best = best.max(Some((*own, Reverse(node.id))));
        }
        let drawn = best.map(|(_, Reverse(id))| id);
        if let Some(own) = drawn.and_then(|id| credit.get_mut(usize::from(id.0))) {
            *own -= sum;
        }
        if !keep {
            *credit = before;
        }
        drawn
    }
}

/// Statements per share, one more counted so that weights matter among idle nodes too; scaled so that integers can be compared.
fn load(node: &NodeView, now: Tick) -> u64 {
    let active = u64::from(node.live.active.load(Ordering::Relaxed)) + 1;
    (active << 20) / u64::from(share(node, now)).max(1)
}
