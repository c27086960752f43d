//! What the monitor remembers of one node, from one answer to the next. Pure.

use super::{Health, NodeLive, NodeView, Role};
use crate::clock::Tick;
use crate::config::settings::{Node, NodeRole};
use crate::engine::{NodeId, Observation, Part, Position, ProbeError};
use crate::failover::observe::{Known, Reach};
use std::sync::Arc;

/// A node that answered before is down after so many failures in a row: one lost answer, or a broken connection, is looked into at once.
const FAILURES: u32 = 2;
/// A primary that says nothing gets one chance more, because everybody waits when it counts as down.
const FAILURES_OF_SILENT_PRIMARY: u32 = 3;

/// One node.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) settings: Arc<Node>,
    said: Option<Observation>,
    reach: Reach,
    /// Why it does not answer.
    why: Arc<str>,
    failures: u32,
    streamed: Option<(Tick, u32)>,
    since: Tick,
    watched: Tick,
    pub(super) live: Arc<NodeLive>,
}

impl Watched {
    pub(super) fn new(settings: Arc<Node>, live: Arc<NodeLive>) -> Self {
        Self {
            settings,
            said: None,
            reach: Reach::Silent,
            why: Arc::from(""),
            failures: 0,
            streamed: None,
            since: Tick::ZERO,
            watched: Tick::ZERO,
            live,
        }
    }

    /// It answered; `anew` = over a new connection.
    pub(super) fn answered(&mut self, said: Observation, anew: bool, now: Tick) {
        if anew {
            self.watched = now;
        }
        if let Part::Follows { streaming: true, .. } = said.part {
            self.streamed = Some((now, said.timeline));
        }
        if self.reach != Reach::Answers {
            let came_back = self.said.is_some() || self.failures > 0;
            self.since = if came_back { now } else { Tick::ZERO };
            if came_back {
                tracing::info!(node = %self.settings.name, version = %said.version, "node answers again");
            } else {
                tracing::info!(node = %self.settings.name, version = %said.version, "node answers");
            }
        }
        (self.reach, self.failures) = (Reach::Answers, 0);
        self.said = Some(said);
    }

    /// A probe failed.
    pub(super) fn failed(&mut self, error: &ProbeError) {
        self.failures = self.failures.saturating_add(1);
        let silent = !matches!(error, ProbeError::Refused(_));
        let enough = match self.reach {
            Reach::Answers if silent && self.is_writable() => FAILURES_OF_SILENT_PRIMARY,
            Reach::Answers => FAILURES,
            Reach::Refuses | Reach::Silent => 1,
        };
        if self.failures < enough {
            tracing::debug!(node = %self.settings.name, %error, "probe failed");
            return;
        }
        let first = self.reach == Reach::Answers || (self.said.is_none() && self.failures == 1);
        self.reach = if silent { Reach::Silent } else { Reach::Refuses };
        self.why = error.to_string().into();
        if first {
            tracing::warn!(node = %self.settings.name, %error, "node does not answer");
        }
    }

    /// Whether it failed, and is not given up yet: it is asked again at once.
    pub(super) fn is_doubtful(&self) -> bool {
        self.failures > 0 && self.reach == Reach::Answers
    }

    /// Whether it has been asked at all.
    pub(super) fn was_asked(&self) -> bool {
        self.said.is_some() || self.failures > 0
    }

    /// What it said last, if it still answers.
    pub(super) fn answer(&self) -> Option<&Observation> {
        self.said.as_ref().filter(|_| self.reach == Reach::Answers)
    }

    fn is_writable(&self) -> bool {
        matches!(self.said, Some(Observation { part: Part::Writable { .. }, .. }))
    }

    pub(super) fn known(&self) -> Known<'_> {
        Known {
            name: &self.settings.name,
            reach: self.reach,
            said: self.said.as_ref(),
            streamed: self.streamed,
        }
    }

    /// As it is published. `timeline` is the primary's, if there is one.
    pub(super) fn view(&self, id: NodeId, barred: Option<Arc<str>>, timeline: Option<u32>) -> NodeView {
        let health = match (barred, self.reach) {
            (Some(why), _) => Health::Quarantined(why),
            (None, Reach::Answers) => Health::Up,
            (None, _) if !self.was_asked() => Health::Unknown,
            (None, _) => Health::Down(self.why.clone()),
        };
        let said = self.said.as_ref();
        NodeView {
            id,
            name: self.settings.name.clone(),
            role: self.role(),
            health,
            weight: self.settings.weight,
            passive: self.settings.role == NodeRole::Standby,
            draining: false,
            identity: said.map_or(0, |said| said.identity),
            start: said.map_or(0, |said| said.start),
            timeline: said.map_or(0, |said| said.timeline),
            slots: said.map_or(0, |said| said.slots),
            since: self.since,
            watched: self.watched,
            upstream: self.upstream(),
            unfit: self.unfit(timeline),
            version: said.map_or_else(|| Arc::from(""), |said| said.version.clone()),
            live: self.live.clone(),
        }
    }

    /// How far it was when it answered last.
    pub(super) fn position(&self) -> Position {
        match self.said.as_ref().map(|said| &said.part) {
            None => Position::Unordered,
            Some(Part::Writable { written, .. }) => *written,
            Some(Part::Follows { replayed, .. }) => *replayed,
        }
    }

    fn upstream(&self) -> Option<Arc<str>> {
        match &self.answer()?.part {
            Part::Follows { streaming: true, upstream, .. } => upstream.clone(),
            _ => None,
        }
    }

    fn role(&self) -> Role {
        match self.said.as_ref().map(|said| &said.part) {
            None => Role::Unknown,
            Some(Part::Writable { .. }) => Role::Primary,
            Some(Part::Follows { .. }) => Role::Replica,
        }
    }

    fn unfit(&self, timeline: Option<u32>) -> Option<Arc<str>> {
        let said = self.said.as_ref()?;
        let Part::Follows { replayed, .. } = said.part else { return None };
        match timeline {
            _ if !replayed.is_ordered() => Some("its position is not known".into()),
            Some(primary) if said.timeline != primary => {
                Some(format!("it is on timeline {}, the primary on {primary}", said.timeline).into())
            }
            _ => None,
        }
    }
}
