//! What is sent for a unit and in front of it, and how its answer is treated.

use super::core::Core;
use super::plan::Plan;
use super::unit::Attempt;
use crate::engine::carrier::Carrier;
use crate::engine::seam::{Engine, Exchange, Treatment};
use crate::engine::{Class, TxState};
use crate::error::ClientError;
use crate::sql::{Dialect, Transaction};

/// How the answer of `plan` must be treated where it runs now.
pub(super) fn treatment<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> Treatment {
    let replica = core.on_replica();
    let repeats =
        (replica || plan.class == Class::Read || E::DIALECT == Dialect::Postgres) && plan.repeatable;
    Treatment {
        // Of a write, too: the refusal of a server that is no primary any more is no answer. And whatever it is, it may turn out before it
        // runs that a prepared statement of it is outdated.
        hold_back: (repeats || !plan.used.is_empty() || plan.prepares > 0)
            && core.tx == TxState::Idle
            && !exchange.is_mid_unit(),
        ask_gate: !replica && (plan.class == Class::Write || core.tx_wrote),
        report_settings: !replica,
        remember: replica && plan.runs == 0 && plan.open,
        ask_end: super::listen::listens(core) && core.deferred.is_none(),
        within: core.deferred.is_some(),
    }
}

/// Makes the unit ready for the backend that is held, with the session's settings in front of it where they are to go ahead, and what the
/// client is to be told beside its answer. False: none is held.
pub(super) fn compose<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &Plan,
    attempt: &Attempt,
) -> bool {
    let treatment = treatment::<E>(core, exchange, plan);
    let Some(held) = &mut core.held else { return false };
    if core.tx == TxState::Idle && core.pin.is_none() && held.lease.tracked().key() != core.wanted.key() {
        exchange.precede(&mut held.lease, &core.wanted);
    }
    exchange.mute(core.ears.as_deref().map(super::listen::Ears::active));
    exchange.compose(&mut held.lease, treatment);
    if plan.resets() && !plan.returns {
        tell_reset(core, exchange, plan);
    }
    if attempt.unproved {
        exchange.warn(&unproved());
    }
    true
}

fn unproved() -> ClientError {
    let text = "there is no primary: a replica answered that may lack the last writes";
    ClientError::new("01000", 1105, text)
        .hint("routing.reads_without_primary of the proxy's configuration says what becomes of such reads")
}

/// What a reset brings back is what the client was greeted with, whatever the server's own values are.
pub(super) fn tell_reset<E: Engine>(core: &Core<E>, exchange: &mut E::Exchange, plan: &Plan) {
    // Among transaction control only the server knows whether the reset holds: what it reports then is put right.
    let controlled = plan.transaction == Transaction::Other;
    for (name, greeted) in core.greeting.told.iter().filter(|(name, _)| plan.resets_setting(name)) {
        let instead = controlled && core.told(name) != Some(greeted);
        exchange.withhold_setting(name, instead.then_some(&**greeted));
    }
    if controlled {
        return;
    }
    for (name, told) in core.told.iter().filter(|(name, _)| plan.resets_setting(name)) {
        let greeted = core.greeting.told.iter().find(|(greeted, _)| greeted == name);
        if let Some((name, greeted)) = greeted.filter(|(_, greeted)| greeted != told) {
            exchange.tell_setting(name, greeted);
        }
    }
}
