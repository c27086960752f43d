//! What holds where the file says nothing. `docs/configuration.md` tells the same to people; a test compares.

use super::settings::*;
use super::units::Bytes;
use std::sync::Arc;
use std::time::Duration;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Default for ClientTls {
    fn default() -> Self {
        Self { mode: ClientTlsMode::Prefer, certificate: None, key: None }
    }
}

impl Default for ServerTls {
    fn default() -> Self {
        Self { mode: ServerTlsMode::Prefer, ca: None }
    }
}

impl Default for Firewall {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            connections_per_second: 0,
            failed_logins_limit: 10,
            failed_logins_block: seconds(60),
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            mode: PoolMode::Transaction,
            size: 20,
            min_idle: 0,
            reads_reserved: 25,
            pinned: 100,
            pin_idle: seconds(60),
            queue_timeout: seconds(30),
            idle_timeout: seconds(600),
            max_age: seconds(3600),
            max_clients: 10_000,
            prepared_statements: 200,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            login: seconds(15),
            connect: seconds(5),
            query: Duration::ZERO,
            idle_in_transaction: Duration::ZERO,
            client_idle: Duration::ZERO,
            shutdown: seconds(60),
        }
    }
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            balance: Balance::RoundRobin,
            consistency: Consistency::Causal,
            consistency_wait: ConsistencyWait::Auto,
            max_lag: seconds(10),
            max_lag_bytes: Bytes(0),
            reads_on_primary: ReadsOnPrimary::Fallback,
            functions: std::sync::Arc::default(),
            reads_without_primary: ReadsWithoutPrimary::Serve,
            reads_in_transactions: ReadsInTransactions::Never,
            breaker: seconds(300),
        }
    }
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            mode: FailoverMode::Observe,
            hold: seconds(15),
            hold_bytes: Bytes(64 << 20),
            witness: seconds(10),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 9632))),
            token: None,
            database: Arc::from("primacy"),
            users: Vec::new(),
            stats_users: Vec::new(),
        }
    }
}

impl Default for Runtime {
    /// One worker per core that this process may use.
    fn default() -> Self {
        Self { workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: tracing::Level::INFO, format: LogFormat::Text, slow_query: seconds(1) }
    }
}

impl Monitor {
    /// The rhythm where the file says nothing; the account has no default.
    pub(super) const INTERVAL: Duration = seconds(1);
    /// See `Monitor::min_interval`.
    pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(2);
    /// See `Monitor::timeout`.
    pub(super) const TIMEOUT: Duration = seconds(1);
}

impl Node {
    /// A node of that name and address with every default.
    #[must_use]
    pub fn new(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port,
            role: NodeRole::Auto,
            weight: 1,
            zone: "".into(),
            priority: 100,
            promote: true,
            max_connections: None,
            tls: ServerTls::default(),
        }
    }

    /// Host and port as a person would write them; IPv6 addresses in brackets.
    #[must_use]
    pub fn address(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl EngineKind {
    /// The port that a server of this engine listens on when nobody says otherwise.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Mysql | Self::Mariadb => 3306,
        }
    }

    /// The database that the monitor connects to when nobody says otherwise: one that every account may enter.
    #[must_use]
    pub fn monitor_database(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql | Self::Mariadb => "information_schema",
        }
    }

    /// Whether pg_hba.conf is held against clients when nobody says otherwise: MySQL has none.
    pub(super) fn pg_hba(self) -> PgHba {
        match self {
            Self::Postgres => PgHba::Auto,
            Self::Mysql | Self::Mariadb => PgHba::Off,
        }
    }

    /// How users that are not listed are checked when nobody says otherwise.
    pub(super) fn passthrough(self) -> Passthrough {
        match self {
            Self::Postgres => Passthrough::Verifier,
            Self::Mysql | Self::Mariadb => Passthrough::Off,
        }
    }
}
