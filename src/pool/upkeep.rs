//! What is done to a pool from outside its traffic: limits, pauses, closing, reaping, and giving way to its neighbours.

use super::budget::Neighbour;
use super::core::{Conn, Core, Idle, Wakers};
use super::lease::{Held, Lease, Permit};
use super::limits::Limits;
use super::pool::Pool;
use super::{Pooled, Purpose};
use crate::clock::Tick;
use std::sync::Arc;

impl<B: Pooled> Pool<B> {
    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.core.lock().limits
    }

    /// Changes the limits, those of its user and database on this node included. Surplus idle backends are closed at once, surplus
    /// ones on loan when they come back.
    pub fn set_limits(self: &Arc<Self>, limits: Limits) {
        self.account.set_limits(limits.user_limit, limits.database_limit);
        let gone = self.change(|core| {
            core.limits = limits;
            let mut surplus = core.total().saturating_sub(limits.size);
            core.sift(|_| {
                let stays = surplus == 0;
                surplus = surplus.saturating_sub(1);
                stays
            })
        });
        drop(gone);
    }

    /// Hands nothing out until [`Self::resume`]: who asks waits.
    pub fn pause(&self) {
        self.core.lock().paused = true;
    }

    /// Ends a pause.
    pub fn resume(self: &Arc<Self>) {
        self.change(|core| {
            core.paused = false;
            Vec::new()
        });
    }

    /// Waits until no backend is on loan, pinned or being opened. Cancel safe.
    pub async fn quiet(&self) {
        loop {
            let notified = self.quiet.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.core.lock().is_quiet() {
                return;
            }
            notified.await;
        }
    }

    /// Closes the idle backends that `doomed` names; returns how many.
    pub fn close_idle(self: &Arc<Self>, mut doomed: impl FnMut(&B) -> bool) -> usize {
        self.change(|core| core.sift(|idle| !doomed(&idle.conn.backend))).len()
    }

    /// Closes all backends: idle ones now, those on loan or being opened when they come back. For a change of primary, of credentials,
    /// or RECONNECT.
    pub fn invalidate(self: &Arc<Self>) {
        let gone = self.change(|core| {
            core.generation += 1;
            core.sift(|_| false)
        });
        drop(gone);
    }

    /// Closes the pool for ever: who waits or asks gets [`TakeError::Closed`], backends on loan are closed when they come back.
    pub fn close(self: &Arc<Self>) {
        let mut wakers = Wakers::new();
        let mut core = self.core.lock();
        core.closed = true;
        core.refuse_all(&self.account, &mut wakers);
        drop(core);
        self.settle(wakers, false);
        self.invalidate();
    }

    /// Takes the idle backends out that are too old or have idled for too long (`min_idle` of them stay), for the caller to close.
    #[must_use]
    pub fn reap(self: &Arc<Self>, now: Tick) -> Vec<Lease<B>> {
        self.change(|core| {
            core.see(now);
            let limits = core.limits;
            let old = |idle: &Idle<B>| limits.is_old(idle.conn.backend.born(), idle.conn.jitter, now);
            let fresh = core.idle.iter().filter(|idle| !old(idle)).count();
            let mut spare = u32::try_from(fresh).unwrap_or(u32::MAX).saturating_sub(limits.min_idle);
            core.sift(|idle| {
                if old(idle) {
                    return false;
                }
                let goes = spare > 0 && limits.is_stale(idle.since, now);
                spare -= u32::from(goes);
                !goes
            })
        })
    }

    /// How many backends are missing to `min_idle` and have room in the pool.
    #[must_use]
    pub fn shortfall(&self) -> u32 {
        let core = self.core.lock();
        if core.paused || core.closed {
            return 0;
        }
        let missing = core.limits.min_idle.saturating_sub(core.idle_count().saturating_add(core.opening));
        missing.min(core.limits.size.saturating_sub(core.total()))
    }

    /// A place for one backend that is missing to `min_idle`; `None` when none is missing or the node has no room. Open a backend,
    /// fulfil the permit and give the lease back.
    #[must_use]
    pub fn spare(self: &Arc<Self>) -> Option<Permit<B>> {
        if self.shortfall() == 0 {
            return None;
        }
        let mut core = self.core.lock();
        if core.total() >= core.limits.size || !self.account.claim_spare() {
            return None;
        }
        core.count(Held::Opening, Purpose::Read);
        let generation = core.generation;
        drop(core);
        Some(Permit::new(Arc::clone(self), Purpose::Read, generation))
    }

    /// Changes the core and serves. The backends that the change took out keep their places until they are closed: no server is ever
    /// asked for more than its limit.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Core<B>) -> Vec<Conn<B>>) -> Vec<Lease<B>> {
        let mut wakers = Wakers::new();
        let mut core = self.core.lock();
        let gone = change(&mut core);
        gone.iter().for_each(|_| core.count(Held::Active, Purpose::Read));
        core.serve(&self.account, &mut wakers);
        drop(core);
        self.settle(wakers, true);
        gone.into_iter().map(|conn| Lease::new(Arc::clone(self), conn, Purpose::Read)).collect()
    }
}

impl<B: Pooled> Neighbour for Pool<B> {
    fn oldest_idle(&self) -> Option<Tick> {
        self.core.lock().idle.first().map(|idle| idle.since)
    }

    fn give_way(&self) -> bool {
        let mut core = self.core.lock();
        if core.idle.is_empty() {
            return false;
        }
        let gone = core.idle.remove(0);
        drop(core);
        drop(gone);
        self.account.release(1);
        true
    }

    fn serve(&self) -> bool {
        let mut wakers = Wakers::new();
        let served = self.core.lock().serve(&self.account, &mut wakers);
        self.settle(wakers, false);
        served > 0
    }
}
