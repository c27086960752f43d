//! Tests of the pool, and the backend, clock and tasks that they share.

mod limits;
mod model;
mod node;
mod order;
mod pins;
mod stress;

use super::*;
use crate::clock::Tick;
use crate::engine::NodeId;
use crate::engine::tracked::Customs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A backend that counts how many of its kind are open.
#[derive(Debug)]
pub(super) struct Fake {
    id: u64,
    key: u64,
    customs: Customs,
    born: Tick,
    usable: bool,
    open: Arc<AtomicI64>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pooled for Fake {
    fn is_usable(&mut self) -> bool {
        self.usable
    }

    fn state_key(&self) -> u64 {
        self.key
    }

    fn customs(&self) -> &Customs {
        &self.customs
    }

    fn born(&self) -> Tick {
        self.born
    }
}

/// The custom settings of sessions with that state: those of an odd one are its own.
pub(super) fn customs(key: u64) -> Customs {
    if key % 2 == 1 { Customs::new([format!("app.x{key}").as_str()]) } else { Customs::NONE }
}

/// Opens backends and counts those that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    open: Arc<AtomicI64>,
    ids: Arc<AtomicI64>,
}

impl Server {
    fn connect(&self, key: u64, born: Tick) -> Fake {
        self.open.fetch_add(1, Ordering::SeqCst);
        let id = u64::try_from(self.ids.fetch_add(1, Ordering::SeqCst)).unwrap();
        Fake { id, key, customs: Customs::NONE, born, usable: true, open: Arc::clone(&self.open) }
    }

    fn open(&self) -> i64 {
        self.open.load(Ordering::SeqCst)
    }
}

/// A waiting session that is polled only when it was woken, as a runtime does it: a lost wake-up shows.
pub(super) struct Session {
    slot: Slot<Fake>,
    want: Want,
    woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Session {
    fn new(want: Want) -> Self {
        Self { slot: Slot::new(), want, woken: Arc::new(Flag(AtomicBool::new(true))) }
    }

    fn poll(&mut self, pool: &Arc<Pool<Fake>>, now: Tick) -> Option<Result<Taken<Fake>, TakeError>> {
        if !self.woken.0.swap(false, Ordering::SeqCst) {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        match pool.poll_take(&mut self.slot, &self.want, now, &mut Context::from_waker(&waker)) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    /// What it was handed; a place is filled at once.
    fn lease(&mut self, pool: &Arc<Pool<Fake>>, server: &Server, now: Tick) -> Option<Lease<Fake>> {
        match self.poll(pool, now)?.unwrap() {
            Taken::Ready(lease) => Some(lease),
            Taken::Open(permit) => Some(permit.fulfil(server.connect(self.want.state_key, now))),
        }
    }
}

pub(super) const READ: Want = Want { state_key: 0, customs: Customs::NONE, purpose: Purpose::Read };
pub(super) const WRITE: Want = Want { state_key: 0, customs: Customs::NONE, purpose: Purpose::Write };

pub(super) fn at(millis: u64) -> Tick {
    Tick(1).plus(Duration::from_millis(millis))
}

pub(super) fn limits(size: u32) -> Limits {
    Limits {
        size,
        min_idle: 0,
        reads_reserved: 25,
        idle_timeout: Duration::from_secs(600),
        max_age: Duration::from_secs(3600),
        user_limit: None,
        database_limit: None,
    }
}

pub(super) fn pool_on(node: &Arc<NodeBudget>, user: &str, database: &str, limits: Limits) -> Arc<Pool<Fake>> {
    let key = PoolKey { node: NodeId(0), user: user.into(), database: database.into(), terms: 0 };
    Pool::new(key, limits, Arc::clone(node))
}

pub(super) fn pool(limits: Limits) -> Arc<Pool<Fake>> {
    pool_on(&NodeBudget::new(), "app", "shop", limits)
}

/// Takes without waiting.
pub(super) fn take(pool: &Arc<Pool<Fake>>, server: &Server, want: Want, now: Tick) -> Lease<Fake> {
    Session::new(want).lease(pool, server, now).expect("no need to wait")
}

/// Starts to wait.
pub(super) fn wait(pool: &Arc<Pool<Fake>>, want: Want, now: Tick) -> Session {
    let mut session = Session::new(want);
    assert!(session.poll(pool, now).is_none(), "must wait");
    session
}
