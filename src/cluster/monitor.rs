//! Asks the nodes, round by round: the primary first, then the others. All that is decided from the answers is decided in `watch`.

use super::ClusterState;
use super::alarm::Alarm;
use super::pace::Pace;
use super::watch::{Answer, Watch};
use crate::clock::{self, Tick};
use crate::config::settings::{Cluster, Monitor, Node};
use crate::engine::{NodeId, NodeSet, Observation, Probe, ProbeError};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The others are asked when the primary has answered, and at the latest after so long: what they show then is more likely to cover its answer.
const HEAD_START: Duration = Duration::from_millis(5);
/// How often they are asked in one round while somebody waits and none of them shows what the primary told.
const TRIES: u32 = 2;
/// The pause before they are asked again.
const AGAIN: Duration = Duration::from_micros(400);
/// A round is complete without those that have not answered after so long; their answers count when they come.
const GRACE: Duration = Duration::from_millis(20);
/// Between two rounds while a node is in doubt or suspected.
const RETRY: Duration = Duration::from_millis(10);
/// Between two rounds while there is no primary, unless `interval` is shorter.
const HURRY: Duration = Duration::from_millis(100);
/// Between two nudges.
const NUDGE_EVERY: Duration = Duration::from_millis(50);

/// A running monitor.
#[derive(Debug)]
pub struct MonitorHandle {
    settings: watch::Sender<Option<Arc<Cluster>>>,
    task: JoinHandle<()>,
}

impl MonitorHandle {
    /// Ends the monitor and closes its connections. The last view stays, and the gate as it is.
    pub async fn stop(self) {
        self.settings.send_replace(None);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the monitor ended abnormally");
        }
    }

    /// Goes on with other settings; nodes that are the same keep what is known of them.
    pub fn reload(&self, settings: Arc<Cluster>) {
        self.settings.send_replace(Some(settings));
    }
}

/// Starts the monitor of one cluster on the current runtime. It ends by `MonitorHandle::stop`, or when the handle is dropped.
pub fn start<P: Probe>(probe: P, settings: Arc<Cluster>, state: Arc<ClusterState>) -> MonitorHandle {
    let (sender, receiver) = watch::channel(Some(settings.clone()));
    let task = crate::task::spawn("monitor", async move {
        Rounder::new(probe, Watch::new(settings, state)).run(receiver).await;
    });
    MonitorHandle { settings: sender, task }
}

struct Done<L> {
    answer: Answer,
    link: Option<L>,
    generation: u64,
}

/// The round that is under way, or was last.
#[derive(Debug, Default)]
struct Round {
    started: Tick,
    /// Asked in this round, not yet answered.
    waits_for: NodeSet,
    /// When the others are to be asked, as soon as the primary has answered; `None` before that, and once they have been.
    ask_at: Option<Tick>,
    /// The others are still to be asked.
    half: bool,
    open: bool,
    /// How often the others have been asked.
    tries: u32,
    /// They were given time to replay what the primary had told, before they were asked.
    paced: bool,
}

struct Rounder<P: Probe> {
    probe: Arc<P>,
    watch: Watch,
    links: Vec<Option<P::Link>>,
    busy: NodeSet,
    running: FuturesUnordered<BoxFuture<'static, Done<P::Link>>>,
    round: Round,
    nudged: Tick,
    pace: Pace,
    /// Who is asked first: whose answer comes first has more of the readers that wait.
    turn: usize,
    /// Counts reloads: answers from before one are not taken.
    generation: u64,
}

impl<P: Probe> Rounder<P> {
    fn new(probe: P, watch: Watch) -> Self {
        let links = watch.settings().nodes.iter().map(|_| None).collect();
        Self {
            probe: Arc::new(probe),
            watch,
            links,
            busy: NodeSet::EMPTY,
            running: FuturesUnordered::new(),
            round: Round::default(),
            nudged: Tick::ZERO,
            pace: Pace::default(),
            turn: 0,
            generation: 0,
        }
    }

    async fn run(mut self, mut settings: watch::Receiver<Option<Arc<Cluster>>>) {
        let state = self.watch.state().clone();
        let mut alarm = Alarm::new();
        loop {
            self.advance(clock::now());
            let now = clock::now();
            let next = self.next_event(now);
            // Readers that ask during a round, or between fast ones, need not wake anybody.
            let idle = !self.round.open && !state.rounds.is_asked(now);
            tokio::select! {
                changed = settings.changed() => {
                    let next = settings.borrow_and_update().clone();
                    match next {
                        Some(next) if changed.is_ok() => self.reload(next),
                        _ => return,
                    }
                }
                Some(done) = self.running.next(), if !self.running.is_empty() => self.take(done),
                () = state.rounds.woken(), if idle => {}
                () = alarm.until(next) => {}
            }
        }
    }

    fn reload(&mut self, settings: Arc<Cluster>) {
        let account = |cluster: &Cluster| {
            let monitor = &cluster.monitor;
            (monitor.user.clone(), monitor.password.clone(), monitor.database.clone())
        };
        let same_account = account(self.watch.settings()) == account(&settings);
        let changed = self.watch.reload(settings, clock::now());
        self.links.resize_with(self.watch.settings().nodes.len(), || None);
        for (id, link) in (0u8..).map(NodeId).zip(&mut self.links) {
            if changed.has(id) || !same_account {
                *link = None;
            }
        }
        self.generation += 1;
        (self.busy, self.round) = (NodeSet::EMPTY, Round::default());
        self.running = FuturesUnordered::new();
    }

    fn take(&mut self, done: Done<P::Link>) {
        if done.generation != self.generation {
            return;
        }
        let id = done.answer.node;
        self.busy = self.busy.without(id);
        self.round.waits_for = self.round.waits_for.without(id);
        if let Some(link) = self.links.get_mut(usize::from(id.0)) {
            *link = done.link;
        }
        let now = clock::now();
        self.watch.take(done.answer, now);
        self.watch.state().rounds.show(self.watch.freshest(), now);
    }

    /// Begins, goes on with, or completes a round, as far as it is time.
    fn advance(&mut self, now: Tick) {
        if !self.round.open && now >= self.due(now) {
            self.begin(now);
        }
        let waited = now.since(self.round.started);
        let answered = self.round.waits_for == NodeSet::EMPTY;
        if self.round.half && self.round.ask_at.is_none() && answered {
            self.round.ask_at = Some(now.plus(self.pause(now)));
        }
        if self.round.half && (self.round.ask_at.is_some_and(|at| now >= at) || waited >= HEAD_START) {
            (self.round.half, self.round.ask_at) = (false, None);
            self.round.tries += 1;
            self.ask_all();
        }
        let answered = self.round.waits_for == NodeSet::EMPTY;
        if self.round.open && !self.round.half && (answered || waited >= self.grace(now)) {
            self.judge(now, waited);
        }
    }

    /// All have been asked, and have answered or had their time.
    fn judge(&mut self, now: Tick, waited: Duration) {
        let shown = self.watch.freshest() >= self.round.started;
        if self.round.paced && self.round.tries == 1 {
            self.pace.learn(shown);
        }
        if self.round.paced && !shown && self.round.tries < TRIES && waited < HEAD_START {
            (self.round.half, self.round.ask_at) = (true, Some(now.plus(AGAIN)));
            return;
        }
        self.round.open = false;
        self.watch.tick(now);
        self.watch.state().rounds.complete(self.watch.freshest(), now);
    }

    /// How long the round waits for those that have not answered: while readers wait, not longer than it must if one can serve them.
    fn grace(&self, now: Tick) -> Duration {
        let serves = self.watch.freshest() >= self.round.started && self.watch.state().rounds.is_asked(now);
        if serves { self.watch.settings().monitor.min_interval.min(GRACE) } else { GRACE }
    }

    /// The time that the others are given before they are asked: none unless somebody waits for what they have not shown yet.
    fn pause(&mut self, now: Tick) -> Duration {
        self.round.paced = self.watch.primary().is_some()
            && self.watch.freshest() < self.round.started
            && self.watch.state().rounds.is_asked(now);
        if self.round.paced { self.pace.pause() } else { Duration::ZERO }
    }

    fn begin(&mut self, now: Tick) {
        self.round = Round { started: now, half: true, open: true, ..Round::default() };
        self.watch.state().take_suspects();
        if let Some(primary) = self.watch.primary() {
            self.ask(primary);
        }
    }

    /// When the next round begins.
    fn due(&self, now: Tick) -> Tick {
        let state = self.watch.state();
        let monitor = &self.watch.settings().monitor;
        let pause = if state.rounds.is_asked(now) || state.rounds.is_owed(self.round.started) {
            monitor.min_interval
        } else if state.has_suspects() || self.watch.has_doubts() {
            monitor.min_interval.max(RETRY)
        } else if self.watch.primary().is_none() {
            monitor.interval.min(HURRY)
        } else {
            monitor.interval
        };
        if self.round.started == Tick::ZERO { now } else { self.round.started.plus(pause) }
    }

    fn next_event(&self, now: Tick) -> Tick {
        match self.round {
            Round { half: true, started, ask_at, .. } => {
                started.plus(HEAD_START).min(ask_at.unwrap_or(Tick::NEVER))
            }
            Round { open: true, started, .. } => started.plus(self.grace(now)),
            _ => self.due(now),
        }
    }

    fn ask_all(&mut self) {
        let primary = self.watch.primary();
        self.turn = self.turn.wrapping_add(1);
        let ids = (0u8..).map(NodeId).take(self.links.len());
        let all = ids.clone().chain(ids).skip(self.turn % self.links.len().max(1)).take(self.links.len());
        for id in all.filter(|id| Some(*id) != primary) {
            self.ask(id);
        }
    }

    fn ask(&mut self, id: NodeId) {
        let (Some(node), Some(link)) =
            (self.watch.settings().nodes.get(usize::from(id.0)), self.links.get_mut(usize::from(id.0)))
        else {
            return;
        };
        if self.busy.has(id) {
            return;
        }
        let now = clock::now();
        let monitor = self.watch.settings().monitor.clone();
        let nudge = monitor.nudge
            && self.watch.primary() == Some(id)
            && self.watch.wants_nudge()
            && self.watch.state().rounds.is_asked(now)
            && now.since(self.nudged) >= NUDGE_EVERY;
        if nudge {
            self.nudged = now;
        }
        let asked = Question { probe: self.probe.clone(), id, node: node.clone(), monitor, nudge };
        self.running.push(Box::pin(asked.put(link.take(), self.generation)));
        self.busy = self.busy.with(id);
        self.round.waits_for = self.round.waits_for.with(id);
    }
}

/// One probe.
struct Question<P> {
    probe: Arc<P>,
    id: NodeId,
    node: Arc<Node>,
    monitor: Monitor,
    nudge: bool,
}

impl<P: Probe> Question<P> {
    /// The link comes back only when all went well; else it was dropped, which closes the connection.
    async fn put(self, link: Option<P::Link>, generation: u64) -> Done<P::Link> {
        let anew = link.is_none();
        let limit = self.monitor.timeout;
        let (result, sent, link) = match tokio::time::timeout(limit, self.exchange(link)).await {
            Ok(Ok((sent, said, link))) => (Ok(said), sent, Some(link)),
            Ok(Err(error)) => (Err(error), Tick::ZERO, None),
            Err(_) => (Err(ProbeError::Timeout(limit)), Tick::ZERO, None),
        };
        Done { answer: Answer { node: self.id, sent, anew, result }, link, generation }
    }

    async fn exchange(&self, link: Option<P::Link>) -> Result<(Tick, Observation, P::Link), ProbeError> {
        let mut link = match link {
            Some(link) => link,
            None => self.probe.connect(&self.node, &self.monitor).await?,
        };
        if self.nudge {
            self.probe.nudge(&mut link).await?;
        }
        let sent = clock::now();
        let said = self.probe.observe(&mut link).await?;
        Ok((sent, said, link))
    }
}
