//! What an operator sees of a cluster at work, and does to it, whatever its engine.

use super::cluster::Working;
use super::look::Look;
use crate::admin::status::{ClusterStatus, Explanation};
use crate::admin::{CommandError, DatabaseRow, PinRow, PoolRow, SocketRow};
use crate::clock;
use crate::engine::NodeId;
use crate::engine::door::Front;
use crate::error::ClientError;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// So long the monitor may take to notice that a node is drained.
const NOTICED: Duration = Duration::from_secs(5);

/// What an operator sees of a cluster at work, and does to it. Databases are named as clients name them; `None` = all.
pub trait Operated: Send + Sync {
    /// The cluster, its nodes and pools.
    fn status(&self) -> ClusterStatus;
    /// Its pools.
    fn pools(&self) -> Vec<PoolRow>;
    /// Its clients.
    fn clients(&self) -> Vec<SocketRow>;
    /// Its connections to the servers.
    fn servers(&self) -> Vec<SocketRow>;
    /// The sessions that keep a backend.
    fn pins(&self) -> Vec<PinRow>;
    /// Its databases.
    fn databases(&self) -> Vec<DatabaseRow>;
    /// Where a statement would go now, and why.
    fn explain(&self, database: Option<&str>, sql: &str) -> Explanation;
    /// Starts nothing new, and waits until nothing runs any more.
    fn pause(&self, database: Option<Arc<str>>) -> BoxFuture<'_, ()>;
    /// Ends a pause; false when there was none.
    fn resume(&self, database: Option<&str>) -> bool;
    /// Ends the sessions that have a backend, closes all backends, and pauses.
    fn kill(&self, database: Option<Arc<str>>) -> BoxFuture<'_, ()>;
    /// Sends a client away; false when it has none of that id.
    fn kill_client(&self, id: u32) -> bool;
    /// Replaces the backends as they become free.
    fn reconnect(&self, database: Option<&str>);
    /// Takes a node out of reads, or gives it reads again.
    fn drain_node<'a>(&'a self, node: &'a str, out: bool) -> BoxFuture<'a, Result<(), CommandError>>;
}

fn dismissal() -> ClientError {
    ClientError::new("57P01", 1053, "terminating connection due to administrator command")
        .hint("an operator of the proxy ended it")
        .fatal()
}

impl<E: Front> Working<E> {
    fn real(&self, database: &str) -> Arc<str> {
        let settings = self.shared.settings.load();
        let found = settings.databases.iter().find(|configured| &*configured.alias == database);
        found.map_or_else(|| Arc::from(database), |configured| Arc::clone(&configured.name))
    }

    fn close_all(&self, real: Option<&str>) {
        self.shared.pools.invalidate(|key| real.is_none_or(|name| *key.database == *name));
    }
}

impl<E: Front> Operated for Working<E> {
    fn status(&self) -> ClusterStatus {
        Look::at(&self.shared).status()
    }

    fn pools(&self) -> Vec<PoolRow> {
        Look::at(&self.shared).pools()
    }

    fn clients(&self) -> Vec<SocketRow> {
        Look::at(&self.shared).clients()
    }

    fn servers(&self) -> Vec<SocketRow> {
        Look::at(&self.shared).servers()
    }

    fn pins(&self) -> Vec<PinRow> {
        Look::at(&self.shared).pins()
    }

    fn databases(&self) -> Vec<DatabaseRow> {
        Look::at(&self.shared).databases()
    }

    fn explain(&self, database: Option<&str>, sql: &str) -> Explanation {
        Explanation { rows: crate::session::explain::outside(&self.shared, database, sql) }
    }

    fn pause(&self, database: Option<Arc<str>>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let real = database.map(|database| self.real(&database));
            self.shared.pools.pause(real.as_deref());
            self.shared.pools.quiet(real.as_deref()).await;
        })
    }

    fn resume(&self, database: Option<&str>) -> bool {
        let real = database.map(|database| self.real(database));
        self.shared.pools.resume(real.as_deref())
    }

    fn kill(&self, database: Option<Arc<str>>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let real = database.map(|database| self.real(&database));
            self.shared.pools.pause(real.as_deref());
            for client in self.shared.registry.all() {
                let meant = real.as_deref().is_none_or(|name| *self.real(&client.database) == *name);
                if meant && client.current.lock().is_some() {
                    client.end(dismissal());
                }
            }
            self.close_all(real.as_deref());
            self.shared.pools.quiet(real.as_deref()).await;
        })
    }

    fn kill_client(&self, id: u32) -> bool {
        let client = self.shared.registry.get(id);
        client.map(|client| client.end(dismissal())).is_some()
    }

    fn reconnect(&self, database: Option<&str>) {
        let real = database.map(|database| self.real(database));
        self.close_all(real.as_deref());
    }

    fn drain_node<'a>(&'a self, node: &'a str, out: bool) -> BoxFuture<'a, Result<(), CommandError>> {
        Box::pin(async move {
            let state = &self.shared.state;
            let settings = self.shared.settings.load_full();
            let found = (0u8..).map(NodeId).zip(&settings.nodes).find(|(_, known)| &*known.name == node);
            let Some((id, _)) = found else {
                return Err(CommandError::Unknown {
                    what: "node",
                    name: node.to_owned(),
                    known: settings.nodes.iter().map(|node| node.name.to_string()).collect(),
                });
            };
            let round = state.rounds.completed();
            state.drain(id, out);
            state.rounds.ask();
            let noticed = tokio::time::timeout_at(clock::deadline(NOTICED), state.rounds.after(round)).await;
            noticed
                .map(drop)
                .map_err(|_| CommandError::Failed("the monitor did not notice it in time".to_owned()))
        })
    }
}
