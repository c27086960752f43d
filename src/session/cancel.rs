//! Cancel requests: from a client's id and secret to the very query that its session runs now.
//!
//! Invariant: a backend that a cancel is on its way to serves nobody else before the server has taken the cancel.

use super::registry::{ClientEntry, Current};
use super::shared::Shared;
use crate::clock;
use crate::engine::seam::{Backend, Engine};
use crate::task;
use crate::telemetry::ClusterCount;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;

/// A client's cancel request. Wrong or late ones do nothing: the protocol has no answer to them. Never queued behind anything.
pub fn request<E: Engine>(shared: &Arc<Shared<E>>, id: u32, secret: &[u8]) {
    let entry = shared
        .registry
        .get(id)
        .filter(|entry| aws_lc_rs::constant_time::verify_slices_are_equal(&entry.secret, secret).is_ok());
    let Some(entry) = entry else {
        shared.stats.count(ClusterCount::CancelsDropped);
        tracing::debug!(id, "cancel request for a client that is not ours, or with a wrong secret");
        return;
    };
    drop(cancel(shared, &entry));
}

/// Cancels what the client runs or waits for; what is returned ends when its server has taken it.
pub(super) fn cancel<E: Engine>(shared: &Arc<Shared<E>>, entry: &ClientEntry) -> Option<JoinHandle<()>> {
    // Under the lock, so that the backend cannot be given back between the look and the mark.
    let current = entry.current.lock();
    match &*current {
        Some(current) => return Some(send(shared, current)),
        None if entry.cancel_wait() => shared.stats.count(ClusterCount::CancelsSent),
        None => shared.stats.count(ClusterCount::CancelsDropped),
    }
    None
}

/// Cancels what runs on `current`, and lets go of it when the server has taken the request.
pub(super) fn send<E: Engine>(shared: &Arc<Shared<E>>, (node, target): &Current) -> JoinHandle<()> {
    target.coming.fetch_add(1, Ordering::AcqRel);
    shared.stats.count(ClusterCount::CancelsSent);
    let (shared, node, target) = (Arc::clone(shared), *node, Arc::clone(target));
    task::spawn("cancel", async move {
        let settings = shared.settings.load_full();
        let connector = shared.connector.load_full();
        if let Some(node) = settings.nodes.get(usize::from(node.0)) {
            let cancel = async {
                loop {
                    let hears = target.arrived.notified();
                    if !target.deaf.load(Ordering::Acquire) {
                        break;
                    }
                    hears.await;
                }
                E::Backend::cancel(&connector, node, &target).await
            };
            match tokio::time::timeout_at(clock::deadline(settings.timeouts.connect), cancel).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(node = %node.name, %error, "cancel request not delivered"),
                Err(_) => tracing::info!(node = %node.name, "cancel request not delivered in time"),
            }
        }
        target.coming.fetch_sub(1, Ordering::AcqRel);
        target.arrived.notify_waiters();
    })
}
