//! Pinned backends of one node: the limit on them with its queue, and the table of the sessions that hold them and why.

use super::PinError;
use crate::clock::Tick;
use crate::engine::{Certainty, Pin, PinReason};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, TryAcquireError};

/// `pool.pinned`: counts, and queues in order of arrival when the limit is reached.
pub(super) struct PinGate {
    free: Semaphore,
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    limit: u32,
    /// Pins above a limit that was lowered: the next that end free nothing.
    excess: u32,
    used: u32,
}

impl PinGate {
    /// Without a limit, nearly: as many as 32 bits hold, or a machine's semaphore.
    pub(super) fn new() -> Self {
        let gate = Self { free: Semaphore::new(0), count: Mutex::default() };
        gate.set_limit(u32::MAX);
        gate
    }

    pub(super) fn set_limit(&self, limit: u32) {
        let limit = limit.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let mut count = self.count.lock();
        if limit >= count.limit {
            let more = limit - count.limit;
            let settled = more.min(count.excess);
            count.excess -= settled;
            self.free.add_permits(usize::try_from(more - settled).unwrap_or(0));
        } else {
            let less = count.limit - limit;
            let forgotten = self.free.forget_permits(usize::try_from(less).unwrap_or(0));
            count.excess += less - u32::try_from(forgotten).unwrap_or(less).min(less);
        }
        count.limit = limit;
    }

    pub(super) fn try_enter(&self) -> Result<(), PinError> {
        match self.free.try_acquire() {
            Ok(permit) => {
                permit.forget();
                self.count.lock().used += 1;
                Ok(())
            }
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                Err(PinError::Full { limit: self.count.lock().limit })
            }
        }
    }

    pub(super) async fn enter(&self) {
        // The semaphore is never closed.
        if let Ok(permit) = self.free.acquire().await {
            permit.forget();
        }
        self.count.lock().used += 1;
    }

    pub(super) fn leave(&self) {
        let mut count = self.count.lock();
        count.used = count.used.saturating_sub(1);
        if count.excess > 0 {
            count.excess -= 1;
        } else {
            self.free.add_permits(1);
        }
    }

    pub(super) fn used(&self) -> u32 {
        self.count.lock().used
    }
}

/// The sessions that keep a backend of one node.
#[derive(Debug, Default)]
pub struct PinTable {
    rows: Arc<Rows>,
}

type Rows = Mutex<HashMap<u64, Arc<Marks>>>;

#[derive(Debug)]
struct Marks {
    known: AtomicU32,
    possible: AtomicU32,
    /// Zero = busy.
    idle_since: AtomicU64,
    since: Tick,
}

/// A session's row in a [`PinTable`]; dropping it takes the row out.
#[derive(Debug)]
pub struct PinEntry {
    id: u64,
    marks: Arc<Marks>,
    rows: Arc<Rows>,
}

/// A row as `SHOW PINS` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinRow {
    /// The session.
    pub session: u64,
    /// Why it keeps its backend.
    pub pins: Vec<Pin>,
    /// Since when it does.
    pub since: Tick,
    /// Since when its client says nothing; `None` = it is busy.
    pub idle_since: Option<Tick>,
}

fn bit(reason: PinReason) -> u32 {
    1 << (reason as u32)
}

impl PinTable {
    /// Enters session `session`, which is busy, with its first pin.
    #[must_use]
    pub fn enter(&self, session: u64, pin: Pin, now: Tick) -> PinEntry {
        let marks = Arc::new(Marks {
            known: AtomicU32::new(0),
            possible: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            since: now,
        });
        self.rows.lock().insert(session, Arc::clone(&marks));
        let entry = PinEntry { id: session, marks, rows: Arc::clone(&self.rows) };
        entry.add(pin);
        entry
    }

    /// The session that is to be closed when the limit is reached: of those whose pins are only possible and that have been idle for
    /// `pin_idle`, the longest idle.
    #[must_use]
    pub fn victim(&self, now: Tick, pin_idle: Duration) -> Option<u64> {
        let rows = self.rows.lock();
        let idle = rows.iter().filter_map(|(id, marks)| {
            let since = marks.idle_since()?;
            let eligible = marks.known.load(Ordering::Acquire) == 0
                && marks.possible.load(Ordering::Acquire) != 0
                && now.since(since) >= pin_idle;
            eligible.then_some((since, *id))
        });
        idle.min().map(|(_, id)| id)
    }

    /// All rows, the oldest pin first.
    #[must_use]
    pub fn rows(&self) -> Vec<PinRow> {
        let mut rows: Vec<_> = self.rows.lock().iter().map(|(id, marks)| marks.row(*id)).collect();
        rows.sort_by_key(|row| (row.since, row.session));
        rows
    }

    /// How many sessions each reason pins, for the message that says who holds the places and for metrics; reasons without any are
    /// left out.
    #[must_use]
    pub fn reasons(&self) -> Vec<(Pin, u32)> {
        let mut counts: Vec<(Pin, u32)> = Vec::new();
        for pin in self.rows().into_iter().flat_map(|row| row.pins) {
            match counts.iter_mut().find(|(known, _)| *known == pin) {
                Some((_, count)) => *count += 1,
                None => counts.push((pin, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

impl Marks {
    fn idle_since(&self) -> Option<Tick> {
        match self.idle_since.load(Ordering::Acquire) {
            0 => None,
            since => Some(Tick(since)),
        }
    }

    fn row(&self, session: u64) -> PinRow {
        let (known, possible) = (self.known.load(Ordering::Acquire), self.possible.load(Ordering::Acquire));
        let pins = PinReason::ALL.into_iter().filter_map(|reason| {
            let certainty = if known & bit(reason) != 0 {
                Certainty::Known
            } else if possible & bit(reason) != 0 {
                Certainty::Possible
            } else {
                return None;
            };
            Some(Pin { reason, certainty })
        });
        PinRow { session, pins: pins.collect(), since: self.since, idle_since: self.idle_since() }
    }
}

impl PinEntry {
    /// Adds a pin.
    pub fn add(&self, pin: Pin) {
        match pin.certainty {
            Certainty::Known => self.marks.known.fetch_or(bit(pin.reason), Ordering::AcqRel),
            Certainty::Possible => self.marks.possible.fetch_or(bit(pin.reason), Ordering::AcqRel),
        };
    }

    /// Takes the pins of `reason` away, known and possible.
    pub fn remove(&self, reason: PinReason) {
        self.marks.known.fetch_and(!bit(reason), Ordering::AcqRel);
        self.marks.possible.fetch_and(!bit(reason), Ordering::AcqRel);
    }

    /// Whether nothing but known pins of these reasons is there.
    #[must_use]
    pub fn is_only(&self, reasons: &[PinReason]) -> bool {
        self.marks
            .row(self.id)
            .pins
            .iter()
            .all(|pin| pin.certainty == Certainty::Known && reasons.contains(&pin.reason))
            && self.marks.possible.load(Ordering::Acquire) == 0
    }

    /// The strongest pin that is left; `None` when nothing pins any more.
    #[must_use]
    pub fn left(&self) -> Option<Pin> {
        self.marks.row(self.id).pins.into_iter().max_by_key(|pin| pin.certainty)
    }

    /// The client says nothing since `now`.
    pub fn idle(&self, now: Tick) {
        self.marks.idle_since.store(now.0.max(1), Ordering::Release);
    }

    /// The client says something.
    pub fn busy(&self) {
        self.marks.idle_since.store(0, Ordering::Release);
    }
}

impl Drop for PinEntry {
    fn drop(&mut self) {
        let mut rows = self.rows.lock();
        if rows.get(&self.id).is_some_and(|marks| Arc::ptr_eq(marks, &self.marks)) {
            rows.remove(&self.id);
        }
    }
}
