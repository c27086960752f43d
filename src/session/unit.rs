//! One unit of a client: judged, routed, sent, answered, settled; and what is tried again when it cannot be.

use super::core::{Core, Held};
use super::floor::Floor;
use super::lost::{lost_backend, lost_leave, may_be_seen, unknown_outcome};
use super::plan::Plan;
use super::registry::Activity;
use super::run::End;
use super::{
    checkout, deferred, dispatch, effects, explain, floor, journal, judge, kill, listen, local, settle,
    shapes, supply, vacate,
};
use crate::clock::{self, Tick};
use crate::engine::seam::{Engine, Exchange, Inbound, Lost, Outcome, Refusal, Relay};
use crate::engine::{Class, Dirt, NodeId, NodeSet, PinReason, TxState};
use crate::error::ClientError;
use crate::net::stream::Stream;
use crate::sql::{Dialect, Transaction};
use crate::telemetry::ClusterCount;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// How long the last words to a client may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What has been tried for a unit.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Nodes that failed it.
    pub exclude: NodeSet,
    /// Where it ran last, and whether as the primary.
    pub ran_on: Option<(NodeId, bool)>,
    /// A replica refused it: the primary it is.
    pub refused: bool,
    /// Replay came in its way on a replica, once; and so often that it runs on the primary.
    pub conflicted: bool,
    pub conflicts: bool,
    /// The believed primary refused it as read-only, and the monitor has looked since.
    pub probed: bool,
    /// A server was lost under it without a word, and it is not known to be harmless: not on the primary.
    pub suspect: bool,
    /// No primary came: the freshest replica serves it.
    pub unproved: bool,
    /// Its prepared statements were outdated, and were prepared anew.
    pub healed: bool,
    /// It was lost once before a byte of its answer was there: not again.
    pub lost: bool,
    /// The primary was lost under it: it waits until the monitor has looked.
    pub look_again: bool,
    /// It had to wait for its backend, and has not been looked at since.
    pub waited: bool,
    /// When waiting for a primary ends; set when it begins.
    pub hold_until: Option<Tick>,
    /// When waiting for a fresh replica ends; set when it begins.
    pub wait_until: Option<Tick>,
    /// What it must see; set when it is first asked for.
    pub floor: Option<Floor>,
}

/// What a unit does, and what has been tried for it; kept from one unit to the next, so that the session's future need not hold it.
#[derive(Debug, Default)]
pub(super) struct Unit {
    plan: Plan,
    attempt: Attempt,
}

/// How a try at a unit ended.
pub(super) enum Ended {
    Settled(Outcome),
    /// Its statements were prepared anew: again, here.
    Healed,
    /// What it needs was refused before anything of it was sent.
    Refused(Box<ClientError>),
    /// Refused before anything of it left: again, elsewhere.
    Again(Box<Refusal>),
    Lost(Box<Lost>),
    ClientLost,
    /// What it came to must not be passed on: this is said instead.
    Void(Box<ClientError>),
    /// The session cannot go on.
    Over(Box<ClientError>),
}

/// Serves the framed segment, and what follows of its unit.
pub(super) async fn serve<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
    began: Tick,
) -> Result<(), End> {
    if explain::wanted::<E::Exchange>(exchange, core.reading.lexing).is_some() {
        // Boxed, so that it does not make every session's future larger.
        return Box::pin(explain_route(core, exchange, client)).await;
    }
    if let Some(kill) = kill::wanted(core, exchange) {
        Box::pin(kill::answer(core, exchange, kill)).await;
        return flush::<E>(exchange, client).await;
    }
    let mut unit = core.unit.take().unwrap_or_default();
    judge::plan(core, exchange, &mut unit.plan).await;
    if vacate::is_needed(core, &unit.plan) {
        Box::pin(vacate::before(core, &unit.plan)).await;
    }
    if listen::concerns(&unit.plan) && !listen::begins(core, &unit.plan) {
        Box::pin(listen::prepare(core, &mut unit.plan)).await;
    }
    unit.attempt = Attempt::default();
    let served = run(core, exchange, client, &mut unit, began).await;
    core.unit = Some(unit);
    served
}

async fn explain_route<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
) -> Result<(), End> {
    explain::answer(core, exchange).await;
    flush::<E>(exchange, client).await
}

// Answers what needs no server. False: it needs one.
fn answered_here<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &Plan,
    began: Tick,
) -> bool {
    if local::answers(core, plan) {
        local::answer(core, exchange, plan);
    } else if let Some(answered) = deferred::answers(core, exchange, plan) {
        deferred::answer(core, exchange, plan, answered, began);
    } else {
        return false;
    }
    true
}

// What is not even tried.
fn refuses<E: Engine>(
    core: &Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    attempt: &mut Attempt,
) -> Option<ClientError> {
    if let Some(error) = local::refuses(core, exchange, plan) {
        return Some(error);
    }
    if core.shared.shapes.any() { shapes::refuses(core, exchange, attempt) } else { None }
}

async fn run<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
    Unit { plan, attempt }: &mut Unit,
    began: Tick,
) -> Result<(), End> {
    if answered_here(core, exchange, plan, began) {
        return flush::<E>(exchange, client).await;
    }
    if let Some(error) = refuses(core, exchange, plan, attempt) {
        return refuse(core, exchange, client, &error).await;
    }
    if let Some(error) = misplaced(core, plan) {
        return void(core, exchange, client, error).await;
    }
    let mut begins = listen::begins(core, plan);
    loop {
        if let Some(held) = &core.held
            && let Some(error) = lost_leave(core, held)
        {
            return void(core, exchange, client, error).await;
        }
        if let Err(error) = checkout::obtain(core, exchange, plan, attempt, began).await {
            if checkout::lost_unsent(core, attempt, &error) {
                core.shared.stats.count(ClusterCount::Retries);
                continue;
            }
            return not_sent(core, exchange, client, error).await;
        }
        if std::mem::take(&mut attempt.waited) && judge::is_outdated(core, exchange, plan) {
            Box::pin(judge::anew(core, exchange, plan)).await;
            continue;
        }
        if std::mem::take(&mut begins) {
            // The primary has the transaction now: in it this is what it is in any other.
            Box::pin(listen::prepare(core, plan)).await;
            if answered_here(core, exchange, plan, began) {
                return flush::<E>(exchange, client).await;
            }
            continue;
        }
        core.place.set_activity(Activity::Active);
        attempt.ran_on = core.held.as_ref().map(|held| (held.node, held.pass.is_some()));
        match relay(core, exchange, client, plan, attempt).await {
            Ended::Settled(outcome) => {
                settle::unit(core, exchange, plan, &outcome, began);
                let asks = core.journal.is_some() || effects::is_to_be_asked(core);
                return if asks && !exchange.is_mid_unit() { Box::pin(ask(core)).await } else { Ok(()) };
            }
            Ended::Healed => {
                core.shared.stats.count(ClusterCount::Reruns);
                attempt.healed = true;
            }
            Ended::Again(refusal) => judge::again(core, exchange, plan, attempt, &refusal),
            Ended::Lost(lost) => match lost_backend(core, exchange, plan, attempt, &lost) {
                None => core.shared.stats.count(ClusterCount::Retries),
                Some(error) => {
                    return Box::pin(over(core, exchange, client, plan, Ended::Void(Box::new(error)))).await;
                }
            },
            ended => return Box::pin(over(core, exchange, client, plan, ended)).await,
        }
    }
}

// What only the server knows after a unit: first what became of settings, then what is left of what pins.
async fn ask<E: Engine>(core: &mut Core<E>) -> Result<(), End> {
    if core.journal.is_some() {
        journal::settle(core).await?;
    }
    if effects::is_to_be_asked(core) { effects::end_pins_if_over(core).await } else { Ok(()) }
}

// The unit is over without an answer of its own.
async fn over<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
    plan: &Plan,
    ended: Ended,
) -> Result<(), End> {
    match ended {
        Ended::Void(error) => {
            may_be_seen(core, plan);
            void(core, exchange, client, *error).await
        }
        Ended::Refused(error) => {
            let error = supply::refused(core, *error);
            refuse(core, exchange, client, &error).await
        }
        Ended::ClientLost => Err(abandon(core, exchange)),
        Ended::Over(error) => Err(End::Sent(error)),
        Ended::Settled(_) | Ended::Healed | Ended::Again(_) | Ended::Lost(_) => Ok(()),
    }
}

async fn flush<E: Engine>(exchange: &mut Box<E::Exchange>, client: &mut Stream) -> Result<(), End> {
    poll_fn(|cx| exchange.poll_flush(cx, client)).await.map_err(|_| End::Left)
}

async fn refuse<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
    error: &ClientError,
) -> Result<(), End> {
    tracing::debug!(client = core.place.id, %error, "unit refused");
    if let Some(deferred) = &mut core.deferred {
        deferred.failed = true;
    }
    exchange.refuse(error, core.client_tx());
    flush::<E>(exchange, client).await
}

// No backend could be had for it.
async fn not_sent<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
    error: ClientError,
) -> Result<(), End> {
    core.statements.undo();
    if error.fatal {
        return Err(End::Sent(Box::new(error)));
    }
    refuse(core, exchange, client, &error).await
}

// The backend and what was done on it are given up, and the answer that was under way (if one was) is replaced by `error`: where the client has had half of a message already, the connection ends with it.
async fn void<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
    error: ClientError,
) -> Result<(), End> {
    core.drop_backend();
    core.statements.undo();
    core.tx = TxState::Idle;
    core.tx_wrote = false;
    if !exchange.abandon_reply() || error.fatal {
        // What the server said before comes first; a client that does not read is not waited for.
        let before = flush::<E>(exchange, client);
        drop(tokio::time::timeout_at(clock::deadline(FAREWELL), before).await);
        return Err(End::Sent(Box::new(error)));
    }
    refuse(core, exchange, client, &error).await
}

const REFUSED_ALIKE: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"];

// A read-only transaction that runs on a replica may do less there than on the primary: what would lock nobody, or be refused only because of
// where it is, ends it, and its like begin on the primary from here on.
fn misplaced<E: Engine>(core: &Core<E>, plan: &Plan) -> Option<ClientError> {
    let ends = matches!(plan.transaction, Transaction::Commit | Transaction::Rollback);
    let harmless = plan.class != Class::Write && plan.pin.is_none();
    // What the primary would refuse in the same words in a read-only transaction, the replica refuses.
    let refused_alike = plan.pin.is_none() && REFUSED_ALIKE.contains(&plan.command());
    if core.tx != TxState::Open || !core.on_replica() || ends || harmless || refused_alike {
        return None;
    }
    let (user, database) = (&core.lane.identity.user, &core.lane.alias);
    let breaker = core.routing(&core.shared.settings.load()).breaker;
    core.shared.readers.note(user, database, &core.place.application, breaker);
    Some(
        ClientError::new(
            "40001",
            1213,
            "this read-only transaction ran on a replica, and the statement needs the primary",
        )
        .hint("run the transaction again: it will begin on the primary"),
    )
}

// A success stands at the door. Whether it may pass: not if the primary has lost its office.
fn succeeded<E: Engine>(core: &mut Core<E>, plan: &Plan) -> bool {
    if may_have_committed(core, plan) {
        core.wrote();
    }
    core.may_speak()
}

// Whether a success may tell of a write that others can see: within a transaction that stays open nothing is.
fn may_have_committed<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    let stays_open = core.tx == TxState::Open
        && plan.transaction == Transaction::None
        && !plan.blind
        && E::DIALECT == Dialect::Postgres;
    (plan.writes || core.tx_wrote) && !stays_open
}

// The server refused before anything left: the unit runs again, or its error is passed on.
async fn refused<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    plan: &mut Plan,
    attempt: &Attempt,
    refusal: Box<Refusal>,
) -> Option<Ended> {
    let ended = supply::refused_in_time(core, exchange, plan, attempt, refusal).await;
    if ended.is_none() {
        // An error that was held back may tell of a write, too.
        may_be_seen(core, plan);
        exchange.release();
    }
    ended
}

async fn relay<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
    plan: &mut Plan,
    attempt: &Attempt,
) -> Ended {
    if supply::is_needed(core, exchange, plan)
        && let Err(ended) = Box::pin(supply::ahead(core, exchange, plan)).await
    {
        return ended;
    }
    if !dispatch::compose(core, exchange, plan, attempt) {
        return Ended::Lost(Box::default());
    }
    let query = core.shared.settings.load().timeouts.query;
    let mut limit = (!query.is_zero()).then(|| Box::pin(tokio::time::sleep_until(clock::deadline(query))));
    loop {
        let Some(held) = &mut core.held else { return Ended::Lost(Box::default()) };
        let event = poll_fn(|cx| match exchange.poll_relay(cx, client, &mut held.lease) {
            Poll::Pending if core.place.poll_doom(cx).is_some() => Poll::Ready(Relay::ClientLost),
            Poll::Pending => {
                // The server itself answers a cancelled query.
                if let Some(sleep) = &mut limit
                    && sleep.as_mut().poll(cx).is_ready()
                {
                    limit = None;
                    if let Some(current) = &*core.place.current.lock() {
                        super::cancel::send(&core.shared, current);
                    }
                }
                Poll::Pending
            }
            event => event,
        })
        .await;
        match event {
            Relay::Settled(outcome) => return Ended::Settled(outcome),
            Relay::Acknowledge if !succeeded(core, plan) => {
                return Ended::Void(Box::new(unknown_outcome(core)));
            }
            Relay::Acknowledge => exchange.release(),
            Relay::News => {
                core.wrote();
                exchange.noted();
            }
            Relay::End(outcome) => {
                if let Err(error) = Box::pin(listen::at_end(core, exchange, plan, &outcome)).await {
                    return Ended::Void(Box::new(error));
                }
            }
            Relay::Refused(refusal) => {
                if let Some(ended) = Box::pin(refused(core, exchange, plan, attempt, refusal)).await {
                    return ended;
                }
            }
            Relay::More => {
                if let Err(ended) = Box::pin(more(core, exchange, client, plan)).await {
                    return ended;
                }
            }
            Relay::BackendLost(lost) => return Ended::Lost(lost),
            Relay::ClientLost => return Ended::ClientLost,
        }
    }
}

// The client sent more of a unit whose first part has left already: it goes to the same backend, or nowhere.
async fn more<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut Box<E::Exchange>,
    client: &mut Stream,
    plan: &mut Plan,
) -> Result<(), Ended> {
    match poll_fn(|cx| exchange.poll_segment(cx, client)).await {
        Ok(Inbound::Segment) => {}
        Ok(Inbound::Goodbye) => return Err(Ended::ClientLost),
        Err(violation) => return Err(Ended::Over(Box::new(violation))),
    }
    let mut next = Box::<Plan>::default();
    judge::plan(core, exchange, &mut next).await;
    if listen::concerns(&next) {
        listen::natively(core, &mut next);
    }
    let reads = next.class == Class::Read
        && next.pin.is_none()
        && next.transaction == Transaction::None
        && next.effects.is_empty()
        && (next.apart || core.deferred.is_none());
    // What runs and may be followed by a write is the primary's, like a unit that begins so.
    let first_runs = next.runs > 0 && plan.runs == 0 && core.tx == TxState::Idle;
    let commits = next.open && first_runs;
    // What was acknowledged since the unit began, its reads must see, too, for they begin only now.
    let overtaken = first_runs && reads && !shows_all(core, &next);
    if core.on_replica() && !exchange.is_skipping() && (!reads || commits || overtaken) {
        // What was only prepared so far (asyncpg asks for a table's columns before its COPY) is prepared wherever it is used.
        if plan.runs == 0 && exchange.end_early() {
            core.statements.undo_from(exchange.base());
            return Ok(());
        }
        return Err(Ended::Void(Box::new(cannot_move(overtaken))));
    }
    if !core.may_speak() {
        return Err(Ended::Void(Box::new(unknown_outcome(core))));
    }
    if next.resets() && !next.returns {
        dispatch::tell_reset(core, exchange, &next);
    }
    plan.merge(*next);
    let mut treatment = dispatch::treatment::<E>(core, exchange, plan);
    treatment.hold_back = false;
    let Some(held) = &mut core.held else { return Err(Ended::Lost(Box::default())) };
    exchange.compose(&mut held.lease, treatment);
    Ok(())
}

// Whether the replica that the session holds has seen what `plan` must read now.
fn shows_all<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    let settings = core.shared.settings.load();
    let floor = floor::floor(core, plan, core.routing(&settings));
    let view = core.shared.state.view.load();
    let shows = |held: &Held<E>| {
        view.node(held.node)
            .is_some_and(|node| node.start == held.start && node.live.fresh_as_of() >= floor.written)
    };
    core.held.as_ref().is_some_and(shows)
}

fn cannot_move(overtaken: bool) -> ClientError {
    let (text, hint) = if overtaken {
        (
            "this pipeline began before another session's write, and cannot move to where that can be seen",
            "send it again",
        )
    } else {
        (
            "this pipeline began as a read and goes on as a write: it cannot move to the primary",
            "send it again; or mark the first statement /* primacy:primary */, or send a Sync between reads and writes",
        )
    };
    ClientError::new("40001", 1213, text).hint(hint)
}

// A client that left in the middle: what runs for it is cancelled, and the backend is closed.
fn abandon<E: Engine>(core: &mut Core<E>, exchange: &mut E::Exchange) -> End {
    settle::abandon(core);
    core.statements.undo();
    core.tx = TxState::Idle;
    // It may be we who end it: then it is told, unless it has had half of a message.
    match core.place.doom() {
        Some(why) if exchange.abandon_reply() => End::Sent(Box::new(why)),
        _ => End::Left,
    }
}

/// Whether the pin needs the backend to be cleaned of other sessions' sequence values first.
pub(super) fn may_see_sequences(reason: PinReason) -> bool {
    reason != PinReason::SessionMode
}

/// What a pin leaves behind on its backend.
pub(super) fn dirt_of(reason: PinReason, dialect: Dialect) -> Dirt {
    match reason {
        PinReason::Seed | PinReason::Load | PinReason::Replication => Dirt::Incurable,
        // It may have given a custom setting a value: nothing lists these, and nothing makes one unknown again.
        PinReason::UserFunction
        | PinReason::Relation
        | PinReason::Procedure
        | PinReason::SettingValue
        | PinReason::Unknown
        | PinReason::LongText
            if dialect == Dialect::Postgres =>
        {
            Dirt::Incurable
        }
        _ => Dirt::Unknown,
    }
}
