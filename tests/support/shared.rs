//! The servers that tests share: those of the testbed when `scripts/test` started one, else this process's own.

use super::{environment, own_cluster, own_mysql, unique};
use mysql_async::prelude::Queryable as _;
use primacy::config::settings::EngineKind;
use primacy::engine::embedded::{Account, Embedded, Endpoint, yaml};
use primacy::{mysql, postgres};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

/// The file that the testbed writes and tests read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Addresses {
    pub postgres: Servers,
    /// None: there is no MySQL on this machine.
    pub mysql: Option<Servers>,
}

/// One cluster that runs as long as tests do. Its servers are never stopped, promoted or frozen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Servers {
    pub engine: String,
    pub version: String,
    /// The primary is the first.
    pub endpoints: Vec<Endpoint>,
    /// Where the servers' and clients' programs are.
    pub programs: PathBuf,
    /// May do everything.
    pub admin: Login,
}

/// A user and its password.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// A database of a test's own and the user that owns it.
#[derive(Debug, Clone)]
pub struct Database {
    pub name: String,
    pub user: String,
    pub password: String,
}

impl Servers {
    /// The shared PostgreSQL cluster: a primary and two replicas.
    pub async fn postgres() -> &'static Self {
        static OWN: OnceCell<postgres::embedded::Cluster> = OnceCell::const_new();
        static SERVERS: OnceCell<Servers> = OnceCell::const_new();
        let start = async || match testbed() {
            Some(addresses) => addresses.postgres,
            // Never dropped: the reaper ends it with this process.
            None => Self::of_postgres(OWN.get_or_init(async || own_cluster(2).await).await),
        };
        SERVERS.get_or_init(start).await
    }

    /// The shared MySQL cluster, a primary and a replica; `None` (and a word about it) when this machine has no MySQL.
    pub async fn mysql() -> Option<&'static Self> {
        static OWN: OnceCell<Option<mysql::embedded::Cluster>> = OnceCell::const_new();
        static SERVERS: OnceCell<Option<Servers>> = OnceCell::const_new();
        let start = async || match testbed() {
            Some(addresses) => addresses.mysql,
            None => OWN.get_or_init(async || own_mysql(1).await).await.as_ref().map(Self::of_mysql),
        };
        SERVERS.get_or_init(start).await.as_ref()
    }

    /// A running cluster as tests see it.
    pub fn of_postgres(cluster: &postgres::embedded::Cluster) -> Self {
        Self::of(cluster, "postgres", cluster.programs())
    }

    /// A running cluster as tests see it.
    pub fn of_mysql(cluster: &mysql::embedded::Cluster) -> Self {
        let engine = if cluster.engine() == EngineKind::Mysql { "mysql" } else { "mariadb" };
        Self::of(cluster, engine, cluster.programs())
    }

    fn of<C: Embedded>(cluster: &C, engine: &str, programs: &Path) -> Self {
        let Account { user, password } = C::ADMIN;
        Self {
            engine: engine.into(),
            version: cluster.version().into(),
            endpoints: cluster.endpoints().to_vec(),
            programs: programs.to_owned(),
            admin: Login { user: user.into(), password: password.into() },
        }
    }

    /// The part of a configuration file that says where the cluster is.
    pub fn yaml(&self) -> String {
        let engine = match self.engine.as_str() {
            "postgres" => EngineKind::Postgres,
            "mysql" => EngineKind::Mysql,
            _ => EngineKind::Mariadb,
        };
        yaml(engine, &self.endpoints)
    }

    /// A new database, owned by a new user.
    pub async fn fresh_database(&self) -> Database {
        let name = unique("t");
        let database = Database { user: format!("{name}_u"), password: unique("pw"), name };
        let Database { name, user, password } = &database;
        if self.engine == "postgres" {
            let admin = self.admin(0, "postgres").await;
            admin.batch_execute(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'")).await.unwrap();
            admin.batch_execute(&format!("CREATE DATABASE {name} OWNER {user}")).await.unwrap();
        } else {
            let mut admin = self.mysql_admin(0).await;
            let text = format!(
                "CREATE DATABASE {name}; CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'; \
                 GRANT ALL ON {name}.* TO '{user}'@'%'"
            );
            admin.query_drop(text).await.unwrap();
            admin.disconnect().await.unwrap();
        }
        database
    }

    /// A superuser's connection to a node, not through Primacy.
    pub async fn admin(&self, node: usize, database: &str) -> tokio_postgres::Client {
        let Endpoint { host, port, .. } = &self.endpoints[node];
        connect(host, *port, database, self.admin.user.as_str(), &self.admin.password).await.unwrap()
    }

    /// The same for MySQL and MariaDB.
    pub async fn mysql_admin(&self, node: usize) -> mysql_async::Conn {
        let (Endpoint { host, port, .. }, Login { user, password }) = (&self.endpoints[node], &self.admin);
        connect_mysql(host, *port, user, password, None).await.unwrap()
    }
}

impl Database {
    /// A connection of the owner's to that address, for MySQL and MariaDB.
    pub async fn connect_mysql(&self, host: &str, port: u16) -> mysql_async::Result<mysql_async::Conn> {
        connect_mysql(host, port, &self.user, &self.password, Some(&self.name)).await
    }

    /// A connection of the owner's to that address: a node's or Primacy's.
    pub async fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        connect(host, port, &self.name, &self.user, &self.password).await
    }
}

/// A MySQL connection, without TLS.
pub async fn connect_mysql(
    host: &str,
    port: u16,
    user: &str,
    password: &str,
    database: Option<&str>,
) -> mysql_async::Result<mysql_async::Conn> {
    let options =
        mysql_async::OptsBuilder::default().ip_or_hostname(host).tcp_port(port).prefer_socket(false);
    let options = options.user(Some(user)).pass(Some(password)).db_name(database);
    mysql_async::Conn::new(options).await
}

/// A PostgreSQL connection; its driver runs until it is closed.
pub async fn connect(
    host: &str,
    port: u16,
    database: &str,
    user: &str,
    password: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host(host).port(port).dbname(database).user(user).password(password);
    let (client, connection) = config.connect(NoTls).await?;
    primacy::task::spawn("test", connection);
    Ok(client)
}

fn testbed() -> Option<Addresses> {
    let path = environment("PRIMACY_TESTBED")?;
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}")))
}
