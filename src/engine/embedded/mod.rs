//! Throwaway clusters of real servers on this machine: what the demo and the tests run against.
//!
//! A cluster lives in a temporary directory, listens on loopback only and is gone when its value is dropped, or when the process that
//! started it ends in whatever way.

pub mod machine;
pub mod reaper;
pub mod servers;

use crate::config::settings::EngineKind;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// How long anything that a server is asked to do may take before it counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Replicas beside the primary.
    pub replicas: usize,
    /// Where the servers' programs are: PostgreSQL's `bin` directory, MySQL's `mysqld`, MariaDB's `mariadbd`. `None` = looked for in
    /// the usual places.
    pub programs: Option<PathBuf>,
    /// Further settings of every server, by name.
    pub settings: Vec<(String, String)>,
    /// Whether the monitor's account is a superuser; otherwise it has just the rights that it needs.
    pub monitor_is_superuser: bool,
    /// The servers' certificate and key; `None` = PostgreSQL speaks no TLS, MySQL makes its own.
    pub tls: Option<TlsPem>,
}

impl Options {
    /// A primary and so many replicas, everything else as usual.
    #[must_use]
    pub fn replicas(replicas: usize) -> Self {
        Self { replicas, ..Self::default() }
    }
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct TlsPem {
    /// The chain, PEM.
    pub certificate: String,
    /// The key, PEM.
    pub key: String,
}

/// A login on every node of the cluster. Not secret: the servers listen on loopback and live for minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Login name.
    pub user: &'static str,
    /// Its password.
    pub password: &'static str,
}

/// For the monitor.
pub const MONITOR: Account = Account { user: "primacy", password: "embedded-monitor" };
/// An ordinary user that owns the database [`DATABASE`].
pub const APP: Account = Account { user: "app", password: "embedded-app" };
/// For replication.
pub const REPLICATION: Account = Account { user: "replicator", password: "embedded-replication" };
/// The database of [`APP`].
pub const DATABASE: &str = "app";

/// One server, as a client finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name in a configuration.
    pub name: String,
    /// Always loopback.
    pub host: String,
    /// TCP port; the same for the life of the cluster.
    pub port: u16,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// In order, connections closed; a PostgreSQL primary first sends its replicas everything.
    Fast,
    /// At once, as after a crash, but the server's processes end by themselves.
    Immediate,
    /// By SIGKILL.
    Kill,
}

/// Rows of text; `None` = NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// Why a cluster did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The servers' programs are not on this machine.
    #[error("no {what} found on this machine ({looked}); run scripts/setup, or set {variable}")]
    NotFound {
        /// Which server.
        what: &'static str,
        /// Where it was looked for.
        looked: String,
        /// The environment variable that names it.
        variable: &'static str,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{what} failed: {output}")]
    Program {
        /// Which program, for which node.
        what: String,
        /// What it wrote, or the end of its log.
        output: String,
    },
    /// A server refused a statement, or could not be reached.
    #[error("{node}: {text}: {error}")]
    Sql {
        /// Which server.
        node: String,
        /// The statement.
        text: String,
        /// What went wrong.
        error: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {PATIENCE:?}")]
    Late {
        /// What was waited for.
        what: String,
    },
    /// There is no node of that number, or it is in a state that forbids this.
    #[error("{node}: {what}")]
    State {
        /// Which server.
        node: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl EmbeddedError {
    /// Adds what was tried to an error of the operating system.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// A primary with streaming replicas. Node 0 starts as the primary. Every method names nodes by their index and may be called from any
/// task; those that change a server return when the change is complete. Errors: [`EmbeddedError`], which says which node did what.
pub trait Embedded: Sized + Send + Sync + 'static {
    /// May do everything, by password over TCP.
    const ADMIN: Account;

    /// Which engine it is.
    fn engine(&self) -> EngineKind;
    /// The servers' version, as they say it themselves.
    fn version(&self) -> &str;
    /// Every node, up or not.
    fn endpoints(&self) -> &[Endpoint];
    /// The node that was started or promoted as primary last.
    fn primary(&self) -> usize;

    /// Starts primary and replicas; returns when every replica is streaming.
    fn start(options: &Options) -> impl Future<Output = Result<Self, EmbeddedError>> + Send;
    /// Runs statements as a superuser, past every limit on connections; the rows of all of them.
    fn sql(
        &self,
        node: usize,
        database: &str,
        text: &str,
    ) -> impl Future<Output = Result<Rows, EmbeddedError>> + Send;
    /// Stops a node and waits for its end.
    fn stop(&self, node: usize, how: Stop) -> impl Future<Output = Result<(), EmbeddedError>> + Send;
    /// Starts a node that was stopped, in the role that it had; returns when it accepts connections.
    fn start_node(&self, node: usize) -> impl Future<Output = Result<(), EmbeddedError>> + Send;
    /// Freezes every process of a node (SIGSTOP).
    fn pause(&self, node: usize) -> Result<(), EmbeddedError>;
    /// Lets a frozen node go on.
    fn resume(&self, node: usize) -> Result<(), EmbeddedError>;
    /// Makes a replica the primary. Neither the old primary nor the other replicas are touched.
    fn promote(&self, node: usize) -> impl Future<Output = Result<(), EmbeddedError>> + Send;
    /// Makes a node a replica of the current primary, from a fresh copy where its own history does not allow it.
    fn follow(&self, node: usize) -> impl Future<Output = Result<(), EmbeddedError>> + Send;
    /// Stops and resumes the replay of what a replica receives.
    fn set_replay_paused(
        &self,
        node: usize,
        paused: bool,
    ) -> impl Future<Output = Result<(), EmbeddedError>> + Send;
    /// Waits until every running replica shows what the primary has now.
    fn wait_caught_up(&self) -> impl Future<Output = Result<(), EmbeddedError>> + Send;

    /// Stops a node in order and starts it again.
    fn restart(&self, node: usize) -> impl Future<Output = Result<(), EmbeddedError>> + Send {
        async move {
            self.stop(node, Stop::Fast).await?;
            self.start_node(node).await
        }
    }

    /// The part of a configuration file that says where the cluster is: [`yaml`].
    fn yaml(&self) -> String {
        yaml(self.engine(), self.endpoints())
    }
}

/// The keys `engine`, `monitor` and `nodes` of a cluster in a configuration file, indented by four.
#[must_use]
pub fn yaml(engine: EngineKind, endpoints: &[Endpoint]) -> String {
    let engine = match engine {
        EngineKind::Postgres => "postgres",
        EngineKind::Mysql => "mysql",
        EngineKind::Mariadb => "mariadb",
    };
    let Account { user, password } = MONITOR;
    let mut text =
        format!("    engine: {engine}\n    monitor: {{ user: {user}, password: {password} }}\n    nodes:\n");
    for Endpoint { name, host, port } in endpoints {
        // Writing to a String cannot fail.
        writeln!(text, "      {name}: {{ address: \"{host}:{port}\" }}").unwrap_or_default();
    }
    text
}
