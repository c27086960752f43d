//! The configuration as the program uses it: nothing is optional that has a default, every number has a unit.
//!
//! Made by `resolve` from the raw file; shared as `Arc`, replaced whole on reload.

pub use super::functions::{FunctionClass, FunctionRule, FunctionState};
use super::units::{Bytes, Secret};
use ipnet::IpNet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// In the order of the file.
    pub clusters: Vec<Arc<Cluster>>,
    /// The operator's door.
    pub admin: Admin,
    /// Threads.
    pub runtime: Runtime,
    /// What is logged, and how.
    pub log: Log,
}

/// The database servers' protocol and dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// PostgreSQL 14 or newer.
    Postgres,
    /// MySQL 8.0 or newer.
    Mysql,
    /// MariaDB 10.6 or newer.
    Mariadb,
}

/// One primary with its replicas, and the door in front of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The key in the file.
    pub name: Arc<str>,
    /// Which engine.
    pub engine: EngineKind,
    /// Where clients connect.
    pub listen: Vec<Listen>,
    /// TLS towards clients.
    pub tls: ClientTls,
    /// Who may connect at all.
    pub firewall: Firewall,
    /// The monitor's account and rhythm.
    pub monitor: Monitor,
    /// The servers, in the order of the file.
    pub nodes: Vec<Arc<Node>>,
    /// Aliases and overrides, by the name that clients use.
    pub databases: Vec<Database>,
    /// Whose passwords are checked against what.
    pub users: Users,
    /// Pool limits that hold where no user or database says otherwise.
    pub pool: Pool,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// Which node serves what.
    pub routing: Routing,
    /// Who is primary.
    pub failover: Failover,
}

/// One place to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listen {
    /// TCP or a unix socket.
    pub address: ListenAddress,
    /// A route that every session of this listener has from the start.
    pub route: RouteSetting,
}

/// TCP or a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `127.0.0.1:6432`.
    Tcp(SocketAddr),
    /// `unix:/run/primacy/.s.PGSQL.6432`.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a session's statements go: a listener's, a user's, a client's own wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RouteSetting {
    /// By what each statement does.
    #[default]
    Auto,
    /// Everything to the primary.
    Primary,
    /// Everything that is not known to write to a replica.
    Replica,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Whether TLS is offered, or demanded.
    pub mode: ClientTlsMode,
    /// PEM chain; `None` when the mode is `Disable`, or `Prefer` without a certificate (then TLS is not offered).
    pub certificate: Option<PathBuf>,
    /// PEM key.
    pub key: Option<PathBuf>,
}

/// How much TLS is asked of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// Never offered.
    Disable,
    /// Offered.
    Prefer,
    /// Demanded.
    Require,
}

/// TLS towards a server; the words and their meaning are libpq's `sslmode`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// How much is asked of the server.
    pub mode: ServerTlsMode,
    /// The authority that must have signed the server's certificate; the system's own when absent.
    pub ca: Option<PathBuf>,
}

/// How much TLS is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerTlsMode {
    /// Never.
    Disable,
    /// If the server has it.
    Prefer,
    /// Always; the certificate is not checked.
    Require,
    /// The certificate must be signed by a known authority.
    VerifyCa,
    /// And name the host that was asked for.
    VerifyFull,
}

/// Checked before the first byte of a client is parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// Empty: everybody (that is not denied).
    pub allow: Vec<IpNet>,
    /// Wins over `allow`.
    pub deny: Vec<IpNet>,
    /// New connections a second from one address; 0 = no limit.
    pub connections_per_second: u32,
    /// So many failed logins from one address …; 0 = no limit.
    pub failed_logins_limit: u32,
    /// … and it is refused for so long.
    pub failed_logins_block: Duration,
}

/// The monitor's account and rhythm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// Login name.
    pub user: Arc<str>,
    /// Its password.
    pub password: Secret,
    /// The database that it connects to.
    pub database: Arc<str>,
    /// Between two rounds when nobody waits.
    pub interval: Duration,
    /// Between two rounds when somebody waits.
    pub min_interval: Duration,
    /// A node that has not answered by then has failed the round.
    pub timeout: Duration,
    /// Whether the monitor may write a WAL message when readers wait for a position that is not flushed.
    pub nudge: bool,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The key in the file.
    pub name: Arc<str>,
    /// Host name or address; names are resolved anew at each connect.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// What may become of it.
    pub role: NodeRole,
    /// Share of the reads, relative to the others; 0 = none.
    pub weight: u32,
    /// For zone-aware routing.
    pub zone: Arc<str>,
    /// Preference at promotion.
    pub priority: u32,
    /// Whether it may be promoted.
    pub promote: bool,
    /// Connections that we may hold on it; `None` = the server's own limit less its reserved slots less a tenth.
    pub max_connections: Option<u32>,
    /// TLS towards it.
    pub tls: ServerTls,
}

/// What may become of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeRole {
    /// Found out: primary or replica.
    Auto,
    /// Passive: may be promoted, is never read from.
    Standby,
}

/// A database name that clients use.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// What clients ask for.
    pub alias: Arc<str>,
    /// What it is called on the servers.
    pub name: Arc<str>,
    /// Pool limits for it.
    pub pool: Option<Pool>,
    /// Routing for it.
    pub routing: Option<Routing>,
}

/// Whose passwords are checked against what.
#[derive(Debug, Clone, PartialEq)]
pub struct Users {
    /// How users that are not listed are checked.
    pub passthrough: Passthrough,
    /// Whether the servers' pg_hba.conf is held against the clients' own addresses.
    pub pg_hba: PgHba,
    /// Listed users.
    pub list: Vec<User>,
}

/// Whether the servers' pg_hba.conf is held against the clients' own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PgHba {
    /// Where the monitor may read it.
    Auto,
    /// Never: the servers see the proxy's address only.
    Off,
}

/// How users that are not listed are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passthrough {
    /// By the verifier that the monitor reads.
    Verifier,
    /// By logging in with the password, asked in clear inside TLS or a unix socket only.
    Password,
    /// Not at all: listed users only.
    Off,
}

/// A listed user.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Login name.
    pub name: Arc<str>,
    /// What proves it.
    pub secret: UserSecret,
    /// Pool limits for it.
    pub pool: Option<Pool>,
    /// Routing for it.
    pub routing: Option<Routing>,
    /// The databases it may use; empty = all.
    pub databases: Vec<Arc<str>>,
}

/// What proves a listed user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserSecret {
    /// The password itself: backends can be opened before its first login.
    Password(Secret),
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    ScramVerifier(Secret),
}

/// Pool limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// When a backend goes back.
    pub mode: PoolMode,
    /// Per node, user and database.
    pub size: u32,
    /// Kept open; needs a listed password.
    pub min_idle: u32,
    /// Percent of a primary's pool that reads keep when they have waited for a second.
    pub reads_reserved: u8,
    /// Pinned backends per node.
    pub pinned: u32,
    /// When the limit on pins is reached, a session whose pins are only possible and that has been idle for so long is closed.
    pub pin_idle: Duration,
    /// A client that has waited for so long gets an error.
    pub queue_timeout: Duration,
    /// An idle backend is closed after so long.
    pub idle_timeout: Duration,
    /// A backend is closed when it is so old (less a random tenth).
    pub max_age: Duration,
    /// Clients of the cluster.
    pub max_clients: u32,
    /// Prepared statements kept on one backend.
    pub prepared_statements: u32,
}

/// When a backend goes back to its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// At the end of each transaction.
    Transaction,
    /// When the client leaves.
    Session,
}

/// Limits in time; zero = none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a client to log in.
    pub login: Duration,
    /// For a connection to a server, login included.
    pub connect: Duration,
    /// For one statement.
    pub query: Duration,
    /// For a client that holds a transaction and says nothing.
    pub idle_in_transaction: Duration,
    /// For a client that says nothing.
    pub client_idle: Duration,
    /// For running transactions at shutdown.
    pub shutdown: Duration,
}

/// Which node serves what.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// How a replica is drawn.
    pub balance: Balance,
    /// What a read must see.
    pub consistency: Consistency,
    /// How long a read may wait for a replica to be fresh enough before the primary serves it.
    pub consistency_wait: ConsistencyWait,
    /// A replica that is further behind serves nothing.
    pub max_lag: Duration,
    /// The same in bytes; 0 = no limit.
    pub max_lag_bytes: Bytes,
    /// Whether the primary serves reads.
    pub reads_on_primary: ReadsOnPrimary,
    /// What functions do, over what the catalog says; the cluster's alone count.
    pub functions: Arc<[FunctionRule]>,
    /// What becomes of a read that waited for a primary in vain.
    pub reads_without_primary: ReadsWithoutPrimary,
    /// Whether reads within transactions leave the primary.
    pub reads_in_transactions: ReadsInTransactions,
    /// How long what went wrong keeps its like away: a shape under which two servers went down is refused, and whose read-only
    /// transactions needed the primary begin there.
    pub breaker: Duration,
}

/// What becomes of a read that no replica is known to be fresh enough for, after it waited for a primary in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsWithoutPrimary {
    /// The freshest replica serves it, and says so.
    Serve,
    /// It is refused.
    Refuse,
}

/// Whether the reads of a transaction that is not read-only leave the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsInTransactions {
    /// Such transactions run on the primary.
    Never,
    /// Until its first write each read of such a transaction runs as it would outside of one.
    UntilFirstWrite,
}

/// How a replica is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin.
    RoundRobin,
    /// The one with the fewest of our statements, by weight.
    LeastConnections,
}

/// What a read must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consistency {
    /// A replica within `max_lag`.
    Eventual,
    /// The session's own acknowledged writes, and never back in time.
    Session,
    /// Every write to the same database that any session of this proxy was told of; and what `Session` promises.
    Causal,
    /// Every acknowledged write: served by the primary.
    Strong,
}

/// How long a read may wait for a replica to be fresh enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsistencyWait {
    /// 3 ms while the primary's pool has a free backend, 10 ms while it queues; longer for a session that it brings to a replica for good.
    Auto,
    /// So long; zero = never.
    Fixed(Duration),
}

/// Whether the primary serves reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsOnPrimary {
    /// Only when no replica is configured at all.
    Never,
    /// When no replica qualifies.
    Fallback,
    /// As one more node of its weight.
    Always,
}

/// Who is primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// Whether roles are followed.
    pub mode: FailoverMode,
    /// How long a statement waits for a primary.
    pub hold: Duration,
    /// How many bytes may wait.
    pub hold_bytes: Bytes,
    /// Writes need one configured replica that streamed from that primary within this time.
    pub witness: Duration,
}

/// Whether roles are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverMode {
    /// Roles as found at start.
    Off,
    /// Roles are followed, whoever moves them.
    Observe,
}

/// The operator's door.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// HTTP; `None` = off.
    pub listen: Option<SocketAddr>,
    /// What every POST must carry; `None` = made at start into a file of mode 0600.
    pub token: Option<Secret>,
    /// The console's database name.
    pub database: Arc<str>,
    /// May run commands on the console.
    pub users: Vec<Arc<str>>,
    /// May look.
    pub stats_users: Vec<Arc<str>>,
}

/// Threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runtime {
    /// Threads that serve clients; resolved, never 0.
    pub workers: usize,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error | warn | info | debug | trace`.
    pub level: tracing::Level,
    /// Text or JSON.
    pub format: LogFormat,
    /// A statement that took longer is logged; zero = none.
    pub slow_query: Duration,
}

/// Text or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}
