//! Notes which statements raise floors only because it is not known what they do.

use super::core::Core;
use super::plan::Plan;
use crate::engine::seam::{Engine, Exchange, Part};
use crate::sql::{Lexing, Reason, normal, normal_key};
use crate::telemetry::doubts::TEXT_MAX;

/// Notes the unit that is being settled. Of several statements the first that is in doubt names it, else the first; what streamed is named by
/// its command.
pub(super) fn note<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) {
    if !plan.doubt || !plan.wrote() {
        return;
    }
    let lexing = core.reading.lexing;
    let whole = exchange.can_rewind();
    let text = (0..exchange.parts()).filter(|_| whole).find_map(|index| match exchange.part(index) {
        Part::Text(text) | Part::Prepare { text, .. } => Some(text),
        Part::Use { name, .. } => core.statements.find(name).map(|known| known.prepared.text()),
        _ => None,
    });
    let text = text.unwrap_or(plan.command().as_bytes());
    core.shared.stats.doubts.raised(normal_key(text, lexing), &core.lane.alias, || about(plan, text, lexing));
}

fn about(plan: &Plan, text: &[u8], lexing: Lexing) -> (String, String) {
    let reason = match plan.verdict.as_ref().map(|verdict| &verdict.reason) {
        Some(Reason::Function(name)) => format!("function {name}"),
        Some(Reason::Operator(name)) => format!("operator {name}"),
        Some(Reason::Unparsed) => "not understood".to_owned(),
        _ => "a relation's own code".to_owned(),
    };
    (reason, normal(text, lexing, TEXT_MAX))
}
