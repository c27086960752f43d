//! Finds the node for a unit, and a backend on it: routing, the hold for a primary, the barrier for a fresh replica, the pool.

use super::acquire::{Missed, hand_over, is_prepared, micros, open, prepare, queue, take};
use super::ask::ask;
use super::core::Core;
use super::lost::cut_off;
use super::plan::Plan;
use super::registry::Activity;
use super::unit::Attempt;
use super::waits::{barrier, freshest, hold, look_again, serves_unproved};
use crate::clock::{self, Tick};
use crate::cluster::{ClusterView, Health};
use crate::config::settings::Cluster;
use crate::engine::seam::Engine;
use crate::engine::{Class, NodeId};
use crate::error::{ClientError, SqlState};
use crate::failover::Pass;
use crate::pool::{Purpose, Taken};
use crate::routing::{Choice, Why, route};
use crate::sql::Transaction;
use crate::telemetry::{ClusterCount, Routed};
use std::sync::Arc;

/// SQLSTATE of a server that was lost.
const LOST: SqlState = SqlState(*b"08006");

/// Sees to it that the session holds a backend on which `plan` may run, carrying the session's settings. What need not wait does not: only the
/// slow ways are futures of their own, boxed so that they do not make every session's larger.
pub(super) async fn obtain<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    attempt: &mut Attempt,
    now: Tick,
) -> Result<(), ClientError> {
    if core.held.is_none() {
        match at_once(core, plan, attempt, now) {
            Quick::Held => {}
            Quick::Queue(place) => {
                attempt.waited = true;
                in_turn(core, exchange, plan, attempt, place, now).await?;
            }
            Quick::Search => {
                attempt.waited = true;
                Box::pin(search(core, exchange, plan, attempt)).await?;
            }
        }
    }
    if !is_prepared(core, exchange, plan) {
        Box::pin(prepare(core, plan)).await?;
    }
    if core.ears.is_some() {
        Box::pin(super::listen::before(core, plan)).await;
    }
    Ok(())
}

/// Whether `error` says no more than that a backend was lost while it was made ready, before anything of the unit was sent: then it is one that
/// could not be had, and another is looked for until `failover.hold` is over.
pub(super) fn lost_unsent<E: Engine>(core: &Core<E>, attempt: &mut Attempt, error: &ClientError) -> bool {
    if error.sqlstate != LOST || core.held.is_some() || core.must_keep() {
        return false;
    }
    let (now, hold) = (clock::now(), core.shared.settings.load().failover.hold);
    attempt.look_again = now < *attempt.hold_until.get_or_insert_with(|| now.plus(hold));
    attempt.look_again
}

// What a first look came to.
enum Quick {
    // An idle backend was there.
    Held,
    // The node is known, but all its backends are busy.
    Queue(Wanted),
    // No node, or no primary, as things are.
    Search,
}

// What is waited for in a pool's queue.
struct Wanted {
    node: NodeId,
    pass: Option<Pass>,
    purpose: Purpose,
    chosen: (Choice, Why),
}

// The common way: the node is known, the gate is open, a backend is idle.
fn at_once<E: Engine>(core: &mut Core<E>, plan: &Plan, attempt: &mut Attempt, now: Tick) -> Quick {
    if attempt.look_again {
        return Quick::Search;
    }
    let shared = Arc::clone(&core.shared);
    let settings = shared.settings.load();
    let view = shared.state.view.load();
    let chosen = choose(core, &settings, &view, plan, attempt, now);
    let (node, pass, purpose) = match chosen.0 {
        Choice::Node(node) => (node, None, Purpose::Read),
        Choice::Primary => match shared.state.gate.now() {
            Some(pass) => (pass.node, Some(pass), purpose(plan)),
            None => return Quick::Search,
        },
        Choice::Wait | Choice::Nobody => return Quick::Search,
    };
    let want = core.wants(purpose);
    let (Some(pool), Some(known)) = (core.lane.pool(node), view.node(node)) else { return Quick::Search };
    let Some(lease) = pool.try_take(&want, now) else {
        return Quick::Queue(Wanted { node, pass, purpose, chosen });
    };
    core.lane.traffic.assignment(0);
    count(core, plan, attempt, chosen.0, chosen.1);
    hand_over(core, known, pass, lease);
    Quick::Held
}

// All backends of the node are busy: the session waits for its turn. What was true of the node before is looked at again after it.
async fn in_turn<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    attempt: &mut Attempt,
    Wanted { node, pass, purpose, chosen }: Wanted,
    now: Tick,
) -> Result<(), ClientError> {
    let Some(pool) = core.lane.pool(node).map(Arc::clone) else {
        return Box::pin(search(core, exchange, plan, attempt)).await;
    };
    let lease = match queue(core, &pool, purpose, now).await {
        Ok(Taken::Ready(lease)) => Some(lease),
        Ok(Taken::Open(permit)) => Box::pin(open(core, node, pass, permit)).await.ok(),
        Err(waited) => match waited.told(core, node, &pool) {
            Some(error) => return Err(error),
            None => None,
        },
    };
    let view = core.shared.state.view.load_full();
    let holds = pass.is_none_or(|pass| core.shared.state.gate.holds(pass));
    match (lease, view.node(node)) {
        (Some(lease), Some(known)) if holds && known.health == Health::Up => {
            core.lane.traffic.assignment(micros(clock::now().since(now)));
            count(core, plan, attempt, chosen.0, chosen.1);
            hand_over(core, known, pass, lease);
            Ok(())
        }
        // Another way is looked for; a backend that was lent for nothing goes back.
        (lease, _) => {
            if let Some(lease) = lease {
                lease.give_back(clock::now());
            }
            Box::pin(search(core, exchange, plan, attempt)).await
        }
    }
}

fn purpose(plan: &Plan) -> Purpose {
    let writes = plan.class == Class::Write || plan.transaction != Transaction::None;
    if writes { Purpose::Write } else { Purpose::Read }
}

fn choose<E: Engine>(
    core: &Core<E>,
    settings: &Cluster,
    view: &ClusterView,
    plan: &Plan,
    attempt: &mut Attempt,
    now: Tick,
) -> (Choice, Why) {
    if attempt.refused || attempt.conflicts {
        return (Choice::Primary, Why::Class);
    }
    let mut ask = ask(core, settings, plan, attempt, now);
    if attempt.unproved {
        ask.floor = freshest(view);
        ask.sticky_floor = ask.floor;
    }
    let (choice, why) = route(&ask, view, core.routing(settings), &core.shared.balancer);
    if attempt.suspect && choice == Choice::Primary {
        return (Choice::Nobody, why);
    }
    if why == Why::NotFresh {
        // Also when it does not wait: only rounds show when waiting is worth it again.
        core.shared.state.rounds.ask_for(ask.floor);
    }
    (choice, why)
}

// The long way: until a backend is had or the client's patience is over.
async fn search<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    attempt: &mut Attempt,
) -> Result<(), ClientError> {
    let settings = core.shared.settings.load_full();
    if std::mem::take(&mut attempt.look_again) {
        look_again(core).await;
    }
    loop {
        let view = core.shared.state.view.load_full();
        let (choice, why) = choose(core, &settings, &view, plan, attempt, clock::now());
        let (node, taken) = match choice {
            Choice::Node(node) => (node, take(core, node, None, Purpose::Read).await),
            Choice::Primary => {
                let pass = match hold(core, exchange, &settings, attempt).await {
                    Ok(pass) => pass,
                    Err(error) if !serves_unproved(core, &settings, why, attempt, &error) => {
                        return Err(error);
                    }
                    Err(_) => continue,
                };
                (pass.node, take(core, pass.node, Some(pass), purpose(plan)).await)
            }
            Choice::Wait => {
                barrier(core, attempt).await;
                continue;
            }
            Choice::Nobody if attempt.suspect => {
                let node = attempt.ran_on.map(|(node, _)| core.node_name(node)).unwrap_or_default();
                return Err(cut_off(
                    &node,
                    "it is not run on the primary: it may be what took the server down",
                ));
            }
            Choice::Nobody => return Err(nobody(why)),
        };
        match taken {
            Ok(()) => {
                count(core, plan, attempt, choice, why);
                return Ok(());
            }
            Err(missed) => {
                missed_node(core, &settings, attempt, (node, missed), choice == Choice::Primary).await?
            }
        }
    }
}

/// A backend of the primary that carries the session's settings, for the greeting. With `fresh` a new one, for its login proves the password.
pub(super) async fn first<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    fresh: bool,
) -> Result<(), ClientError> {
    let settings = core.shared.settings.load_full();
    let mut attempt = Attempt::default();
    loop {
        let pass = hold(core, exchange, &settings, &mut attempt).await?;
        if fresh && let Some(pool) = core.lane.pool(pass.node) {
            // Idle backends were opened with the password of another login.
            pool.invalidate();
        }
        match take(core, pass.node, Some(pass), Purpose::Write).await {
            Ok(()) => return prepare(core, &Plan::default()).await,
            Err(missed) => {
                Box::pin(missed_node(core, &settings, &mut attempt, (pass.node, missed), true)).await?
            }
        }
    }
}

fn count<E: Engine>(core: &Core<E>, plan: &Plan, attempt: &Attempt, choice: Choice, why: Why) {
    let routed = match (plan.class, choice, why) {
        (Class::Write, Choice::Primary, _) if plan.cautious() => Routed::ReadCaution,
        (Class::Write, Choice::Primary, _) => Routed::Write,
        (Class::NodeLocal, Choice::Primary, _) => Routed::NodeLocal,
        (_, Choice::Node(_), Why::Hint | Why::Setting) => Routed::ReadReplicaAsked,
        (_, Choice::Node(_), _) => Routed::ReadReplica,
        _ if attempt.conflicts => Routed::ReadConflict,
        _ if attempt.refused => Routed::ReadRefused,
        (_, _, Why::Drawn) => Routed::ReadShared,
        (_, _, Why::NotFresh) => Routed::ReadFreshness,
        (_, _, Why::Hint | Why::Setting) => Routed::ReadAsked,
        (_, _, Why::Class) => Routed::ReadTransaction,
        (_, _, Why::Strong) => Routed::ReadStrong,
        _ => Routed::ReadNoReplica,
    };
    core.shared.stats.routed(routed);
}

fn nobody(why: Why) -> ClientError {
    ClientError::new("57P03", 1105, format!("no replica can serve the read ({})", why.word()))
        .hint("routing.reads_on_primary: never forbids the primary to; `primacy status` shows why each replica is left out")
}

// What to do about a node that could not be had: a read goes elsewhere; what needs the primary waits for the next round.
async fn missed_node<E: Engine>(
    core: &mut Core<E>,
    settings: &Cluster,
    attempt: &mut Attempt,
    (node, missed): (NodeId, Missed),
    primary: bool,
) -> Result<(), ClientError> {
    let why = match missed {
        Missed::Client(error) => return Err(*error),
        Missed::Node(why) => why,
    };
    core.shared.stats.count(ClusterCount::Retries);
    core.shared.state.suspect(node, &why);
    if !primary {
        attempt.exclude = attempt.exclude.with(node);
        return Ok(());
    }
    let now = clock::now();
    let until = *attempt.hold_until.get_or_insert_with(|| now.plus(settings.failover.hold));
    let round = core.shared.state.rounds.completed();
    core.place.set_activity(Activity::Waiting);
    let waited =
        tokio::time::timeout_at(clock::deadline(until.since(now)), core.shared.state.rounds.after(round))
            .await;
    match waited {
        Ok(_) => Ok(()),
        Err(_) => Err(ClientError::new("57P03", 1053, format!("the primary cannot be reached: {why}"))
            .detail("The statement was not sent.")
            .hint("`primacy status` shows the nodes and what is wrong with each")),
    }
}
