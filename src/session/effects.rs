//! What a unit did to the session's state: settings that are carried from here on, and what pins because it cannot be.

use super::core::Core;
use super::plan::Plan;
use super::settle::pin_session;
use crate::engine::seam::{Backend, Engine, Exchange, Outcome};
use crate::engine::tracked::Tracked;
use crate::engine::{Certainty, Pin, PinReason, TxState};
use crate::sql::{Change, Value};
use std::sync::Arc;

/// Takes over what a settled unit did to the session's state.
pub(super) fn take_over<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    outcome: &Outcome,
    was: TxState,
) {
    // A text with a syntax error did nothing at all.
    let nothing_ran = outcome.failed == Some(*b"42601");
    if let Some(pin) = plan.pin.filter(|_| !nothing_ran) {
        pin_session(core, pin, plan.command());
        if plan.mixed {
            let rest = Pin { reason: PinReason::Unknown, certainty: Certainty::Possible };
            pin_session(core, rest, plan.command());
        }
    } else if plan.pin.is_some()
        && core.pin.is_none()
        && let Some(held) = &mut core.held
    {
        held.lease.unpin();
    }
    if outcome.failed.is_some() || plan.effects.is_empty() {
        return;
    }
    let outside = was == TxState::Idle && outcome.tx == TxState::Idle && outcome.transactions == 0;
    let mut wanted = Tracked::clone(&core.wanted);
    let mut carried = core.held.as_ref().map(|held| Tracked::clone(held.lease.tracked())).unwrap_or_default();
    for wish in plan.effects.iter().filter(|wish| wish.runs) {
        for change in wish.changes() {
            if let Some(pin) = apply(core, exchange, wish.part, change, outside, (&mut wanted, &mut carried))
            {
                pin_session(core, pin, wish.verdict.command);
            }
        }
    }
    if wanted != *core.wanted {
        core.want(Arc::new(wanted));
    }
    if let Some(held) = &mut core.held {
        held.lease.set_tracked(Arc::new(carried));
    }
}

// One change of session state that a server has accepted. `Some`: it cannot be carried.
fn apply<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    index: usize,
    change: &Change,
    outside: bool,
    states: (&mut Tracked, &mut Tracked),
) -> Option<Pin> {
    match change {
        Change::Set { .. } | Change::Reset(_) | Change::ResetAll if !outside => {
            return known(PinReason::SettingInTransaction);
        }
        Change::Set { name, value } => return set(exchange, index, name, value, states),
        Change::Reset(name) => {
            states.1.remove(name);
            match core.startup.get(name) {
                Some(value) => states.0.set(name, value),
                None => states.0.remove(name),
            }
        }
        Change::ResetAll => reset_all(core, states),
        Change::DiscardAll => discard_all(core, states),
        Change::DiscardTemp => unpin(core, PinReason::TempObject),
        Change::Unlisten => unpin(core, PinReason::Listen),
        Change::CloseAll => unpin(core, PinReason::HoldCursor),
        Change::AdvisoryUnlockAll => unpin(core, PinReason::AdvisoryLock),
        Change::DeallocateAll => {
            // It ran on a server only because the session's own statements live there, too.
            core.statements.clear();
            if let Some(held) = &mut core.held {
                held.lease.forget_statements();
            }
        }
        // One of SQL's own PREPARE: those of the protocol are deallocated here.
        Change::Deallocate(_)
        | Change::Local
        | Change::DiscardPlans
        | Change::DiscardSequences
        | Change::ShowPrimacy(_)
        | Change::Primacy { .. } => {}
    }
    None
}

fn known(reason: PinReason) -> Option<Pin> {
    Some(Pin { reason, certainty: Certainty::Known })
}

fn set<X: Exchange>(
    exchange: &X,
    index: usize,
    name: &str,
    value: &Value,
    (wanted, carried): (&mut Tracked, &mut Tracked),
) -> Option<Pin> {
    match name {
        "session_authorization" => return known(PinReason::SessionAuthorization),
        "seed" => return known(PinReason::Seed),
        _ if name.contains('.') => return known(PinReason::CustomSetting),
        _ => {}
    }
    let value = match value {
        Value::Constant(text) | Value::List(text) => Some(text.to_string()),
        Value::Parameter(n) => {
            exchange.parameter(index, *n).and_then(|value| String::from_utf8(value.to_vec()).ok())
        }
    };
    let Some(value) = value else { return known(PinReason::SettingValue) };
    wanted.set(name, &value);
    carried.set(name, &value);
    None
}

fn discard_all<E: Engine>(core: &mut Core<E>, (wanted, carried): (&mut Tracked, &mut Tracked)) {
    *wanted = Tracked::clone(&core.startup);
    *carried = Tracked::default();
    core.statements.clear();
    core.statements.forget_anonymous();
    end_pins(core);
    if let Some(held) = &mut core.held {
        held.lease.forget_statements();
        *held.lease.sequences() = false;
    }
}

// RESET ALL keeps the role and the session authorization.
fn reset_all<E: Engine>(core: &Core<E>, (wanted, carried): (&mut Tracked, &mut Tracked)) {
    let role = (wanted.get("role").map(str::to_owned), carried.get("role").map(str::to_owned));
    *wanted = Tracked::clone(&core.startup);
    *carried = Tracked::default();
    if let Some(role) = role.0 {
        wanted.set("role", &role);
    }
    if let Some(role) = role.1 {
        carried.set("role", &role);
    }
}

// What pinned is gone for sure.
fn unpin<E: Engine>(core: &mut Core<E>, reason: PinReason) {
    let Some(entry) = core.pin_entry.as_ref() else { return };
    entry.remove(reason);
    match entry.left() {
        None => end_pins(core),
        left => {
            core.pin = left;
            *core.place.pin.lock() = left;
        }
    }
}

fn end_pins<E: Engine>(core: &mut Core<E>) {
    core.pin = None;
    core.pin_entry = None;
    *core.place.pin.lock() = None;
    if let Some(held) = &mut core.held {
        held.lease.unpin();
    }
}
