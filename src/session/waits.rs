//! What a unit waits for before it has a backend: a primary, a replica that is fresh enough, the monitor's look.

use super::core::Core;
use super::registry::Activity;
use super::unit::Attempt;
use crate::clock::{self, Tick};
use crate::cluster::{ClusterView, Health};
use crate::config::settings::{Cluster, ConsistencyWait, ReadsWithoutPrimary, Routing};
use crate::engine::seam::{Engine, Exchange};
use crate::error::{ClientError, SqlState};
use crate::failover::Pass;
use crate::routing::Why;
use crate::telemetry::ClusterCount;
use std::future::poll_fn;
use std::time::Duration;

/// SQLSTATE when no primary may be spoken to.
const NO_PRIMARY: SqlState = SqlState(*b"57P03");
/// How long a read waits for a fresh replica at `consistency_wait: auto`, with a free primary and with a busy one.
const PATIENCE_FREE: Duration = Duration::from_millis(3);
const PATIENCE_BUSY: Duration = Duration::from_millis(10);
/// The most that a session waits whose last write was long ago, and the part of that time that it waits.
const PATIENCE_RETURN: Duration = Duration::from_millis(50);
const RETURN_SHARE: u32 = 2;
/// The same for a session that has written nothing and has no replica yet. Less than the longest time that is ever expected: where
/// replicas are far behind, nobody waits.
const PATIENCE_FIRST: Duration = Duration::from_millis(90);

/// A backend was lost, and what it was lent for is tried again: when the monitor has looked at the primary twice since, for one
/// refusal closes no gate, and other backends may be about to end like this one.
pub(super) async fn look_again<E: Engine>(core: &Core<E>) {
    let limit = core.shared.settings.load().failover.hold;
    let rounds = &core.shared.state.rounds;
    let completed = rounds.completed();
    rounds.ask();
    core.place.set_activity(Activity::Waiting);
    // Without a monitor nothing is known: the gate decides.
    drop(tokio::time::timeout_at(clock::deadline(limit), rounds.after(completed.saturating_add(1))).await);
}

/// Waits for the primary that the gate lets through.
pub(super) async fn hold<E: Engine>(
    core: &Core<E>,
    exchange: &E::Exchange,
    settings: &Cluster,
    attempt: &mut Attempt,
) -> Result<Pass, ClientError> {
    if let Some(pass) = core.shared.state.gate.now() {
        return Ok(pass);
    }
    let now = clock::now();
    let until = *attempt.hold_until.get_or_insert_with(|| {
        core.shared.stats.count(ClusterCount::Held);
        now.plus(settings.failover.hold)
    });
    let bytes = exchange.held() as u64;
    if !core.shared.hold(bytes) {
        return Err(no_primary(core, settings, "the statements that wait for one fill failover.hold_bytes"));
    }
    core.place.set_activity(Activity::Waiting);
    let opened = tokio::select! {
        biased;
        error = poll_fn(|cx| core.place.poll_interrupt(cx)) => Err(Some(error)),
        pass = core.shared.state.gate.opened() => Ok(pass),
        () = tokio::time::sleep_until(clock::deadline(until.since(now))) => Err(None),
    };
    core.shared.unhold(bytes);
    opened.map_err(|interrupt| {
        if let Some(error) = interrupt {
            return error;
        }
        core.shared.stats.count(ClusterCount::HeldTimeouts);
        no_primary(core, settings, &format!("waited {:?} for one (failover.hold)", settings.failover.hold))
    })
}

fn no_primary<E: Engine>(core: &Core<E>, settings: &Cluster, waited: &str) -> ClientError {
    let view = core.shared.state.view.load();
    let why = view.no_primary.as_deref().unwrap_or("it is being looked for");
    ClientError::new(
        "57P03",
        1053,
        format!("cluster {} has no primary that may be spoken to: {why}", settings.name),
    )
    .detail(format!("The statement was not sent; {waited}."))
    .hint("`primacy status` shows the nodes and what is wrong with each")
}

/// Waits for what the monitor's rounds bring next, at most until the read's patience is over.
pub(super) async fn barrier<E: Engine>(core: &Core<E>, attempt: &mut Attempt) {
    let rounds = &core.shared.state.rounds;
    let now = clock::now();
    let patience = match attempt.wait_until {
        Some(until) => until.since(now),
        None => {
            core.shared.stats.count(ClusterCount::BarrierWaits);
            let settings = core.shared.settings.load();
            let written = attempt.floor.map_or(Tick::ZERO, |floor| floor.written);
            let patience = patience(core, core.routing(&settings), written, now);
            attempt.wait_until = Some(now.plus(patience));
            patience
        }
    };
    core.place.set_activity(Activity::Waiting);
    // Whoever asked the router has asked for rounds.
    if tokio::time::timeout_at(clock::deadline(patience), rounds.newer(rounds.news())).await.is_err() {
        core.shared.stats.count(ClusterCount::BarrierTimeouts);
        attempt.wait_until = Some(Tick::ZERO);
    }
    core.shared.stats.barrier.record(clock::now().since(now));
}

/// How long a read that no replica is fresh enough for may wait. Where nothing was `written` that binds it since it logged in, it waits longer, for
/// the round that its login asked for: once it has a replica it stays there, and what it would read of the primary before would only raise its
/// floor. So does one that was bound by a write last a while ago: each read of the primary sends the next one there, too, and waiting once
/// ends that. Where somebody writes all the time, it does not, and nobody waits longer than a round is worth.
pub(super) fn patience<E: Engine>(core: &Core<E>, routing: &Routing, written: Tick, now: Tick) -> Duration {
    if let ConsistencyWait::Fixed(wait) = routing.consistency_wait {
        return wait;
    }
    if written <= core.login && core.sticky.is_none() {
        return PATIENCE_FIRST;
    }
    let least = if primary_is_busy(core) { PATIENCE_BUSY } else { PATIENCE_FREE };
    let since = now.since(written.max(core.login)) / RETURN_SHARE;
    since.min(PATIENCE_RETURN).max(least)
}

fn primary_is_busy<E: Engine>(core: &Core<E>) -> bool {
    let Some(pass) = core.shared.state.gate.now() else { return false };
    core.lane.pool(pass.node).is_some_and(|pool| pool.stats(clock::now()).waiting > 0)
}

/// No primary came for a read that only lacks the proof that a replica is fresh enough. Whether it is served all the same.
pub(super) fn serves_unproved<E: Engine>(
    core: &Core<E>,
    settings: &Cluster,
    why: Why,
    attempt: &mut Attempt,
    error: &ClientError,
) -> bool {
    let serve = core.routing(settings).reads_without_primary == ReadsWithoutPrimary::Serve
        && why == Why::NotFresh
        && !attempt.unproved
        && error.sqlstate == NO_PRIMARY;
    if serve {
        core.shared.stats.count(ClusterCount::ServedUnproved);
        attempt.unproved = true;
    }
    serve
}

/// How fresh the freshest replica is known to be that answers.
pub(super) fn freshest(view: &ClusterView) -> Tick {
    let up = view.nodes.iter().filter(|node| node.health == Health::Up && view.primary != Some(node.id));
    up.map(|node| node.live.fresh_as_of()).max().unwrap_or(Tick::ZERO)
}
