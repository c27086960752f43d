//! The catalog of one database: what is known of it in this generation, and who loads what is not.

use super::names::Names;
use super::relation::{Cleared, Facts, Key, KeyRef, Relation};
use super::source::Stamp;
use crate::clock::{self, Tick};
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Mutex, RwLock};
use quick_cache::{Weighter, sync::Cache};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of relations' facts that are kept per database; beyond that the least used go.
const RELATIONS_BYTES: u64 = 2 << 20;
/// Databases whose catalog is kept; beyond that one that nobody holds goes.
const DATABASES_MAX: usize = 1_000;
/// After a failed load the next is tried only so much later: statements must not queue behind a database that is gone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Generations are numbered across all databases: no two catalogs ever share one.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

/// What a loader is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The names, when they are known already; else they are wanted.
    pub names: Option<Arc<Names>>,
    /// See [`Catalog::cleared`].
    pub path: Box<str>,
    /// The relations that are wanted.
    pub relations: Vec<Relation>,
}

/// What a loader found.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The names, when they were asked for, and what tells that they are outdated.
    pub names: Option<(Arc<Names>, Stamp)>,
    /// One for each relation of the request, in its order.
    pub relations: Vec<Facts>,
    /// For how long it may be kept.
    pub keep: Keep,
}

/// For how long an answer may be kept.
#[derive(Debug, Clone)]
pub enum Keep {
    /// Until the catalog changes: the primary said it.
    Lasting,
    /// As long as this holds: there is no primary, and nobody is known to have got further than the replica that said it.
    While(Still),
    /// It counts for who asked, if at all: a server said it that may be behind.
    Not,
}

/// Something that is true now, and whether it still is.
#[derive(Clone)]
pub struct Still(Arc<dyn Fn() -> bool + Send + Sync>);

impl Still {
    /// It is as long as `holds` says so.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    /// Whether it still is.
    #[must_use]
    pub fn holds(&self) -> bool {
        (self.0)()
    }
}

impl std::fmt::Debug for Still {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Still").field(&self.holds()).finish()
    }
}

/// The catalog of one database of one cluster; shared as `Arc`.
#[derive(Debug)]
pub struct Catalog {
    current: ArcSwap<Snapshot>,
    /// One load at a time; who waited finds what the one before it loaded.
    gate: tokio::sync::Mutex<()>,
    failures: AtomicU64,
    last_failure: Mutex<(Tick, Arc<str>)>,
    changed: AtomicU64,
}

/// One generation. A load that began in it stores into it, so nothing loaded before a DDL can outlive that DDL.
#[derive(Debug)]
struct Snapshot {
    generation: u64,
    names: ArcSwapOption<Names>,
    /// What the catalog was like when the names were loaded.
    stamp: Mutex<Option<Stamp>>,
    relations: Cache<Key, Facts, Weight>,
    /// All of it goes when this holds no longer.
    still: Mutex<Option<Still>>,
}

#[derive(Debug, Clone, Copy)]
struct Weight;

impl Weighter<Key, Facts> for Weight {
    fn weight(&self, key: &Key, facts: &Facts) -> u64 {
        let why = facts.read.why().len() + facts.write.why().len();
        // 160: the entry itself, its hash table slot and three allocations, rounded up.
        u64::try_from(160 + key.len() + why).unwrap_or(u64::MAX)
    }
}

impl Snapshot {
    fn new() -> Arc<Self> {
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        let relations = Cache::with_weighter(64, RELATIONS_BYTES, Weight);
        let (names, stamp, still) = (ArcSwapOption::empty(), Mutex::new(None), Mutex::new(None));
        Arc::new(Self { generation, names, stamp, relations, still })
    }

    fn cleared(&self, path: &str, relations: &[Relation]) -> Cleared {
        let mut cleared = Cleared::YES;
        for relation in relations {
            let Some(facts) = self.relations.get(&KeyRef::new(path, relation)) else {
                return Cleared::Unknown;
            };
            cleared = cleared.and(facts.of(relation.written));
        }
        cleared
    }

    /// What is not known yet; `None` when nothing is missing.
    fn missing(&self, path: &str, relations: &[Relation]) -> Option<Request> {
        let mut wanted: Vec<Relation> = Vec::new();
        for relation in relations {
            let twice = wanted.iter().any(|w| w.schema == relation.schema && w.name == relation.name);
            if !twice && self.relations.get(&KeyRef::new(path, relation)).is_none() {
                wanted.push(relation.clone());
            }
        }
        let names = self.names.load_full();
        (names.is_none() || !wanted.is_empty()).then(|| Request {
            names,
            path: path.into(),
            relations: wanted,
        })
    }

    fn store(&self, request: &Request, loaded: &Loaded) {
        if let Some((names, stamp)) = &loaded.names {
            // What a replica said is not watched: it goes by itself.
            *self.stamp.lock() = matches!(loaded.keep, Keep::Lasting).then_some(*stamp);
            self.names.store(Some(Arc::clone(names)));
        }
        for (relation, facts) in request.relations.iter().zip(&loaded.relations) {
            self.relations.insert(KeyRef::new(&request.path, relation).owned(), facts.clone());
        }
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            current: ArcSwap::new(Snapshot::new()),
            gate: tokio::sync::Mutex::new(()),
            failures: AtomicU64::new(0),
            last_failure: Mutex::new((Tick::ZERO, Arc::from(""))),
            changed: AtomicU64::new(0),
        }
    }
}

impl Catalog {
    /// Rises with each [`Catalog::forget`], and no two catalogs ever have the same; part of the key of everything that was concluded from this catalog.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.load().generation
    }

    /// The users' functions, operators and types; `None` until loaded.
    #[must_use]
    pub fn names(&self) -> Option<Arc<Names>> {
        self.current.load().names.load_full()
    }

    /// The generation, and the names as far as they are known in this very one: of two questions each could be answered by another.
    #[must_use]
    pub fn known(&self) -> (u64, Option<Arc<Names>>) {
        let current = self.current.load();
        (current.generation, current.names.load_full())
    }

    /// Whether the relations are known to run nothing of unknown effect. Allocates nothing.
    ///
    /// `path` is the text of the session's effective `search_path`, as `SHOW` prints it; empty when it is not known: then
    /// every schema's relation of that name counts, which can only make the answer more careful. `"$user"` in it stands
    /// for every role's schema; who knows the role writes its name there instead.
    #[must_use]
    pub fn cleared(&self, path: &str, relations: &[Relation]) -> Cleared {
        if relations.is_empty() {
            return Cleared::YES;
        }
        self.current.load().cleared(path, relations)
    }

    /// Loads what is not known yet (the names once, and these relations) and answers as [`Catalog::cleared`] does, but
    /// never `Unknown`: when the catalog cannot be read the answer is `No`, and it is not kept. Concurrent callers share one
    /// load. `loader` is asked at most once. Cancel safe: another caller loads then.
    pub async fn load<L, F>(&self, path: &str, relations: &[Relation], loader: L) -> Cleared
    where
        L: FnOnce(Request) -> F,
        F: Future<Output = Result<Loaded, Arc<str>>>,
    {
        let failures = self.failures.load(Ordering::Acquire);
        let _one_at_a_time = self.gate.lock().await;
        let snapshot = self.current.load_full();
        let Some(request) = snapshot.missing(path, relations) else {
            return snapshot.cleared(path, relations);
        };
        if let Some(why) = self.failed_lately(failures) {
            return Cleared::No(why);
        }
        match loader(request.clone()).await {
            Ok(loaded) if loaded.relations.len() == request.relations.len() => {
                let answers = answers(&snapshot, path, relations, &request, &loaded);
                match &loaded.keep {
                    Keep::Lasting => snapshot.store(&request, &loaded),
                    Keep::While(still) => self.store_while(&snapshot, still, &request, &loaded),
                    Keep::Not => {}
                }
                answers
            }
            Ok(_) => self.failed("the answer does not fit the question"),
            Err(why) => self.failed(&why),
        }
    }

    /// The catalog may have changed: everything known is dropped. To be called for any DDL tag, and again at the end of a
    /// transaction that had one (until its commit others still load the old state).
    pub fn forget(&self) {
        self.changed.fetch_max(clock::now().0, Ordering::AcqRel);
        self.current.store(Snapshot::new());
    }

    /// Everything known is dropped, though the catalog has not changed: it is to be judged anew.
    pub fn reload(&self) {
        self.current.store(Snapshot::new());
    }

    /// Everything known is dropped if it was to be kept only as long as something holds, and that does not.
    pub fn recheck(&self) {
        let current = self.current.load_full();
        if current.still.lock().as_ref().is_some_and(|still| !still.holds()) {
            // Whatever took its place meanwhile is not older.
            drop(self.current.compare_and_swap(&current, Snapshot::new()));
        }
    }

    /// When the catalog last changed, as far as that is known: what a server says that has not seen everything from before is outdated.
    #[must_use]
    pub fn changed(&self) -> Tick {
        Tick(self.changed.load(Ordering::Acquire))
    }

    /// What the catalog was like when its names were loaded; `None`: they are not.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        *self.current.load().stamp.lock()
    }

    /// The server says that its catalog is like this now: everything is dropped when that is not what was loaded.
    /// Returns whether it was.
    pub fn compare(&self, now: Stamp) -> bool {
        let current = self.current.load_full();
        let mut stamp = current.stamp.lock();
        let changed = stamp.is_some_and(|known| known.digest != now.digest);
        if changed {
            self.changed.fetch_max(clock::now().0, Ordering::AcqRel);
            self.current.store(Snapshot::new());
        } else if let Some(known) = &mut *stamp {
            known.writes = now.writes;
        }
        changed
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.current.load().relations.weight()
    }

    // What was kept so far and what is added hold as long as the same does: where nobody gets further, both were said at one place.
    fn store_while(&self, snapshot: &Snapshot, still: &Still, request: &Request, loaded: &Loaded) {
        let mut known = snapshot.still.lock();
        if known.as_ref().is_none_or(Still::holds) {
            known.get_or_insert_with(|| still.clone());
            snapshot.store(request, loaded);
        }
        drop(known);
        // It may have ended before there was anything to drop.
        self.recheck();
    }

    /// The error of a load that failed while this caller waited, or within the last second.
    fn failed_lately(&self, failures_before: u64) -> Option<Arc<str>> {
        let last = self.last_failure.lock();
        let failed_meanwhile = self.failures.load(Ordering::Acquire) != failures_before;
        let recent = last.0 != Tick::ZERO && clock::now().since(last.0) < RETRY_AFTER;
        (failed_meanwhile || recent).then(|| Arc::clone(&last.1))
    }

    fn failed(&self, why: &str) -> Cleared {
        let why: Arc<str> = format!("catalog cannot be read: {why}").into();
        *self.last_failure.lock() = (clock::now(), Arc::clone(&why));
        self.failures.fetch_add(1, Ordering::AcqRel);
        Cleared::No(why)
    }
}

/// The answer for `relations` from what was known before and what has just been loaded, kept or not.
fn answers(
    known: &Snapshot,
    path: &str,
    relations: &[Relation],
    request: &Request,
    loaded: &Loaded,
) -> Cleared {
    let mut cleared = Cleared::YES;
    for relation in relations {
        let fresh = request
            .relations
            .iter()
            .zip(&loaded.relations)
            .find(|(r, _)| r.schema == relation.schema && r.name == relation.name)
            .map(|(_, facts)| facts.clone());
        // An entry that was known a moment ago may have been evicted since.
        let Some(facts) = fresh.or_else(|| known.relations.get(&KeyRef::new(path, relation))) else {
            return Cleared::No("catalog cannot be read: more relations than are kept".into());
        };
        cleared = cleared.and(facts.of(relation.written));
    }
    cleared
}

/// The catalogs of a cluster's databases.
#[derive(Debug, Default)]
pub struct Catalogs {
    by_name: RwLock<HashMap<Arc<str>, Arc<Catalog>>>,
    /// When those last changed that had to make room.
    changed: AtomicU64,
}

impl Catalogs {
    /// The catalog of `database` (its name on the servers), made when it is first asked for.
    #[must_use]
    pub fn of(&self, database: &str) -> Arc<Catalog> {
        if let Some(catalog) = self.by_name.read().get(database) {
            return Arc::clone(catalog);
        }
        let mut by_name = self.by_name.write();
        if by_name.len() >= DATABASES_MAX {
            by_name.retain(|_, catalog| {
                let used = Arc::strong_count(catalog) > 1;
                if !used {
                    self.changed.fetch_max(catalog.changed().0, Ordering::AcqRel);
                }
                used
            });
        }
        let catalog = by_name.entry(Arc::from(database)).or_insert_with(|| {
            let changed = AtomicU64::new(self.changed.load(Ordering::Acquire));
            Arc::new(Catalog { changed, ..Catalog::default() })
        });
        Arc::clone(catalog)
    }

    /// The catalogs that somebody holds and whose names are loaded, by the databases' names on the servers.
    #[must_use]
    pub fn in_use(&self) -> Vec<(Arc<str>, Arc<Catalog>)> {
        let by_name = self.by_name.read();
        let used =
            by_name.iter().filter(|(_, catalog)| Arc::strong_count(catalog) > 1 && catalog.stamp().is_some());
        used.map(|(name, catalog)| (Arc::clone(name), Arc::clone(catalog))).collect()
    }

    /// Drops everything known of every database (a new primary, roles that were changed).
    pub fn reload_all(&self) {
        self.by_name.read().values().for_each(|catalog| catalog.reload());
    }

    /// Drops what was to be kept only as long as something holds that does not.
    pub fn recheck_all(&self) {
        self.by_name.read().values().for_each(|catalog| catalog.recheck());
    }
}
