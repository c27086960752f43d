//! PostgreSQL clusters of our own, from the programs found on this machine.

use crate::clock;
use crate::config::settings::EngineKind;
use crate::engine::embedded::machine::{Machine, POLL, Process, free_port, tail};
use crate::engine::embedded::{
    ADMIN, APP, DATABASE, Embedded, EmbeddedError, Endpoint, MONITOR, Options, PATIENCE, REPLICATION, Rows,
    Stop,
};
use crate::task;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
const VERIFIERS: &str = "
CREATE FUNCTION primacy_user(wanted text, OUT verifier text, OUT valid_until timestamptz, OUT can_login boolean,
                             OUT superuser boolean, OUT connection_limit integer)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS
$$SELECT rolpassword, rolvaliduntil, rolcanlogin, rolsuper, rolconnlimit FROM pg_authid WHERE rolname = wanted$$;
REVOKE ALL ON FUNCTION primacy_user(text) FROM PUBLIC;
";

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    // Dropped first: the reaper ends the servers in order before their handles kill what is left.
    machine: Machine,
    programs: PathBuf,
    version: String,
    endpoints: Vec<Endpoint>,
    // By node; None = stopped.
    processes: Vec<Mutex<Option<Arc<Process>>>>,
    primary: AtomicUsize,
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
    fn engine(&self) -> EngineKind {
        EngineKind::Postgres
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    fn primary(&self) -> usize {
        self.primary.load(Ordering::Acquire)
    }

    async fn start(options: &Options) -> Result<Self, EmbeddedError> {
        let programs = options.programs.clone().or_else(|| installed().into_iter().next());
        let programs = programs.filter(|bin| bin.join("initdb").exists()).ok_or(EmbeddedError::NotFound {
            what: "PostgreSQL 14 or newer",
            looked: "/usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, /usr/local, /usr/bin".into(),
            variable: "PRIMACY_PG_BIN",
        })?;
        let machine = Machine::prepare(&["postgres", "nobody"])?;
        let mut endpoints = Vec::new();
        for number in 1..=options.replicas + 1 {
            endpoints.push(Endpoint {
                name: format!("pg{number}"),
                host: "127.0.0.1".into(),
                port: free_port()?,
            });
        }
        let processes = endpoints.iter().map(|_| Mutex::new(None)).collect();
        let primary = AtomicUsize::new(0);
        let mut cluster = Self { machine, programs, version: String::new(), endpoints, processes, primary };
        cluster.initialise(options).await?;
        cluster.start_node(0).await?;
        cluster.sql(0, "postgres", &accounts(options)).await?;
        cluster.sql(0, "postgres", &format!("CREATE DATABASE {DATABASE} OWNER {}", APP.user)).await?;
        cluster.sql(0, DATABASE, &format!("ALTER SCHEMA public OWNER TO {}", APP.user)).await?;
        cluster.version = first(cluster.sql(0, "postgres", "SHOW server_version").await?);
        futures_util::future::try_join_all((1..=options.replicas).map(|node| cluster.copy_primary(node)))
            .await?;
        cluster.wait_caught_up().await?;
        Ok(cluster)
    }

    async fn sql(&self, node: usize, database: &str, text: &str) -> Result<Rows, EmbeddedError> {
        let endpoint = self.endpoint(node)?;
        let rows = tokio::time::timeout(PATIENCE, self.try_sql(endpoint, database, text)).await;
        let rows = rows.map_err(|_| EmbeddedError::Late { what: format!("{}: {text}", endpoint.name) })?;
        rows.map_err(|error| EmbeddedError::Sql {
            node: endpoint.name.clone(),
            text: text.to_owned(),
            error: error.as_db_error().map_or_else(|| format!("{error:?}"), ToString::to_string),
        })
    }

    async fn stop(&self, node: usize, how: Stop) -> Result<(), EmbeddedError> {
        let process = self.process(node)?;
        process
            .set_frozen(false)
            .or_else(|error| if process.ended().is_some() { Ok(()) } else { Err(error) })?;
        process.signal(match how {
            Stop::Fast => Signal::SIGINT,
            Stop::Immediate => Signal::SIGQUIT,
            Stop::Kill => Signal::SIGKILL,
        })?;
        if process.wait(&self.machine, PATIENCE).await?.is_none() {
            return Err(EmbeddedError::Late { what: format!("the end of {}", self.endpoint(node)?.name) });
        }
        self.set_process(node, None);
        Ok(())
    }

    async fn start_node(&self, node: usize) -> Result<(), EmbeddedError> {
        let name = self.endpoint(node)?.name.clone();
        let home = self.home(node);
        let log_path = home.join("log");
        let log = File::options().create(true).append(true).read(true).open(&log_path);
        let log = log.map_err(EmbeddedError::io(format!("opening {}", log_path.display())))?;
        let duplicate = || log.try_clone().map_err(EmbeddedError::io("duplicating a log's handle"));
        let mut command = self.machine.command(&self.programs.join("postgres"), true);
        command.arg("-D").arg(home.join("data")).stdout(duplicate()?).stderr(duplicate()?);
        let process = Arc::new(self.machine.spawn(&name, command)?);
        self.set_process(node, Some(process.clone()));
        let since = clock::now();
        while self.sql(node, "postgres", "SELECT 1").await.is_err() {
            if process.ended().is_some() {
                self.set_process(node, None);
                return Err(EmbeddedError::Program { what: format!("starting {name}"), output: tail(log) });
            }
            if clock::now().since(since) > PATIENCE {
                return Err(EmbeddedError::Late { what: format!("the start of {name}") });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn pause(&self, node: usize) -> Result<(), EmbeddedError> {
        self.process(node)?.set_frozen(true)
    }

    fn resume(&self, node: usize) -> Result<(), EmbeddedError> {
        self.process(node)?.set_frozen(false)
    }

    async fn promote(&self, node: usize) -> Result<(), EmbeddedError> {
        let seconds = PATIENCE.as_secs();
        let done = first(self.sql(node, "postgres", &format!("SELECT pg_promote(true, {seconds})")).await?);
        if done != "t" {
            return Err(EmbeddedError::Late {
                what: format!("the promotion of {}", self.endpoint(node)?.name),
            });
        }
        self.primary.store(node, Ordering::Release);
        Ok(())
    }

    async fn follow(&self, node: usize) -> Result<(), EmbeddedError> {
        let running = self.processes.get(node).is_some_and(|process| process.lock().is_some());
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
        for node in 0..self.endpoints.len() {
            let running = self.processes.get(node).is_some_and(|process| process.lock().is_some());
            if node != primary && running {
                self.wait_until(node, "replication", &reached).await?;
            }
        }
        Ok(())
    }
}

impl Cluster {
    fn endpoint(&self, node: usize) -> Result<&Endpoint, EmbeddedError> {
        self.endpoints
            .get(node)
            .ok_or_else(|| EmbeddedError::State { node: node.to_string(), what: "no such node" })
    }

    fn process(&self, node: usize) -> Result<Arc<Process>, EmbeddedError> {
        let name = self.endpoint(node)?.name.clone();
        let process = self.processes.get(node).and_then(|process| process.lock().clone());
        process.ok_or(EmbeddedError::State { node: name, what: "it is stopped" })
    }

    fn set_process(&self, node: usize, process: Option<Arc<Process>>) {
        if let Some(slot) = self.processes.get(node) {
            *slot.lock() = process;
        }
    }

    /// The node's directory: `data`, `log`.
    #[must_use]
    pub fn home(&self, node: usize) -> PathBuf {
        self.machine.directory().join(format!("n{node}"))
    }

    /// Where the nodes' unix sockets are (`.s.PGSQL.<port>`).
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.machine.directory()
    }

    /// Where `psql`, `pgbench` and their like are.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    async fn initialise(&self, options: &Options) -> Result<(), EmbeddedError> {
        for node in 0..self.endpoints.len() {
            self.machine.make_directory(&format!("n{node}"))?;
        }
        let data = self.home(0).join("data");
        let mut initdb = self.machine.command(&self.programs.join("initdb"), true);
        initdb.args([
            "--username=postgres",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "--auth=trust",
            "-D",
        ]);
        initdb.arg(&data);
        self.machine.run("initdb", initdb).await?;
        let mut settings = SETTINGS.to_owned();
        if let Some(tls) = &options.tls {
            self.machine.write(&data.join("server.crt"), &tls.certificate)?;
            self.machine.write(&data.join("server.key"), &tls.key)?;
            settings.push_str("ssl = on\n");
        }
        for (name, value) in &options.settings {
            writeln!(settings, "{name} = '{}'", value.replace('\'', "''")).unwrap_or_default();
        }
        settings.push_str("include 'node.conf'\n");
        let path = data.join("postgresql.conf");
        let defaults = fs::read_to_string(&path).map_err(EmbeddedError::io("reading postgresql.conf"))?;
        self.machine.write(&path, &(defaults + &settings))?;
        self.machine.write(&data.join("pg_hba.conf"), HBA)?;
        self.write_node_settings(0)
    }

    fn write_node_settings(&self, node: usize) -> Result<(), EmbeddedError> {
        let Endpoint { name, port, .. } = self.endpoint(node)?;
        let sockets = self.machine.directory().display();
        let text = format!("port = {port}\ncluster_name = '{name}'\nunix_socket_directories = '{sockets}'\n");
        self.machine.write(&self.home(node).join("data/node.conf"), &text)
    }

    /// Makes a stopped node a replica of the primary by a fresh copy of it, and starts it.
    async fn copy_primary(&self, node: usize) -> Result<(), EmbeddedError> {
        let data = self.home(node).join("data");
        if data.exists() {
            fs::remove_dir_all(&data).map_err(EmbeddedError::io(format!("removing {}", data.display())))?;
        }
        self.make_slot(node).await?;
        let source = self.endpoint(self.primary())?;
        let mut copy = self.machine.command(&self.programs.join("pg_basebackup"), true);
        copy.arg("-h").arg(self.machine.directory()).args(["-U", "postgres", "-p", &source.port.to_string()]);
        copy.args(["--checkpoint=fast", "--wal-method=stream", "--no-sync", "-D"]).arg(&data);
        self.machine.run("pg_basebackup", copy).await?;
        self.write_node_settings(node)?;
        let connection = self.connection_to_primary(node)?;
        let slot = slot(node);
        self.machine.write(
            &data.join("postgresql.auto.conf"),
            &format!("primary_conninfo = '{connection}'\nprimary_slot_name = '{slot}'\n"),
        )?;
        self.machine.write(&data.join("standby.signal"), "")?;
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
        let Endpoint { host, port, .. } = self.endpoint(self.primary())?;
        let name = &self.endpoint(node)?.name;
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
        config.host_path(self.machine.directory()).port(to.port).user(ADMIN.user).dbname(database);
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
        let since = clock::now();
        while first(self.sql(node, "postgres", question).await?) != "t" {
            if clock::now().since(since) > PATIENCE {
                return Err(EmbeddedError::Late { what: format!("{what} on {}", self.endpoint(node)?.name) });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

fn slot(node: usize) -> String {
    format!("replica_{node}")
}

fn first(rows: Rows) -> String {
    rows.into_iter().flatten().next().flatten().unwrap_or_default()
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
         {VERIFIERS}
         GRANT EXECUTE ON FUNCTION primacy_user(text) TO {};",
        ADMIN.user,
        ADMIN.password,
        REPLICATION.user,
        REPLICATION.password,
        MONITOR.user,
        MONITOR.password,
        MONITOR.user,
        APP.user,
        APP.password,
        MONITOR.user,
    )
}
