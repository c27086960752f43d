//! MySQL and MariaDB clusters of our own, from the programs found on this machine.

mod programs;

use crate::config::settings::EngineKind;
use crate::engine::embedded::machine::Machine;
use crate::engine::embedded::servers::{Servers, first};
use crate::engine::embedded::{
    APP, Account, DATABASE, Embedded, EmbeddedError, Endpoint, MONITOR, Options, PATIENCE, REPLICATION, Rows,
    Stop,
};
use futures_util::future::try_join_all;
use mysql_async::Row;
use mysql_async::prelude::Queryable as _;
use nix::sys::signal::Signal;
use programs::Programs;
use std::fs;
use std::path::{Path, PathBuf};

/// Loopback servers that live for minutes: no durability, little memory. Positions are GTIDs, rows travel whole.
const SETTINGS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--max-connections=200",
    "--log-bin=binlog",
    "--relay-log=relay",
    "--binlog-format=ROW",
    "--sync-binlog=0",
    "--log-bin-trust-function-creators=ON",
    "--innodb-buffer-pool-size=32M",
    // 2, not 0: a killed server must not lose a commit that its binary log has; a replica would stop over it.
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=OFF",
    "--report-host=127.0.0.1",
];
const MYSQL_SETTINGS: &[&str] = &[
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--log-replica-updates=ON",
    "--innodb-redo-log-capacity=64M",
    "--mysqlx=OFF",
    // Its thread makes the end of a server that has replicas wait for ten seconds.
    "--event-scheduler=OFF",
    "--secure-file-priv=NULL",
];
const MARIADB_SETTINGS: &[&str] =
    &["--gtid-strict-mode=ON", "--log-slave-updates=ON", "--innodb-log-file-size=16M"];

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    servers: Servers,
    programs: Programs,
    version: String,
    // Every server's settings beyond the usual ones.
    settings: Vec<String>,
}

impl Embedded for Cluster {
    const ADMIN: Account = Account { user: "admin", password: "embedded-admin" };

    fn engine(&self) -> EngineKind {
        self.programs.dialect
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

    /// MySQL; [`Cluster::start_dialect`] for MariaDB.
    async fn start(options: &Options) -> Result<Self, EmbeddedError> {
        Self::start_dialect(EngineKind::Mysql, options).await
    }

    async fn sql(&self, node: usize, database: &str, text: &str) -> Result<Rows, EmbeddedError> {
        let rows = self.rows(node, database, text).await?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text_of).collect()).collect())
    }

    async fn stop(&self, node: usize, how: Stop) -> Result<(), EmbeddedError> {
        // These servers have no way of their own to end at once.
        let signal = if how == Stop::Fast { Signal::SIGTERM } else { Signal::SIGKILL };
        self.servers.end(node, signal).await
    }

    async fn start_node(&self, node: usize) -> Result<(), EmbeddedError> {
        let Endpoint { port, .. } = self.servers.endpoint(node)?;
        let (home, machine) = (self.servers.home(node), self.servers.machine());
        let mut command = self.programs.server(machine);
        for (name, value) in
            [("datadir", self.data(node)), ("socket", self.socket(node)), ("tmpdir", home.clone())]
        {
            command.arg(format!("--{name}={}", value.display()));
        }
        command.args([
            format!("--port={port}"),
            format!("--report-port={port}"),
            format!("--server-id={}", node + 1),
        ]);
        command.arg(format!("--pid-file={}", home.join("pid").display())).args(SETTINGS);
        command.args(if self.is_mysql() { MYSQL_SETTINGS } else { MARIADB_SETTINGS });
        if node != self.primary() {
            command.arg("--read-only=ON").args(self.is_mysql().then_some("--super-read-only=ON"));
        }
        command.args(&self.settings);
        self.servers.launch(node, command, async || self.sql(node, "mysql", "SELECT 1").await.is_ok()).await
    }

    fn pause(&self, node: usize) -> Result<(), EmbeddedError> {
        self.servers.process(node)?.set_frozen(true)
    }

    fn resume(&self, node: usize) -> Result<(), EmbeddedError> {
        self.servers.process(node)?.set_frozen(false)
    }

    async fn promote(&self, node: usize) -> Result<(), EmbeddedError> {
        let seconds = PATIENCE.as_secs();
        let text = if self.is_mysql() {
            self.sql(node, "mysql", "STOP REPLICA IO_THREAD").await?;
            let received =
                "SELECT received_transaction_set FROM performance_schema.replication_connection_status";
            let received = first(self.sql(node, "mysql", received).await?);
            self.wait(node, &format!("WAIT_FOR_EXECUTED_GTID_SET('{received}', {seconds})")).await?;
            "STOP REPLICA; RESET REPLICA ALL; SET GLOBAL super_read_only = OFF, read_only = OFF"
        } else {
            self.sql(node, "mysql", "STOP SLAVE IO_THREAD").await?;
            let received = self.mariadb_received(node).await?;
            self.wait(node, &format!("MASTER_GTID_WAIT('{received}', {seconds})")).await?;
            "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = OFF"
        };
        self.sql(node, "mysql", text).await?;
        self.servers.set_primary(node);
        Ok(())
    }

    /// A node whose history has transactions that the primary's has not is refused.
    async fn follow(&self, node: usize) -> Result<(), EmbeddedError> {
        let Endpoint { host, port, .. } = self.servers.endpoint(self.primary())?;
        let Account { user, password } = REPLICATION;
        if !self.servers.running(node) {
            self.start_node(node).await?;
        }
        let text = if self.is_mysql() {
            let whole = first(self.sql(self.primary(), "mysql", "SELECT @@GLOBAL.gtid_executed").await?);
            let within = format!("SELECT GTID_SUBSET(@@GLOBAL.gtid_executed, '{whole}')");
            if first(self.sql(node, "mysql", &within).await?) != "1" {
                let node = self.servers.endpoint(node)?.name.clone();
                return Err(EmbeddedError::State {
                    node,
                    what: "it has transactions that the primary has not",
                });
            }
            format!(
                "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, SOURCE_USER='{user}', \
                 SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1, \
                 SOURCE_RETRY_COUNT=86400, SOURCE_HEARTBEAT_PERIOD=1; SET GLOBAL super_read_only = ON; START REPLICA"
            )
        } else {
            format!(
                "STOP SLAVE; CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='{user}', \
                 MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, \
                 MASTER_HEARTBEAT_PERIOD=1; SET GLOBAL read_only = ON; START SLAVE"
            )
        };
        self.sql(node, "mysql", &text).await?;
        self.wait_caught_up().await
    }

    async fn set_replay_paused(&self, node: usize, paused: bool) -> Result<(), EmbeddedError> {
        let word = if paused { "STOP" } else { "START" };
        let thread = if self.is_mysql() { "REPLICA SQL_THREAD" } else { "SLAVE SQL_THREAD" };
        self.sql(node, "mysql", &format!("{word} {thread}")).await.map(drop)
    }

    async fn wait_caught_up(&self) -> Result<(), EmbeddedError> {
        let (position, function) = if self.is_mysql() {
            ("SELECT @@GLOBAL.gtid_executed", "WAIT_FOR_EXECUTED_GTID_SET")
        } else {
            ("SELECT @@GLOBAL.gtid_binlog_pos", "MASTER_GTID_WAIT")
        };
        let position = first(self.sql(self.primary(), "mysql", position).await?);
        for node in self.servers.replicas() {
            self.wait(node, &format!("{function}('{position}', {})", PATIENCE.as_secs())).await?;
        }
        Ok(())
    }
}

impl Cluster {
    /// Starts a cluster of that dialect.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn start_dialect(dialect: EngineKind, options: &Options) -> Result<Self, EmbeddedError> {
        let programs = Programs::find(dialect, options.programs.as_deref())?;
        let prefix = if dialect == EngineKind::Mysql { "my" } else { "maria" };
        let servers = Servers::prepare(&["mysql", "nobody"], prefix, options.replicas + 1)?;
        let settings = options.settings.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        let mut cluster = Self { servers, programs, version: String::new(), settings };
        let machine = cluster.servers.machine();
        cluster.programs.initialise(machine, &cluster.data(0)).await?;
        if let Some(tls) = &options.tls {
            let (certificate, key) =
                (machine.directory().join("server.pem"), machine.directory().join("key.pem"));
            machine.write(&certificate, &tls.certificate)?;
            machine.write(&key, &tls.key)?;
            cluster.settings.push(format!("--ssl-cert={}", certificate.display()));
            cluster.settings.push(format!("--ssl-key={}", key.display()));
        }
        for node in 1..=options.replicas {
            copy_tree(cluster.servers.machine(), &cluster.data(0), &cluster.data(node))?;
        }
        try_join_all((0..=options.replicas).map(|node| cluster.start_node(node))).await?;
        cluster.sql(0, "mysql", &cluster.accounts()).await?;
        cluster.version = first(cluster.sql(0, "mysql", "SELECT VERSION()").await?);
        try_join_all((1..=options.replicas).map(|node| cluster.follow(node))).await?;
        Ok(cluster)
    }

    fn is_mysql(&self) -> bool {
        self.programs.dialect == EngineKind::Mysql
    }

    /// The node's data directory; MySQL's own `ca.pem` is in it.
    #[must_use]
    pub fn data(&self, node: usize) -> PathBuf {
        self.servers.home(node).join("data")
    }

    /// The node's unix socket.
    #[must_use]
    pub fn socket(&self, node: usize) -> PathBuf {
        self.servers.home(node).join("socket")
    }

    /// The file that holds what the node's server wrote.
    #[must_use]
    pub fn log(&self, node: usize) -> PathBuf {
        self.servers.home(node).join("log")
    }

    /// Where the client's programs are.
    #[must_use]
    pub fn programs(&self) -> &Path {
        self.programs.server.parent().unwrap_or(Path::new("/usr/bin"))
    }

    async fn rows(&self, node: usize, database: &str, text: &str) -> Result<Vec<Row>, EmbeddedError> {
        let name = &self.servers.endpoint(node)?.name;
        let rows = tokio::time::timeout(PATIENCE, self.try_sql(node, database, text)).await;
        let rows = rows.map_err(|_| EmbeddedError::Late { what: format!("{name}: {text}") })?;
        rows.map_err(|error| EmbeddedError::Sql {
            node: name.clone(),
            text: text.to_owned(),
            error: error.to_string(),
        })
    }

    async fn try_sql(&self, node: usize, database: &str, text: &str) -> mysql_async::Result<Vec<Row>> {
        let socket = self.socket(node).display().to_string();
        let options = mysql_async::OptsBuilder::default().user(Some("root")).socket(Some(socket));
        let mut connection = mysql_async::Conn::new(options.db_name(Some(database))).await?;
        let mut rows = Vec::new();
        let mut result = connection.query_iter(text).await?;
        while !result.is_empty() {
            rows.extend(result.collect::<Row>().await?);
        }
        drop(result);
        connection.disconnect().await?;
        Ok(rows)
    }

    /// Runs one of the functions that wait for a position and answer 0 when it was reached.
    async fn wait(&self, node: usize, call: &str) -> Result<(), EmbeddedError> {
        if first(self.sql(node, "mysql", &format!("SELECT {call}")).await?) == "0" {
            return Ok(());
        }
        Err(EmbeddedError::Late { what: format!("{call} on {}", self.servers.endpoint(node)?.name) })
    }

    /// What a replica has received, whether it has applied it or not.
    async fn mariadb_received(&self, node: usize) -> Result<String, EmbeddedError> {
        let rows = self.rows(node, "mysql", "SHOW SLAVE STATUS").await?;
        let position = rows.first().and_then(|row| row.get_opt::<String, _>("Gtid_IO_Pos"));
        position
            .and_then(Result::ok)
            .ok_or_else(|| EmbeddedError::State { node: node.to_string(), what: "it is no replica" })
    }

    fn accounts(&self) -> String {
        let admin = Self::ADMIN;
        let users = [admin, APP, MONITOR, REPLICATION].map(|Account { user, password }| {
            format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'; ")
        });
        let monitor = if self.is_mysql() {
            format!(
                "REPLICATION CLIENT ON *.* TO '{0}'@'%'; GRANT SELECT ON performance_schema.* TO '{0}'@'%'",
                MONITOR.user
            )
        } else {
            format!("SLAVE MONITOR, BINLOG MONITOR ON *.* TO '{}'@'%'", MONITOR.user)
        };
        format!(
            "CREATE DATABASE {DATABASE}; {}
             GRANT ALL ON *.* TO '{}'@'%' WITH GRANT OPTION; GRANT ALL ON {DATABASE}.* TO '{}'@'%';
             GRANT REPLICATION SLAVE ON *.* TO '{}'@'%'; GRANT {monitor};",
            users.concat(),
            admin.user,
            APP.user,
            REPLICATION.user
        )
    }
}

fn text_of(value: mysql_async::Value) -> Option<String> {
    match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

/// Copies a data directory that no server uses.
fn copy_tree(machine: &Machine, from: &Path, to: &Path) -> Result<(), EmbeddedError> {
    let failed = || EmbeddedError::io(format!("copying {}", from.display()));
    fs::create_dir(to).map_err(failed())?;
    machine.own(to)?;
    for entry in fs::read_dir(from).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed())?.is_dir() {
            copy_tree(machine, &entry.path(), &target)?;
        // Who a server is must not be copied.
        } else if entry.file_name() != "auto.cnf" {
            fs::copy(entry.path(), &target).map_err(failed())?;
            machine.own(&target)?;
        }
    }
    Ok(())
}
