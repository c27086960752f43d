//! Settings that return to what they were at first: for a backend that is the server's own value, for a client what it gave when it connected. Mostly the
//! client's own is carried there behind the unit; where the difference could be seen before, the unit is sent so that it returns to these at once.

use super::core::Core;
use super::journal::WHO;
use super::plan::{Judge, Plan};
use super::shared::Greeting;
use crate::engine::TxState;
use crate::engine::seam::{By, Engine, Replaced};
use crate::engine::tracked::Tracked;
use crate::sql::{Change, Return, ReturnForm};

/// A client's start-up values that are not the server's own.
pub(super) fn first<'c>(
    startup: &'c Tracked,
    greeting: &'c Greeting,
) -> impl Iterator<Item = (&'c str, &'c str)> {
    startup.iter().filter(|(name, _)| !greeting.is_alike(name))
}

/// Whether `plan` must be sent so that it returns to the client's own start-up values.
pub(super) fn are_seen<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    if core.startup.is_empty() || plan.effects.is_empty() || core.client_tx() == TxState::Failed {
        return false;
    }
    let mine = || first(&core.startup, &core.greeting);
    plan.looks_at_resets(|name| mine().any(|(first, _)| name.is_none_or(|name| name == first)))
}

/// The start-up value that a unit which resets that setting has given it on its backend.
pub(super) fn given<'c, E: Engine>(core: &'c Core<E>, plan: &Plan, name: &str) -> Option<&'c str> {
    core.startup.get(name).filter(|_| plan.returns && !core.greeting.is_alike(name))
}

impl Plan {
    /// Whether it may see, by its own answer or in what follows in the same unit, what a setting was reset to; `of_ours`: which settings count.
    pub(super) fn looks_at_resets(&self, of_ours: impl Fn(Option<&str>) -> bool) -> bool {
        let mut effects = self.effects.iter().filter(|wish| wish.runs);
        effects.any(|wish| {
            let mut returns = wish.verdict.returns.iter().filter(|found| of_ours(found.name.as_deref()));
            let at_once = |found: &Return| matches!(found.form, ReturnForm::Null | ReturnForm::LocalDefault);
            let resets = wish.changes().position(|change| match change {
                Change::Reset(name) => of_ours(Some(name)),
                Change::ResetAll => of_ours(None),
                _ => false,
            });
            let looks = |at| wish.changes().skip(at).any(|change| *change == Change::Looks);
            let later = self.open || self.looks.is_some_and(|part| part > wish.part);
            returns.any(at_once) || resets.is_some_and(|at| later || looks(at))
        })
    }
}

/// What is to stand where settings return to what they were at first; `None`: that is the server's own value.
pub(super) fn replaced<'a>(found: &Return, judge: &Judge<'a>) -> Option<Replaced<'a>> {
    let first = judge.first?;
    let is = |name: &str| match found.name.as_deref() {
        Some(returned) => returned == name,
        None => !WHO.contains(&name),
    };
    let values: Vec<_> = first.iter().copied().filter(|(name, _)| is(name)).collect();
    let by = By::Values { values, all: found.name.is_none(), form: found.form };
    let replaced = Replaced { at: found.at.clone(), statement: found.statement, by };
    matches!(&replaced.by, By::Values { values, .. } if !values.is_empty()).then_some(replaced)
}
