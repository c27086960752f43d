//! One cluster at work: its listeners, its monitor, its housekeeping, and the way of a new connection into a session.

use super::catalogs;
use super::console::PGBOUNCER;
use super::housekeeping::housekeeping;
use super::{App, Operated};
use crate::admin::token::TokenError;
use crate::clock;
use crate::cluster::monitor::{self, MonitorHandle};
use crate::cluster::{ClusterState, Health, Role};
use crate::config::settings::{Cluster, RouteSetting};
use crate::engine::Probe;
use crate::engine::door::{Caller, Front, Guest, Knock, Nodes, TurnedAway};
use crate::error::{ClientError, Fault};
use crate::net::firewall::Firewall;
use crate::net::listener::{BindError, Listener};
use crate::net::stream::Stream;
use crate::session::registry::Activity;
use crate::session::{Shared, cancel, login, through};
use crate::task;
use crate::telemetry::ClusterCount;
use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// What kept the process from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Threads or randomness.
    #[error("the operating system gives no threads or no randomness: {0}")]
    Runtime(std::io::Error),
    /// The admin listener.
    #[error("admin.listen: cannot listen at {address}: {why}; choose another address, or `off`")]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why not.
        why: std::io::Error,
    },
    /// The admin token.
    #[error("{0}; set admin.token instead")]
    Token(TokenError),
    /// A listener.
    #[error("cluster {cluster}: {why}")]
    Bind {
        /// Which cluster.
        cluster: Arc<str>,
        /// Why.
        why: BindError,
    },
    /// Something of one cluster.
    #[error("cluster {cluster}: {why}")]
    Cluster {
        /// Which.
        cluster: Arc<str>,
        /// Why.
        why: String,
    },
}

/// A cluster at work, whatever its engine.
pub trait Running: Operated {
    /// Its name.
    fn name(&self) -> &str;
    /// What is true of its nodes.
    fn state(&self) -> &Arc<ClusterState>;
    /// Whether `settings` could be applied.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, settings: &Cluster) -> Result<(), String>;
    /// Applies settings that were checked.
    ///
    /// # Errors
    /// A file that was there at the check is gone.
    fn reload(&self, settings: Arc<Cluster>) -> Result<(), String>;
    /// Statements that take so long are logged from now on; zero = none.
    fn log_slow_queries(&self, from: Duration);
    /// How long running transactions may take to end.
    fn shutdown_limit(&self) -> Duration;
    /// Takes no new clients, and waits until all have left; the idle are sent away.
    fn drain(&self) -> BoxFuture<'_, ()>;
}

/// A cluster at work.
pub(super) struct Working<E: Front> {
    pub(super) app: Weak<App>,
    pub(super) shared: Arc<Shared<E>>,
    door: ArcSwap<E::Door>,
    firewall: Mutex<Firewall>,
    nodes: Nodes,
    secret: [u8; 32],
    monitor: MonitorHandle,
    stop: watch::Sender<bool>,
}

/// Starts a cluster: binds first, so that a port that is taken is told before anything runs.
pub(super) fn start<E: Front, P: Probe>(
    app: &Arc<App>,
    settings: Arc<Cluster>,
    probe: P,
) -> Result<Arc<Working<E>>, StartError> {
    let failed = |why: String| StartError::Cluster { cluster: Arc::clone(&settings.name), why };
    let mut listeners = Vec::new();
    for listen in &settings.listen {
        let listener = Listener::bind(&listen.address)
            .map_err(|why| StartError::Bind { cluster: Arc::clone(&settings.name), why })?;
        listeners.push((listener, listen.route));
    }
    let state = Arc::new(ClusterState::new(&settings));
    let nodes = nodes_of(Arc::clone(&state), Arc::clone(&settings));
    let (door, loader) = E::door(&settings, Arc::clone(&nodes), app.secret).map_err(failed)?;
    let shared = Shared::<E>::new(
        Arc::clone(&settings),
        Arc::clone(&state),
        Arc::new(loader),
        Arc::clone(&app.traffic),
    )
    .map_err(failed)?;
    let monitor = {
        let _on_its_own_thread = app.monitors.enter();
        monitor::start(probe, Arc::clone(&settings), state)
    };
    let (stop, stopped) = watch::channel(false);
    let working = Arc::new(Working {
        app: Arc::downgrade(app),
        shared,
        door: ArcSwap::from_pointee(door),
        firewall: Mutex::new(Firewall::new(settings.firewall.clone())),
        nodes,
        secret: app.secret,
        monitor,
        stop,
    });
    for (listener, route) in listeners {
        if let Ok(address) = listener.address() {
            tracing::info!(cluster = %settings.name, ?address, "listening");
        }
        let (working, stopped) = (Arc::clone(&working), stopped.clone());
        task::spawn("listener", async move {
            let admitted = |stream, peer| working.admitted(stream, peer, route);
            listener.run(&working.firewall, stopped, admitted).await;
        });
    }
    task::spawn("catalog watch", catalogs::watch(Arc::clone(&working.shared), stopped.clone()));
    task::spawn("housekeeping", housekeeping(Arc::clone(&working.shared), stopped));
    Ok(working)
}

// The primary is asked first: a replica may be behind with users, rights and tables. While there is none, one that takes writes may be it
// in a moment, and one that has not been seen yet may be, too; then the replica that is furthest.
fn nodes_of(state: Arc<ClusterState>, settings: Arc<Cluster>) -> Nodes {
    Arc::new(move || {
        let view = state.view.load();
        let health = |id: usize| view.nodes.get(id).map_or(&Health::Unknown, |node| &node.health);
        let claims = |id: usize| {
            view.nodes.get(id).is_some_and(|node| node.role == Role::Primary && node.health == Health::Up)
        };
        let is_furthest = |id: usize| view.furthest().is_some_and(|node| usize::from(node.id.0) == id);
        let is_primary = |id: usize| view.primary.is_some_and(|primary| usize::from(primary.0) == id);
        let rank = |id: &usize| match view.primary {
            Some(_) => usize::from(!is_primary(*id)),
            None if claims(*id) => 0,
            None if matches!(health(*id), Health::Unknown) => 1,
            None => 2 + usize::from(!is_furthest(*id)),
        };
        let barred = |id: usize| matches!(health(id), Health::Quarantined(_));
        let mut ids: Vec<_> =
            (0..settings.nodes.len()).filter(|id| is_primary(*id) || !barred(*id)).collect();
        ids.sort_by_key(rank);
        ids.into_iter().filter_map(|id| settings.nodes.get(id).cloned()).collect()
    })
}

impl<E: Front> Working<E> {
    fn admitted(self: &Arc<Self>, stream: Stream, peer: Option<SocketAddr>, route: RouteSetting) {
        let working = Arc::clone(self);
        task::spawn("login", async move { working.welcome(stream, peer, route).await });
    }

    async fn welcome(self: Arc<Self>, stream: Stream, peer: Option<SocketAddr>, route: RouteSetting) {
        let began = clock::now();
        let limit = clock::deadline(self.shared.settings.load().timeouts.login);
        let door = self.door.load_full();
        let id = self.shared.registry.reserve();
        let version = || self.shared.server_version();
        let Some(app) = self.app.upgrade() else { return };
        let console = Arc::clone(&app.settings.load().admin.database);
        let caller = Caller { id, version: &version, consoles: [&*console, PGBOUNCER] };
        match tokio::time::timeout_at(limit, E::knock(stream, &door, &caller)).await {
            Err(_) => tracing::debug!(?peer, "a client did not log in within timeouts.login"),
            Ok(Err(away)) => self.turned_away(&away, peer),
            Ok(Ok(Knock::Cancel { id, secret })) => cancel::request(&self.shared, id, &secret),
            Ok(Ok(Knock::Guest(guest))) => {
                let console = tokio::time::timeout_at(limit, self.asks_for_console(&door, &guest)).await;
                match console {
                    Ok(Some(flavour)) => drop(task::spawn("console", self.console(guest, flavour))),
                    Ok(None) => self.enter(*guest, id, peer, route, &door, (began, limit)).await,
                    Err(_) => {
                        tracing::info!(?peer, user = %guest.user, "no server said in time whether it has the console's database")
                    }
                }
            }
        }
    }

    async fn enter(
        &self,
        guest: Guest,
        id: u32,
        peer: Option<SocketAddr>,
        route: RouteSetting,
        door: &E::Door,
        (began, limit): (clock::Tick, tokio::time::Instant),
    ) {
        let user = Arc::clone(&guest.user);
        if guest.replication.is_some() {
            return self.replicate(guest, id, peer, route, limit).await;
        }
        let session = tokio::time::timeout_at(limit, login(&self.shared, door, guest, id, route)).await;
        self.shared.stats.login.record(clock::now().since(began));
        match session {
            Ok(Ok(session)) => {
                self.shared.stats.count(ClusterCount::LoginsOk);
                // A task of its own: the login's memory goes with this one.
                task::spawn("session", session.run());
            }
            Ok(Err(Some(error))) => self.turned_away(&refusal(&user, &error), peer),
            Ok(Err(None)) => tracing::debug!(?peer, "a client left during its login"),
            Err(_) => {
                tracing::info!(?peer, %user, "a client's login did not end within timeouts.login")
            }
        }
    }

    async fn replicate(
        &self,
        guest: Guest,
        id: u32,
        peer: Option<SocketAddr>,
        route: RouteSetting,
        limit: tokio::time::Instant,
    ) {
        let user = Arc::clone(&guest.user);
        match tokio::time::timeout_at(limit, through::open(&self.shared, guest, id, route)).await {
            Ok(Ok(passage)) => {
                self.shared.stats.count(ClusterCount::LoginsOk);
                tracing::info!(cluster = %self.shared.name, ?peer, %user, "replication connection opened");
                task::spawn("replication", passage.run());
            }
            Ok(Err(Some(error))) => self.turned_away(&refusal(&user, &error), peer),
            Ok(Err(None)) => tracing::debug!(?peer, "a client left during its login"),
            Err(_) => {
                tracing::info!(?peer, %user, "a replication client's login did not end within timeouts.login")
            }
        }
    }

    fn turned_away(&self, away: &TurnedAway, peer: Option<SocketAddr>) {
        if away.fault == Fault::Peer {
            // psql looks first and asks for the password then.
            return tracing::debug!(cluster = %self.shared.name, ?peer, why = %away.why, "no login");
        }
        self.shared.stats.count(ClusterCount::LoginsFailed);
        self.shared.stats.error(away.fault);
        tracing::info!(cluster = %self.shared.name, ?peer, why = %away.why, "login refused");
        if let Some(peer) = peer.filter(|_| away.guess)
            && self.firewall.lock().login_failed(peer.ip(), clock::now())
        {
            tracing::warn!(cluster = %self.shared.name, %peer, "address blocked after failed logins (firewall.failed_logins)");
        }
    }
}

fn refusal(user: &str, error: &ClientError) -> TurnedAway {
    TurnedAway {
        why: format!("user {user}: {error}"),
        guess: error.sqlstate == "28P01",
        fault: Fault::Client,
    }
}

impl<E: Front> Running for Working<E> {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn state(&self) -> &Arc<ClusterState> {
        &self.shared.state
    }

    fn check(&self, settings: &Cluster) -> Result<(), String> {
        E::door(settings, Arc::clone(&self.nodes), self.secret).map(drop)
    }

    fn reload(&self, settings: Arc<Cluster>) -> Result<(), String> {
        let (door, _) = E::door(&settings, Arc::clone(&self.nodes), self.secret)?;
        self.shared.reload(Arc::clone(&settings))?;
        self.door.store(Arc::new(door));
        self.firewall.lock().reload(settings.firewall.clone());
        self.monitor.reload(settings);
        Ok(())
    }

    fn log_slow_queries(&self, from: Duration) {
        let nanos = u64::try_from(from.as_nanos()).unwrap_or(u64::MAX);
        self.shared.slow_query.store(nanos, Ordering::Relaxed);
    }

    fn shutdown_limit(&self) -> Duration {
        self.shared.settings.load().timeouts.shutdown
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.send_replace(true);
            let goodbye =
                ClientError::new("57P01", 1053, "terminating connection due to administrator command")
                    .hint("the proxy is being stopped: connect again")
                    .fatal();
            let registry = &self.shared.registry;
            while registry.count() > 0 {
                let empty = registry.empty.notified();
                for client in registry.all() {
                    if client.activity() == Activity::Idle {
                        client.end(goodbye.clone());
                    }
                }
                // Sessions that end a transaction become idle; those that leave notify.
                let look_again = tokio::time::sleep_until(clock::deadline(Duration::from_millis(50)));
                tokio::select! { () = empty => {}, () = look_again => {} }
            }
        })
    }
}
