//! The demo's database servers, of whichever engine.

use crate::config::settings::EngineKind;
use crate::engine::embedded::{APP, Embedded, EmbeddedError, Endpoint, Options};
use crate::{mysql, postgres};
use std::path::PathBuf;

/// A running cluster.
pub(super) enum Servers {
    Postgres(postgres::embedded::Cluster),
    Mysql(mysql::embedded::Cluster),
}

impl Servers {
    /// Starts a primary and its replicas, from the programs that the environment names or that are found on the machine.
    pub(super) async fn start(engine: EngineKind, replicas: usize) -> Result<Self, EmbeddedError> {
        let options = |variable| Options { programs: programs(variable), ..Options::replicas(replicas) };
        Ok(match engine {
            EngineKind::Postgres => {
                Self::Postgres(postgres::embedded::Cluster::start(&options("PRIMACY_PG_BIN")).await?)
            }
            EngineKind::Mysql => Self::Mysql(
                mysql::embedded::Cluster::start_dialect(engine, &options("PRIMACY_MYSQLD")).await?,
            ),
            EngineKind::Mariadb => Self::Mysql(
                mysql::embedded::Cluster::start_dialect(engine, &options("PRIMACY_MARIADBD")).await?,
            ),
        })
    }

    /// What they are, with their version.
    pub(super) fn product(&self) -> String {
        match self {
            Self::Postgres(cluster) => format!("PostgreSQL {}", cluster.version()),
            Self::Mysql(cluster) if cluster.engine() == EngineKind::Mysql => {
                format!("MySQL {}", cluster.version())
            }
            Self::Mysql(cluster) => format!("MariaDB {}", cluster.version()),
        }
    }

    /// Every node; the primary is the first.
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Postgres(cluster) => cluster.endpoints(),
            Self::Mysql(cluster) => cluster.endpoints(),
        }
    }

    /// The file that holds the process id of a node's server.
    pub(super) fn pid_file(&self, node: usize) -> PathBuf {
        match self {
            Self::Postgres(cluster) => cluster.data(node).join("postmaster.pid"),
            Self::Mysql(cluster) => cluster.data(node).with_file_name("pid"),
        }
    }

    /// What the configuration says of them, and how clients log in.
    pub(super) fn yaml(&self) -> String {
        match self {
            Self::Postgres(cluster) => cluster.yaml(),
            // Only users that are listed can log in with MySQL.
            Self::Mysql(cluster) => {
                let users = format!("[ {{ name: {}, password: {} }} ]", APP.user, APP.password);
                format!("{}    users: {{ passthrough: \"off\", list: {users} }}\n", cluster.yaml())
            }
        }
    }
}

fn programs(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}
