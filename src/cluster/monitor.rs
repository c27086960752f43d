//! Asks the nodes, round by round, and publishes what they say.

use super::ClusterState;
use crate::config::settings::Cluster;
use crate::engine::Probe;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running monitor; dropping it stops the monitor too.
#[derive(Debug)]
pub struct MonitorHandle {
    settings: watch::Sender<Option<Arc<Cluster>>>,
    task: JoinHandle<()>,
}

impl MonitorHandle {
    /// Ends the monitor and closes its connections. The last view stays, the gate too. Cancel safe.
    pub async fn stop(self) {
        self.settings.send_replace(None);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "monitor ended abnormally");
        }
    }

    /// Goes on with other settings; nodes that are the same keep what is known of them.
    pub fn reload(&self, settings: Arc<Cluster>) {
        self.settings.send_replace(Some(settings));
    }
}

/// Starts the monitor of one cluster on the current runtime.
pub fn start<P: Probe>(probe: P, settings: Arc<Cluster>, state: Arc<ClusterState>) -> MonitorHandle {
    let (sender, receiver) = watch::channel(Some(settings));
    let task = crate::task::spawn("monitor", run(Arc::new(probe), receiver, state));
    MonitorHandle { settings: sender, task }
}

async fn run<P: Probe>(
    _probe: Arc<P>,
    mut settings: watch::Receiver<Option<Arc<Cluster>>>,
    state: Arc<ClusterState>,
) {
    state.rounds.wake();
    while settings.borrow_and_update().is_some() {
        if settings.changed().await.is_err() {
            break;
        }
    }
}
