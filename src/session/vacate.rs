//! Before a statement for which nobody may be connected to a database (DROP DATABASE and the like): connections that no client stands behind are
//! closed, as there would be none without the proxy.

use super::core::Core;
use super::plan::Plan;
use super::registry::Replication;
use crate::clock;
use crate::engine::TxState;
use crate::engine::catalog::CatalogLoader as _;
use crate::engine::seam::Engine;
use std::time::Duration;

/// Whoever has just left may not be gone yet: so long it is waited for, and looked again so often.
const LEAVING: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// Whether `plan` needs it.
pub(super) fn is_needed<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    plan.ddl && plan.empties().is_some() && core.client_tx() == TxState::Idle
}

/// Closes what is idle there, unless another client is connected to it: then the server says what it thinks of that.
pub(super) async fn before<E: Engine>(core: &Core<E>, plan: &Plan) {
    let Some(database) = plan.empties() else { return };
    let until = clock::now().plus(LEAVING);
    while is_used(core, database) {
        if clock::now() >= until {
            return;
        }
        tokio::time::sleep_until(clock::deadline(LOOK)).await;
    }
    let shared = &core.shared;
    // What is on its way back to its pool is closed when it is there. The server waits for those that are about to end.
    shared.pools.invalidate(|key| &*key.database == database);
    shared.loader.let_go(database);
    // Another database may bear the name soon.
    shared.catalogs.of(database).forget();
    shared.forget_greetings();
}

// Whether a client other than this one is connected to it.
fn is_used<E: Engine>(core: &Core<E>, database: &str) -> bool {
    let settings = core.shared.settings.load();
    let name = |alias: &str| {
        let found = settings.databases.iter().find(|known| &*known.alias == alias);
        found.map_or_else(|| alias == database, |known| &*known.name == database)
    };
    let clients = core.shared.registry.all();
    clients.iter().any(|client| {
        client.id != core.place.id && client.replication != Replication::Physical && name(&client.database)
    })
}
