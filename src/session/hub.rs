//! Who listens to what in one database, and what was heard for them: one connection listens for all sessions. What it is asked goes in rounds, each one
//! question; whoever waits for a round knows after it that everything which was acknowledged before it began has been heard.

use super::registry::ClientEntry;
use crate::clock::Tick;
use crate::engine::ear::Message;
use crate::error::ClientError;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// What may wait for one session, in bytes of notifications.
const WAITING_MAX: usize = 4 * 1024 * 1024;
/// What one costs beside its text.
const OVERHEAD: usize = 64;
/// Databases that are remembered before those of which nobody listens to anything are forgotten.
const HUBS_MAX: usize = 1000;

/// One notification, shared by all who hear it.
#[derive(Debug)]
pub(super) struct News {
    pub(super) message: Message,
    /// The how-manieth of its connection.
    pub(super) number: u64,
    /// When it had been heard.
    pub(super) heard: Tick,
}

/// What waits for one session.
#[derive(Debug)]
pub(super) struct Mailbox {
    entry: Arc<ClientEntry>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    news: VecDeque<Arc<News>>,
    bytes: usize,
}

impl Mailbox {
    pub(super) fn new(entry: Arc<ClientEntry>) -> Arc<Self> {
        Arc::new(Self { entry, queue: Mutex::default() })
    }

    /// Whether something waits.
    pub(super) fn has_news(&self) -> bool {
        !self.queue.lock().news.is_empty()
    }

    /// The next that waits.
    pub(super) fn take(&self) -> Option<Arc<News>> {
        let mut queue = self.queue.lock();
        let news = queue.news.pop_front()?;
        queue.bytes = queue.bytes.saturating_sub(weight(&news));
        Some(news)
    }

    /// Drops what waits of other channels than these.
    pub(super) fn keep(&self, wanted: impl Fn(&[u8]) -> bool) {
        let mut queue = self.queue.lock();
        queue.news.retain(|news| wanted(news.message.channel()));
        queue.bytes = queue.news.iter().map(|news| weight(news)).sum();
    }

    fn put(&self, news: &Arc<News>) {
        let mut queue = self.queue.lock();
        if queue.bytes > WAITING_MAX {
            return;
        }
        queue.bytes += weight(news);
        if queue.bytes > WAITING_MAX {
            queue.news = VecDeque::new();
            drop(queue);
            return self.entry.end(too_slow());
        }
        queue.news.push_back(Arc::clone(news));
        drop(queue);
        self.entry.wake();
    }
}

fn weight(news: &News) -> usize {
    news.message.text.len() + OVERHEAD
}

fn too_slow() -> ClientError {
    let text = format!("terminating connection: more than {WAITING_MAX} bytes of notifications wait for it");
    ClientError::new("53400", 1041, text)
        .hint("read notifications as they come, and do not stay in a transaction while listening")
        .fatal()
}

/// Listening came to an end for all: what was not heard is lost, and nobody knows what it was.
fn lost(why: &str) -> ClientError {
    let text = format!("terminating connection: the server connection that listened for it is lost ({why})");
    ClientError::new("57P01", 1053, text)
        .hint("connect and LISTEN again: notifications may have been missed")
        .fatal()
}

/// The connection that listens is gone, or could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Stands for all rounds of a connection that is lost.
const BROKEN: u64 = u64::MAX;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Which connection.
    life: u64,
    /// Rounds that are done on it.
    done: u64,
    /// Notifications that were heard until then.
    heard: u64,
}

/// A round that somebody waits for.
#[derive(Debug, Clone, Copy)]
struct Ticket {
    life: u64,
    round: u64,
}

/// One database's.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// There is something to be asked.
    pub(super) work: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether somebody runs the connection.
    running: bool,
    life: u64,
    /// Rounds that have begun, and the last one that somebody waits for.
    begun: u64,
    wanted: u64,
    heard: u64,
    channels: HashMap<Arc<str>, Vec<Arc<Mailbox>>>,
    /// What the server listens to.
    standing: HashSet<Arc<str>>,
    /// Who joins with the next round, and who with the one that is under way.
    next: Vec<(Arc<str>, Arc<Mailbox>)>,
    joining: Vec<(Arc<str>, Arc<Mailbox>)>,
    /// Something was left: it may be that nobody listens to it any more.
    left: bool,
}

impl State {
    // A place in the next round.
    fn ticket(&mut self) -> Ticket {
        self.wanted = self.begun + 1;
        Ticket { life: self.life, round: self.wanted }
    }
}

/// What a round asks the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) listen: Vec<Arc<str>>,
    pub(super) unlisten: Vec<Arc<str>>,
}

impl Hub {
    fn new() -> Self {
        Self {
            state: Mutex::default(),
            work: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// From the end of the next round on these channels are heard for the mailbox: everything that is acknowledged from then on, and nothing that was
    /// before it began. `start` is called when nobody runs the connection.
    pub(super) async fn join(
        &self,
        channels: &[Arc<str>],
        mailbox: &Arc<Mailbox>,
        start: impl FnOnce(),
    ) -> Result<(), Gone> {
        let (ticket, starts) = {
            let mut state = self.state.lock();
            let starts = !state.running;
            if starts {
                *state = State { running: true, life: state.life + 1, ..State::default() };
            }
            state.next.extend(channels.iter().map(|channel| (Arc::clone(channel), Arc::clone(mailbox))));
            (state.ticket(), starts)
        };
        if starts {
            start();
        }
        self.round(ticket).await.map(drop)
    }

    /// Returns when everything has been heard that was acknowledged before: how many notifications there were until then.
    pub(super) async fn catch_up(&self) -> Result<u64, Gone> {
        let ticket = {
            let mut state = self.state.lock();
            if !state.running {
                return Err(Gone);
            }
            state.ticket()
        };
        self.round(ticket).await
    }

    async fn round(&self, ticket: Ticket) -> Result<u64, Gone> {
        let mut progress = self.progress.subscribe();
        self.work.notify_one();
        let reached = progress
            .wait_for(|now| now.life > ticket.life || (now.life == ticket.life && now.done >= ticket.round));
        match reached.await.as_deref() {
            Ok(now) if now.life == ticket.life && now.done != BROKEN => Ok(now.heard),
            _ => Err(Gone),
        }
    }

    /// The channels are not heard for the mailbox any more.
    pub(super) fn leave<'c>(&self, channels: impl Iterator<Item = &'c Arc<str>>, mailbox: &Arc<Mailbox>) {
        let mut state = self.state.lock();
        for channel in channels {
            let other =
                |(joins, whose): &(Arc<str>, Arc<Mailbox>)| joins != channel || !Arc::ptr_eq(whose, mailbox);
            state.next.retain(other);
            state.joining.retain(other);
            if let Some(members) = state.channels.get_mut(channel) {
                members.retain(|member| !Arc::ptr_eq(member, mailbox));
                state.left |= members.is_empty();
            }
        }
        let left = state.left;
        drop(state);
        if left {
            self.work.notify_one();
        }
    }

    /// Begins a round, if one is wanted.
    pub(super) fn begin(&self) -> Option<Question> {
        let mut state = self.state.lock();
        if state.wanted <= state.begun && !state.left {
            return None;
        }
        state.begun += 1;
        state.left = false;
        state.joining = std::mem::take(&mut state.next);
        let State { channels, standing, joining, .. } = &mut *state;
        channels.retain(|_, members| !members.is_empty());
        let mut question = Question::default();
        for (channel, _) in joining.iter() {
            if !standing.contains(channel) && !question.listen.contains(channel) {
                question.listen.push(Arc::clone(channel));
            }
        }
        let unheard = |channel: &&Arc<str>| {
            !channels.contains_key(*channel) && !joining.iter().any(|(joins, _)| joins == *channel)
        };
        question.unlisten = standing.iter().filter(unheard).cloned().collect();
        standing.retain(|channel| !question.unlisten.contains(channel));
        standing.extend(question.listen.iter().cloned());
        Some(question)
    }

    /// The round under way is done.
    pub(super) fn done(&self) {
        let mut state = self.state.lock();
        for (channel, mailbox) in std::mem::take(&mut state.joining) {
            let members = state.channels.entry(channel).or_default();
            if !members.iter().any(|member| Arc::ptr_eq(member, &mailbox)) {
                members.push(mailbox);
            }
        }
        let now = Progress { life: state.life, done: state.begun, heard: state.heard };
        self.progress.send_replace(now);
    }

    /// The connection heard something at `heard`.
    pub(super) fn hear(&self, message: Message, heard: Tick) {
        let mut state = self.state.lock();
        state.heard += 1;
        let news = Arc::new(News { message, number: state.heard, heard });
        let channel = std::str::from_utf8(news.message.channel()).unwrap_or_default();
        if let Some(members) = state.channels.get(channel) {
            members.iter().for_each(|member| member.put(&news));
        }
    }

    /// Whether nobody listens to anything, or is about to; then the connection is not run any more.
    pub(super) fn ends_unused(&self) -> bool {
        let mut state = self.state.lock();
        let used = state.wanted > state.begun || state.channels.values().any(|members| !members.is_empty());
        state.running &= used;
        !used
    }

    /// The connection is lost: so is every session for which it listened. What waits for it is told.
    pub(super) fn broken(&self, why: &str) {
        let mut state = self.state.lock();
        let life = state.life;
        let old = std::mem::replace(&mut *state, State { life, ..State::default() });
        // Before anybody starts anew.
        self.progress.send_replace(Progress { life, done: BROKEN, heard: 0 });
        drop(state);
        for member in old.channels.values().flatten() {
            member.entry.end(lost(why));
        }
    }
}

/// All databases'.
#[derive(Debug, Default)]
pub(super) struct Hubs(Mutex<HashMap<Arc<str>, Arc<Hub>>>);

impl Hubs {
    /// That of a database, by its name on the servers.
    pub(super) fn of(&self, database: &Arc<str>) -> Arc<Hub> {
        let mut hubs = self.0.lock();
        if hubs.len() >= HUBS_MAX {
            hubs.retain(|_, hub| Arc::strong_count(hub) > 1);
        }
        Arc::clone(hubs.entry(Arc::clone(database)).or_insert_with(|| Arc::new(Hub::new())))
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
