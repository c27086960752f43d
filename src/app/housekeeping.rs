//! What must be done from time to time for a cluster's pools: ageing, filling, following restarts and changes of role.

use crate::clock;
use crate::cluster::{Health, Role};
use crate::config::settings::UserSecret;
use crate::engine::door::Front;
use crate::engine::identity::Credentials;
use crate::engine::seam::Backend;
use crate::engine::{Epoch, NodeId};
use crate::error::ClientError;
use crate::pool::Permit;
use crate::session::{Lane, Shared};
use crate::task;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Ages and closes what is idle, follows restarts and changes of role.
pub(super) async fn housekeeping<E: Front>(shared: Arc<Shared<E>>, mut stop: watch::Receiver<bool>) {
    let mut known: Vec<(u64, Role, bool)> = Vec::new();
    // What was loaded before the first primary was found is not kept longer than that: that one drops nothing.
    let mut epoch = Epoch(1);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep_until(clock::deadline(HOUSEKEEPING)) => {}
        }
        let now = clock::now();
        for pool in shared.pools.all() {
            drop(pool.reap(now));
        }
        shared.pools.sweep();
        shared.trim();
        let view = shared.state.view.load_full();
        let settings = shared.settings.load_full();
        known.resize(view.nodes.len(), (0, Role::Unknown, false));
        for (node, known) in view.nodes.iter().zip(&mut known) {
            let pinned = settings.pool.pinned;
            let configured = settings.nodes.get(usize::from(node.id.0)).and_then(|node| node.max_connections);
            shared.pools.node(node.id).set_limits(configured.unwrap_or(node.slots), pinned);
            let is = (node.start, node.role, matches!(node.health, Health::Quarantined(_)));
            if *known != is {
                invalidate(&shared, node.id);
                *known = is;
            }
        }
        if view.epoch > epoch {
            epoch = view.epoch;
            shared.forget_greetings();
            shared.catalogs.reload_all();
        }
        victims(&shared, now);
        fill(&shared);
    }
}

// Backends of a node that was restarted, or that has another role, lead nowhere or show something else.
fn invalidate<E: Front>(shared: &Shared<E>, node: NodeId) {
    shared.pools.invalidate(|key| key.node == node);
}

// Where the pins of a node are at their limit, the longest idle session whose pins are only possible gives way.
fn victims<E: Front>(shared: &Shared<E>, now: clock::Tick) {
    let settings = shared.settings.load_full();
    for (id, node) in (0u8..).zip(&settings.nodes) {
        let budget = shared.pools.node(NodeId(id));
        if budget.pinned() < settings.pool.pinned {
            continue;
        }
        let victim = budget.pins().victim(now, settings.pool.pin_idle);
        let client = victim.and_then(|id| shared.registry.get(u32::try_from(id).unwrap_or(0)));
        if let Some(client) = client {
            tracing::info!(node = %node.name, client = client.id, "idle session closed: pool.pinned is reached");
            client.end(
                ClientError::new("57P05", 4031, "terminating connection due to idle-session timeout")
                    .detail(format!("The session kept a connection to node {} for {:?} and may not need it; others wait for one.", node.name, settings.pool.pin_idle))
                    .hint("pool.pinned and pool.pin_idle of the proxy's configuration")
                    .fatal(),
            );
        }
    }
}

// Keeps `pool.min_idle` backends open for users whose password is listed: nobody else's backends can be opened without a login of its own.
fn fill<E: Front>(shared: &Arc<Shared<E>>) {
    let settings = shared.settings.load_full();
    for user in &settings.users.list {
        let UserSecret::Password(password) = &user.secret else { continue };
        let min_idle = user.pool.as_ref().unwrap_or(&settings.pool).min_idle;
        if min_idle == 0 {
            continue;
        }
        let credentials = Arc::new(Credentials::Password(password.clone()));
        for database in &user.databases {
            let lane = Arc::new(Lane::new(
                shared,
                &user.name,
                database,
                (Arc::clone(&credentials), 0),
                None,
                clock::now(),
            ));
            for (node, pool) in (0u8..).zip(&lane.pools) {
                for _ in 0..pool.shortfall() {
                    let Some(permit) = pool.spare() else { break };
                    task::spawn(
                        "fill pool",
                        open::<E>(Arc::clone(shared), Arc::clone(&lane), NodeId(node), permit),
                    );
                }
            }
        }
    }
}

async fn open<E: Front>(
    shared: Arc<Shared<E>>,
    lane: Arc<Lane<E>>,
    node: NodeId,
    permit: Permit<E::Backend>,
) {
    let settings = shared.settings.load_full();
    let Some(target) = settings.nodes.get(usize::from(node.0)) else { return };
    let connector = shared.connector.load_full();
    let opening = E::Backend::open(&connector, target, &lane.identity);
    match tokio::time::timeout_at(clock::deadline(settings.timeouts.connect), opening).await {
        Ok(Ok((backend, birth))) => {
            let same = shared.state.view.load().node(node).is_some_and(|known| {
                known.identity == birth.identity
                    && known.start == birth.start
                    && (known.role == Role::Primary) == birth.writable
            });
            if same {
                shared.roster.enter(node, &lane.identity, backend.cancel_target(), backend.opened_at());
                permit.fulfil(backend).give_back(clock::now());
            }
        }
        Ok(Err(error)) => tracing::debug!(node = %target.name, %error, "idle backend not opened"),
        Err(_) => tracing::debug!(node = %target.name, "idle backend not opened in time"),
    }
}
