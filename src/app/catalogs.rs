//! Watches the catalogs of databases in use: a change that passed Primacy by must not be missed for long.

use crate::catalog::Catalog;
use crate::clock;
use crate::engine::CatalogLoader;
use crate::engine::door::Front;
use crate::session::Shared;
use crate::telemetry::ClusterCount;
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks. The servers' statistics say nothing sooner than a second after a change, and up to ten seconds later.
const LOOK: Duration = Duration::from_secs(2);
/// Databases that are looked at at once.
const TOGETHER: usize = 8;
/// After so many looks in a row that no server answered, what is known counts as outdated.
const BLIND: u32 = 3;

/// Looks at each database's catalog from time to time.
pub(super) async fn watch<E: Front>(shared: Arc<Shared<E>>, mut stop: watch::Receiver<bool>) {
    let mut blind: HashMap<Arc<str>, u32> = HashMap::new();
    let gate = &shared.state.gate;
    loop {
        let closed = gate.now().is_none();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            // What was learnt of replicas counts no longer.
            _ = gate.opened(), if closed => {}
            () = tokio::time::sleep_until(clock::deadline(LOOK)) => {}
        }
        shared.catalogs.recheck_all();
        let used = shared.catalogs.in_use();
        blind.retain(|name, _| used.iter().any(|(used, _)| used == name));
        let looks = used.into_iter().map(|(name, catalog)| {
            let shared = Arc::clone(&shared);
            async move {
                let seen = look(&shared, &name, &catalog).await;
                (name, catalog, seen)
            }
        });
        let looks = futures_util::stream::iter(looks).buffer_unordered(TOGETHER).collect::<Vec<_>>();
        let looked = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            looked = looks => looked,
        };
        for (name, catalog, seen) in looked {
            if seen {
                blind.remove(&name);
                continue;
            }
            let times = blind.entry(name).or_default();
            *times += 1;
            if *times >= BLIND {
                *times = 0;
                catalog.forget();
            }
        }
    }
}

/// Whether the server could be asked.
async fn look<E: Front>(shared: &Shared<E>, database: &str, catalog: &Catalog) -> bool {
    let Some(known) = catalog.stamp() else { return true };
    match shared.loader.stamp(database, known).await {
        Ok(Some(now)) => {
            if catalog.compare(now) {
                shared.stats.count(ClusterCount::CatalogChanges);
                tracing::debug!(database, "the catalog has changed");
            }
            true
        }
        // Only the primary's statistics count writes; while there is none nobody changes the catalog either.
        Ok(None) => true,
        Err(why) => {
            tracing::debug!(database, %why, "the catalog cannot be watched");
            false
        }
    }
}
