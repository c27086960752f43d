//! The log of slow statements.

use super::core::Core;
use super::plan::Plan;
use crate::engine::seam::{Engine, Exchange, Part};
use crate::telemetry::logs::SlowQuery;
use std::borrow::Cow;
use std::time::Duration;

/// Logs the unit that has just been settled. Of several statements the first names it; what streamed is named by its command.
#[cold]
pub(super) fn log<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan, took: Duration) {
    let whole = exchange.can_rewind();
    let text = (0..exchange.parts()).filter(|_| whole).find_map(|index| match exchange.part(index) {
        Part::Text(text) | Part::Prepare { text, .. } | Part::Long(text) => Some(text),
        Part::Use { name, .. } => core.statements.find(name).map(|known| known.prepared.text()),
        Part::Forget { .. } | Part::Portal | Part::Neutral | Part::Opaque(..) => None,
    });
    let statement = text.map_or(Cow::Borrowed(plan.command()), String::from_utf8_lossy);
    let node = core.last_node.map(|node| core.node_name(node));
    SlowQuery {
        cluster: &core.shared.name,
        database: &core.lane.alias,
        user: &core.lane.identity.user,
        node: node.as_deref().unwrap_or_default(),
        took,
        statement: &statement,
    }
    .log();
}
