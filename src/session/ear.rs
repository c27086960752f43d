//! Runs the connection that listens for all sessions of a database: on the primary, behind the gate, in the monitor's name.

use super::hub::{Hub, Question};
use super::shared::Shared;
use crate::clock;
use crate::engine::ear::{Ear, Heard, identity};
use crate::engine::seam::Engine;
use crate::failover::Pass;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

/// So long the connection is kept when nobody listens: no longer than a server waits that is to drop the database.
const LINGER: Duration = Duration::from_secs(2);

/// Runs it until nobody listens any more, or it is lost.
pub(super) async fn run<E: Engine>(shared: Arc<Shared<E>>, hub: Arc<Hub>, database: Arc<str>) {
    let why = match open(&shared, &database).await {
        Ok((ear, pass)) => match serve(&shared, &hub, &database, ear, pass).await {
            Some(why) => why,
            None => return,
        },
        Err(why) => why,
    };
    tracing::info!(cluster = %shared.name, %database, %why, "the connection that listens for sessions is lost");
    hub.broken(&why);
}

async fn open<E: Engine>(shared: &Shared<E>, database: &Arc<str>) -> Result<(E::Ear, Pass), String> {
    let settings = shared.settings.load_full();
    let pass = shared.state.gate.now().ok_or("there is no primary")?;
    let node = settings.nodes.get(usize::from(pass.node.0)).ok_or("the primary left the configuration")?;
    let identity = identity(&settings.monitor.user, &settings.monitor.password, database);
    let connector = shared.connector.load_full();
    let opening = E::Ear::open(&connector, node, &identity);
    let opened = tokio::time::timeout_at(clock::deadline(settings.timeouts.connect), opening).await;
    let (ear, birth) =
        opened.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
    let view = shared.state.view.load();
    let same = view.node(pass.node).is_some_and(|known| {
        known.identity == birth.identity && known.start == birth.start && birth.writable
    });
    if !same || !shared.state.gate.holds(pass) {
        return Err("it does not lead to the primary".to_owned());
    }
    shared.roster.enter(pass.node, &identity, ear.target(), clock::now());
    Ok((ear, pass))
}

// `None`: nobody listens any more; else why it is lost.
async fn serve<E: Engine>(
    shared: &Shared<E>,
    hub: &Hub,
    database: &Arc<str>,
    mut ear: E::Ear,
    pass: Pass,
) -> Option<String> {
    let writes = shared.writes(database);
    let mut asking = false;
    loop {
        if !asking && let Some(Question { listen, unlisten }) = hub.begin() {
            ear.ask(&listen, &unlisten);
            asking = true;
        }
        tokio::select! {
            biased;
            () = shared.state.gate.lost(pass) => {
                // What a primary says that may have lost its office waits until it is known. A session must not be told of what may be undone.
                let hold = shared.settings.load().failover.hold;
                let opened = tokio::time::timeout_at(clock::deadline(hold), shared.state.gate.opened()).await;
                if opened != Ok(pass) {
                    return Some("the cluster's primary changed, or is not there".to_owned());
                }
            }
            heard = poll_fn(|cx| ear.poll_heard(cx)) => match heard {
                Ok(Heard::Notification(message)) => {
                    // Somebody's commit came before it: whoever is told of it reads what it wrote.
                    let now = clock::now();
                    writes.raise(now);
                    hub.hear(message, now);
                }
                Ok(Heard::Answered) => {
                    asking = false;
                    hub.done();
                }
                Err(error) => return Some(error.to_string()),
            },
            () = hub.work.notified(), if !asking => {}
            () = tokio::time::sleep_until(clock::deadline(LINGER)) => {
                if !asking && hub.ends_unused() {
                    return None;
                }
            }
        }
    }
}
