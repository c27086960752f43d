//! What a session holds: a backend on loan, or a place for one that it must open. Whatever is not given back in so many words
//! is closed.

use super::core::Conn;
use super::pool::Pool;
use super::{PinError, Pooled, Purpose};
use crate::clock::Tick;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// What a pool answers to who wants a backend.
#[derive(Debug)]
pub enum Taken<B: Pooled> {
    /// A backend.
    Ready(Lease<B>),
    /// A place: the caller opens a backend.
    Open(Permit<B>),
}

/// As what a place counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Opening,
    Active,
    Pinned,
}

/// A place in a pool and in its node's books, freed when dropped.
pub(super) struct Place<B: Pooled> {
    pool: Option<Arc<Pool<B>>>,
    held: Held,
    purpose: Purpose,
}

impl<B: Pooled> Place<B> {
    pub(super) fn new(pool: Arc<Pool<B>>, held: Held, purpose: Purpose) -> Self {
        Self { pool: Some(pool), held, purpose }
    }
}

impl<B: Pooled> Drop for Place<B> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.vacate(self.held, self.purpose);
        }
    }
}

/// The right and the duty to open a backend: [`Permit::fulfil`] with it, or drop the permit, and the next who waits gets one.
pub struct Permit<B: Pooled> {
    place: Place<B>,
    generation: u64,
}

impl<B: Pooled> Permit<B> {
    pub(super) fn new(pool: Arc<Pool<B>>, purpose: Purpose, generation: u64) -> Self {
        Self { place: Place::new(pool, Held::Opening, purpose), generation }
    }

    /// Takes the backend that was opened into the pool, on loan to the caller. If the pool was invalidated since the permit was
    /// given, the backend will be closed when it is given back.
    #[must_use]
    pub fn fulfil(mut self, backend: B) -> Lease<B> {
        let purpose = self.place.purpose;
        let jitter = self.place.pool.as_ref().map_or(0, |pool| pool.opened(purpose));
        self.place.held = Held::Active;
        Lease {
            conn: Conn { backend: Box::new(backend), generation: self.generation, jitter },
            place: self.place,
        }
    }
}

impl<B: Pooled> std::fmt::Debug for Permit<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// A backend on loan. Dropping it closes the backend: only [`Lease::give_back`] returns one, so a backend in an unknown state
/// never gets back.
pub struct Lease<B: Pooled> {
    // The order matters: the backend is closed before its place is freed.
    conn: Conn<B>,
    place: Place<B>,
}

impl<B: Pooled> Lease<B> {
    pub(super) fn new(pool: Arc<Pool<B>>, conn: Conn<B>, purpose: Purpose) -> Self {
        Self { conn, place: Place::new(pool, Held::Active, purpose) }
    }

    /// Returns a backend that is proved clean: to who waits longest, else to the idle ones. It is closed instead when it is too
    /// old, the pool has shrunk, was invalidated or closed, or another pool of the node needs its place more.
    pub fn give_back(mut self, now: Tick) {
        if let Some(pool) = self.place.pool.take() {
            pool.returned(self.conn, self.place.held, self.place.purpose, now);
        }
    }

    /// Counts it against the node's limit of pinned backends instead of the pool's size. Does nothing when it is pinned already.
    ///
    /// # Errors
    /// [`PinError::Full`] when the limit is reached; [`Lease::pin_queued`] waits.
    pub fn pin(&mut self) -> Result<(), PinError> {
        if self.place.held != Held::Pinned
            && let Some(pool) = &self.place.pool
        {
            pool.node().gate().try_enter()?;
            self.pinned();
        }
        Ok(())
    }

    /// The same, but waits for its turn when the limit is reached. Cancel safe: dropped, it leaves the queue.
    pub async fn pin_queued(&mut self) {
        if self.place.held != Held::Pinned
            && let Some(pool) = &self.place.pool
        {
            pool.node().gate().enter().await;
            self.pinned();
        }
    }

    fn pinned(&mut self) {
        if let Some(pool) = &self.place.pool {
            pool.pin(self.place.purpose);
            self.place.held = Held::Pinned;
        }
    }

    /// Counts it against the pool's size again. While the pool has no room it stays among the pinned, until it is given back.
    pub fn unpin(&mut self) {
        if self.place.held == Held::Pinned
            && let Some(pool) = &self.place.pool
            && pool.unpin(self.place.purpose)
        {
            self.place.held = Held::Active;
        }
    }

    /// Whether it counts as pinned.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.place.held == Held::Pinned
    }

    /// Closes the backend.
    pub fn close(self) {
        drop(self);
    }
}

impl<B: Pooled> Deref for Lease<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.conn.backend
    }
}

impl<B: Pooled> DerefMut for Lease<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.conn.backend
    }
}

impl<B: Pooled> std::fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("held", &self.place.held).finish_non_exhaustive()
    }
}
