//! What a reload has to do: from the settings that run and the settings that are to run, to typed changes, all of
//! them or none.

use super::settings::*;
use std::fmt;
use std::sync::Arc;

/// Something that a reload changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A cluster's settings are replaced by these.
    Cluster {
        /// The whole new cluster.
        cluster: Arc<Cluster>,
        /// The sections that differ; never empty.
        parts: Vec<Part>,
    },
    /// Token or console users.
    Admin(Admin),
    /// Level or slow query limit.
    Log(Log),
}

/// A section of a cluster that a reload can replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// TLS towards clients: new connections use it.
    Tls,
    /// Who may connect: new connections are measured by it.
    Firewall,
    /// The monitor's account and rhythm: it connects anew.
    Monitor,
    /// Roles, weights, limits or TLS of nodes; their names, order and addresses are the same.
    Nodes,
    /// Aliases and overrides.
    Databases,
    /// Listed users and passthrough: running sessions stay.
    Users,
    /// Pool limits.
    Pool,
    /// Limits in time.
    Timeouts,
    /// Which node serves what.
    Routing,
    /// Who is primary.
    Failover,
}

/// A difference that only a restart can bring about, which refuses the whole reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedsRestart {
    /// The key that differs.
    pub key: String,
    /// Why it cannot change while running.
    pub reason: &'static str,
}

impl fmt::Display for NeedsRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot change while Primacy runs: {}", self.key, self.reason)
    }
}

/// Compares what runs with what is to run. No change is an empty list.
///
/// # Errors
/// Every difference that needs a restart; then nothing may be applied.
pub fn diff(old: &Settings, new: &Settings) -> Result<Vec<Change>, Vec<NeedsRestart>> {
    let mut changes = Vec::new();
    let mut refused = Vec::new();
    for cluster in &old.clusters {
        if new.cluster(&cluster.name).is_none() {
            refuse(
                &mut refused,
                format!("clusters.{}", cluster.name),
                "a cluster is removed with its listeners and sessions",
            );
        }
    }
    for cluster in &new.clusters {
        match old.cluster(&cluster.name) {
            Some(running) => {
                refused.extend(fixed_parts(running, cluster));
                let parts = changed_parts(running, cluster);
                if !parts.is_empty() {
                    changes.push(Change::Cluster { cluster: Arc::clone(cluster), parts });
                }
            }
            None => {
                refuse(
                    &mut refused,
                    format!("clusters.{}", cluster.name),
                    "a cluster is added with its listeners and monitor",
                );
            }
        }
    }
    diff_admin(old, new, &mut changes, &mut refused);
    if old.runtime != new.runtime {
        refuse(&mut refused, "runtime.workers".to_owned(), "threads are started once");
    }
    if old.log.format != new.log.format {
        refuse(&mut refused, "log.format".to_owned(), "the log is opened once");
    } else if old.log != new.log {
        changes.push(Change::Log(new.log.clone()));
    }
    if refused.is_empty() { Ok(changes) } else { Err(refused) }
}

fn refuse(refused: &mut Vec<NeedsRestart>, key: String, reason: &'static str) {
    refused.push(NeedsRestart { key, reason });
}

fn diff_admin(old: &Settings, new: &Settings, changes: &mut Vec<Change>, refused: &mut Vec<NeedsRestart>) {
    let (old, new) = (&old.admin, &new.admin);
    if old.listen != new.listen {
        refuse(refused, "admin.listen".to_owned(), "listeners are opened once");
    }
    if old.database != new.database {
        refuse(refused, "admin.database".to_owned(), "sessions are on the console under this name");
    }
    if old != new {
        changes.push(Change::Admin(new.clone()));
    }
}

fn fixed_parts(old: &Cluster, new: &Cluster) -> Vec<NeedsRestart> {
    let mut refused = Vec::new();
    let mut fixed = |differs: bool, key: &str, reason| {
        if differs {
            refuse(&mut refused, format!("clusters.{}.{key}", new.name), reason);
        }
    };
    fixed(old.engine != new.engine, "engine", "it is the protocol that clients speak");
    fixed(old.listen != new.listen, "listen", "listeners are opened once");
    let same_names = old.nodes.iter().map(|node| &node.name).eq(new.nodes.iter().map(|node| &node.name));
    fixed(!same_names, "nodes", "positions and pools belong to the nodes in their order");
    for (old, new) in old.nodes.iter().zip(&new.nodes).filter(|_| same_names) {
        let moved = (&old.host, old.port) != (&new.host, new.port);
        fixed(
            moved,
            &format!("nodes.{}.address", new.name),
            "its positions belong to the server at this address",
        );
    }
    refused
}

fn changed_parts(old: &Cluster, new: &Cluster) -> Vec<Part> {
    let differs = [
        (Part::Tls, old.tls != new.tls),
        (Part::Firewall, old.firewall != new.firewall),
        (Part::Monitor, old.monitor != new.monitor),
        (Part::Nodes, old.nodes != new.nodes),
        (Part::Databases, old.databases != new.databases),
        (Part::Users, old.users != new.users),
        (Part::Pool, old.pool != new.pool),
        (Part::Timeouts, old.timeouts != new.timeouts),
        (Part::Routing, old.routing != new.routing),
        (Part::Failover, old.failover != new.failover),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
}
