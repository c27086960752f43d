//! One waiter: the place in a session where a backend is handed over, reused from wait to wait.

use super::core::Conn;
use super::pool::Pool;
use super::{Pooled, Purpose};
use crate::clock::Tick;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What a waiter is handed.
pub(super) enum Handed<B> {
    /// A backend, counted as active.
    Backend(Conn<B>),
    /// A place, counted as opening, of this generation; and the backend that had it, to be closed first.
    Place(u64, Option<Conn<B>>),
    /// The news that the pool is closed.
    Closed,
}

/// Where a backend is put for a waiter. Locked after the pool, never before it.
pub(super) struct Cell<B>(Mutex<Inside<B>>);

struct Inside<B> {
    handed: Option<Handed<B>>,
    waker: Option<Waker>,
}

impl<B> Cell<B> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inside { handed: None, waker: None })))
    }

    /// Hands over; the waker is for the caller to wake once it holds no lock.
    pub(super) fn hand(&self, handed: Handed<B>) -> Option<Waker> {
        let mut inside = self.0.lock();
        inside.handed = Some(handed);
        inside.waker.take()
    }

    fn take(&self) -> Option<Handed<B>> {
        let mut inside = self.0.lock();
        inside.waker = None;
        inside.handed.take()
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Handed<B>> {
        let mut inside = self.0.lock();
        if let Some(handed) = inside.handed.take() {
            inside.waker = None;
            return Poll::Ready(handed);
        }
        if !inside.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inside.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// A session's place in the queues of pools: in one at a time. Dropping or clearing it leaves the queue, and passes on what it was
/// handed but had not taken yet. It allocates at its first wait only.
pub struct Slot<B: Pooled> {
    cell: Option<Arc<Cell<B>>>,
    waiting: Option<Waiting<B>>,
}

pub(super) struct Waiting<B: Pooled> {
    pub(super) pool: Arc<Pool<B>>,
    pub(super) ticket: u64,
    pub(super) purpose: Purpose,
    pub(super) since: Tick,
}

impl<B: Pooled> Slot<B> {
    /// A slot that waits for nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { cell: None, waiting: None }
    }

    /// Since when it waits; `None` when it does not.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Tick> {
        self.waiting.as_ref().map(|waiting| waiting.since)
    }

    /// Leaves the queue and passes on what was handed over meanwhile. Harmless when nothing is waited for.
    pub fn clear(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            let cell = self.cell.as_deref();
            waiting.pool.forget(waiting.ticket, waiting.purpose, || cell.and_then(Cell::take));
        }
    }

    pub(super) fn cell(&mut self) -> &Arc<Cell<B>> {
        self.cell.get_or_insert_with(Cell::new)
    }

    pub(super) fn wait(&mut self, waiting: Waiting<B>) {
        self.waiting = Some(waiting);
    }

    pub(super) fn waits_on(&self, pool: &Arc<Pool<B>>) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| Arc::ptr_eq(&waiting.pool, pool))
    }

    /// Takes what was handed over, and with it leaves the wait.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<(Handed<B>, Waiting<B>)> {
        let Some(cell) = self.cell.as_ref() else { return Poll::Pending };
        match cell.poll(cx) {
            Poll::Ready(handed) => match self.waiting.take() {
                Some(waiting) => Poll::Ready((handed, waiting)),
                None => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<B: Pooled> Default for Slot<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Pooled> Drop for Slot<B> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<B: Pooled> std::fmt::Debug for Slot<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("waiting_since", &self.waiting_since()).finish_non_exhaustive()
    }
}
