//! The books of one pool, under its lock: counts, idle stack, queues, and the one rule by which backends and places are handed out.

use super::budget::Account;
use super::lease::Held;
use super::limits::Limits;
use super::waiter::{Cell, Handed};
use super::{Pooled, Purpose, Want};
use crate::clock::Tick;
use crate::engine::tracked::Customs;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

/// A backend and what the pool knows of it.
pub(super) struct Conn<B> {
    // Boxed: it is handed from one to the next, and leases live in sessions.
    pub(super) backend: Box<B>,
    /// The pool's when it was opened.
    pub(super) generation: u64,
    pub(super) jitter: u8,
}

pub(super) struct Idle<B> {
    pub(super) conn: Conn<B>,
    pub(super) key: u64,
    pub(super) since: Tick,
}

struct Waiter<B> {
    cell: Arc<Cell<B>>,
    ticket: u64,
    key: u64,
    customs: Customs,
    since: Tick,
}

/// Whom to wake once no lock is held.
pub(super) type Wakers = SmallVec<[Waker; 2]>;

/// What only ever rises.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) taken: u64,
    pub(super) waited: u64,
    pub(super) wait_nanos: u64,
    pub(super) opened: u64,
}

pub(super) struct Core<B> {
    pub(super) limits: Limits,
    /// The last used on top.
    pub(super) idle: Vec<Idle<B>>,
    /// Two queues with tickets of one sequence: the lower ticket goes first, and the first read is found at once.
    reads: VecDeque<Waiter<B>>,
    writes: VecDeque<Waiter<B>>,
    tickets: u64,
    pub(super) active: u32,
    pub(super) opening: u32,
    pub(super) pinned: u32,
    /// Of the active and opening ones, those that serve writes.
    writing: u32,
    pub(super) generation: u64,
    pub(super) paused: bool,
    pub(super) closed: bool,
    /// Waits in the node's books for a place.
    hungry: bool,
    /// The latest instant that a caller named.
    pub(super) seen: Tick,
    pub(super) totals: Totals,
}

impl<B: Pooled> Core<B> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            idle: Vec::new(),
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            tickets: 0,
            active: 0,
            opening: 0,
            pinned: 0,
            writing: 0,
            generation: 0,
            paused: false,
            closed: false,
            hungry: false,
            seen: Tick::ZERO,
            totals: Totals::default(),
        }
    }

    pub(super) fn see(&mut self, now: Tick) {
        self.seen = self.seen.max(now);
    }

    pub(super) fn idle_count(&self) -> u32 {
        u32::try_from(self.idle.len()).unwrap_or(u32::MAX)
    }

    /// Places that count against the size.
    pub(super) fn total(&self) -> u32 {
        self.idle_count().saturating_add(self.active).saturating_add(self.opening)
    }

    pub(super) fn waiting(&self) -> usize {
        self.reads.len() + self.writes.len()
    }

    /// Since when the longest waiter waits.
    pub(super) fn oldest(&self) -> Option<Tick> {
        let front = |queue: &VecDeque<Waiter<B>>| queue.front().map(|waiter| waiter.since);
        [front(&self.reads), front(&self.writes)].into_iter().flatten().min()
    }

    /// Takes an idle backend for somebody who passes nobody by it: of equal state, else the last used.
    pub(super) fn take_idle(&mut self, want: &Want, now: Tick) -> Option<Conn<B>> {
        self.see(now);
        if self.paused || self.closed || self.waiting() > 0 {
            return None;
        }
        let conn = self.pop(want.state_key, &want.customs)?;
        self.count(Held::Active, want.purpose);
        self.totals.taken += 1;
        Some(conn)
    }

    // Of equal state, else of equal custom settings, else the last used; never one on which a custom setting was set that is not among `customs`.
    fn pop(&mut self, key: u64, customs: &Customs) -> Option<Conn<B>> {
        let fits = |idle: &Idle<B>| customs.cover(idle.conn.backend.customs());
        let index = self
            .idle
            .iter()
            .rposition(|idle| idle.key == key && fits(idle))
            .or_else(|| {
                let equal = |idle: &Idle<B>| idle.conn.backend.customs() == customs;
                if customs.is_empty() { None } else { self.idle.iter().rposition(equal) }
            })
            .or_else(|| self.idle.iter().rposition(fits))?;
        Some(self.idle.remove(index).conn)
    }

    pub(super) fn push(&mut self, conn: Conn<B>, key: u64) {
        self.idle.push(Idle { conn, key, since: self.seen });
    }

    pub(super) fn enqueue(&mut self, cell: Arc<Cell<B>>, want: &Want, now: Tick) -> u64 {
        self.see(now);
        self.tickets += 1;
        let (key, customs) = (want.state_key, want.customs.clone());
        let waiter = Waiter { cell, ticket: self.tickets, key, customs, since: now };
        self.queue(want.purpose).push_back(waiter);
        self.tickets
    }

    /// Takes a waiter out of its queue; false when it is in none any more: it was handed something.
    pub(super) fn dequeue(&mut self, ticket: u64, purpose: Purpose) -> bool {
        let queue = self.queue(purpose);
        match queue.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            Ok(index) => queue.remove(index).is_some(),
            Err(_) => false,
        }
    }

    fn queue(&mut self, purpose: Purpose) -> &mut VecDeque<Waiter<B>> {
        match purpose {
            Purpose::Read => &mut self.reads,
            Purpose::Write => &mut self.writes,
        }
    }

    /// Whose turn it is: the lower ticket, except that writes which hold their share let reads pass that have waited for too long.
    fn turn(&self) -> Option<Purpose> {
        let (read, write) = (self.reads.front(), self.writes.front());
        match (read, write) {
            (None, None) => None,
            (Some(_), None) => Some(Purpose::Read),
            (None, Some(_)) => Some(Purpose::Write),
            (Some(read), Some(write)) if read.ticket < write.ticket => Some(Purpose::Read),
            (Some(read), Some(_)) => {
                let full = self.writing >= self.limits.writes_max();
                Some(if full && Limits::reads_starve(read.since, self.seen) {
                    Purpose::Read
                } else {
                    Purpose::Write
                })
            }
        }
    }

    /// Hands out all that can be handed out. Returns how many were served. The only way from a queue to a backend.
    pub(super) fn serve(&mut self, account: &Account, wakers: &mut Wakers) -> usize {
        let mut served = 0;
        let (mut blocked, mut claimed_in_vain) = (false, false);
        while !self.paused
            && self.total() <= self.limits.size
            && let Some(purpose) = self.turn()
            && let Some((key, customs, since)) =
                self.queue(purpose).front().map(|waiter| (waiter.key, waiter.customs.clone(), waiter.since))
        {
            let room = self.total() < self.limits.size;
            let handed = if let Some(conn) = self.pop(key, &customs) {
                self.count(Held::Active, purpose);
                Handed::Backend(conn)
            } else if room && account.claim(self.oldest().unwrap_or(since)) {
                self.count(Held::Opening, purpose);
                Handed::Place(self.generation, None)
            } else if !self.idle.is_empty() {
                // What is idle does not fit: the longest unused makes room, and its place is used at once.
                claimed_in_vain |= room;
                let unfit = self.idle.remove(0).conn;
                self.count(Held::Opening, purpose);
                Handed::Place(self.generation, Some(unfit))
            } else {
                blocked = room;
                break;
            };
            let Some(waiter) = self.queue(purpose).pop_front() else { break };
            self.totals.taken += 1;
            self.totals.waited += 1;
            let waited = u64::try_from(self.seen.since(since).as_nanos()).unwrap_or(u64::MAX);
            self.totals.wait_nanos = self.totals.wait_nanos.saturating_add(waited);
            wakers.extend(waiter.cell.hand(handed));
            served += 1;
        }
        if (self.hungry || claimed_in_vain) && !blocked {
            account.content();
        }
        self.hungry = blocked;
        served
    }

    /// Tells all who wait that the pool is closed.
    pub(super) fn refuse_all(&mut self, account: &Account, wakers: &mut Wakers) {
        for waiter in self.reads.drain(..).chain(self.writes.drain(..)) {
            wakers.extend(waiter.cell.hand(Handed::Closed));
        }
        if std::mem::take(&mut self.hungry) {
            account.content();
        }
    }

    pub(super) fn count(&mut self, held: Held, purpose: Purpose) {
        match held {
            Held::Opening => self.opening += 1,
            Held::Active => self.active += 1,
            Held::Pinned => self.pinned += 1,
        }
        if held != Held::Pinned && purpose == Purpose::Write {
            self.writing += 1;
        }
    }

    pub(super) fn uncount(&mut self, held: Held, purpose: Purpose) {
        let counter = match held {
            Held::Opening => &mut self.opening,
            Held::Active => &mut self.active,
            Held::Pinned => &mut self.pinned,
        };
        debug_assert!(*counter > 0, "a place is freed once");
        *counter = counter.saturating_sub(1);
        if held != Held::Pinned && purpose == Purpose::Write {
            debug_assert!(self.writing > 0, "a write's place is freed once");
            self.writing = self.writing.saturating_sub(1);
        }
    }

    /// Whether a backend that comes back may stay.
    pub(super) fn keeps(&self, conn: &Conn<B>, held: Held) -> bool {
        let room = match held {
            Held::Pinned => self.total() < self.limits.size,
            Held::Active | Held::Opening => self.total() <= self.limits.size,
        };
        room && !self.closed
            && conn.generation == self.generation
            && !self.limits.is_old(conn.backend.born(), conn.jitter, self.seen)
    }

    /// Takes the idle backends out that fail `stays`.
    pub(super) fn sift(&mut self, mut stays: impl FnMut(&Idle<B>) -> bool) -> Vec<Conn<B>> {
        let (kept, gone): (Vec<_>, Vec<_>) = self.idle.drain(..).partition(|idle| stays(idle));
        self.idle = kept;
        gone.into_iter().map(|idle| idle.conn).collect()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.active == 0 && self.opening == 0 && self.pinned == 0
    }
}
