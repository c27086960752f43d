//! All pools of one cluster, by node, user, database and terms, and the books of its nodes.

use super::Pooled;
use super::budget::NodeBudget;
use super::limits::Limits;
use super::pool::Pool;
use crate::engine::NodeId;
use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Whose backends a pool holds, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolKey {
    /// The node.
    pub node: NodeId,
    /// The user, by its name on the server.
    pub user: Arc<str>,
    /// The database, by its name on the server.
    pub database: Arc<str>,
    /// What all of its backends agreed on with the server; see [`crate::engine::seam::Identity::terms`].
    pub terms: u64,
}

/// A key that is looked up without owning it.
struct Sought<'a>(NodeId, &'a str, &'a str, u64);

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.node, &*self.user, &*self.database, self.terms).hash(state);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1, self.2, self.3).hash(state);
    }
}

impl Equivalent<PoolKey> for Sought<'_> {
    fn equivalent(&self, key: &PoolKey) -> bool {
        self.0 == key.node && *self.1 == *key.user && *self.2 == *key.database && self.3 == key.terms
    }
}

/// All pools of one cluster. Sessions look a pool up once and keep it.
pub struct Pools<B: Pooled> {
    pools: RwLock<HashMap<PoolKey, Arc<Pool<B>>>>,
    nodes: RwLock<HashMap<NodeId, Arc<NodeBudget>>>,
    paused: RwLock<Paused>,
}

/// What an operator paused: pools that are yet to be made are paused, too.
#[derive(Debug, Default)]
struct Paused {
    all: bool,
    databases: Vec<Arc<str>>,
}

impl Paused {
    fn has(&self, database: &str) -> bool {
        self.all || self.databases.iter().any(|paused| &**paused == database)
    }
}

impl<B: Pooled> Pools<B> {
    /// No pools yet.
    #[must_use]
    pub fn new() -> Self {
        Self { pools: RwLock::default(), nodes: RwLock::default(), paused: RwLock::default() }
    }

    /// The books of a node: without limits until they are set.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Arc<NodeBudget> {
        if let Some(budget) = self.nodes.read().get(&node) {
            return Arc::clone(budget);
        }
        Arc::clone(self.nodes.write().entry(node).or_insert_with(NodeBudget::new))
    }

    /// The pool of that key; made with `limits` when there is none yet.
    pub fn get(
        &self,
        node: NodeId,
        user: &str,
        database: &str,
        terms: u64,
        limits: impl FnOnce() -> Limits,
    ) -> Arc<Pool<B>> {
        let sought = Sought(node, user, database, terms);
        if let Some(pool) = self.pools.read().get(&sought) {
            return Arc::clone(pool);
        }
        let budget = self.node(node);
        let mut pools = self.pools.write();
        if let Some(pool) = pools.get(&sought) {
            return Arc::clone(pool);
        }
        let key = PoolKey { node, user: user.into(), database: database.into(), terms };
        let pool = Pool::new(key.clone(), limits(), budget);
        if self.paused.read().has(database) {
            pool.pause();
        }
        pools.insert(key, Arc::clone(&pool));
        pool
    }

    /// All pools, for the ticker, the console and reloads.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pool<B>>> {
        self.pools.read().values().cloned().collect()
    }

    /// Pauses the pools of `database` (by its name on the servers), or all of them, those included that are yet to be made.
    pub fn pause(&self, database: Option<&str>) {
        let mut paused = self.paused.write();
        match database {
            None => paused.all = true,
            Some(name) if !paused.databases.iter().any(|known| &**known == name) => {
                paused.databases.push(name.into());
            }
            Some(_) => {}
        }
        drop(paused);
        self.of(database).iter().for_each(|pool| pool.pause());
    }

    /// Ends a pause of `database`, or of all; false when nothing of the kind was paused.
    pub fn resume(&self, database: Option<&str>) -> bool {
        let mut paused = self.paused.write();
        let was = match database {
            None => {
                let was = paused.all || !paused.databases.is_empty();
                *paused = Paused::default();
                was
            }
            // One database of a cluster that is paused as a whole stays paused.
            Some(name) => {
                let before = paused.databases.len();
                paused.databases.retain(|known| &**known != name);
                paused.databases.len() != before
            }
        };
        let all = paused.all;
        drop(paused);
        if was && !all {
            self.of(database).iter().for_each(|pool| pool.resume());
        }
        was
    }

    /// Whether `database`, or everything, is paused.
    #[must_use]
    pub fn is_paused(&self, database: Option<&str>) -> bool {
        let paused = self.paused.read();
        database.map_or(paused.all, |name| paused.has(name))
    }

    /// Waits until no backend of `database`, or of any, is on loan or being opened. Cancel safe.
    pub async fn quiet(&self, database: Option<&str>) {
        for pool in self.of(database) {
            pool.quiet().await;
        }
    }

    /// The pools of `database` (by its name on the servers), or all.
    #[must_use]
    pub fn of(&self, database: Option<&str>) -> Vec<Arc<Pool<B>>> {
        let mut pools = self.all();
        pools.retain(|pool| database.is_none_or(|name| &*pool.key().database == name));
        pools
    }

    /// Invalidates the pools that `which` names: those of a node that restarted, of a user with a new password.
    pub fn invalidate(&self, which: impl Fn(&PoolKey) -> bool) {
        self.all().iter().filter(|pool| which(pool.key())).for_each(|pool| pool.invalidate());
    }

    /// Closes and forgets the pools that `gone` names: their node, user or database left the configuration.
    pub fn close(&self, gone: impl Fn(&PoolKey) -> bool) {
        let closed: Vec<_> = self.pools.write().extract_if(|key, _| gone(key)).collect();
        closed.iter().for_each(|(_, pool)| pool.close());
    }

    /// Forgets pools that are empty and that nobody keeps, so that users who come once do not stay for ever.
    pub fn sweep(&self) {
        self.pools.write().retain(|_, pool| Arc::strong_count(pool) > 1 || !pool.is_empty());
    }
}

impl<B: Pooled> Default for Pools<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Pooled> std::fmt::Debug for Pools<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools").field("pools", &self.pools.read().len()).finish_non_exhaustive()
    }
}
