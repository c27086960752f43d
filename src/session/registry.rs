//! Who is connected: what consoles list, what cancel requests look up, and how a session is told to end.

use crate::clock::Tick;
use crate::engine::seam::CancelTarget;
use crate::engine::{NodeId, Pin};
use crate::error::ClientError;
use futures_util::task::AtomicWaker;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::sync::Notify;

/// Where no server's process ids lie (Linux gives at most 2^22): ids that clients see start here.
pub(super) const IDS_FROM: u32 = 0x4000_0000;
const IDS_TO: u32 = 0x7fff_ffff;

// One sequence for all clusters: an operator names a client by its id alone.
static NEXT: AtomicU32 = AtomicU32::new(IDS_FROM);

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// Waits for its client.
    Idle = 0,
    /// A statement runs.
    Active = 1,
    /// Waits for a backend, a primary or a fresh replica.
    Waiting = 2,
    /// Waits for its client inside a transaction.
    IdleInTransaction = 3,
}

/// Whether a client replicates, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// It does not.
    None,
    /// The servers' files and their log.
    Physical,
    /// A database's changes.
    Logical,
}

impl Replication {
    /// What the value of the start-up parameter stands for.
    #[must_use]
    pub fn of(word: &str) -> Self {
        if word == "database" { Self::Logical } else { Self::Physical }
    }

    /// For consoles.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Physical => "physical",
            Self::Logical => "logical",
        }
    }
}

/// The backend that a session has now: its node, and how to cancel what it runs.
pub type Current = (NodeId, Arc<CancelTarget>);

/// One client.
#[derive(Debug)]
pub struct ClientEntry {
    /// The process or connection id that it knows itself by.
    pub id: u32,
    /// The secret of its cancel requests.
    pub secret: Box<[u8]>,
    /// Login name.
    pub user: Arc<str>,
    /// The database, as it asked for it.
    pub database: Arc<str>,
    /// From where; `None` for a unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether its connection is encrypted.
    pub tls: bool,
    /// Whether it is a replication connection.
    pub replication: Replication,
    /// `application_name` of its start-up.
    pub application: Arc<str>,
    /// When it logged in.
    pub since: Tick,
    /// When its last request came.
    pub last_request: AtomicU64,
    /// Since when it waits; 0 = it does not.
    pub waiting_since: AtomicU64,
    activity: AtomicU8,
    /// Whether a transaction of its is open.
    pub in_transaction: AtomicBool,
    /// The backend it has.
    pub current: Mutex<Option<Current>>,
    /// Why it keeps its backend.
    pub pin: Mutex<Option<Pin>>,
    /// The command of the statement that made it keep the backend.
    pub pinned_by: Mutex<&'static str>,
    waker: AtomicWaker,
    cancelled: AtomicBool,
    doomed: AtomicBool,
    doom: Mutex<Option<ClientError>>,
}

impl ClientEntry {
    /// What it does.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match self.activity.load(Ordering::Relaxed) {
            1 => Activity::Active,
            2 => Activity::Waiting,
            3 => Activity::IdleInTransaction,
            _ => Activity::Idle,
        }
    }

    /// Says what it does.
    pub fn set_activity(&self, activity: Activity) {
        if activity == Activity::Waiting {
            self.cancelled.store(false, Ordering::Release);
        }
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    /// Ends the session with `why`: at once when it is idle, else as soon as it looks.
    pub fn end(&self, why: ClientError) {
        *self.doom.lock() = Some(why);
        self.doomed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Something came for it: it looks when it is idle.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Its client wants the statement cancelled that waits for a backend or a primary; true when one does.
    pub fn cancel_wait(&self) -> bool {
        let waits = self.activity() == Activity::Waiting;
        if waits {
            self.cancelled.store(true, Ordering::Release);
            self.waker.wake();
        }
        waits
    }

    /// Ready when a wait must end: its client cancelled the statement, or the session is to end.
    pub fn poll_interrupt(&self, cx: &Context<'_>) -> Poll<ClientError> {
        if let Some(doom) = self.poll_doom(cx) {
            return Poll::Ready(doom.fatal());
        }
        if self.cancelled.swap(false, Ordering::AcqRel) {
            return Poll::Ready(ClientError::new("57014", 1317, "canceling statement due to user request"));
        }
        Poll::Pending
    }

    /// Whether it is to end; registers to be woken when it is.
    pub fn poll_doom(&self, cx: &Context<'_>) -> Option<ClientError> {
        self.waker.register(cx.waker());
        self.doom()
    }

    /// Whether it is to end.
    #[must_use]
    pub fn doom(&self) -> Option<ClientError> {
        if self.doomed.load(Ordering::Acquire) { self.doom.lock().clone() } else { None }
    }
}

/// What is known of a client at its login.
#[derive(Debug)]
pub struct Arrival {
    /// From [`Registry::reserve`].
    pub id: u32,
    /// Login name.
    pub user: Arc<str>,
    /// The database, as it asked for it.
    pub database: Arc<str>,
    /// From where.
    pub peer: Option<SocketAddr>,
    /// Whether its connection is encrypted.
    pub tls: bool,
    /// Whether it is a replication connection.
    pub replication: Replication,
    /// `application_name`.
    pub application: Arc<str>,
    /// When.
    pub since: Tick,
    /// The secret of its cancel requests.
    pub secret: Box<[u8]>,
}

/// All clients of one cluster.
#[derive(Debug)]
pub struct Registry {
    clients: Mutex<HashMap<u32, Arc<ClientEntry>>>,
    count: AtomicU32,
    /// Notified when the last one has left.
    pub empty: Notify,
}

impl Default for Registry {
    fn default() -> Self {
        Self { clients: Mutex::default(), count: AtomicU32::new(0), empty: Notify::new() }
    }
}

/// A client's place in the registry; it leaves when dropped.
#[derive(Debug)]
pub struct Place {
    registry: Arc<Registry>,
    /// Its entry.
    pub entry: Arc<ClientEntry>,
}

impl std::ops::Deref for Place {
    type Target = Arc<ClientEntry>;

    fn deref(&self) -> &Arc<ClientEntry> {
        &self.entry
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.clients.lock().remove(&self.entry.id);
        if self.registry.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.registry.empty.notify_waiters();
        }
    }
}

impl Registry {
    /// An id that no client has, for one that logs in now: some protocols tell it before anything else. It is not given again before a
    /// billion others, which no login outlasts (`timeouts.login`).
    pub fn reserve(&self) -> u32 {
        let clients = self.clients.lock();
        loop {
            let id = NEXT.fetch_add(1, Ordering::Relaxed);
            if id >= IDS_TO {
                NEXT.store(IDS_FROM, Ordering::Relaxed);
            } else if !clients.contains_key(&id) {
                return id;
            }
        }
    }

    /// Takes a client in; `None` when `limit` clients are in.
    pub fn enter(self: &Arc<Self>, arrival: Arrival, limit: u32) -> Option<Place> {
        let admitted = self
            .count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < limit).then_some(count + 1));
        admitted.ok()?;
        let Arrival { id, user, database, peer, tls, replication, application, since, secret } = arrival;
        let entry = Arc::new(ClientEntry {
            id,
            secret,
            user,
            database,
            peer,
            tls,
            replication,
            application,
            since,
            last_request: AtomicU64::new(since.0),
            waiting_since: AtomicU64::new(0),
            activity: AtomicU8::new(0),
            in_transaction: AtomicBool::new(false),
            current: Mutex::new(None),
            pin: Mutex::new(None),
            pinned_by: Mutex::new(""),
            waker: AtomicWaker::new(),
            cancelled: AtomicBool::new(false),
            doomed: AtomicBool::new(false),
            doom: Mutex::new(None),
        });
        self.clients.lock().insert(id, Arc::clone(&entry));
        Some(Place { registry: Arc::clone(self), entry })
    }

    /// The client of that id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Arc<ClientEntry>> {
        self.clients.lock().get(&id).cloned()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ClientEntry>> {
        self.clients.lock().values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }
}
