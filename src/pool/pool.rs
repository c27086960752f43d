//! One pool: the backends of one user to one database of one node.

use super::budget::{Account, NodeBudget};
use super::core::{Conn, Core, Wakers};
use super::lease::{Held, Lease, Permit, Taken};
use super::limits::Limits;
use super::waiter::{Handed, Slot, Waiting};
use super::{PoolKey, Pooled, Purpose, TakeError, Want};
use crate::clock::Tick;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;

/// The backends of one user to one database of one node. One short lock; those who wait are served in the order in which they came,
/// by whoever returns a backend.
pub struct Pool<B: Pooled> {
    key: PoolKey,
    pub(super) core: Mutex<Core<B>>,
    pub(super) account: Account,
    pub(super) quiet: Notify,
}

/// What a pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Backends that wait for work.
    pub idle: u32,
    /// Backends on loan, pinned ones not counted.
    pub active: u32,
    /// Backends that are being opened.
    pub opening: u32,
    /// Backends that count as pinned.
    pub pinned: u32,
    /// Sessions that wait.
    pub waiting: usize,
    /// How long the longest of them has waited.
    pub longest_wait: Duration,
    /// Whether nothing is handed out for now.
    pub paused: bool,
    /// Backends and places handed out since the start.
    pub taken: u64,
    /// How many of them were waited for.
    pub waited: u64,
    /// How long, together.
    pub wait_time: Duration,
    /// Backends opened since the start.
    pub opened: u64,
}

impl<B: Pooled> Pool<B> {
    /// A pool with its account in the books of `node`.
    #[must_use]
    pub fn new(key: PoolKey, limits: Limits, node: Arc<NodeBudget>) -> Arc<Self> {
        let pool = Arc::new_cyclic(|me: &Weak<Self>| Self {
            account: Account::open(node, Arc::clone(&key.user), Arc::clone(&key.database), me.clone()),
            key,
            core: Mutex::new(Core::new(limits)),
            quiet: Notify::new(),
        });
        pool.account.set_limits(limits.user_limit, limits.database_limit);
        pool
    }

    /// Whose backends these are, and to what.
    #[must_use]
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    /// The books of its node.
    #[must_use]
    pub fn node(&self) -> &Arc<NodeBudget> {
        self.account.node()
    }

    /// Takes an idle backend, one of equal state if there is one, else the last used. `None` when there is none, when others wait, or
    /// while the pool is paused: then [`Self::poll_take`].
    pub fn try_take(self: &Arc<Self>, want: &Want, now: Tick) -> Option<Lease<B>> {
        loop {
            let conn = self.core.lock().take_idle(want, now)?;
            let mut lease = Lease::new(Arc::clone(self), conn, want.purpose);
            if lease.is_usable() {
                return Some(lease);
            }
            lease.close();
        }
    }

    /// Takes a backend or a place for one; waits in `slot` when there is neither. Cancel safe: a slot that is cleared or dropped
    /// leaves the queue and passes on what it was handed. How long to wait is the caller's to decide.
    ///
    /// # Errors
    /// [`TakeError::Closed`] when the pool was closed.
    pub fn poll_take(
        self: &Arc<Self>,
        slot: &mut Slot<B>,
        want: &Want,
        now: Tick,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Taken<B>, TakeError>> {
        if !slot.waits_on(self) {
            slot.clear();
            if let Some(lease) = self.try_take(want, now) {
                return Poll::Ready(Ok(Taken::Ready(lease)));
            }
            self.queue(slot, want, now)?;
        }
        let (handed, waiting) = ready!(slot.poll(cx));
        let Waiting { pool, purpose, .. } = waiting;
        Poll::Ready(match handed {
            Handed::Backend(conn) => Ok(Self::usable(pool, conn, purpose)),
            Handed::Place(generation, before) => {
                drop(before);
                Ok(Taken::Open(Permit::new(pool, purpose, generation)))
            }
            Handed::Closed => Err(TakeError::Closed),
        })
    }

    fn queue(self: &Arc<Self>, slot: &mut Slot<B>, want: &Want, now: Tick) -> Result<(), TakeError> {
        let cell = Arc::clone(slot.cell());
        let mut core = self.core.lock();
        if core.closed {
            return Err(TakeError::Closed);
        }
        let ticket = core.enqueue(cell, want, now);
        slot.wait(Waiting { pool: Arc::clone(self), ticket, purpose: want.purpose, since: now });
        let mut wakers = Wakers::new();
        core.serve(&self.account, &mut wakers);
        drop(core);
        self.settle(wakers, true);
        Ok(())
    }

    /// A backend that was handed over, or its place when it did not survive the wait.
    fn usable(pool: Arc<Self>, mut conn: Conn<B>, purpose: Purpose) -> Taken<B> {
        if conn.backend.is_usable() {
            return Taken::Ready(Lease::new(pool, conn, purpose));
        }
        drop(conn);
        let mut core = pool.core.lock();
        core.uncount(Held::Active, purpose);
        core.count(Held::Opening, purpose);
        let generation = core.generation;
        drop(core);
        Taken::Open(Permit::new(pool, purpose, generation))
    }

    /// What is going on.
    #[must_use]
    pub fn stats(&self, now: Tick) -> PoolStats {
        let core = self.core.lock();
        PoolStats {
            idle: core.idle_count(),
            active: core.active,
            opening: core.opening,
            pinned: core.pinned,
            waiting: core.waiting(),
            longest_wait: core.oldest().map_or(Duration::ZERO, |since| now.since(since)),
            paused: core.paused,
            taken: core.totals.taken,
            waited: core.totals.waited,
            wait_time: Duration::from_nanos(core.totals.wait_nanos),
            opened: core.totals.opened,
        }
    }

    /// Whether nothing is left of it: no backend, and nobody who waits for one.
    pub(super) fn is_empty(&self) -> bool {
        let core = self.core.lock();
        core.is_quiet() && core.idle.is_empty() && core.waiting() == 0 && !core.paused
    }

    /// A permit was fulfilled: counts the backend as active, and draws its jitter.
    pub(super) fn opened(&self, purpose: Purpose) -> u8 {
        let mut core = self.core.lock();
        core.uncount(Held::Opening, purpose);
        core.count(Held::Active, purpose);
        core.totals.opened += 1;
        // Fibonacci hashing: consecutive numbers spread evenly.
        core.totals.opened.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
    }

    /// A backend comes back.
    pub(super) fn returned(&self, conn: Conn<B>, held: Held, purpose: Purpose, now: Tick) {
        let key = conn.backend.state_key();
        let mut core = self.core.lock();
        core.see(now);
        if !core.keeps(&conn, held) || self.account.yields(core.oldest(), now) {
            drop(core);
            drop(conn);
            return self.vacate(held, purpose);
        }
        core.uncount(held, purpose);
        core.push(conn, key);
        let mut wakers = Wakers::new();
        core.serve(&self.account, &mut wakers);
        let (idle, quiet) = (!core.idle.is_empty(), core.is_quiet());
        drop(core);
        self.after(held, quiet);
        self.settle(wakers, idle);
    }

    /// A place is free.
    pub(super) fn vacate(&self, held: Held, purpose: Purpose) {
        let mut wakers = Wakers::new();
        let mut core = self.core.lock();
        core.uncount(held, purpose);
        self.account.release(1);
        core.serve(&self.account, &mut wakers);
        let quiet = core.is_quiet();
        drop(core);
        self.after(held, quiet);
        self.settle(wakers, true);
    }

    fn after(&self, held: Held, quiet: bool) {
        if held == Held::Pinned {
            self.node().gate().leave();
        }
        if quiet {
            self.quiet.notify_waiters();
        }
    }

    /// A waiter leaves; if it was handed something, that is passed on.
    pub(super) fn forget(&self, ticket: u64, purpose: Purpose, handed: impl FnOnce() -> Option<Handed<B>>) {
        let mut core = self.core.lock();
        if core.dequeue(ticket, purpose) {
            let mut wakers = Wakers::new();
            core.serve(&self.account, &mut wakers);
            drop(core);
            return self.settle(wakers, false);
        }
        let now = core.seen;
        drop(core);
        match handed() {
            Some(Handed::Backend(conn)) => self.returned(conn, Held::Active, purpose, now),
            Some(Handed::Place(_, before)) => {
                drop(before);
                self.vacate(Held::Opening, purpose);
            }
            Some(Handed::Closed) | None => {}
        }
    }

    /// A backend on loan counts as pinned from now on.
    pub(super) fn pin(&self, purpose: Purpose) {
        let mut wakers = Wakers::new();
        let mut core = self.core.lock();
        core.uncount(Held::Active, purpose);
        core.count(Held::Pinned, purpose);
        core.serve(&self.account, &mut wakers);
        drop(core);
        self.settle(wakers, true);
    }

    /// A pinned backend counts against the size again, if there is room for it.
    pub(super) fn unpin(&self, purpose: Purpose) -> bool {
        let mut core = self.core.lock();
        if core.total() >= core.limits.size {
            return false;
        }
        core.uncount(Held::Pinned, purpose);
        core.count(Held::Active, purpose);
        drop(core);
        self.node().gate().leave();
        true
    }

    /// What is left to do once no lock is held: wake, and see to the node's other pools when something may have come free for them.
    pub(super) fn settle(&self, wakers: Wakers, freed: bool) {
        wakers.into_iter().for_each(std::task::Waker::wake);
        if freed && self.node().is_short() {
            self.node().relieve();
        }
    }
}

impl<B: Pooled> Drop for Pool<B> {
    fn drop(&mut self) {
        // Leases, permits and slots hold the pool: only idle backends can be left.
        let idle = std::mem::take(&mut self.core.get_mut().idle);
        let places = u32::try_from(idle.len()).unwrap_or(u32::MAX);
        drop(idle);
        self.account.release(places);
    }
}

impl<B: Pooled> std::fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("key", &self.key).finish_non_exhaustive()
    }
}
