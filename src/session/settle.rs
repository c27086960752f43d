//! After a unit: what it did to the session, and what becomes of the backend.

use super::core::Core;
use super::plan::Plan;
use super::unit::dirt_of;
use crate::clock::{self, Tick};
use crate::engine::seam::{Backend, Engine, Exchange, Outcome};
use crate::engine::{Class, Dirt, Pin, TxState};
use crate::routing::Sticky;
use crate::sql::Transaction;
use crate::task;
use crate::telemetry::counters::{Count, Query};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// So long it is remembered who asks for its own values of sequences.
const ASKER: Duration = Duration::from_secs(300);

/// Takes over what a unit did, and gives the backend back when nothing keeps it.
pub(super) fn unit<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    plan: &Plan,
    outcome: &Outcome,
    began: Tick,
) {
    let now = clock::now();
    let was = std::mem::replace(&mut core.tx, outcome.tx);
    super::deferred::settled(core, plan, outcome);
    core.place.in_transaction.store(core.client_tx() != TxState::Idle, Ordering::Relaxed);
    if was == TxState::Idle && outcome.tx != TxState::Idle {
        core.tx_since = began;
    }
    super::supply::settled(core, exchange.confirmed(), plan, outcome);
    if plan.simple {
        core.statements.forget_anonymous();
    }
    freshness(core, plan, outcome, was, (began, now));
    super::doubts::note(core, exchange, plan);
    if outcome.failed.is_none() {
        super::shapes::ran_well(core, exchange, plan);
    }
    reported(core, exchange, plan, outcome);
    super::listen::settled(core, exchange, plan, outcome);
    super::effects::take_over(core, exchange, plan, outcome, was);
    if plan.own_values {
        // Who asks once asks again: its next sessions keep the connection that their values are on.
        let (user, database) = (&core.lane.identity.user, &core.lane.alias);
        core.shared.askers.note(user, database, &core.place.application, ASKER);
    }
    super::effects::doubt_pins(core, plan, outcome, was);
    if plan.ddl || outcome.ddl {
        core.lane.catalog.forget();
        core.tx_ddl = outcome.tx != TxState::Idle;
    } else if core.tx_ddl && outcome.tx == TxState::Idle {
        core.lane.catalog.forget();
        core.tx_ddl = false;
    }
    figures(core, exchange, plan, was, began, now);
    exchange.finish();
    // What settings have become is asked first, if only the server knows.
    if core.must_keep() || exchange.is_mid_unit() || core.journal.is_some() {
        return;
    }
    give_back(core, now);
}

// The instants that floors are made of.
fn freshness<E: Engine>(
    core: &mut Core<E>,
    plan: &Plan,
    outcome: &Outcome,
    was: TxState,
    (began, now): (Tick, Tick),
) {
    let Some(held) = &mut core.held else { return };
    core.last_node = Some(held.node);
    if held.pass.is_some() && outcome.failed == Some(*b"25006") {
        // The session may be read-only by its own wish; or the node is no primary any more: the monitor looks at once.
        core.shared.state.suspect(held.node, "a write was refused as read-only");
    }
    core.tx_wrote |= plan.wrote();
    if plan.wrote() {
        let drawn = held.lease.drawn().and(core.place.id);
        held.lease.set_drawn(drawn);
    }
    // Whatever may have been written is acknowledged (or, after an error in a transaction that had written, may be seen) by now.
    let ended = was != TxState::Idle && outcome.tx == TxState::Idle;
    let told = core.tx_wrote && (outcome.tx == TxState::Idle || ended || outcome.transactions > 0);
    // An engine whose answers stop at the session before they leave has had it noted there.
    let noted = core.last_write >= began;
    let (on_primary, node, start) = (held.pass.is_some(), held.node, held.start);
    if told && !noted {
        core.wrote();
    }
    if outcome.tx == TxState::Idle {
        core.tx_wrote = false;
    }
    if on_primary {
        if plan.wrote() || (plan.class == Class::Read && plan.effects.is_empty()) {
            // What the primary showed, no replica is known to have.
            core.sticky = None;
            core.last_read_end = now;
        }
    } else {
        core.sticky = Some(Sticky { node, start });
        core.last_read_end = now;
    }
}

fn reported<E: Engine>(core: &mut Core<E>, exchange: &mut E::Exchange, plan: &Plan, outcome: &Outcome) {
    let controlled = plan.transaction == Transaction::Other;
    let resets = plan.resets() && !plan.returns && outcome.failed.is_none() && !controlled;
    if resets {
        core.told.retain(|(name, _)| !plan.resets_setting(name));
    } else if exchange.reported().is_empty() {
        return;
    }
    let primary = !core.on_replica();
    for (name, value) in std::mem::take(exchange.reported()) {
        if primary && &*name != "in_hot_standby" && !(resets && plan.resets_setting(&name)) {
            core.tell(name, value);
        }
    }
    core.read_anew();
}

/// The session keeps its backend from here on.
pub(super) fn pin_session<E: Engine>(core: &mut Core<E>, pin: Pin, command: &'static str) {
    let Some(held) = &mut core.held else { return };
    held.lease.soil(dirt_of(pin.reason, E::DIALECT));
    // The limit was asked before the statement ran; what turns out to pin only afterwards is not sent away for it.
    let _counted = held.lease.pin();
    let pins = core.shared.pools.node(held.node);
    match &core.pin_entry {
        Some(entry) => entry.add(pin),
        None => {
            core.shared.stats.pinned(pin.reason);
            tracing::debug!(client = core.place.id, reason = pin.reason.word(), command, "session pinned");
            *core.place.pinned_by.lock() = command;
            core.pin_entry = Some(pins.pins().enter(u64::from(core.place.id), pin, clock::now()));
        }
    }
    if core.pin.is_none_or(|held| held.certainty < pin.certainty) {
        core.pin = Some(pin);
        *core.place.pin.lock() = Some(pin);
    }
}

fn figures<E: Engine>(
    core: &Core<E>,
    exchange: &mut E::Exchange,
    plan: &Plan,
    was: TxState,
    began: Tick,
    now: Tick,
) {
    let (received, sent) = exchange.traffic();
    let took = now.since(began);
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let traffic = &core.lane.traffic;
    traffic.query(Query { received, sent, took_us: us(took) });
    if plan.prepares > 0 {
        traffic.add(Count::ClientParses, u64::from(plan.prepares));
    }
    if core.client_tx() == TxState::Idle {
        let since = if was == TxState::Idle { began } else { core.tx_since };
        traffic.transaction(us(now.since(since)));
    }
    let histogram =
        if core.on_replica() { &core.shared.stats.query_replica } else { &core.shared.stats.query_primary };
    histogram.record(took);
    let slow = core.shared.slow_query.load(Ordering::Relaxed);
    if slow != 0 && took >= Duration::from_nanos(slow) {
        super::slow::log(core, exchange, plan, took);
    }
}

/// Gives the backend back: at once when nothing is on its way to it, else when it has arrived; cleaned first when it is not clean.
pub(super) fn give_back<E: Engine>(core: &mut Core<E>, now: Tick) {
    let Some(mut held) = core.let_go() else { return };
    let dirt = held.lease.dirt();
    if held.lease.tx() != TxState::Idle || dirt == Dirt::Incurable {
        return held.lease.close();
    }
    if held.lease.cancel_target().coming.load(Ordering::Acquire) == 0 && dirt == Dirt::Clean {
        return held.lease.give_back(now);
    }
    let reset_limit = core.shared.settings.load().timeouts.connect;
    task::spawn("clean backend", async move {
        let target = Arc::clone(held.lease.cancel_target());
        loop {
            let arrived = target.arrived.notified();
            if target.coming.load(Ordering::Acquire) == 0 {
                break;
            }
            arrived.await;
        }
        // A cancel that came late may meet the reset: then it is not clean, and closed.
        let reset = tokio::time::timeout_at(clock::deadline(reset_limit), held.lease.reset(dirt)).await;
        if matches!(reset, Ok(Ok(()))) && held.lease.tx() == TxState::Idle {
            held.lease.unpin();
            held.lease.give_back(clock::now());
        }
    });
}

/// Closes the backend in the midst of a unit that nobody waits for any more, and stops what runs there. A cancel that comes before the
/// server has begun what it is meant for does nothing: it is sent again until the server says something.
pub(super) fn abandon<E: Engine>(core: &mut Core<E>) {
    const CANCELS: u32 = 7;
    core.pin_entry = None;
    let Some(mut held) = core.let_go() else { return };
    let shared = Arc::clone(&core.shared);
    task::spawn("abandon backend", async move {
        let current = (held.node, Arc::clone(held.lease.cancel_target()));
        let mut pause = Duration::from_millis(20);
        for _ in 0..CANCELS {
            super::cancel::send(&shared, &current);
            let said = poll_fn(|cx| held.lease.poll_readable(cx));
            if tokio::time::timeout_at(clock::deadline(pause), said).await.is_ok() {
                break;
            }
            pause *= 2;
        }
        held.lease.close();
    });
}

/// The session is over.
pub(super) fn leave<E: Engine>(core: &mut Core<E>) {
    core.pin = None;
    core.pin_entry = None;
    let in_transaction = core.tx != TxState::Idle;
    if core.exchange.is_some() || in_transaction || core.journal.is_some() {
        core.drop_backend();
    } else {
        give_back(core, clock::now());
    }
}
