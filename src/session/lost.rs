//! What is lost under a unit (its backend, its leave to speak to the primary, its answer), and what can be done about it.

use super::core::{Core, Held};
use super::plan::Plan;
use super::shapes;
use super::unit::Attempt;
use crate::engine::seam::{Engine, Exchange, Lost};
use crate::engine::{Class, TxState};
use crate::error::ClientError;
use crate::sql::Transaction;
use crate::telemetry::ClusterCount;

/// The leave under which a kept backend speaks to the primary is void: another node may be primary by now.
pub(super) fn lost_leave<E: Engine>(core: &Core<E>, held: &Held<E>) -> Option<ClientError> {
    let pass = held.pass?;
    if core.shared.state.gate.holds(pass) {
        return None;
    }
    Some(if core.pin.is_some() {
        lost_while_kept(core, "the cluster's primary changed, or is not there")
    } else {
        ClientError::new(
            "40001",
            1213,
            "the transaction was lost: the cluster's primary changed, or is not there",
        )
        .hint("run the transaction again")
    })
}

/// What a session is told whose kept backend is gone: it cannot go on as if its locks and temporary tables were still there.
pub(super) fn lost_while_kept<E: Engine>(core: &Core<E>, reason: &str) -> ClientError {
    let why = core.pin.map_or("an open transaction", |pin| pin.reason.word());
    ClientError::new(
        "57P01",
        1053,
        format!("terminating connection: the backend that this session kept is lost ({reason})"),
    )
    .detail(format!("It was kept because of: {why}."))
    .hint("connect again: what the session kept on the server is gone")
    .fatal()
}

/// The unit's answer is lost or must not be passed on, and what it did may be there all the same.
pub(super) fn may_be_seen<E: Engine>(core: &mut Core<E>, plan: &Plan) {
    if core.tx_wrote || plan.wrote() {
        core.wrote();
    }
    if core.tx_ddl || plan.ddl {
        core.lane.catalog.forget();
    }
}

/// What a client is told of a statement that may have taken effect or not.
pub(super) fn unknown_outcome<E: Engine>(core: &Core<E>) -> ClientError {
    core.shared.stats.count(ClusterCount::UnknownOutcomes);
    ClientError::new(
        "08007",
        2013,
        "the outcome of the statement is unknown: the primary was lost, or lost its office, before its answer could be passed on",
    )
    .hint("look whether it took effect before you run it again")
}

/// A backend was lost under a unit. `None`: it may be tried again. What the server said before it ended the connection decides nothing about
/// what ran: only what was sent and what was answered does.
pub(super) fn lost_backend<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    plan: &Plan,
    attempt: &mut Attempt,
    lost: &Lost,
) -> Option<ClientError> {
    let (node, on_primary) = core.held.as_ref().map(|held| (held.node, held.pass.is_some()))?;
    if lost.sqlstate == Some(*b"08P01") {
        // The client broke the protocol, and the server says so: no fault of the node's.
        return Some(ClientError::new("08P01", 1835, lost.reason.clone()).fatal());
    }
    core.shared.state.suspect(node, &lost.reason);
    let name = core.node_name(node);
    tracing::info!(client = core.place.id, node = %name, reason = %lost.reason, sent = lost.sent, answered = lost.answered, "backend lost");
    // A server that says goodbye, or that another process's crash took with it, did not go down under this statement; nor one that was
    // answering it.
    let without_a_word = lost.sent && lost.sqlstate.is_none();
    let known = !without_a_word || shapes::is_harmless(core, exchange, plan);
    let deadly = without_a_word && !lost.answered && shapes::went_down(core, exchange, node);
    if core.pin.is_some() {
        return Some(lost_while_kept(core, &lost.reason));
    }
    if core.tx != TxState::Idle {
        let committing = matches!(plan.transaction, Transaction::Commit | Transaction::Other);
        return Some(if committing && lost.sent && on_primary && core.tx_wrote {
            unknown_outcome(core)
        } else {
            ClientError::new(
                "40001",
                1213,
                format!("the transaction was lost with node {name}: {}", lost.reason),
            )
            .hint("run the transaction again")
        });
    }
    let may_repeat = plan.class != Class::Write && plan.repeatable && !lost.answered && !attempt.lost;
    if exchange.can_rewind() && !deadly && (!lost.sent || may_repeat) {
        exchange.rewind();
        core.drop_backend();
        attempt.lost |= lost.sent;
        attempt.suspect |= lost.sent && !known;
        attempt.look_again = on_primary;
        if !on_primary {
            attempt.exclude = attempt.exclude.with(node);
        }
        return None;
    }
    if plan.class == Class::Write {
        return Some(unknown_outcome(core));
    }
    Some(if deadly {
        shapes::deadly(core.routing(&core.shared.settings.load()).breaker)
    } else {
        cut_off(&name, &lost.reason)
    })
}

/// What a client is told of a read whose answer is lost and that is not run again.
pub(super) fn cut_off(node: &str, reason: &str) -> ClientError {
    ClientError::new("40001", 2013, format!("the answer was cut off: node {node} was lost ({reason})"))
        .hint("run the statement again")
}
