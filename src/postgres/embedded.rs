//! PostgreSQL clusters of our own, from the programs found on this machine.

use crate::config::settings::EngineKind;
use crate::engine::embedded::servers::{Servers, first};
use crate::engine::embedded::{
    APP, Account, DATABASE, Embedded, EmbeddedError, Endpoint, MONITOR, Options, PATIENCE, REPLICATION, Rows,
    Stop,
};
use crate::task;
use futures_util::future::try_join_all;
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// The oldest version that is used.
const OLDEST: u32 = 14;

/// Loopback servers that live for minutes: no durability, little memory, quick reactions.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 16MB
fsync = off
full_page_writes = off
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
max_prepared_transactions = 20
wal_keep_size = 256MB
hot_standby = on
wal_retrieve_retry_interval = 100ms
wal_receiver_status_interval = 1s
password_encryption = 'scram-sha-256'
log_line_prefix = '%m [%p] %u@%d '
";

const HBA: &str = "
local all         postgres                 trust
local replication postgres                 trust
local all         all                      scram-sha-256
host  all         all         127.0.0.1/32 scram-sha-256
host  replication all         127.0.0.1/32 scram-sha-256
";

/// How a monitor that is no superuser reads what a login needs to know.
const VERIFIERS: &str = include_str!("user_lookup.sql");

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    servers: Servers,
    programs: PathBuf,
    version: String,
}

/// The directories of PostgreSQL programs on this machine that could be used, the newest version first.
#[must_use]
pub fn installed() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in
        [("/usr/lib/postgresql", ""), ("/usr", "pgsql-"), ("/opt/homebrew/opt", "postgresql@")]
    {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        found.extend(entries.filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            let bin = entry.path().join("bin");
            (version >= OLDEST && bin.join("initdb").exists()).then_some((version, bin))
        }));
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    let mut found: Vec<PathBuf> = found.into_iter().map(|(_, bin)| bin).collect();
    found.extend(["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    found.retain(|bin| bin.join("initdb").exists() && bin.join("postgres").exists());
    found
}

impl Embedded for Cluster {
    const ADMIN: Account = Account { user: "postgres", password: "embedded-admin" };

    fn engine(&self) -> EngineKind {
        EngineKind::Postgres
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn endpoints(&self) -> &[Endpoint] {
        self.servers.endpoints()
    }

    fn primary(&self) -> usize {
        self.servers.primary()
    }

    async fn start(options: &Options) -> Result<Self, EmbeddedError> {
        let programs = options.programs.clone().or_else(|| installed().into_iter().next());
        let programs =
            programs.filter(|bin| bin.join("initdb").exists()).ok_or_else(|| EmbeddedError::NotFound {
                what: "PostgreSQL 14 or newer",
                looked: options.programs.as_ref().map_or_else(
                    || "/usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, /usr/local, /usr/bin".into(),
                    |named| named.display().to_string(),
                ),
                variable: "PRIMACY_PG_BIN",
            })?;
        let servers = Servers::prepare(&["postgres", "nobody"], "pg", options.replicas + 1)?;
        let mut cluster = Self { servers, programs, version: String::new() };
        cluster.initialise(options).await?;
        cluster.start_node(0).await?;
        cluster.sql(0, "postgres", &accounts(options)).await?;
        cluster.sql(0, "postgres", &format!("CREATE DATABASE {DATABASE} OWNER {}", APP.user)).await?;
        cluster.version = first(cluster.sql(0, "postgres", "SHOW server_version").await?);
        try_join_all((1..=options.replicas).map(|node| cluster.copy_primary(node))).await?;
        cluster.wait_caught_up().await?;
        Ok(cluster)
    }

    async fn sql(&self, node: usize, database: &str, text: &str) -> Result<Rows, EmbeddedError> {
        let endpoint = self.servers.endpoint(node)?;
        let rows = tokio::time::timeout(PATIENCE, self.try_sql(endpoint, database, text)).await;
        let rows = rows.map_err(|_| EmbeddedError::Late { what: format!("{}: {text}", endpoint.name) })?;
        rows.map_err(|error| EmbeddedError::Sql {
            node: endpoint.name.clone(),
            text: text.to_owned(),
            error: error.as_db_error().map_or_else(|| format!("{error:?}"), ToString::to_string),
        })
    }

    async fn stop(&self, node: usize, how: Stop) -> Result<(), EmbeddedError> {
        let signal = match how {
            Stop::Fast => Signal::SIGINT,
            Stop::Immediate => Signal::SIGQUIT,
            Stop::Kill => Signal::SIGKILL,
        };
        self.servers.end(node, signal).await
    }

    async fn start_node(&self, node: usize) -> Result<(), EmbeddedError> {
        let mut command = self.servers.machine().command(&self.programs.join("postgres"), true);
        command.arg("-D").arg(self.data(node));
        self.servers
            .launch(node, command, async || self.sql(node, "postgres", "SELECT 1").await.is_ok())
            .await
    }

    fn pause(&self, node: usize) -> Result<(), EmbeddedError> {
        self.servers.process(node)?.set_frozen(true)
    }

    fn resume(&self, node: usize) -> Result<(), EmbeddedError> {
        self.servers.process(node)?.set_frozen(false)
    }

    async fn promote(&self, node: usize) -> Result<(), EmbeddedError> {
        let seconds = PATIENCE.as_secs();
        let done = first(self.sql(node, "postgres", &format!("SELECT pg_promote(true, {seconds})")).await?);
        if done != "t" {
            return Err(EmbeddedError::Late {
                what: format!("the promotion of {}", self.servers.endpoint(node)?.name),
            });
        }
        self.servers.set_primary(node);
        Ok(())
    }

    async fn follow(&self, node: usize) -> Result<(), EmbeddedError> {
        let running = self.servers.running(node);
        let replica =
            running && first(self.sql(node, "postgres", "SELECT pg_is_in_recovery()").await?) == "t";
        if !replica {
            if running {
                self.stop(node, Stop::Fast).await?;
            }
            return self.copy_primary(node).await;
        }
        self.make_slot(node).await?;
        let connection = self.connection_to_primary(node)?;
        self.sql(node, "postgres", &format!("ALTER SYSTEM SET primary_conninfo = '{connection}'")).await?;
        self.sql(node, "postgres", "SELECT pg_reload_conf()").await?;
        self.wait_caught_up().await
    }

    async fn set_replay_paused(&self, node: usize, paused: bool) -> Result<(), EmbeddedError> {
        let function = if paused { "pg_wal_replay_pause" } else { "pg_wal_replay_resume" };
        self.sql(node, "postgres", &format!("SELECT {function}()")).await?;
        if paused {
            self.wait_until(node, "the pause of replay", "SELECT pg_get_wal_replay_pause_state() = 'paused'")
                .await?;
        }
        Ok(())
    }

    async fn wait_caught_up(&self) -> Result<(), EmbeddedError> {
        let primary = self.primary();
        let position = first(self.sql(primary, "postgres", "SELECT pg_current_wal_insert_lsn()").await?);
        // A record only reaches the replicas once it is written out; one more of our own makes sure of it.
        self.sql(primary, "postgres", "SELECT pg_logical_emit_message(true, 'primacy', '')").await?;
        let reached = format!(
            "SELECT pg_last_wal_replay_lsn() >= '{position}' AND EXISTS \
             (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
        );
        for node in self.servers.replicas() {
            self.wait_until(node, "replication", &reached).await?;
        }
        Ok(())
    }
}

impl Cluster {
    /// The node's data directory.
    #[must_use]
    pub fn data(&self, node: usize) -> PathBuf {
        self.servers.home(node).join("data")
    }

    /// The file that holds what the node's server wrote.
    #[must_use]
    pub fn log(&self, node: usize) -> PathBuf {
        self.servers.home(node).join("log")
    }

    /// Where the nodes' unix sockets are (`.s.PGSQL.<port>`).
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.servers.machine().directory()
    }

    /// Where `psql`, `pgbench` and their like are.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    async fn initialise(&self, options: &Options) -> Result<(), EmbeddedError> {
        let data = self.data(0);
        let mut initdb = self.servers.machine().command(&self.programs.join("initdb"), true);
        initdb.args([
            "--username=postgres",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "--auth=trust",
            "-D",
        ]);
        initdb.arg(&data);
        self.servers.machine().run("initdb", initdb).await?;
        let mut settings = SETTINGS.to_owned();
        if let Some(tls) = &options.tls {
            self.servers.machine().write(&data.join("server.crt"), &tls.certificate)?;
            self.servers.machine().write(&data.join("server.key"), &tls.key)?;
            settings.push_str("ssl = on\n");
        }
        for (name, value) in &options.settings {
            writeln!(settings, "{name} = '{}'", value.replace('\'', "''")).unwrap_or_default();
        }
        settings.push_str("include 'node.conf'\n");
        let path = data.join("postgresql.conf");
        let defaults = fs::read_to_string(&path).map_err(EmbeddedError::io("reading postgresql.conf"))?;
        self.servers.machine().write(&path, &(defaults + &settings))?;
        self.servers.machine().write(&data.join("pg_hba.conf"), HBA)?;
        self.write_node_settings(0)
    }

    fn write_node_settings(&self, node: usize) -> Result<(), EmbeddedError> {
        let Endpoint { name, port, .. } = self.servers.endpoint(node)?;
        let sockets = self.servers.machine().directory().display();
        let text = format!("port = {port}\ncluster_name = '{name}'\nunix_socket_directories = '{sockets}'\n");
        self.servers.machine().write(&self.data(node).join("node.conf"), &text)
    }

    /// Makes a stopped node a replica of the primary by a fresh copy of it, and starts it.
    async fn copy_primary(&self, node: usize) -> Result<(), EmbeddedError> {
        let data = self.data(node);
        if data.exists() {
            fs::remove_dir_all(&data).map_err(EmbeddedError::io(format!("removing {}", data.display())))?;
        }
        self.make_slot(node).await?;
        let source = self.servers.endpoint(self.primary())?;
        let mut copy = self.servers.machine().command(&self.programs.join("pg_basebackup"), true);
        copy.arg("-h").arg(self.servers.machine().directory()).args([
            "-U",
            "postgres",
            "-p",
            &source.port.to_string(),
        ]);
        copy.args(["--checkpoint=fast", "--wal-method=stream", "--no-sync", "-D"]).arg(&data);
        self.servers.machine().run("pg_basebackup", copy).await?;
        self.write_node_settings(node)?;
        let connection = self.connection_to_primary(node)?;
        let slot = slot(node);
        self.servers.machine().write(
            &data.join("postgresql.auto.conf"),
            &format!("primary_conninfo = '{connection}'\nprimary_slot_name = '{slot}'\n"),
        )?;
        self.servers.machine().write(&data.join("standby.signal"), "")?;
        self.start_node(node).await?;
        self.wait_until(
            node,
            "replication",
            "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')",
        )
        .await
    }

    /// The replica's place on the primary: what it has not received yet is kept there.
    async fn make_slot(&self, node: usize) -> Result<(), EmbeddedError> {
        let slot = slot(node);
        let text = format!(
            "SELECT pg_create_physical_replication_slot('{slot}') \
             WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}')"
        );
        self.sql(self.primary(), "postgres", &text).await.map(drop)
    }

    fn connection_to_primary(&self, node: usize) -> Result<String, EmbeddedError> {
        let Endpoint { host, port, .. } = self.servers.endpoint(self.primary())?;
        let name = &self.servers.endpoint(node)?.name;
        let account = REPLICATION;
        Ok(format!(
            "host={host} port={port} user={} password={} application_name={name}",
            account.user, account.password
        ))
    }

    async fn try_sql(
        &self,
        to: &Endpoint,
        database: &str,
        text: &str,
    ) -> Result<Rows, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(self.servers.machine().directory())
            .port(to.port)
            .user(Self::ADMIN.user)
            .dbname(database);
        let (client, connection) = config.connect(NoTls).await?;
        let driver = task::spawn("embedded", connection);
        let messages = client.simple_query(text).await;
        driver.abort();
        let mut rows = Rows::new();
        for message in messages? {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
            }
        }
        Ok(rows)
    }

    /// Asks a node until its answer is `t`.
    async fn wait_until(&self, node: usize, what: &str, question: &str) -> Result<(), EmbeddedError> {
        let ask = async || Ok(first(self.sql(node, "postgres", question).await?) == "t");
        self.servers.until(what, node, ask).await
    }
}

fn slot(node: usize) -> String {
    format!("replica_{node}")
}

/// Every account that [`Embedded`] promises, and what the monitor needs to read verifiers.
fn accounts(options: &Options) -> String {
    let superuser = if options.monitor_is_superuser { "SUPERUSER" } else { "NOSUPERUSER" };
    format!(
        "ALTER ROLE {} PASSWORD '{}';
         CREATE ROLE {} LOGIN REPLICATION PASSWORD '{}';
         CREATE ROLE {} LOGIN {superuser} PASSWORD '{}';
         GRANT pg_monitor TO {};
         CREATE ROLE {} LOGIN PASSWORD '{}';
         {VERIFIERS}",
        Cluster::ADMIN.user,
        Cluster::ADMIN.password,
        REPLICATION.user,
        REPLICATION.password,
        MONITOR.user,
        MONITOR.password,
        MONITOR.user,
        APP.user,
        APP.password,
    )
}
