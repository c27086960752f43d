//! Loads what is not known of a database: the engine asks, `sql` reads, off the I/O threads.

use super::shared::Shared;
use crate::catalog::source::{Overrule, Stamp, Teller, Uses};
use crate::catalog::{Catalog, Facts, Keep, Loaded, Names, Request, Still};
use crate::clock::Tick;
use crate::cluster::ClusterState;
use crate::engine::Position;
use crate::engine::catalog::CatalogLoader;
use crate::engine::seam::Engine;
use crate::sql::closure::Code;
use crate::task;
use std::sync::Arc;

/// Answers `request` for `database` (its name on the servers), whose catalog is `catalog`.
pub(super) async fn load<E: Engine>(
    shared: &Shared<E>,
    database: &str,
    catalog: &Catalog,
    request: Request,
) -> Result<Loaded, Arc<str>> {
    let loader = &shared.loader;
    let before = known(&shared.state);
    let (names, mut told) = match &request.names {
        Some(_) => (None, None),
        None => {
            let (names, stamp, told) = names(&**loader, database, overrules(shared)).await?;
            (Some((names, stamp)), Some(told))
        }
    };
    let by = request.names.as_ref().or(names.as_ref().map(|(names, _)| names));
    let mut relations = Vec::new();
    if let Some(names) = by.filter(|_| !request.relations.is_empty()) {
        let (hangs, by) = loader.relations(database, &request.path, &request.relations, Uses::Both).await?;
        relations = hangs.iter().map(|hangs| Facts::judge(hangs, names)).collect();
        told = Some(told.map_or(Some(by.clone()), |told| agreed(told, by)));
    }
    let keep = match told.flatten() {
        Some(Teller::Primary) => Keep::Lasting,
        Some(Teller::Replica(node)) => keep_for_now(&shared.state, catalog, &node, &before),
        None => Keep::Not,
    };
    Ok(Loaded { names, relations, keep })
}

/// What the code of `database` does; what the catalog was like before it was read; and who says so, if it was one server.
///
/// # Errors
/// As [`CatalogLoader::code`].
pub async fn names(
    loader: &impl CatalogLoader,
    database: &str,
    overrules: Vec<Overrule>,
) -> Result<(Arc<Names>, Stamp, Option<Teller>), Arc<str>> {
    let stopped = |_| Arc::from("the process is stopping");
    let (source, stamp, told) = loader.code(database).await?;
    let mut told = Some(told);
    let (code, mentions) = task::blocking(move || {
        let code = Code::read(source);
        let mentions = code.mentions();
        (code, mentions)
    })
    .await
    .map_err(stopped)?;
    let hangs = if mentions.is_empty() {
        Vec::new()
    } else {
        let (hangs, by) = loader.relations(database, "", &mentions, Uses::AsTheyAre).await?;
        told = agreed(told, by);
        hangs
    };
    let names = task::blocking(move || Arc::new(code.judge(&hangs, &overrules))).await.map_err(stopped)?;
    Ok((names, stamp, told))
}

// Who says both; `None`: it was not one server.
fn agreed(one: Option<Teller>, other: Teller) -> Option<Teller> {
    one.filter(|one| *one == other)
}

// What is known of a node: how far it is, and what it has seen. Of what it says from here on, no less is true.
struct Known {
    node: Arc<str>,
    at: Position,
    fresh: Tick,
}

fn known(state: &ClusterState) -> Vec<Known> {
    let view = state.view.load();
    let known = view.nodes.iter().map(|node| Known {
        node: Arc::clone(&node.name),
        at: node.live.position(),
        fresh: node.live.fresh_as_of(),
    });
    known.collect()
}

// While there is no primary nobody changes the catalog: what a replica says is what all say that are as far. It counts as long as no other is
// known to be further, for that one's catalog may be another; and only if the replica has seen every change that we know of, for others may have, too.
fn keep_for_now(state: &Arc<ClusterState>, catalog: &Catalog, node: &str, before: &[Known]) -> Keep {
    let Some(known) = before.iter().find(|known| &*known.node == node) else { return Keep::Not };
    if known.fresh < catalog.changed() {
        return Keep::Not;
    }
    let (state, at) = (Arc::clone(state), known.at);
    Keep::While(Still::new(move || state.gate.now().is_none() && state.view.load().is_covered_by(at)))
}

fn overrules<E: Engine>(shared: &Shared<E>) -> Vec<Overrule> {
    use crate::config::settings::{FunctionClass, FunctionState};
    let settings = shared.settings.load();
    let rule = |rule: &crate::config::settings::FunctionRule| Overrule {
        schema: rule.schema.clone(),
        name: rule.name.clone(),
        writes: rule.class.map(|class| class == FunctionClass::Write),
        pins: rule.state.map(|state| state == FunctionState::Pin),
    };
    settings.routing.functions.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{ClusterView, Health};
    use crate::config::Settings;
    use crate::engine::{Epoch, NodeId};
    use crate::failover::Pass;
    use std::sync::atomic::Ordering;

    const FILE: &str = "clusters:
  main:
    engine: postgres
    listen: 127.0.0.1:1
    monitor: { user: m, password: p }
    nodes:
      n1: { address: \"10.0.0.1:5432\" }
      n2: { address: \"10.0.0.2:5432\" }
      n3: { address: \"10.0.0.3:5432\" }
";

    // n1 was the primary; n2 and n3 follow, and are as far as that.
    fn state(second: u64, third: u64) -> Arc<ClusterState> {
        let settings = Settings::parse(FILE, "test", &|_| None).unwrap();
        let state = Arc::new(ClusterState::new(settings.cluster("main").unwrap()));
        let mut nodes = state.view.load().nodes.to_vec();
        for (node, lsn) in nodes.iter_mut().zip([0, second, third]).skip(1) {
            node.health = Health::Up;
            go(&state, usize::from(node.id.0), lsn);
        }
        let view =
            ClusterView { number: 1, epoch: Epoch(1), primary: None, no_primary: None, nodes: nodes.into() };
        state.view.store(Arc::new(view));
        state
    }

    fn go(state: &ClusterState, node: usize, lsn: u64) {
        *state.view.load().nodes[node].live.position.lock() = Position::Lsn { timeline: 1, lsn };
    }

    fn keeps(state: &Arc<ClusterState>, catalog: &Catalog, node: &str) -> Option<Still> {
        match keep_for_now(state, catalog, node, &known(state)) {
            Keep::While(still) if still.holds() => Some(still),
            _ => None,
        }
    }

    #[test]
    fn a_replicas_word_counts_while_nobody_is_further_and_there_is_no_primary() {
        let catalog = Catalog::default();
        let state = state(100, 90);
        assert!(keeps(&state, &catalog, "n3").is_none(), "n2 is further");
        assert!(keeps(&state, &catalog, "n4").is_none(), "who is that?");
        let still = keeps(&state, &catalog, "n2").expect("nobody is further");
        assert_eq!(state.view.load().furthest().map(|node| &*node.name), Some("n2"));
        go(&state, 2, 101);
        assert!(!still.holds(), "the other has gone further");
        go(&state, 2, 100);
        assert!(still.holds());
        go(&state, 1, 101);
        assert!(!still.holds(), "it has gone further itself");
        go(&state, 1, 100);
        state.gate.open(Pass { node: NodeId(0), epoch: Epoch(1) });
        assert!(!still.holds(), "there is a primary to ask");
        assert!(keeps(&state, &catalog, "n2").is_none());
    }

    #[test]
    fn a_replica_that_may_lack_a_change_is_not_believed() {
        let catalog = Catalog::default();
        let state = state(100, 100);
        let fresh = |tick: Tick| state.view.load().nodes[1].live.fresh_as_of.store(tick.0, Ordering::Relaxed);
        fresh(crate::clock::now());
        assert!(keeps(&state, &catalog, "n2").is_some());
        catalog.forget();
        assert!(keeps(&state, &catalog, "n2").is_none(), "others may have seen it");
        // What it had seen when it was asked counts.
        let before = known(&state);
        fresh(crate::clock::now());
        assert!(matches!(keep_for_now(&state, &catalog, "n2", &before), Keep::Not));
        assert!(keeps(&state, &catalog, "n2").is_some());
    }
}
