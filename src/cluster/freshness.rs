//! The freshness frontier: up to which instant every acknowledged write is known to be visible on a replica.
//!
//! Round k reads the clock (s) just before the primary's probe is written; the position L comes back. Every write acknowledged before s lies
//! at or before L, so a replica that has replayed L shows every write acknowledged before s. Of all such pairs the frontier keeps, per replica,
//! the greatest s that is covered and those that are not covered yet. Pure: neither clock nor sockets.

use crate::clock::Tick;
use crate::engine::{NodeId, Position};
use std::collections::VecDeque;
use std::time::Duration;

/// Uncovered pairs that are kept per replica; more are thinned, which costs resolution and never truth.
pub const PENDING_MAX: usize = 256;

/// The frontier of all replicas of a cluster.
#[derive(Debug)]
pub struct Frontier {
    followers: Vec<Follower>,
    latest: Position,
}

#[derive(Debug, Clone, Default)]
struct Follower {
    replayed: Position,
    fresh: Tick,
    pending: VecDeque<Pair>,
}

/// Rounds that brought the same position are one pair.
#[derive(Debug, Clone, Copy)]
struct Pair {
    first: Tick,
    sent: Tick,
    at: Position,
}

/// How far a replica is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Bytes that it has not replayed; `None` when its position cannot be compared with the primary's.
    pub bytes: Option<u64>,
    /// The age of the oldest round whose position it has not replayed; zero when it has replayed all.
    pub time: Duration,
}

impl Frontier {
    /// Nothing is fresh.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self { followers: vec![Follower::default(); nodes], latest: Position::Unordered }
    }

    /// The current primary answered: its probe was about to be written at `sent`, and everything acknowledged before then lies at or before
    /// `at`. An unordered position says nothing.
    pub fn lead(&mut self, sent: Tick, at: Position) {
        if !at.is_ordered() {
            return;
        }
        self.latest = at;
        for follower in &mut self.followers {
            follower.push(Pair { first: sent, sent, at });
            follower.settle();
        }
    }

    /// A replica answered: its readers see everything up to `replayed`.
    pub fn follow(&mut self, node: NodeId, replayed: Position) {
        if let Some(follower) = self.followers.get_mut(usize::from(node.0)) {
            follower.replayed = replayed;
            follower.settle();
        }
    }

    /// Nothing is known of `node` any more: it was restarted, or the connection on which it was watched broke.
    pub fn forget(&mut self, node: NodeId) {
        if let Some(follower) = self.followers.get_mut(usize::from(node.0)) {
            follower.replayed = Position::Unordered;
            follower.fresh = Tick::ZERO;
        }
    }

    /// Another primary, or the same on another history: what is not covered yet never will be. What a replica has covered it keeps: it can
    /// follow the new primary only with a history that is a part of the new one.
    pub fn new_primary(&mut self) {
        self.latest = Position::Unordered;
        for follower in &mut self.followers {
            follower.pending.clear();
        }
    }

    /// Every write acknowledged before this instant is visible on `node`.
    #[must_use]
    pub fn fresh_as_of(&self, node: NodeId) -> Tick {
        self.followers.get(usize::from(node.0)).map_or(Tick::ZERO, |follower| follower.fresh)
    }

    /// How far `node` is behind what the primary last said.
    #[must_use]
    pub fn behind(&self, node: NodeId, now: Tick) -> Behind {
        let Some(follower) = self.followers.get(usize::from(node.0)) else {
            return Behind { bytes: None, time: Duration::ZERO };
        };
        Behind {
            bytes: follower.replayed.distance_to(self.latest),
            time: follower.pending.front().map_or(Duration::ZERO, |pair| now.since(pair.first)),
        }
    }
}

impl Follower {
    fn push(&mut self, mut pair: Pair) {
        // A later round with no greater position says all that the earlier one said, and more.
        while let Some(last) = self.pending.back()
            && last.at.covers(pair.at)
        {
            pair.first = last.first;
            self.pending.pop_back();
        }
        if self.pending.len() >= PENDING_MAX {
            self.thin();
        }
        self.pending.push_back(pair);
    }

    /// Gives up the pair that leaves the smallest gap; never the first, by which lag is known.
    fn thin(&mut self) {
        let gap = |i: usize| {
            let around = self.pending.get(i.wrapping_sub(1)).zip(self.pending.get(i + 1));
            around.map_or(u64::MAX, |(before, after)| after.sent.0.saturating_sub(before.sent.0))
        };
        if let Some(i) = (1..self.pending.len()).min_by_key(|i| gap(*i)) {
            self.pending.remove(i);
        }
    }

    fn settle(&mut self) {
        while let Some(first) = self.pending.front()
            && self.replayed.covers(first.at)
        {
            self.fresh = self.fresh.max(first.sent);
            self.pending.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
