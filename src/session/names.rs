//! Texts in which SQL itself names prepared statements (`PREPARE p`, `EXECUTE p`, `DEALLOCATE p`): the names become those of the shared statements, which
//! are the same on every backend, so that nothing of a client's stays on one. And texts that return settings to what they were at first, where that
//! must be the client's own start-up values at once.

use super::plan::{Judge, Plan};
use super::prepared::Entry;
use super::returns;
use super::statements::Statements;
use crate::engine::Class;
use crate::engine::seam::{By, Edited, Exchange, Form, PREFIX, Replaced};
use crate::sql::{NameUse, NameVerb, Verdict};
use std::sync::Arc;

/// Where a text is: the part, and its number within the unit, and whether it is run there.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) index: usize,
    pub(super) part: usize,
    pub(super) runs: bool,
}

/// The text as it is sent, and in `plan` what it needs and does.
pub(super) fn edit<X: Exchange>(
    plan: &mut Plan,
    statements: &mut Statements,
    judge: &Judge<'_>,
    at: At,
    text: &[u8],
    verdict: &Verdict,
    alone: bool,
) -> Edited {
    let mut replaced: Vec<Replaced<'_>> =
        verdict.returns.iter().filter_map(|found| returns::replaced(found, judge)).collect();
    let mut drops = Vec::new();
    for used in &verdict.names {
        let name = used.name.as_bytes();
        let mut found = statements.find(name).filter(|_| !name.is_empty()).cloned();
        if let Some(entry) = &mut found
            && entry.prepared.columns.are_outdated()
            && !statements.is_pending(name)
        {
            // Its client is told what comes whenever it runs.
            let renewed = judge.store.renewed(entry, judge.circumstances);
            statements.renew(entry.prepared.id, &renewed);
            *entry = renewed;
        }
        let id = match (used.verb, found) {
            (NameVerb::DeallocateAll, _) => {
                if at.runs {
                    statements.close_by_text(at.part, None);
                }
                continue;
            }
            (NameVerb::Prepare, None) => Some(prepare(plan, statements, judge, at, text, used)),
            (verb, Some(entry)) => {
                // What this very unit prepares comes with it.
                if !statements.is_pending(name) {
                    plan.uses(&entry, true, true);
                }
                match verb {
                    NameVerb::Execute => plan.recall((at.index, at.runs), &entry, judge),
                    NameVerb::Deallocate if at.runs => {
                        statements.close_by_text(at.part, Some(name));
                        drops.push(entry.prepared.id);
                    }
                    _ => {}
                }
                Some(entry.prepared.id)
            }
            (_, None) => {
                plan.raise(Class::NodeLocal, None);
                if !used.name.starts_with(PREFIX) {
                    continue;
                }
                // The client does not have it: it must not find a shared one of that name.
                None
            }
        };
        let by = By::Name { id, name: used.name.clone() };
        replaced.push(Replaced { at: used.at.clone(), statement: 0, by });
    }
    replaced.sort_by_key(|replaced| replaced.at.start);
    Edited { drops, ..X::edit(text, &replaced, alone) }
}

fn prepare(
    plan: &mut Plan,
    statements: &mut Statements,
    judge: &Judge<'_>,
    at: At,
    text: &[u8],
    used: &NameUse,
) -> u64 {
    let body = text.get(used.rest.clone()).unwrap_or_default();
    let offset = used.rest.start;
    let inner = used.inner.start.saturating_sub(offset)..used.inner.end.saturating_sub(offset);
    let mut entry = judge.store.get_form(judge.circumstances, Form::Sql, body, inner.clone());
    if plan.is_used(entry.prepared.id) || plan.gains.contains(&entry.prepared.id) {
        // The unit needs the one that is there, or prepares the same text twice: a second of its name would meet it.
        entry = judge.store.alone(judge.circumstances, Form::Sql, body, inner);
    }
    if at.runs {
        statements.prepare_by_text(at.part, used.name.as_bytes(), &entry);
        plan.gains.push(entry.prepared.id);
    }
    entry.prepared.id
}

/// What is sent for a statement of the protocol whose text (of this verdict) names others.
pub(super) fn indirect<X: Exchange>(
    plan: &mut Plan,
    statements: &mut Statements,
    judge: &Judge<'_>,
    at: At,
    entry: &Arc<Entry>,
    verdict: &Verdict,
) -> Edited {
    let text = entry.prepared.text();
    let mut edited = edit::<X>(plan, statements, judge, at, text, verdict, true);
    let types = entry.prepared.body.get(text.len()..).unwrap_or_default();
    let body = [&edited.text, types].concat();
    edited.statement = Some(Arc::clone(&judge.store.get(judge.circumstances, &body, &edited.text).prepared));
    edited
}
