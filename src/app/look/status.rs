//! The cluster and its nodes.

use super::Look;
use crate::admin::status::{ClusterStatus, NodeRole, NodeState, NodeStatus, Sessions};
use crate::cluster::{ClusterView, Health, NodeView, Role};
use crate::config::settings::{Consistency, EngineKind, FailoverMode};
use crate::engine::Position;
use crate::engine::seam::Engine;
use crate::session::registry::{Activity, Replication};
use std::sync::atomic::Ordering;

impl<E: Engine> Look<'_, E> {
    /// The cluster, with its nodes and pools.
    pub(in crate::app) fn status(&self) -> ClusterStatus {
        let view = self.shared.state.view.load();
        let primary = view.primary.and_then(|id| view.node(id));
        ClusterStatus {
            name: self.cluster(),
            engine: match self.settings.engine {
                EngineKind::Postgres => "postgres",
                EngineKind::Mysql => "mysql",
                EngineKind::Mariadb => "mariadb",
            }
            .to_owned(),
            epoch: view.epoch.0,
            promise: self.promise(),
            primary: primary.map(|node| node.name.to_string()),
            paused: self.shared.pools.is_paused(None),
            nodes: view.nodes.iter().map(|node| self.node(node, &view)).collect(),
            pools: self.pools(),
            sessions: self.sessions(),
        }
    }

    fn promise(&self) -> String {
        let consistency = match self.settings.routing.consistency {
            Consistency::Eventual => {
                format!("eventual consistency within {:?}", self.settings.routing.max_lag)
            }
            Consistency::Session => "session consistency".to_owned(),
            Consistency::Causal => "causal consistency".to_owned(),
            Consistency::Strong => "strong consistency".to_owned(),
        };
        let failover = match self.settings.failover.mode {
            FailoverMode::Off => "the primary found at the start is kept".to_owned(),
            FailoverMode::Observe => {
                format!(
                    "a change of primary is followed, writes wait {:?} for it",
                    self.settings.failover.hold
                )
            }
        };
        format!("{consistency}; {failover}")
    }

    fn sessions(&self) -> Sessions {
        let mut sessions = Sessions {
            connected: u64::from(self.shared.registry.count()),
            limit: u64::from(self.settings.pool.max_clients),
            ..Sessions::default()
        };
        for client in self.shared.registry.all() {
            sessions.waiting += u64::from(client.activity() == Activity::Waiting);
            sessions.in_transaction += u64::from(client.in_transaction.load(Ordering::Relaxed));
            sessions.replicating += u64::from(client.replication != Replication::None);
            sessions.pinned += u64::from(client.pin.lock().is_some());
        }
        sessions
    }

    fn node(&self, node: &NodeView, view: &ClusterView) -> NodeStatus {
        let configured = self.settings.nodes.get(usize::from(node.id.0));
        let (state, why) = match &node.health {
            Health::Unknown => (NodeState::Unknown, None),
            Health::Up => (NodeState::Up, node.unfit.clone()),
            Health::Down(why) => (NodeState::Down, Some(why.clone())),
            Health::Quarantined(why) => (NodeState::Quarantined, Some(why.clone())),
        };
        let is_primary = view.primary == Some(node.id);
        // How far behind can be said of what answers and has the primary's history, while a primary answers.
        let comparable =
            state == NodeState::Up && !is_primary && node.unfit.is_none() && view.primary.is_some();
        let fresh = node.live.fresh_as_of();
        let budget = self.shared.pools.node(node.id);
        let position = *node.live.position.lock();
        NodeStatus {
            name: node.name.to_string(),
            address: configured.map(|node| node.address()).unwrap_or_default(),
            role: match node.role {
                Role::Unknown => NodeRole::Unknown,
                Role::Primary => NodeRole::Primary,
                Role::Replica => NodeRole::Replica,
            },
            state,
            why: why.map(|why| why.to_string()),
            passive: node.passive,
            draining: node.draining,
            weight: node.weight,
            lag_bytes: comparable.then(|| node.live.lag_bytes.load(Ordering::Relaxed)),
            lag_seconds: comparable.then(|| node.live.lag().as_secs_f64()),
            position: (position != Position::Unordered).then(|| position.to_string()),
            fresh_age_seconds: (!is_primary && fresh.0 != 0).then(|| self.now.since(fresh).as_secs_f64()),
            version: node.version.to_string(),
            connections: budget.connections(),
            connections_limit: Some(budget.limit()).filter(|limit| *limit != u32::MAX),
            active: node.live.active.load(Ordering::Relaxed),
        }
    }
}
