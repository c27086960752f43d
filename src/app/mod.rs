//! Starts and stops everything in order, and owns every task.

mod admin;
mod catalogs;
mod cluster;
mod console;
mod housekeeping;
mod inspect;
mod limits;
mod look;
mod operate;

pub use cluster::{Running, StartError};
pub use operate::Operated;

use crate::admin::http::Door;
use crate::admin::token::Token;
use crate::clock;
use crate::config::settings::{EngineKind, Settings};
use crate::mysql::Mysql;
use crate::mysql::probe::MysqlProbe;
use crate::postgres::Postgres;
use crate::postgres::probe::PostgresProbe;
use crate::task;
use crate::telemetry::logs::Logs;
use crate::telemetry::{Traffic, traffic};
use arc_swap::{ArcSwap, ArcSwapOption};
use cluster::start;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};

/// The process: its clusters and what they share.
pub struct App {
    /// The configuration file, for reloads.
    pub path: PathBuf,
    /// The configuration in force.
    pub settings: ArcSwap<Settings>,
    /// The clusters, in the order of the file.
    pub clusters: ArcSwap<Vec<Arc<dyn Running>>>,
    /// All counters.
    pub traffic: Arc<Traffic>,
    /// When it started.
    pub started: clock::Tick,
    /// Told when the process is to end.
    pub shutdown: Notify,
    logs: Logs,
    phase: AtomicU8,
    /// Told besides when the process is to end without waiting.
    stop_now: Notify,
    /// One reload at a time.
    reloading: Mutex<()>,
    door: ArcSwapOption<Door>,
    workers: Handle,
    monitors: Handle,
    secret: [u8; 32],
}

/// How far the process is in its life.
struct Phase;

impl Phase {
    const STARTING: u8 = 0;
    const RUNNING: u8 = 1;
    const DRAINING: u8 = 2;
}

// A thread with a runtime of its own that ends when the sender is dropped: neither load nor a scrape starves what runs there.
struct SideThread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SideThread {
    fn start(name: &'static str) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Either the sender says so or it is gone.
            drop(runtime.block_on(stopped));
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for SideThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed by the panic hook already.
            drop(thread.join());
        }
    }
}

fn workers(threads: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads.max(1)).thread_name("worker").enable_all().build()
}

/// Runs the proxy until it is told to stop. `ready` is called once everything listens.
///
/// # Errors
/// What kept it from starting.
pub fn run(
    path: PathBuf,
    settings: Settings,
    logs: Logs,
    ready: impl FnOnce(&Arc<App>),
) -> Result<(), StartError> {
    limits::raise_open_files();
    let monitors = SideThread::start("monitor").map_err(StartError::Runtime)?;
    let runtime = workers(settings.runtime.workers).map_err(StartError::Runtime)?;
    let mut secret = [0; 32];
    clock::random(&mut secret).map_err(StartError::Runtime)?;
    let app = Arc::new(App {
        path,
        traffic: Arc::new(Traffic::new(settings.runtime.workers)),
        settings: ArcSwap::from_pointee(settings),
        clusters: ArcSwap::default(),
        started: clock::now(),
        shutdown: Notify::new(),
        logs,
        phase: AtomicU8::new(Phase::STARTING),
        stop_now: Notify::new(),
        reloading: Mutex::new(()),
        door: ArcSwapOption::empty(),
        workers: runtime.handle().clone(),
        monitors: monitors.handle.clone(),
        secret,
    });
    let door = admin::open(&app)?;
    let ended = runtime.block_on(async {
        app.start_clusters()?;
        task::spawn("traffic", roll(Arc::clone(&app.traffic)));
        app.phase.store(Phase::RUNNING, Ordering::Release);
        ready(&app);
        app.until_told().await;
        app.phase.store(Phase::DRAINING, Ordering::Release);
        app.drain().await;
        if let Some(door) = door {
            door.close().await;
        }
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

// Ends the periods that averages are over.
async fn roll(traffic: Arc<Traffic>) {
    loop {
        tokio::time::sleep_until(clock::deadline(traffic::PERIOD)).await;
        traffic.roll(clock::now());
    }
}

impl App {
    fn start_clusters(self: &Arc<Self>) -> Result<(), StartError> {
        let settings = self.settings.load_full();
        let mut clusters: Vec<Arc<dyn Running>> = Vec::new();
        for cluster in &settings.clusters {
            let running: Arc<dyn Running> = match cluster.engine {
                EngineKind::Postgres => start::<Postgres, _>(self, Arc::clone(cluster), PostgresProbe)?,
                EngineKind::Mysql => start::<Mysql, _>(self, Arc::clone(cluster), MysqlProbe)?,
                EngineKind::Mariadb => {
                    return Err(StartError::Cluster {
                        cluster: Arc::clone(&cluster.name),
                        why: "MariaDB is not built yet".to_owned(),
                    });
                }
            };
            running.log_slow_queries(settings.log.slow_query);
            clusters.push(running);
        }
        self.clusters.store(Arc::new(clusters));
        Ok(())
    }

    // The first SIGTERM or SIGINT drains, SIGHUP reloads.
    async fn until_told(&self) {
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
        else {
            tracing::error!("signals cannot be received: stop the process with SIGKILL");
            return self.shutdown.notified().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                () = self.shutdown.notified() => return,
                // Said in the log: nobody waits for an answer.
                _ = hangup.recv() => drop(self.reload_and_say()),
            }
        }
    }

    fn reload_and_say(&self) -> Result<String, String> {
        let done = self.reload();
        match &done {
            Ok(done) => tracing::info!(path = %self.path.display(), "{done}"),
            Err(why) => tracing::error!(path = %self.path.display(), "configuration not reloaded: {why}"),
        }
        done
    }

    /// Reads the configuration file again, and applies it whole or not at all.
    ///
    /// # Errors
    /// Why nothing was changed, for the operator.
    pub fn reload(&self) -> Result<String, String> {
        let _one_at_a_time = self.reloading.lock();
        let new = Settings::load(&self.path).map_err(|errors| errors.to_string())?;
        let old = self.settings.load_full();
        let changes = crate::config::diff(&old, &new)
            .map_err(|reasons| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let clusters = self.clusters.load_full();
        for settings in &new.clusters {
            if let Some(running) = clusters.iter().find(|running| running.name() == &*settings.name) {
                running.check(settings)?;
            }
        }
        for settings in &new.clusters {
            if let Some(running) = clusters.iter().find(|running| running.name() == &*settings.name) {
                running.reload(Arc::clone(settings))?;
                running.log_slow_queries(new.log.slow_query);
            }
        }
        self.logs.set_level(new.log.level).map_err(|error| error.to_string())?;
        self.replace_token(&old, &new)?;
        self.settings.store(Arc::new(new));
        Ok(format!("configuration reloaded, {} changes", changes.len()))
    }

    fn replace_token(&self, old: &Settings, new: &Settings) -> Result<(), String> {
        let (Some(address), Some(door)) = (new.admin.listen, self.door.load_full()) else { return Ok(()) };
        if old.admin.token != new.admin.token {
            let token: Token = admin::token(&new.admin, address).map_err(|error| error.to_string())?;
            door.set_token(token);
        }
        Ok(())
    }

    // New clients are turned away, transactions end, idle clients are sent away; a second signal stops at once.
    async fn drain(&self) {
        let clusters = self.clusters.load_full();
        let limit = clusters.iter().map(|cluster| cluster.shutdown_limit()).max().unwrap_or_default();
        tracing::info!(?limit, "stopping: waiting for running transactions");
        let drained = async {
            join_all(clusters.iter().map(|cluster| cluster.drain())).await;
        };
        let again = async {
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(mut terminate), Ok(mut interrupt)) => {
                    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop_now.notified() => tracing::warn!("told to stop at once"),
            () = drained => tracing::info!("stopped"),
            () = again => tracing::warn!("told to stop a second time: stopped at once"),
            () = tokio::time::sleep_until(clock::deadline(limit)) => tracing::warn!("transactions were still running at timeouts.shutdown"),
        }
    }
}
