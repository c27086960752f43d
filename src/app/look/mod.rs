//! What an operator sees of one cluster: its live registries as rows. Looking is cheap and never waits.

mod rows;
mod sockets;
mod status;

use crate::clock::{self, Tick};
use crate::config::settings::{Cluster, PoolMode};
use crate::engine::seam::Engine;
use crate::session::Shared;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// One look at a cluster.
pub(super) struct Look<'a, E: Engine> {
    shared: &'a Shared<E>,
    settings: Arc<Cluster>,
    now: Tick,
}

impl<'a, E: Engine> Look<'a, E> {
    /// Looks now.
    pub(super) fn at(shared: &'a Shared<E>) -> Self {
        Self { shared, settings: shared.settings.load_full(), now: clock::now() }
    }

    /// A database by the name that clients use for it: the first alias of that name on the servers.
    fn shown(&self, real: &Arc<str>) -> Arc<str> {
        let alias = self.settings.databases.iter().find(|database| database.name == *real);
        alias.map_or_else(|| Arc::clone(real), |database| Arc::clone(&database.alias))
    }

    /// The name on the servers of a database that a client asked for.
    fn real(&self, alias: &Arc<str>) -> Arc<str> {
        let found = self.settings.databases.iter().find(|database| database.alias == *alias);
        found.map_or_else(|| Arc::clone(alias), |database| Arc::clone(&database.name))
    }

    fn node_name(&self, node: crate::engine::NodeId) -> String {
        self.settings
            .nodes
            .get(usize::from(node.0))
            .map_or_else(|| "?".to_owned(), |node| node.name.to_string())
    }

    fn cluster(&self) -> String {
        self.shared.name.to_string()
    }

    /// An instant of the process as microseconds since 1970.
    fn wall(&self, at: Tick) -> u64 {
        if at == Tick::ZERO {
            return 0;
        }
        let since_epoch = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        us(since_epoch.saturating_sub(self.now.since(at)))
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn word(mode: PoolMode) -> String {
    match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
    }
    .to_owned()
}
