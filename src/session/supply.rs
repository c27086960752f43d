//! Prepared statements that must be on a backend before a unit is sent, and those that turned out to be outdated there.

use super::core::Core;
use super::judge;
use super::plan::Plan;
use super::unit::{Attempt, Ended};
use super::used::Used;
use crate::engine::TxState;
use crate::engine::seam::{Backend, Confirmed, Engine, Exchange, Lost, Outcome, Prepared, Refusal};
use crate::error::ClientError;
use smallvec::SmallVec;
use std::future::poll_fn;
use std::sync::Arc;

/// Whether units of our own must go ahead of `plan`.
pub(super) fn is_needed<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> bool {
    exchange.is_moved() || lacks(core, exchange, plan)
}

/// Says what must be said to the server before the unit.
pub(super) async fn ahead<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &mut Plan,
) -> Result<(), Ended> {
    if exchange.is_moved() {
        compare(core, exchange).await?;
    }
    if lacks(core, exchange, plan) { bring(core, exchange, plan).await } else { Ok(()) }
}

// The unit began on another server: what the client was told there of its statements must be true here, too.
async fn compare<E: Engine>(core: &mut Core<E>, exchange: &E::Exchange) -> Result<(), Ended> {
    let Some(held) = &mut core.held else { return Err(Ended::Lost(Box::default())) };
    match exchange.is_described_alike(&mut held.lease).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            if !core.must_keep() {
                super::settle::give_back(core, crate::clock::now());
            }
            let text = "this pipeline began on a replica that describes its statements otherwise than the primary does: it cannot move there";
            let error = ClientError::new("40001", 1213, text)
                .hint("send it again: the replica lags behind a change of the schema");
            Err(Ended::Void(Box::new(error)))
        }
        Err(error) => Err(Ended::Lost(Box::new(Lost { reason: error.to_string(), ..Lost::default() }))),
    }
}

fn lacks<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> bool {
    if (plan.used.is_empty() && plan.gains.is_empty()) || exchange.is_mid_unit() || core.tx == TxState::Failed
    {
        return false;
    }
    let Some(held) = &core.held else { return false };
    let lacks = |used: &Used| {
        let columns = &used.entry.prepared.columns;
        let there = held.lease.standing(used.entry.prepared.id) == Some(true);
        // An outdated one became so since the unit was judged.
        if used.vouched {
            used.by_text && !there
        } else {
            columns.are_outdated() || (!there && (used.by_text || columns.are_known()))
        }
    };
    plan.used.iter().any(lacks) || plan.gains.iter().any(|id| held.lease.standing(*id).is_some())
}

// Brings what the backend lacks, and takes away what the unit's own texts prepare.
async fn bring<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &mut Plan,
) -> Result<(), Ended> {
    let replica = core.on_replica();
    let Some(held) = &mut core.held else { return Err(Ended::Lost(Box::default())) };
    let there: Vec<u64> =
        plan.gains.iter().copied().filter(|id| held.lease.standing(*id).is_some()).collect();
    if !there.is_empty() {
        held.lease.drop_statements(&there).await.map_err(lost)?;
    }
    let lacking: Vec<Arc<Prepared>> = plan
        .used
        .iter()
        .filter(|used| used.by_text || (!used.vouched && used.entry.prepared.columns.are_known()))
        .map(|used| &used.entry.prepared)
        .filter(|prepared| held.lease.standing(prepared.id) != Some(true))
        .map(Arc::clone)
        .collect();
    let refused = held.lease.prepare(&lacking).await.map_err(lost)?;
    let is_outdated = |used: &Used| !used.vouched && used.entry.prepared.columns.are_outdated();
    let outdated = plan.used.iter().any(is_outdated);
    if replica && core.tx == TxState::Idle && (refused.is_some() || outdated) {
        // It may lag behind a change of the schema: the primary knows.
        return Err(elsewhere(core, plan));
    }
    if let Some(error) = refused {
        return Err(Ended::Refused(Box::new(error)));
    }
    if outdated {
        core.statements.undo();
        judge::plan(core, exchange, plan).await;
    }
    Ok(())
}

fn lost(error: std::io::Error) -> Ended {
    Ended::Lost(Box::new(Lost { reason: error.to_string(), ..Lost::default() }))
}

fn elsewhere<E: Engine>(core: &mut Core<E>, plan: &Plan) -> Ended {
    doubt(core, plan);
    super::settle::give_back(core, crate::clock::now());
    let message = "a prepared statement is not described as on the primary".to_owned();
    Ended::Again(Box::new(Refusal { sqlstate: *b"0A000", message, stale: true }))
}

/// What stands on the backend is not what it should be: it is prepared anew before it is used there again.
pub(super) fn doubt<E: Engine>(core: &mut Core<E>, plan: &Plan) {
    let Some(held) = &mut core.held else { return };
    for used in &plan.used {
        if held.lease.standing(used.entry.prepared.id).is_some() {
            held.lease.doubt(used.entry.prepared.id);
        }
    }
}

/// The server refused before anything left. What becomes of it; `None` = it is passed on.
pub(super) async fn refused_in_time<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &mut Plan,
    attempt: &Attempt,
    refusal: Box<Refusal>,
) -> Option<Ended> {
    if !core.on_replica() && heals(core, plan, attempt, &refusal) {
        return Some(heal(core, exchange, plan).await);
    }
    if !judge::repeats(core, plan, attempt, &refusal) {
        return None;
    }
    Some(again(core, exchange, plan, refusal).await)
}

// Whether a refusal of the primary's, of which nothing has left, is for a statement that can be prepared anew there.
fn heals<E: Engine>(core: &Core<E>, plan: &Plan, attempt: &Attempt, refusal: &Refusal) -> bool {
    refusal.stale
        && !attempt.healed
        && core.tx == TxState::Idle
        && core.held.is_some()
        && !plan.used.is_empty()
}

// Prepares the unit's statements anew on its backend, so that it can run again there.
async fn heal<E: Engine>(core: &mut Core<E>, exchange: &mut E::Exchange, plan: &mut Plan) -> Ended {
    let Some(held) = &mut core.held else { return Ended::Lost(Box::default()) };
    if let Err(error) = poll_fn(|cx| exchange.poll_repeat(cx, &mut held.lease)).await {
        exchange.rewind();
        return lost(error);
    }
    let used: SmallVec<[Arc<Prepared>; 4]> =
        plan.used.iter().map(|used| Arc::clone(&used.entry.prepared)).collect();
    // What is refused now is refused again when the unit runs, in the server's own words.
    if let Err(error) = held.lease.prepare(&used).await {
        return lost(error);
    }
    core.statements.undo();
    judge::plan(core, exchange, plan).await;
    Ended::Healed
}

// A refusal is not passed on: the rest of the answer is dropped, and the backend is free for others.
async fn again<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &Plan,
    refusal: Box<Refusal>,
) -> Ended {
    if refusal.stale {
        doubt(core, plan);
    }
    let Some(held) = &mut core.held else { return Ended::Lost(Box::default()) };
    if poll_fn(|cx| exchange.poll_repeat(cx, &mut held.lease)).await.is_err() {
        exchange.rewind();
    }
    super::settle::give_back(core, crate::clock::now());
    Ended::Again(refusal)
}

/// A unit was answered: takes over what it did to names, and to statements that it found outdated.
pub(super) fn settled<E: Engine>(core: &mut Core<E>, confirmed: &Confirmed, plan: &Plan, outcome: &Outcome) {
    let gained = core.statements.confirm(confirmed);
    if outcome.stale {
        doubt(core, plan);
    }
    if let Some(held) = &mut core.held {
        gained.iter().for_each(|id| held.lease.gained(*id));
    }
    for used in plan.used.iter().filter(|used| used.vouched) {
        renew(core, used);
    }
}

// The client was told columns that others were not: from here on its statement is another.
fn renew<E: Engine>(core: &mut Core<E>, used: &Used) {
    let mut entry = Arc::clone(&used.entry);
    let Some(told) = entry.prepared.columns.now() else { return };
    let id = entry.prepared.id;
    loop {
        entry = core.shared.store.renewed(&entry, entry.circumstances);
        if entry.prepared.columns.learn(told) {
            return core.statements.renew(id, &entry);
        }
    }
}

/// A server's refusal of what had to be there before the unit, as the unit's own answer.
pub(super) fn refused<E: Engine>(core: &mut Core<E>, error: ClientError) -> ClientError {
    core.statements.undo();
    core.tx = core.held.as_ref().map_or(TxState::Idle, |held| held.lease.tx());
    if !core.must_keep() {
        super::settle::give_back(core, crate::clock::now());
    }
    error
}
