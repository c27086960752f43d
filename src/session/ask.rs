//! What a session asks of the router for a unit: by what the unit does, what the session has seen, and what its defaults are.

use super::core::Core;
use super::floor;
use super::plan::Plan;
use super::unit::Attempt;
use super::waits::patience;
use crate::clock::Tick;
use crate::config::settings::{Cluster, Consistency, PoolMode, RouteSetting};
use crate::engine::Class;
use crate::engine::seam::Engine;
use crate::routing::Ask;
use crate::sql::{Isolation, Transaction};

/// What is asked of the router for `plan` in this session.
pub(super) fn ask<E: Engine>(
    core: &Core<E>,
    settings: &Cluster,
    plan: &Plan,
    attempt: &mut Attempt,
    now: Tick,
) -> Ask {
    let routing = core.routing(settings);
    // What is acknowledged while it waits it need not see: a steady writer would keep it waiting.
    let floor = *attempt.floor.get_or_insert_with(|| floor::floor(core, plan, routing));
    let mut ask = by_plan(plan, floor.level, core.route, core.lane.mode, now);
    ask.exclude = attempt.exclude;
    by_defaults(core, plan, &mut ask, now);
    if core.deferred.is_some() && !plan.apart {
        // It needs its transaction, which begins on the primary.
        (ask.class, ask.doubt, ask.hint, ask.route) = (Class::Write, false, None, RouteSetting::Auto);
        ask.read_only_tx = false;
    }
    if floor.level == Consistency::Eventual {
        return ask;
    }
    ask.floor = floor.written.max(core.last_read_end);
    ask.sticky = core.sticky;
    ask.sticky_floor = floor.written;
    if attempt.wait_until.is_none() {
        // Whoever waits already has paid for a part of it, and waits to the end of its patience.
        ask.expected = core.shared.state.rounds.expected();
    }
    ask.patience = match attempt.wait_until {
        Some(until) => until.since(now),
        None => patience(core, routing, floor.written, now),
    };
    ask
}

/// What is asked of the router for what `plan` does, before what the session has seen is added.
pub(super) fn by_plan(
    plan: &Plan,
    consistency: Consistency,
    route: RouteSetting,
    mode: PoolMode,
    now: Tick,
) -> Ask {
    let mut ask = Ask::new(plan.class, consistency, now);
    ask.doubt = plan.doubt;
    ask.hint = plan.hint;
    ask.route = route;
    if plan.open && plan.runs > 0 && plan.class != Class::Write {
        // What has run cannot move, and it is not known yet what follows.
        ask.class = Class::Write;
        ask.doubt = true;
    }
    match plan.transaction {
        Transaction::Begin { read_only: Some(true), .. } if !plan.writes => {
            ask.read_only_tx = true;
        }
        Transaction::None => {}
        // Every other transaction is the primary's.
        _ => ask.class = Class::Write,
    }
    if !plan.effects.is_empty() {
        // Settings are judged and reported by the primary, whatever node they are carried to later.
        ask.class = ask.class.max(Class::NodeLocal);
        ask.hint = None;
        ask.route = RouteSetting::Auto;
    }
    if plan.pin.is_some() || mode == PoolMode::Session {
        ask.class = Class::Write;
        ask.hint = None;
        ask.doubt = false;
    }
    ask
}

// What the session's defaults make of a transaction, or of a single statement, which is one, too.
fn by_defaults<E: Engine>(core: &Core<E>, plan: &Plan, ask: &mut Ask, now: Tick) {
    let plain = plan.pin.is_none() && plan.effects.is_empty() && core.lane.mode == PoolMode::Transaction;
    match plan.transaction {
        Transaction::Begin { read_only: None, isolation, .. }
            if core.is_read_only() && !plan.writes && plain && may_begin_on_replica(core, isolation, now) =>
        {
            ask.read_only_tx = true;
            ask.class = plan.class;
        }
        Transaction::Begin { read_only: Some(true), isolation, .. }
            if !may_begin_on_replica(core, isolation, now) =>
        {
            ask.read_only_tx = false;
            ask.class = Class::Write;
        }
        Transaction::None if ask.class == Class::Read && core.serializable => {
            ask.class = Class::NodeLocal;
            ask.hint = None;
            ask.route = RouteSetting::Auto;
        }
        _ => {}
    }
}

// A standby knows no serializable transactions.
fn may_begin_on_replica<E: Engine>(core: &Core<E>, isolation: Option<Isolation>, now: Tick) -> bool {
    let serializable = match isolation {
        Some(isolation) => isolation == Isolation::Serializable,
        None => core.serializable,
    };
    let (identity, alias) = (&core.lane.identity, &core.lane.alias);
    !serializable && !core.shared.readers.knows(&identity.user, alias, &core.place.application, now)
}
