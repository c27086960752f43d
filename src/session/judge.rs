//! From a segment to a plan, with what the catalog must be asked first; and what a refusal teaches.

use super::core::Core;
use super::deferred;
use super::plan::{Judge, Plan};
use super::prepared::Circumstances;
use super::reading::Reading;
use super::returns;
use super::shapes;
use super::shared::Shared;
use super::unit::Attempt;
use crate::catalog::{Catalog, Names};
use crate::engine::seam::{Engine, Exchange, Part, Refusal};
use crate::engine::{Certainty, Class, PinReason, TxState};
use crate::sql::Context;
use crate::telemetry::ClusterCount;
use std::sync::atomic::Ordering;

/// Judges the framed segment. Only what is not known yet of the database is waited for.
pub(super) async fn plan<E: Engine>(core: &mut Core<E>, exchange: &mut E::Exchange, plan: &mut Plan) {
    make(core, exchange, plan, false);
    if !plan.unknown.is_empty() || plan.names_unknown {
        // Off the warm path: the future is boxed so that it does not make every session's larger.
        Box::pin(load(core, plan)).await;
        // What earlier segments of the unit prepared stands.
        core.statements.undo_from(exchange.base());
        make(core, exchange, plan, false);
        doubt(plan);
    }
    if returns::are_seen(core, plan) {
        core.statements.undo_from(exchange.base());
        make(core, exchange, plan, true);
        doubt(plan);
    }
    plan.apart = core.deferred.is_some() && deferred::is_apart(core, exchange, plan);
}

/// What is still not known (the catalog cannot be read, or changed again) is in doubt.
fn doubt(plan: &mut Plan) {
    for verdict in std::mem::take(&mut plan.unknown) {
        plan.add_doubt(&verdict);
    }
    if std::mem::take(&mut plan.names_unknown) {
        plan.add_ignorance();
    }
}

/// The catalog has changed while a unit waited for its backend, which it has now: what it does is found out anew. Where it then may not run here, the
/// backend goes back and another is looked for.
pub(super) async fn anew<E: Engine>(core: &mut Core<E>, exchange: &mut E::Exchange, before: &mut Plan) {
    let (class, apart) = (before.class, before.apart);
    core.statements.undo_from(exchange.base());
    plan(core, exchange, before).await;
    if before.class != class || before.apart != apart || before.pin.is_some() {
        super::settle::give_back(core, crate::clock::now());
    }
}

/// Whether that is needed: what pins is not trusted anyway, and what a session keeps its backend for has not waited for one.
pub(super) fn is_outdated<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> bool {
    let waits =
        core.tx == TxState::Idle && core.pin.is_none() && plan.pin.is_none() && !exchange.is_mid_unit();
    waits && plan.generation != core.lane.catalog.generation()
}

/// Judges a text that is not going to run. Only what is not known yet of the database is waited for.
pub(super) async fn text<E: Engine>(core: &Core<E>, text: &[u8]) -> Plan {
    let make = |core: &Core<E>| {
        let (generation, names) = core.lane.catalog.known();
        let known = (generation, names.as_deref());
        Plan::of_text(text, &judge(&core.shared, &core.lane.catalog, known, &core.reading))
    };
    let mut plan = make(core);
    if !plan.unknown.is_empty() || plan.names_unknown {
        load(core, &plan).await;
        plan = make(core);
        doubt(&mut plan);
    }
    plan
}

/// What a text is judged under; what is `known` is a generation of the catalog, and its names.
pub(super) fn judge<'a, E: Engine>(
    shared: &'a Shared<E>,
    catalog: &'a Catalog,
    (generation, names): (u64, Option<&'a Names>),
    reading: &'a Reading,
) -> Judge<'a> {
    let Reading { path, path_key, lexing, server_major, .. } = reading;
    Judge {
        verdicts: &shared.verdicts,
        context: Context {
            lexing: *lexing,
            server_major: *server_major,
            generation,
            path: *path_key,
            search_path: path,
            names,
        },
        catalog,
        path,
        store: &shared.store,
        circumstances: Circumstances { generation, path: *path_key, lexing: *lexing },
        first: None,
    }
}

fn make<E: Engine>(core: &mut Core<E>, exchange: &mut E::Exchange, plan: &mut Plan, returns: bool) {
    let (generation, names) = core.lane.catalog.known();
    let mut judge = judge(&core.shared, &core.lane.catalog, (generation, names.as_deref()), &core.reading);
    let first: Vec<_>;
    if returns {
        first = returns::first(&core.startup, &core.greeting).collect();
        judge.first = Some(&first);
    }
    plan.make(exchange, &mut core.statements, &judge);
    if plan.writes && plan.pin.is_none() && core.pin.is_none() && asks_for_values(core) {
        plan.pins(PinReason::Sequence, Certainty::Known);
    }
    if plan.early {
        // Before it is sent: the monitor's next answer must not count such a write as durable.
        core.shared.state.async_commit_seen.store(true, Ordering::Release);
    }
}

// Whether sessions like this one ask what their sequences gave them.
fn asks_for_values<E: Engine>(core: &Core<E>) -> bool {
    let (identity, alias) = (&core.lane.identity, &core.lane.alias);
    core.shared.askers.knows(&identity.user, alias, &core.place.application, crate::clock::now())
}

async fn load<E: Engine>(core: &Core<E>, plan: &Plan) {
    let relations: Vec<_> =
        plan.unknown.iter().flat_map(|verdict| verdict.relations.iter().cloned()).collect();
    let (shared, database, catalog) = (&core.shared, &core.lane.identity.database, &core.lane.catalog);
    let ask = async |request| super::catalog::load(shared, database, catalog, request).await;
    let cleared = catalog.load(&core.reading.path, &relations, ask).await;
    tracing::trace!(?cleared, "catalog asked");
}

/// Whether a refused unit is run again on the primary instead of showing the refusal.
pub(super) fn repeats<E: Engine>(core: &Core<E>, plan: &Plan, attempt: &Attempt, refusal: &Refusal) -> bool {
    if core.tx != TxState::Idle {
        return false;
    }
    if core.on_replica() {
        let there = not_on_a_standby(refusal) || is_conflict(refusal);
        return !attempt.refused && (refusal.stale || (plan.repeatable && there));
    }
    // A statement that is outdated on the primary is prepared anew there.
    !attempt.probed && plan.repeatable && refusal.sqlstate == *b"25006" && !is_read_only(core)
}

// The session's own wish to be read-only is no sign of anything.
fn is_read_only<E: Engine>(core: &Core<E>) -> bool {
    core.wanted.get("default_transaction_read_only").is_some_and(|is| {
        !matches!(&*is.to_ascii_lowercase(), "off" | "false" | "no" | "0" | "of" | "f" | "n")
    })
}

/// A refused unit is run again: on the primary, elsewhere, or when the monitor has looked who is primary.
pub(super) fn again<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    attempt: &mut Attempt,
    refusal: &Refusal,
) {
    core.shared.stats.count(ClusterCount::Reruns);
    if refusal.stale {
        // The replica may lag behind a change of the schema: that says nothing of the statement, nor of the node.
        attempt.refused = true;
        return;
    }
    match attempt.ran_on {
        Some((node, true)) => {
            core.shared.stats.count(ClusterCount::Probed);
            core.shared.state.suspect(node, "a write was refused as read-only");
            attempt.probed = true;
            attempt.look_again = true;
        }
        Some((node, false)) if is_conflict(refusal) => {
            core.shared.stats.count(ClusterCount::Conflicts);
            attempt.exclude = attempt.exclude.with(node);
            attempt.conflicts |= attempt.conflicted || shapes::conflicted(core, exchange);
            attempt.conflicted = true;
        }
        _ => {
            learn(core, exchange, plan, refusal);
            attempt.refused = true;
        }
    }
}

// Replay came in the way of a read.
fn is_conflict(refusal: &Refusal) -> bool {
    matches!(&refusal.sqlstate, b"40001" | b"40P01") && refusal.message.contains("conflict with recovery")
}

/// What a standby refuses because it is one; nothing has happened then.
fn not_on_a_standby(refusal: &Refusal) -> bool {
    match &refusal.sqlstate {
        b"25006" => true,
        b"0A000" => ["hot standby", "during recovery"].iter().any(|text| refusal.message.contains(text)),
        b"55000" => refusal.message.contains("recovery is in progress"),
        b"XX000" => refusal.message.contains("during recovery"),
        _ => false,
    }
}

// A standby refused what the verdict held for a read: the shape is a write from now on.
fn learn<E: Engine>(core: &mut Core<E>, exchange: &E::Exchange, plan: &Plan, refusal: &Refusal) {
    if plan.class != Class::Read || refusal.sqlstate != *b"25006" {
        return;
    }
    let (generation, names) = core.lane.catalog.known();
    let context = Context {
        lexing: core.reading.lexing,
        server_major: core.reading.server_major,
        generation,
        path: core.reading.path_key,
        search_path: &core.reading.path,
        names: names.as_deref(),
    };
    for index in 0..exchange.parts() {
        let learnt = match exchange.part(index) {
            Part::Text(text) | Part::Prepare { text, .. } => {
                core.shared.verdicts.learn_write(text, &context);
                true
            }
            Part::Use { name, runs: true } => match core.statements.find(name) {
                Some(entry) => {
                    core.shared.verdicts.learn_write(entry.prepared.text(), &context);
                    entry.memo.store(None);
                    true
                }
                None => false,
            },
            _ => false,
        };
        if learnt {
            core.shared.stats.count(ClusterCount::Learnt);
        }
    }
}
