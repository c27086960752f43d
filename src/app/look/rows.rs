//! Pools and databases.

use super::{Look, us, word};
use crate::admin::{DatabaseRow, PoolRow};
use crate::engine::NodeId;
use crate::engine::seam::Engine;
use crate::session::registry::Activity;
use crate::session::shared::pool_settings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Clients of one user in one database.
#[derive(Default)]
struct Crowd {
    holding: BTreeMap<NodeId, u64>,
    waiting: u64,
    resting: u64,
}

type Whose = (Arc<str>, Arc<str>);

impl<E: Engine> Look<'_, E> {
    fn crowds(&self) -> BTreeMap<Whose, Crowd> {
        let mut crowds: BTreeMap<Whose, Crowd> = BTreeMap::new();
        for client in self.shared.registry.all() {
            let database = self.shown(&self.real(&client.database));
            let crowd = crowds.entry((database, Arc::clone(&client.user))).or_default();
            let held = client.current.lock().as_ref().map(|(node, _)| *node);
            match held {
                Some(node) => *crowd.holding.entry(node).or_default() += 1,
                None if client.activity() == Activity::Waiting => crowd.waiting += 1,
                None => crowd.resting += 1,
            }
        }
        crowds
    }

    /// One row for each pool; and one without a node for the clients that hold and wait for no backend of a node.
    pub(in crate::app) fn pools(&self) -> Vec<PoolRow> {
        let mut crowds = self.crowds();
        let mut rows = Vec::new();
        for pool in self.shared.pools.all() {
            let (key, stats) = (pool.key(), pool.stats(self.now));
            let whose = (self.shown(&key.database), Arc::clone(&key.user));
            let mut row = self.pool_row(&whose, Some(self.node_name(key.node)));
            row.cl_waiting = stats.waiting as u64;
            row.sv_active = u64::from(stats.active.saturating_add(stats.pinned));
            row.sv_idle = u64::from(stats.idle);
            row.sv_login = u64::from(stats.opening);
            row.sv_pinned = u64::from(stats.pinned);
            row.maxwait_us = us(stats.longest_wait);
            row.size = pool.limits().size;
            row.paused = stats.paused;
            if let Some(crowd) = crowds.get_mut(&whose) {
                row.cl_active = crowd.holding.remove(&key.node).unwrap_or(0);
                crowd.waiting = crowd.waiting.saturating_sub(row.cl_waiting);
            }
            rows.push((whose, Some(key.node), row));
        }
        for (whose, crowd) in crowds {
            // What waits for a pool is counted there; what is left here waits for a primary or a fresh replica.
            if crowd.resting + crowd.waiting == 0 {
                continue;
            }
            let mut row = self.pool_row(&whose, None);
            (row.cl_active, row.cl_waiting) = (crowd.resting, crowd.waiting);
            row.paused = self.shared.pools.is_paused(Some(&self.real(&whose.0)));
            rows.push((whose, None, row));
        }
        // By database and user, the nodes in the file's order, the row without a node last.
        rows.sort_by(|(a, a_node, _), (b, b_node, _)| {
            (a, a_node.is_none(), a_node).cmp(&(b, b_node.is_none(), b_node))
        });
        rows.into_iter().map(|(_, _, row)| row).collect()
    }

    fn pool_row(&self, (database, user): &Whose, node: Option<String>) -> PoolRow {
        let settings = pool_settings(&self.settings, user, database);
        PoolRow {
            cluster: self.cluster(),
            database: database.to_string(),
            user: user.to_string(),
            node,
            mode: word(settings.mode),
            size: settings.size,
            ..PoolRow::default()
        }
    }

    /// The databases that the configuration names, that have pools or clients.
    pub(in crate::app) fn databases(&self) -> Vec<DatabaseRow> {
        let pools = self.shared.pools.all();
        let clients = self.shared.registry.all();
        let mut names: BTreeSet<Arc<str>> =
            self.settings.databases.iter().map(|database| Arc::clone(&database.alias)).collect();
        names.extend(pools.iter().map(|pool| self.shown(&pool.key().database)));
        names.extend(clients.iter().map(|client| Arc::clone(&client.database)));
        let view = self.shared.state.view.load();
        let primary = view.primary.and_then(|id| self.settings.nodes.get(usize::from(id.0)));
        let row = |name: Arc<str>| {
            let real = self.real(&name);
            let settings = pool_settings(&self.settings, "", &name);
            let connections = pools.iter().filter(|pool| pool.key().database == real).map(|pool| {
                let stats = pool.stats(self.now);
                stats.idle + stats.active + stats.opening + stats.pinned
            });
            let clients = clients.iter().filter(|client| client.database == name).count();
            DatabaseRow {
                cluster: self.cluster(),
                database: real.to_string(),
                host: primary.map(|node| node.host.to_string()).unwrap_or_default(),
                port: primary.map_or(0, |node| node.port),
                pool_size: settings.size,
                min_idle: settings.min_idle,
                max_age_seconds: settings.max_age.as_secs(),
                mode: word(settings.mode),
                max_connections: 0,
                connections: connections.sum(),
                max_clients: 0,
                clients: u32::try_from(clients).unwrap_or(u32::MAX),
                paused: self.shared.pools.is_paused(Some(&real)),
                name: name.to_string(),
            }
        };
        names.into_iter().map(row).collect()
    }
}
