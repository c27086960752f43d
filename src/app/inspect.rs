//! The process as operators see and command it: all clusters, one model.

use super::{App, Phase, Running};
use crate::admin::status::{Explanation, Inspect, ProcessState, Status};
use crate::admin::{Command, CommandError, DatabaseRow, PinRow, PoolRow, Scope, SocketRow};
use crate::clock;
use crate::config;
use crate::telemetry::{Traffic, traffic};
use futures_util::future::{BoxFuture, join_all};
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Cluster = Arc<dyn Running>;

impl Inspect for App {
    fn status(&self) -> Status {
        let state = match self.phase.load(Ordering::Acquire) {
            Phase::STARTING => ProcessState::Starting,
            Phase::RUNNING => ProcessState::Running,
            _ => ProcessState::Draining,
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state,
            uptime_seconds: clock::now().since(self.started).as_secs_f64(),
            clusters: self.clusters.load().iter().map(|cluster| cluster.status()).collect(),
        }
    }

    fn pools(&self, cluster: Option<&str>) -> Vec<PoolRow> {
        let clusters = self.clusters.load();
        let meant = clusters.iter().filter(|one| cluster.is_none_or(|name| name == one.name()));
        meant.flat_map(|one| one.pools()).collect()
    }

    fn clients(&self) -> Vec<SocketRow> {
        self.clusters.load().iter().flat_map(|cluster| cluster.clients()).collect()
    }

    fn servers(&self) -> Vec<SocketRow> {
        self.clusters.load().iter().flat_map(|cluster| cluster.servers()).collect()
    }

    fn pins(&self) -> Vec<PinRow> {
        self.clusters.load().iter().flat_map(|cluster| cluster.pins()).collect()
    }

    fn stats(&self) -> Vec<traffic::Row> {
        self.traffic.rows(clock::now())
    }

    fn databases(&self) -> Vec<DatabaseRow> {
        self.clusters.load().iter().flat_map(|cluster| cluster.databases()).collect()
    }

    fn config(&self) -> Vec<config::Row> {
        self.settings.load().rows()
    }

    fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    fn command(&self, command: Command) -> BoxFuture<'_, Result<String, CommandError>> {
        Box::pin(self.carry_out(command))
    }

    fn explain(&self, cluster: &str, database: Option<&str>, sql: &str) -> Result<Explanation, CommandError> {
        Ok(self.cluster(cluster)?.explain(database, sql))
    }
}

impl App {
    fn cluster(&self, name: &str) -> Result<Cluster, CommandError> {
        let clusters = self.clusters.load();
        let found = clusters.iter().find(|cluster| cluster.name() == name);
        found.cloned().ok_or_else(|| CommandError::Unknown {
            what: "cluster",
            name: name.to_owned(),
            known: clusters.iter().map(|cluster| cluster.name().to_owned()).collect(),
        })
    }

    // The clusters that are meant: of those, the ones that have the database, if one is named.
    fn meant(&self, scope: &Scope) -> Result<Vec<Cluster>, CommandError> {
        let clusters = match &scope.cluster {
            Some(name) => vec![self.cluster(name)?],
            None => self.clusters.load().to_vec(),
        };
        let Some(database) = &scope.database else { return Ok(clusters) };
        let names =
            |cluster: &Cluster| cluster.databases().into_iter().map(|row| row.name).collect::<Vec<_>>();
        let known: Vec<_> = clusters.into_iter().map(|cluster| (names(&cluster), cluster)).collect();
        let (with, without): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|(names, _)| names.contains(database));
        if with.is_empty() {
            let known = without.into_iter().flat_map(|(names, _)| names).collect();
            return Err(CommandError::Unknown { what: "database", name: database.clone(), known });
        }
        Ok(with.into_iter().map(|(_, cluster)| cluster).collect())
    }

    async fn carry_out(&self, command: Command) -> Result<String, CommandError> {
        match command {
            Command::Reload => {
                // What a reload starts belongs to the workers, whoever asked.
                let _on_the_workers = self.workers.enter();
                self.reload_and_say().map_err(|message| CommandError::Refused {
                    message,
                    hint: "nothing was changed: correct the file and reload again".to_owned(),
                })
            }
            Command::Pause(scope) => {
                let database: Option<Arc<str>> = scope.database.as_deref().map(Arc::from);
                let clusters = self.meant(&scope)?;
                join_all(clusters.iter().map(|cluster| cluster.pause(database.clone()))).await;
                Ok("paused: nothing runs any more".to_owned())
            }
            Command::Kill(scope) => {
                let database: Option<Arc<str>> = scope.database.as_deref().map(Arc::from);
                let clusters = self.meant(&scope)?;
                join_all(clusters.iter().map(|cluster| cluster.kill(database.clone()))).await;
                Ok("all connections to the servers are closed; paused".to_owned())
            }
            Command::Resume(scope) => self.resume(&scope),
            Command::Reconnect(scope) => {
                self.meant(&scope)?.iter().for_each(|cluster| cluster.reconnect(scope.database.as_deref()));
                Ok("connections to the servers are replaced as they become free".to_owned())
            }
            Command::KillClient { id } => self.kill_client(id),
            Command::Drain { cluster, node } => {
                self.cluster(&cluster)?.drain_node(&node, true).await?;
                Ok(format!("node {node} is given no more reads"))
            }
            Command::Undrain { cluster, node } => {
                self.cluster(&cluster)?.drain_node(&node, false).await?;
                Ok(format!("node {node} is given reads again"))
            }
            Command::Shutdown { drain } => {
                if !drain {
                    self.stop_now.notify_one();
                }
                self.shutdown.notify_one();
                Ok(if drain { "stopping after the running transactions" } else { "stopping at once" }
                    .to_owned())
            }
        }
    }

    fn resume(&self, scope: &Scope) -> Result<String, CommandError> {
        let clusters = self.meant(scope)?;
        let resumed = clusters.iter().filter(|cluster| cluster.resume(scope.database.as_deref())).count();
        if resumed > 0 {
            return Ok("resumed".to_owned());
        }
        let whole = scope.database.is_some() && clusters.iter().any(|cluster| cluster.status().paused);
        Err(if whole {
            CommandError::Refused {
                message: "the database is not paused by itself: its whole cluster is".to_owned(),
                hint: "resume the cluster, without naming a database".to_owned(),
            }
        } else {
            CommandError::Refused {
                message: "nothing is paused".to_owned(),
                hint: "SHOW DATABASES and SHOW STATE say what is".to_owned(),
            }
        })
    }

    fn kill_client(&self, id: u64) -> Result<String, CommandError> {
        let clusters = self.clusters.load();
        let known = u32::try_from(id).is_ok_and(|id| clusters.iter().any(|cluster| cluster.kill_client(id)));
        if known {
            return Ok(format!("client {id} is sent away"));
        }
        Err(CommandError::Unknown { what: "client", name: id.to_string(), known: Vec::new() })
    }
}
