//! The books of one node: how many connections all its pools have open, and which pool gets the next place when there is none left.

use super::pins::{PinGate, PinTable};
use crate::clock::Tick;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A pool gives a backend up for another pool of the node although it has waiters of its own only when the other has waited for
/// so long, and longer than they: below that, reconnecting costs more than waiting.
const YIELD_AFTER: Duration = Duration::from_millis(100);

/// What one pool is to the others of its node. Never called under the books' lock.
pub(super) trait Neighbour: Send + Sync {
    /// Since when the longest idle backend idles.
    fn oldest_idle(&self) -> Option<Tick>;
    /// Closes the longest idle backend and frees its place; false when there is none.
    fn give_way(&self) -> bool;
    /// Serves those who wait; true when somebody was served.
    fn serve(&self) -> bool;
}

/// The connections to one node: those of all pools and pins together, those of each user, those to each database. When a limit is
/// reached, idle backends of other pools give way; when there are none, pools get freed places in the order of their longest waits.
pub struct NodeBudget {
    books: Mutex<Books>,
    /// Pools that wait for a place, as the books say.
    hungry: AtomicUsize,
    /// Whether more is open than a limit allows that was lowered.
    over: AtomicBool,
    gate: PinGate,
    pins: PinTable,
}

struct Books {
    all: Share,
    users: HashMap<Arc<str>, Share>,
    databases: HashMap<Arc<str>, Share>,
    members: HashMap<u64, Member>,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    used: u32,
    limit: u32,
    /// Pools that count in it.
    members: u32,
}

impl Share {
    const UNLIMITED: Self = Self { used: 0, limit: u32::MAX, members: 0 };

    fn is_full(self) -> bool {
        self.used >= self.limit
    }

    fn is_over(self) -> bool {
        self.used > self.limit
    }
}

struct Member {
    user: Arc<str>,
    database: Arc<str>,
    pool: Weak<dyn Neighbour>,
    /// What it was told of its user's limit and of its database's: of several pools' words the lowest holds.
    limits: (Option<u32>, Option<u32>),
    /// Since when its longest waiter waits, if it waits for a place.
    hungry: Option<Tick>,
}

/// A pool that waits for a place.
struct Hungry {
    id: u64,
    pool: Option<Arc<dyn Neighbour>>,
    has_room: bool,
}

impl NodeBudget {
    /// A node without limits.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            books: Mutex::new(Books {
                all: Share::UNLIMITED,
                users: HashMap::new(),
                databases: HashMap::new(),
                members: HashMap::new(),
                next: 0,
            }),
            hungry: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            gate: PinGate::new(),
            pins: PinTable::default(),
        })
    }

    /// Sets how many connections the node may have from this process (`max_connections`), and how many of them may be pinned.
    pub fn set_limits(&self, connections: u32, pinned: u32) {
        let mut books = self.books.lock();
        books.all.limit = connections;
        self.over.store(books.is_over(), Ordering::Release);
        drop(books);
        self.gate.set_limit(pinned);
        self.trim();
        self.relieve();
    }

    /// Connections that are open or being opened.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.books.lock().all.used
    }

    /// How many connections the node may have.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.books.lock().all.limit
    }

    /// Backends that count as pinned.
    #[must_use]
    pub fn pinned(&self) -> u32 {
        self.gate.used()
    }

    /// The sessions that keep a backend of this node, and why.
    #[must_use]
    pub fn pins(&self) -> &PinTable {
        &self.pins
    }

    pub(super) fn gate(&self) -> &PinGate {
        &self.gate
    }

    /// Whether some pool waits for a place.
    pub(super) fn is_short(&self) -> bool {
        self.hungry.load(Ordering::Acquire) > 0
    }

    /// Serves pools that wait for a place, the longest wait first, as long as there are places or idle backends that give way.
    /// Called, without any lock, after each event that may have freed something while [`Self::is_short`].
    pub(super) fn relieve(&self) {
        let mut tried = Vec::new();
        while self.is_short() {
            let next = self.books.lock().next_hungry(&tried);
            let Some(Hungry { id, pool, has_room }) = next else { return };
            let goes_on = if has_room {
                pool.is_some_and(|pool| pool.serve())
            } else {
                // A statement of its own: the lock must not be held while pools give way.
                let helpers = self.books.lock().helpers(id);
                Self::evict(&helpers)
            };
            if !goes_on {
                tried.push(id);
            }
        }
    }

    /// Closes idle backends, the longest idle first, while a limit is exceeded because it was lowered.
    fn trim(&self) {
        while self.is_over() {
            let pools = self.books.lock().exceeding();
            if !Self::evict(&pools) {
                return;
            }
        }
    }

    /// Closes the longest idle backend of those pools.
    fn evict(pools: &[Arc<dyn Neighbour>]) -> bool {
        let idle = pools.iter().filter_map(|pool| Some((pool.oldest_idle()?, pool)));
        idle.min_by_key(|(since, _)| *since).is_some_and(|(_, pool)| pool.give_way())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn set_hungry(&self, books: &mut Books, id: u64, since: Option<Tick>) {
        let Some(member) = books.members.get_mut(&id) else { return };
        match (member.hungry.is_some(), since.is_some()) {
            (false, true) => self.hungry.fetch_add(1, Ordering::AcqRel),
            (true, false) => self.hungry.fetch_sub(1, Ordering::AcqRel),
            _ => 0,
        };
        member.hungry = since;
    }
}

impl std::fmt::Debug for NodeBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.books.lock().all;
        f.debug_struct("NodeBudget")
            .field("connections", &all.used)
            .field("limit", &all.limit)
            .finish_non_exhaustive()
    }
}

impl Books {
    fn shares(&mut self, id: u64) -> Option<[&mut Share; 3]> {
        let member = self.members.get(&id)?;
        let user = self.users.get_mut(&member.user)?;
        let database = self.databases.get_mut(&member.database)?;
        Some([&mut self.all, user, database])
    }

    /// Works the limits of the member's user and database out.
    fn set_shares(&mut self, id: u64) {
        let Some(me) = self.members.get(&id) else { return };
        let lowest =
            |limits: &mut dyn Iterator<Item = Option<u32>>| limits.flatten().min().unwrap_or(u32::MAX);
        let of_user = self.members.values().filter(|other| other.user == me.user);
        let of_database = self.members.values().filter(|other| other.database == me.database);
        let user = lowest(&mut of_user.map(|other| other.limits.0));
        let database = lowest(&mut of_database.map(|other| other.limits.1));
        if let Some([_, users, databases]) = self.shares(id) {
            users.limit = user;
            databases.limit = database;
        }
    }

    fn has_room(&self, member: &Member) -> bool {
        let full = |share: Option<&Share>| share.is_some_and(|share| share.is_full());
        !self.all.is_full()
            && !full(self.users.get(&member.user))
            && !full(self.databases.get(&member.database))
    }

    /// Whether a place that `giver` frees is one that `taker` lacks.
    fn helps(&self, giver: &Member, taker: &Member) -> bool {
        let full = |share: Option<&Share>| share.is_some_and(|share| share.is_full());
        (giver.user == taker.user || !full(self.users.get(&taker.user)))
            && (giver.database == taker.database || !full(self.databases.get(&taker.database)))
    }

    /// The pool that has waited longest, and whether there is a place for it. No reference to a pool may be dropped under this lock:
    /// if it is the last one, the pool closes its account.
    fn next_hungry(&self, tried: &[u64]) -> Option<Hungry> {
        let hungry = self.members.iter().filter(|(id, _)| !tried.contains(id));
        let (_, id, member) = hungry
            .filter_map(|(id, member)| Some((member.hungry?, *id, member)))
            .min_by_key(|(since, id, _)| (*since, *id))?;
        Some(Hungry { id, pool: member.pool.upgrade(), has_room: self.has_room(member) })
    }

    fn is_over(&self) -> bool {
        self.all.is_over() || self.users.values().chain(self.databases.values()).any(|share| share.is_over())
    }

    /// Whether `member` counts in a share that is exceeded.
    fn exceeds(&self, member: &Member) -> bool {
        let over = |share: Option<&Share>| share.is_some_and(|share| share.is_over());
        self.all.is_over() || over(self.users.get(&member.user)) || over(self.databases.get(&member.database))
    }

    fn exceeding(&self) -> Vec<Arc<dyn Neighbour>> {
        let members = self.members.values().filter(|member| self.exceeds(member));
        members.filter_map(|member| member.pool.upgrade()).collect()
    }

    fn helpers(&self, id: u64) -> Vec<Arc<dyn Neighbour>> {
        let Some(taker) = self.members.get(&id) else { return Vec::new() };
        let others = self.members.iter().filter(|(other, giver)| **other != id && self.helps(giver, taker));
        others.filter_map(|(_, giver)| giver.pool.upgrade()).collect()
    }
}

/// One pool's account in the books of its node. Its methods may be called under the pool's lock.
pub(super) struct Account {
    node: Arc<NodeBudget>,
    id: u64,
}

impl Account {
    pub(super) fn open(
        node: Arc<NodeBudget>,
        user: Arc<str>,
        database: Arc<str>,
        pool: Weak<dyn Neighbour>,
    ) -> Self {
        let mut books = node.books.lock();
        books.users.entry(Arc::clone(&user)).or_insert(Share::UNLIMITED).members += 1;
        books.databases.entry(Arc::clone(&database)).or_insert(Share::UNLIMITED).members += 1;
        books.next += 1;
        let id = books.next;
        books.members.insert(id, Member { user, database, pool, limits: (None, None), hungry: None });
        drop(books);
        Self { node, id }
    }

    pub(super) fn node(&self) -> &Arc<NodeBudget> {
        &self.node
    }

    /// Takes a place. When there is none, or another pool has waited longer for it than since `since`, the pool is entered among
    /// the hungry: its caller calls [`NodeBudget::relieve`] once it holds no lock.
    pub(super) fn claim(&self, since: Tick) -> bool {
        let mut books = self.node.books.lock();
        let granted = books.members.get(&self.id).is_some_and(|me| {
            books.has_room(me)
                && !books.members.iter().any(|(id, other)| {
                    *id != self.id
                        && other.hungry.is_some_and(|theirs| theirs < since)
                        && books.has_room(other)
                })
        });
        if granted {
            for share in books.shares(self.id).into_iter().flatten() {
                share.used += 1;
            }
        } else {
            self.node.set_hungry(&mut books, self.id, Some(since));
        }
        granted
    }

    /// Takes a place if there is one and nobody waits for any.
    pub(super) fn claim_spare(&self) -> bool {
        let mut books = self.node.books.lock();
        let granted =
            !self.node.is_short() && books.members.get(&self.id).is_some_and(|me| books.has_room(me));
        if granted {
            for share in books.shares(self.id).into_iter().flatten() {
                share.used += 1;
            }
        }
        granted
    }

    /// The pool waits for no place any more.
    pub(super) fn content(&self) {
        self.node.set_hungry(&mut self.node.books.lock(), self.id, None);
    }

    /// Gives `count` places back.
    pub(super) fn release(&self, count: u32) {
        let mut books = self.node.books.lock();
        for share in books.shares(self.id).into_iter().flatten() {
            debug_assert!(share.used >= count, "a place is given back once");
            share.used = share.used.saturating_sub(count);
        }
        if self.node.is_over() {
            self.node.over.store(books.is_over(), Ordering::Release);
        }
    }

    /// Whether a backend that comes back should rather be closed, so that a lowered limit is kept or another pool of the node gets its
    /// place. `oldest` is since when this pool's longest waiter waits.
    pub(super) fn yields(&self, oldest: Option<Tick>, now: Tick) -> bool {
        if !self.node.is_short() && !self.node.is_over() {
            return false;
        }
        let books = self.node.books.lock();
        let Some(me) = books.members.get(&self.id) else { return false };
        books.exceeds(me)
            || books.members.iter().filter(|(id, other)| **id != self.id && books.helps(me, other)).any(
                |(_, other)| {
                    other.hungry.is_some_and(|theirs| {
                        oldest.is_none_or(|ours| theirs < ours && now.since(theirs) >= YIELD_AFTER)
                    })
                },
            )
    }

    /// Sets what the server says of the pool's user and of its database; `None` = no limit. Not under the pool's lock.
    pub(super) fn set_limits(&self, user: Option<u32>, database: Option<u32>) {
        let mut books = self.node.books.lock();
        if let Some(me) = books.members.get_mut(&self.id) {
            me.limits = (user, database);
        }
        books.set_shares(self.id);
        self.node.over.store(books.is_over(), Ordering::Release);
        drop(books);
        self.node.trim();
        self.node.relieve();
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut books = self.node.books.lock();
        self.node.set_hungry(&mut books, self.id, None);
        if let Some(me) = books.members.get_mut(&self.id) {
            me.limits = (None, None);
        }
        books.set_shares(self.id);
        if let Some(shares) = books.shares(self.id) {
            for share in shares {
                share.members = share.members.saturating_sub(1);
            }
        }
        books.members.remove(&self.id);
        books.users.retain(|_, share| share.members > 0);
        books.databases.retain(|_, share| share.members > 0);
    }
}
