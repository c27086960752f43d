//! Loads what is not known of a database: the engine asks, `sql` reads, off the I/O threads.

use super::shared::Shared;
use crate::catalog::source::{Overrule, Stamp, Uses};
use crate::catalog::{Facts, Loaded, Names, Request};
use crate::engine::catalog::CatalogLoader;
use crate::engine::seam::Engine;
use crate::sql::closure::Code;
use crate::task;
use std::sync::Arc;

/// Answers `request` for `database` (its name on the servers).
pub(super) async fn load<E: Engine>(
    shared: &Shared<E>,
    database: &str,
    request: Request,
) -> Result<Loaded, Arc<str>> {
    let loader = &shared.loader;
    let fresh = match &request.names {
        Some(_) => None,
        None => Some(names(&**loader, database, overrules(shared)).await?),
    };
    let (hangs, mut lasting) = if request.relations.is_empty() {
        (Vec::new(), true)
    } else {
        loader.relations(database, &request.path, &request.relations, Uses::Both).await?
    };
    let known = request.names.as_ref().or(fresh.as_ref().map(|(names, _)| names));
    let relations = match known {
        Some(names) => hangs.iter().map(|hangs| Facts::judge(hangs, names)).collect(),
        None => Vec::new(),
    };
    let names = match fresh {
        Some((names, Some(stamp))) => Some((names, stamp)),
        Some((names, None)) => {
            lasting = false;
            Some((names, Stamp::default()))
        }
        None => None,
    };
    Ok(Loaded { names, relations, lasting })
}

/// What the code of `database` does.
///
/// # Errors
/// As [`CatalogLoader::code`].
pub async fn names(
    loader: &impl CatalogLoader,
    database: &str,
    overrules: Vec<Overrule>,
) -> Result<(Arc<Names>, Option<Stamp>), Arc<str>> {
    let stopped = |_| Arc::from("the process is stopping");
    let (source, stamp) = loader.code(database).await?;
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
        loader.relations(database, "", &mentions, Uses::AsTheyAre).await?.0
    };
    let names = task::blocking(move || Arc::new(code.judge(&hangs, &overrules))).await.map_err(stopped)?;
    Ok((names, stamp))
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
