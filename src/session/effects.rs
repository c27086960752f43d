//! What a unit did to the session's state: settings that are carried from here on, and what pins because it cannot be.

use super::core::Core;
use super::journal::{Ended, WHO};
use super::lost::lost_while_kept;
use super::plan::Plan;
use super::returns;
use super::run::End;
use super::settle::pin_session;
use crate::config::settings::PoolMode;
use crate::engine::carrier::Carrier;
use crate::engine::seam::{Backend, Engine, Exchange, Outcome};
use crate::engine::tracked::{Tracked, is_custom};
use crate::engine::{Certainty, Drawn, PROBED, Pin, PinReason, TxState};
use crate::sql::{Change, Transaction, Value};
use std::sync::Arc;

/// Takes over what a settled unit did to the session's state.
pub(super) fn take_over<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    outcome: &Outcome,
    was: TxState,
) {
    // A text with a syntax error did nothing at all; one that ran may have met somebody else's.
    let nothing_ran = (outcome.unread && plan.simple && plan.runs == 1 && plan.prepares == 0)
        || (was == TxState::Failed && plan.transaction == Transaction::None && !plan.blind);
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
    if plan.effects.is_empty() && core.journal.is_none() {
        return;
    }
    if is_plain(core, exchange, plan, outcome, was) {
        carry_on(core, exchange, plan);
    } else {
        enter(core, exchange, plan, outcome, was);
    }
}

/// Settings whose value after a `SET` depends on more than what it is given.
const DEPENDENT: [&str; 2] = ["datestyle", "session_authorization"];

// Whether a unit outside a transaction did what its statements say, and nothing else: then nobody need be asked.
fn is_plain<E: Engine>(
    core: &Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    outcome: &Outcome,
    was: TxState,
) -> bool {
    let outside = was == TxState::Idle && outcome.tx == TxState::Idle && outcome.transactions == 0;
    let ran = outcome.failed.is_none() && u32::from(outcome.completed) >= plan.runs;
    let one_by_one = plan.effects.iter().filter(|wish| wish.runs).count() < 2;
    let plain = |part: usize, change: &Change| match change {
        Change::Set { name, value } => {
            let bound = matches!(value, Value::Parameter(_));
            !DEPENDENT.contains(&&**name)
                && (one_by_one || !bound)
                && given(core, exchange, part, value).is_some()
        }
        Change::SetLocal { name, .. } => !is_custom(name),
        Change::Reset(name) => !DEPENDENT.contains(&&**name),
        Change::Touch(_) => false,
        _ => true,
    };
    let mut changes = plan
        .effects
        .iter()
        .filter(|wish| wish.runs)
        .flat_map(|wish| wish.changes().map(move |change| (wish.part, change)));
    outside && ran && core.journal.is_none() && changes.all(|(part, change)| plain(part, change))
}

// The value that a setting was given; `None`: only the server knows.
fn given<E: Engine>(core: &Core<E>, exchange: &E::Exchange, part: usize, value: &Value) -> Option<String> {
    let value = match value {
        Value::Constant(text) | Value::List(text) => Some(text.to_string()),
        Value::Parameter(n) => {
            exchange.parameter(part, *n).and_then(|value| String::from_utf8(value.to_vec()).ok())
        }
    };
    // In another encoding the bytes are not what they seem.
    let utf8 = || core.told("client_encoding").is_none_or(|encoding| encoding.eq_ignore_ascii_case("utf8"));
    value.filter(|value| value.is_ascii() || utf8())
}

// Takes over what is known from the statements themselves.
fn carry_on<E: Engine>(core: &mut Core<E>, exchange: &E::Exchange, plan: &Plan) {
    let mut wanted = Tracked::clone(&core.wanted);
    let mut carried = core.held.as_ref().map(|held| Tracked::clone(held.lease.tracked())).unwrap_or_default();
    for wish in plan.effects.iter().filter(|wish| wish.runs) {
        for change in wish.changes() {
            match change {
                Change::Set { name, value } => {
                    if let Some(value) = given(core, exchange, wish.part, value) {
                        wanted.set(name, &value);
                        carried.set(name, &value);
                    }
                }
                Change::Reset(name) => {
                    carried.remove(name);
                    if let Some(value) = returns::given(core, plan, name) {
                        carried.set(name, value);
                    }
                    match core.startup.get(name) {
                        Some(value) => wanted.set(name, value),
                        None if is_custom(name) => {
                            wanted.set(name, "");
                            carried.set(name, "");
                        }
                        None => wanted.remove(name),
                    }
                }
                Change::ResetAll => {
                    reset_all(core, (&mut wanted, &mut carried));
                    for (name, _) in core.startup.iter() {
                        if let Some(value) = returns::given(core, plan, name) {
                            carried.set(name, value);
                        }
                    }
                }
                Change::DiscardAll => discard_all(core, (&mut wanted, &mut carried)),
                other => apply(core, other),
            }
        }
    }
    if wanted != *core.wanted {
        core.want(Arc::new(wanted));
    }
    if let Some(held) = &mut core.held {
        held.lease.set_tracked(Arc::new(carried));
    }
    if !core.needs_carrying() {
        core.accept();
    }
}

// Notes what only the server will know, and takes over what no transaction undoes.
fn enter<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    outcome: &Outcome,
    was: TxState,
) {
    let mut journal = core.journal.take().unwrap_or_default();
    let mut seen = core.seen.take().unwrap_or_default();
    let failed = outcome.failed.is_some();
    let carried = core.held.as_ref().map(|held| Arc::clone(held.lease.tracked())).unwrap_or_default();
    for wish in plan.effects.iter().filter(|wish| wish.runs) {
        for change in wish.changes() {
            let parameter = |n| given(core, exchange, wish.part, &Value::Parameter(n));
            journal.note(change, &core.startup, [&core.wanted, &carried], &mut seen, parameter);
            match change {
                // In company, or in a transaction, it does nothing.
                Change::DiscardAll if outcome.failed == Some(*b"25001") => {}
                Change::DiscardAll if failed => {
                    journal.note(
                        &Change::ResetAll,
                        &core.startup,
                        [&core.wanted, &carried],
                        &mut seen,
                        |_| None,
                    );
                }
                Change::DiscardAll => {
                    let (mut wanted, mut carried) = (Tracked::clone(&core.wanted), Tracked::clone(&carried));
                    discard_all(core, (&mut wanted, &mut carried));
                    core.want(Arc::new(wanted));
                    if let Some(held) = &mut core.held {
                        held.lease.set_tracked(Arc::new(carried));
                    }
                }
                // What only transactions decide about the backend is asked for when they are over.
                Change::Unlisten(channel)
                    if !failed
                        && (outcome.tx != TxState::Idle
                            || outcome.committed
                            || outcome.transactions == 0) =>
                {
                    super::listen::unlisten(core, channel.as_deref());
                }
                Change::Unlisten(_) => {}
                other if !failed => apply(core, other),
                _ => {}
            }
        }
    }
    let unit = Ended {
        committed: outcome.committed,
        failed,
        was_open: was != TxState::Idle,
        over: outcome.tx == TxState::Idle,
        controls: plan.transaction == Transaction::Other
            || outcome.transactions > 1
            || u32::from(outcome.completed) < plan.runs,
        alone: !plan.changes().any(|change| !matches!(change, Change::Local)),
        saw: !seen.is_empty(),
    };
    if journal.ended(unit) {
        core.seen = (!seen.is_empty()).then_some(seen);
        core.journal = Some(journal);
    }
    core.read_anew();
}

// One change that a server has accepted and that no transaction undoes.
fn apply<E: Engine>(core: &mut Core<E>, change: &Change) {
    match change {
        Change::DiscardSequences => unpin(core, PinReason::Sequence),
        Change::DiscardTemp => unpin(core, PinReason::TempObject),
        Change::Unlisten(channel) => {
            super::listen::unlisten(core, channel.as_deref());
            if channel.is_none() {
                unpin(core, PinReason::Listen);
            }
        }
        Change::CloseAll => unpin(core, PinReason::HoldCursor),
        Change::AdvisoryUnlockAll => unpin(core, PinReason::AdvisoryLock),
        Change::DeallocateAll => {
            // The session's own names are taken out where its text is answered; here it is about what the server had.
            if let Some(held) = &mut core.held {
                held.lease.forget_statements();
            }
        }
        // Settings are entered elsewhere. One that a function prepared: those of the session are deallocated elsewhere, too.
        _ => {}
    }
}

fn discard_all<E: Engine>(core: &mut Core<E>, (wanted, carried): (&mut Tracked, &mut Tracked)) {
    *wanted = wanted.back_to(&core.startup);
    *carried = carried.after_reset();
    core.statements.clear();
    core.statements.forget_anonymous();
    core.ears = None;
    end_pins(core);
    if let Some(held) = &mut core.held {
        held.lease.forget_statements();
        held.lease.set_drawn(Drawn::Nobodys);
    }
}

// RESET ALL keeps the role and the session authorization.
fn reset_all<E: Engine>(core: &Core<E>, (wanted, carried): (&mut Tracked, &mut Tracked)) {
    let reset = |settings: &Tracked, mut to: Tracked| {
        for who in WHO {
            match settings.get(who) {
                Some(value) => to.set(who, value),
                None => to.remove(who),
            }
        }
        to
    };
    *wanted = reset(wanted, wanted.back_to(&core.startup));
    *carried = reset(carried, carried.after_reset());
}

/// Notes whether what a settled unit did may have ended a pin: in so many words, or because a transaction, or the statement itself, came to nothing.
pub(super) fn doubt_pins<E: Engine>(core: &mut Core<E>, plan: &Plan, outcome: &Outcome, was: TxState) {
    let inside = was != TxState::Idle || outcome.tx != TxState::Idle || outcome.transactions > 0;
    core.pin_doubted |= plan.ends || (plan.pin.is_some() && (inside || outcome.failed.is_some()));
}

/// Whether the backend is to be asked what is left of what pins the session.
pub(super) fn is_to_be_asked<E: Engine>(core: &Core<E>) -> bool {
    core.pin_doubted
        && core.tx == TxState::Idle
        && core.held.is_some()
        && core.pin_entry.as_ref().is_some_and(|entry| entry.is_only(&PROBED))
}

/// Asks it, and ends the pins of which nothing is left. Beside a pin that is only possible none ends: what is not known cannot be asked for.
///
/// # Errors
/// The backend is lost, and with it the session.
pub(super) async fn end_pins_if_over<E: Engine>(core: &mut Core<E>) -> Result<(), End> {
    let Some(held) = &mut core.held else { return Ok(()) };
    let left = match held.lease.left().await {
        Ok(left) => left,
        Err(error) => {
            let lost = lost_while_kept(core, &error.to_string());
            core.drop_backend();
            return Err(End::Sent(Box::new(lost)));
        }
    };
    core.pin_doubted = false;
    for (reason, _) in PROBED.into_iter().zip(left).filter(|(_, left)| !left) {
        unpin(core, reason);
    }
    if !core.must_keep() {
        super::settle::give_back(core, crate::clock::now());
    }
    Ok(())
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
    core.pin_entry = None;
    core.pin_doubted = false;
    *core.place.pin.lock() = None;
    // In session mode the backend is the session's to its end, whatever pins it beside.
    core.pin = core.pin.filter(|_| core.lane.mode == PoolMode::Session);
    if core.pin.is_some() {
        core.pin = Some(Pin { reason: PinReason::SessionMode, certainty: Certainty::Known });
        return;
    }
    if let Some(held) = &mut core.held {
        held.lease.unpin();
    }
}
