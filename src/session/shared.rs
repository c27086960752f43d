//! What all sessions of one cluster share.

use super::hub::Hubs;
use super::prepared::Store;
use super::readers::Readers;
use super::registry::Registry;
use super::roster::Roster;
use super::shapes::Shapes;
use crate::catalog::{Catalog, Catalogs};
use crate::cluster::{ClusterState, LastWrite};
use crate::config::settings::{Cluster, Pool as PoolSettings, PoolMode};
use crate::engine::identity::Credentials;
use crate::engine::seam::{Backend, Engine, Identity};
use crate::engine::tracked::Tracked;
use crate::engine::{NodeId, NodeSet};
use crate::pool::{Limits, Pool, Pools};
use crate::routing::Balancer;
use crate::sql::{Dialect, Verdicts};
use crate::telemetry::traffic::Whose;
use crate::telemetry::{ClusterStats, Traffic, TrafficStats};
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Exchanges that are kept for reuse.
const EXCHANGES_MAX: usize = 256;
/// Verdicts that are kept.
const VERDICTS: usize = 20_000;

/// What a login with a certain set of start-up parameters gets, found out once on a backend.
#[derive(Debug, Default)]
pub struct Greeting {
    /// The settings that the client is told.
    pub told: Vec<(Box<str>, Box<str>)>,
    /// The settings of [`ASKED`], as they hold for it.
    pub asked: Tracked,
    /// Start-up settings that are the server's own as well: to reset one changes nothing.
    pub alike: Box<[Box<str>]>,
}

impl Greeting {
    /// Whether that start-up setting, in lower case, is the server's own as well.
    #[must_use]
    pub fn is_alike(&self, name: &str) -> bool {
        self.alike.iter().any(|alike| **alike == *name)
    }
}

/// Settings that no server tells, and by which statements are judged: a role or a database may have its own.
pub const ASKED: [&str; 3] = ["search_path", "role", "default_transaction_isolation"];

/// Who was greeted: user, database, and the key of its start-up parameters.
type Greeted = (Arc<str>, Arc<str>, u64);

/// One per cluster.
pub struct Shared<E: Engine> {
    /// The cluster's name.
    pub name: Arc<str>,
    /// Its configuration, replaced on reload.
    pub settings: ArcSwap<Cluster>,
    /// What is true of the nodes.
    pub state: Arc<ClusterState>,
    /// Backends.
    pub pools: Pools<E::Backend>,
    /// How backends are opened.
    pub connector: ArcSwap<<E::Backend as Backend>::Connector>,
    /// Draws replicas.
    pub balancer: Balancer,
    /// What texts do.
    pub verdicts: Verdicts,
    /// Prepared statements.
    pub store: Store,
    /// Clients.
    pub registry: Arc<Registry>,
    /// Our connections to the servers.
    pub roster: Roster,
    /// A statement that takes so many nanoseconds is logged; 0 = none.
    pub slow_query: AtomicU64,
    /// Figures.
    pub stats: Arc<ClusterStats>,
    /// Figures by user and database.
    pub traffic: Arc<Traffic>,
    /// What databases say of themselves.
    pub catalogs: Catalogs,
    /// Whose read-only transactions begin on the primary.
    pub readers: Readers,
    /// Shapes of statements that met trouble.
    pub shapes: Shapes,
    /// Who asks for its own values of sequences.
    pub askers: Readers,
    /// Who listens to what.
    pub(super) hubs: Hubs,
    /// How they are asked.
    pub loader: Arc<E::Loader>,
    exchanges: Mutex<Vec<Box<E::Exchange>>>,
    greetings: Mutex<HashMap<Greeted, Arc<Greeting>>>,
    held_bytes: AtomicU64,
}

impl<E: Engine> Shared<E> {
    /// What a cluster's sessions share from the start.
    ///
    /// # Errors
    /// What the connector needs (certificates) cannot be read.
    pub fn new(
        settings: Arc<Cluster>,
        state: Arc<ClusterState>,
        loader: Arc<E::Loader>,
        traffic: Arc<Traffic>,
    ) -> Result<Arc<Self>, String> {
        let connector = Arc::new(E::Backend::connector(&settings)?);
        Ok(Arc::new(Self {
            name: Arc::clone(&settings.name),
            stats: traffic.cluster(&settings.name),
            settings: ArcSwap::new(settings),
            state,
            pools: Pools::new(),
            connector: ArcSwap::new(connector),
            balancer: Balancer::default(),
            verdicts: Verdicts::new(VERDICTS),
            store: Store::default(),
            registry: Arc::new(Registry::default()),
            roster: Roster::default(),
            slow_query: AtomicU64::new(0),
            traffic,
            catalogs: Catalogs::default(),
            readers: Readers::default(),
            shapes: Shapes::default(),
            askers: Readers::default(),
            hubs: Hubs::default(),
            loader,
            exchanges: Mutex::default(),
            greetings: Mutex::default(),
            held_bytes: AtomicU64::new(0),
        }))
    }

    /// Takes new settings over: limits hold at once, for new backends and new sessions.
    ///
    /// # Errors
    /// What the connector needs (certificates) cannot be read; nothing was changed.
    pub fn reload(&self, settings: Arc<Cluster>) -> Result<(), String> {
        let connector = E::Backend::connector(&settings)?;
        self.connector.store(Arc::new(connector));
        for pool in self.pools.all() {
            let (old, key) = (pool.limits(), pool.key());
            let alias = settings.databases.iter().find(|database| database.name == key.database);
            let alias = alias.map_or(&*key.database, |database| &*database.alias);
            pool.set_limits(Limits {
                user_limit: old.user_limit,
                database_limit: old.database_limit,
                ..Limits::new(pool_settings(&settings, &key.user, alias))
            });
        }
        let old = self.settings.swap(settings);
        if old.routing.functions != self.settings.load().routing.functions {
            self.catalogs.reload_all();
        }
        self.forget_greetings();
        Ok(())
    }

    /// An exchange from the free list.
    pub fn take_exchange(&self) -> Box<E::Exchange> {
        self.exchanges.lock().pop().unwrap_or_default()
    }

    /// Returns an idle exchange.
    pub fn return_exchange(&self, exchange: Box<E::Exchange>) {
        let mut exchanges = self.exchanges.lock();
        if exchanges.len() < EXCHANGES_MAX {
            exchanges.push(exchange);
        }
    }

    /// Lets go of exchanges that a burst left behind.
    pub fn trim(&self) {
        let mut exchanges = self.exchanges.lock();
        let keep = exchanges.len() / 2;
        exchanges.truncate(keep);
        exchanges.shrink_to_fit();
    }

    /// The greeting of that user, database and set of start-up parameters, if one has been given before.
    pub fn greeting(&self, user: &Arc<str>, database: &Arc<str>, key: u64) -> Option<Arc<Greeting>> {
        self.greetings.lock().get(&(Arc::clone(user), Arc::clone(database), key)).cloned()
    }

    /// Keeps a greeting.
    pub fn keep_greeting(&self, user: &Arc<str>, database: &Arc<str>, key: u64, greeting: &Arc<Greeting>) {
        let mut greetings = self.greetings.lock();
        // Anybody may log in with made-up parameters: the table starts over rather than grow.
        if greetings.len() >= 10_000 {
            greetings.clear();
        }
        greetings.insert((Arc::clone(user), Arc::clone(database), key), Arc::clone(greeting));
    }

    /// Forgets all greetings: a server's own settings may have changed.
    pub fn forget_greetings(&self) {
        self.greetings.lock().clear();
    }

    /// Whether `bytes` more may wait for a primary; released by [`Shared::unhold`].
    pub fn hold(&self, bytes: u64) -> bool {
        let limit = self.settings.load().failover.hold_bytes.0;
        let held = self.held_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if held > limit {
            self.held_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        held <= limit
    }

    /// They wait no longer.
    pub fn unhold(&self, bytes: u64) {
        self.held_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// When what a session of `database` (its name on the servers) can read was last written. A statement of MySQL's can name any database.
    #[must_use]
    pub fn writes(&self, database: &str) -> Arc<LastWrite> {
        self.state.writes.of(if E::DIALECT == Dialect::Postgres { database } else { "" })
    }

    /// The version of the servers, as the primary (else anybody) says.
    #[must_use]
    pub fn server_version(&self) -> Option<Arc<str>> {
        let view = self.state.view.load();
        let primary = view.primary.and_then(|id| view.node(id));
        let node = primary.or_else(|| view.nodes.iter().find(|node| !node.version.is_empty()));
        node.map(|node| Arc::clone(&node.version))
    }

    /// The major one; 0 = not known.
    #[must_use]
    pub fn server_major(&self) -> u16 {
        self.server_version().and_then(|version| version.split('.').next()?.parse().ok()).unwrap_or(0)
    }

    /// All nodes that are configured.
    #[must_use]
    pub fn all_nodes(&self) -> NodeSet {
        let count = self.settings.load().nodes.len();
        (0..count).fold(NodeSet::EMPTY, |set, id| set.with(NodeId(u8::try_from(id).unwrap_or(u8::MAX))))
    }
}

/// The pool settings of a user in a database (as clients name it): the user's own, else the database's, else the cluster's.
#[must_use]
pub fn pool_settings<'a>(settings: &'a Cluster, user: &str, alias: &str) -> &'a PoolSettings {
    let listed = settings.users.list.iter().find(|listed| &*listed.name == user);
    let database = settings.databases.iter().find(|database| &*database.alias == alias);
    listed
        .and_then(|listed| listed.pool.as_ref())
        .or_else(|| database.and_then(|database| database.pool.as_ref()))
        .unwrap_or(&settings.pool)
}

/// What the sessions of one user in one database share.
pub struct Lane<E: Engine> {
    /// In whose name backends are opened.
    pub identity: Identity,
    /// The database as clients name it.
    pub alias: Arc<str>,
    /// When a backend goes back.
    pub mode: PoolMode,
    /// What the database says of itself.
    pub catalog: Arc<Catalog>,
    /// When it was last written.
    pub writes: Arc<LastWrite>,
    /// Figures.
    pub traffic: Arc<TrafficStats>,
    /// One pool a node.
    pub pools: Box<[Arc<Pool<E::Backend>>]>,
}

impl<E: Engine> Lane<E> {
    /// The lane of a login. `limits`: the servers' own connection limits of the user and the database; `None` = as they were.
    #[must_use]
    pub fn new(
        shared: &Shared<E>,
        user: &Arc<str>,
        alias: &Arc<str>,
        (credentials, terms): (Arc<Credentials>, u64),
        limits: Option<(Option<u32>, Option<u32>)>,
        now: crate::clock::Tick,
    ) -> Self {
        let settings = shared.settings.load();
        let found = settings.databases.iter().find(|database| database.alias == *alias);
        let database = found.map_or_else(|| Arc::clone(alias), |database| Arc::clone(&database.name));
        let pool = pool_settings(&settings, user, alias);
        let configured = Limits::new(pool);
        let pools = (0..settings.nodes.len()).map(|id| {
            let node = NodeId(u8::try_from(id).unwrap_or(u8::MAX));
            let shared_pool = shared.pools.get(node, user, &database, terms, || configured);
            let was = shared_pool.limits();
            let (user_limit, database_limit) = limits.unwrap_or((was.user_limit, was.database_limit));
            let is = Limits { user_limit, database_limit, ..configured };
            if was != is {
                shared_pool.set_limits(is);
            }
            shared_pool
        });
        let whose =
            Whose { cluster: Arc::clone(&shared.name), database: Arc::clone(alias), user: Arc::clone(user) };
        Self {
            pools: pools.collect(),
            mode: pool.mode,
            catalog: shared.catalogs.of(&database),
            writes: shared.writes(&database),
            traffic: shared.traffic.of(&whose, now),
            alias: Arc::clone(alias),
            identity: Identity {
                user: Arc::clone(user),
                database,
                credentials,
                terms,
                first: Arc::default(),
            },
        }
    }

    /// The pool of a node; `None` when the node joined after this session did.
    #[must_use]
    pub fn pool(&self, node: NodeId) -> Option<&Arc<Pool<E::Backend>>> {
        self.pools.get(usize::from(node.0))
    }
}
