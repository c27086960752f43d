//! Finds the node for a unit, and a backend on it: routing, the hold for a primary, the barrier for a fresh replica, the pool.

use super::core::{Core, Held};
use super::plan::Plan;
use super::registry::Activity;
use super::unit::{Attempt, may_see_sequences};
use crate::clock::{self, Tick};
use crate::cluster::{ClusterView, NodeView};
use crate::config::settings::{Cluster, Consistency, ConsistencyWait, PoolMode, RouteSetting};
use crate::engine::seam::{Backend, Birth, Engine, Exchange, OpenError};
use crate::engine::{Certainty, Class, Dirt, NodeId, Pin, PinReason, TxState};
use crate::error::{ClientError, Fault, Retry};
use crate::failover::Pass;
use crate::pool::{Lease, Permit, Pool, Purpose, TakeError, Taken, Want};
use crate::routing::{Ask, Choice, Why, route};
use crate::sql::Transaction;
use crate::telemetry::{ClusterCount, Routed};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a read waits for a fresh replica at `consistency_wait: auto`, with a free primary and with a busy one.
const PATIENCE_FREE: Duration = Duration::from_millis(3);
const PATIENCE_BUSY: Duration = Duration::from_millis(10);

/// Why no backend could be had on a node, and whether another may do.
enum Missed {
    /// The node cannot be used now.
    Node(String),
    /// The client is to be told.
    Client(Box<ClientError>),
}

/// Sees to it that the session holds a backend on which `plan` may run, carrying the session's settings. What need not wait does not: only the
/// slow ways are futures of their own, boxed so that they do not make every session's larger.
pub(super) async fn obtain<E: Engine>(
    core: &mut Core<E>,
    exchange: &E::Exchange,
    plan: &Plan,
    attempt: &mut Attempt,
    now: Tick,
) -> Result<(), ClientError> {
    if core.held.is_none() && !at_once(core, plan, attempt, now) {
        Box::pin(search(core, exchange, plan, attempt)).await?;
    }
    if is_prepared(core, plan) {
        return Ok(());
    }
    Box::pin(prepare(core, plan)).await
}

// The common way: the node is known, the gate is open, a backend is idle.
fn at_once<E: Engine>(core: &mut Core<E>, plan: &Plan, attempt: &mut Attempt, now: Tick) -> bool {
    let shared = Arc::clone(&core.shared);
    let settings = shared.settings.load();
    let view = shared.state.view.load();
    let (choice, why) = choose(core, &settings, &view, plan, attempt, now);
    let (node, pass, purpose) = match choice {
        Choice::Node(node) => (node, None, Purpose::Read),
        Choice::Primary => match shared.state.gate.now() {
            Some(pass) => (pass.node, Some(pass), purpose(plan)),
            None => return false,
        },
        Choice::Wait | Choice::Nobody => return false,
    };
    let want = Want { state_key: core.wanted.key(), purpose };
    let Some(lease) = core.lane.pool(node).and_then(|pool| pool.try_take(&want, now)) else { return false };
    let Some(known) = view.node(node) else { return false };
    core.lane.traffic.assignment(0);
    count(core, plan, attempt, choice, why);
    hand_over(core, known, pass, lease);
    true
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
    if attempt.refused {
        return (Choice::Primary, Why::Class);
    }
    let ask = ask(core, settings, plan, attempt, now);
    let (choice, why) = route(&ask, view, core.routing(settings), &core.shared.balancer);
    if why == Why::NotFresh {
        // Also when it does not wait: only rounds show when waiting is worth it again.
        core.shared.state.rounds.ask();
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
    loop {
        let view = core.shared.state.view.load_full();
        let (choice, why) = choose(core, &settings, &view, plan, attempt, clock::now());
        let (node, taken) = match choice {
            Choice::Node(node) => (node, take(core, node, None, Purpose::Read).await),
            Choice::Primary => {
                let pass = hold(core, exchange, &settings, attempt).await?;
                (pass.node, take(core, pass.node, Some(pass), purpose(plan)).await)
            }
            Choice::Wait => {
                barrier(core, attempt).await;
                continue;
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

fn ask<E: Engine>(core: &Core<E>, settings: &Cluster, plan: &Plan, attempt: &mut Attempt, now: Tick) -> Ask {
    let routing = core.routing(settings);
    let consistency = plan.level.or(core.consistency).unwrap_or(routing.consistency);
    let mut ask = Ask::new(plan.class, consistency, now);
    ask.doubt = plan.doubt;
    ask.hint = plan.hint;
    ask.route = core.route;
    ask.exclude = attempt.exclude;
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
    if plan.pin.is_some() || core.lane.mode == PoolMode::Session {
        ask.class = Class::Write;
        ask.hint = None;
        ask.doubt = false;
    }
    if consistency == Consistency::Eventual {
        return ask;
    }
    ask.floor = core.floor();
    ask.sticky = core.sticky;
    ask.sticky_floor = core.sticky_floor();
    if attempt.wait_until.is_none() {
        // Whoever waits already has paid for a part of it, and waits to the end of its patience.
        ask.expected = core.shared.state.rounds.expected();
    }
    let patience = match routing.consistency_wait {
        ConsistencyWait::Fixed(wait) => wait,
        ConsistencyWait::Auto if primary_is_busy(core) => PATIENCE_BUSY,
        ConsistencyWait::Auto => PATIENCE_FREE,
    };
    ask.patience = match attempt.wait_until {
        Some(until) => until.since(now),
        None => patience,
    };
    ask
}

fn primary_is_busy<E: Engine>(core: &Core<E>) -> bool {
    let Some(pass) = core.shared.state.gate.now() else { return false };
    core.lane.pool(pass.node).is_some_and(|pool| pool.stats(clock::now()).waiting > 0)
}

fn count<E: Engine>(core: &Core<E>, plan: &Plan, attempt: &Attempt, choice: Choice, why: Why) {
    let routed = match (plan.class, choice, why) {
        (Class::Write, Choice::Primary, _) => Routed::Write,
        (Class::NodeLocal, Choice::Primary, _) => Routed::NodeLocal,
        (_, Choice::Node(_), Why::Hint | Why::Setting) => Routed::ReadReplicaAsked,
        (_, Choice::Node(_), _) => Routed::ReadReplica,
        _ if attempt.refused => Routed::ReadRefused,
        (_, _, Why::Drawn) => Routed::ReadShared,
        (_, _, Why::NotFresh) => Routed::ReadFreshness,
        (_, _, Why::Hint | Why::Setting) => Routed::ReadAsked,
        (_, _, Why::Class) => Routed::ReadTransaction,
        _ => Routed::ReadNoReplica,
    };
    core.shared.stats.routed(routed);
}

fn nobody(why: Why) -> ClientError {
    ClientError::new("57P03", 1105, format!("no replica can serve the read ({})", why.word()))
        .hint("routing.reads_on_primary: never forbids the primary to; `primacy status` shows why each replica is left out")
}

// Waits for the primary that the gate lets through.
async fn hold<E: Engine>(
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

// Waits for the next round of the monitor, at most until the read's patience is over.
async fn barrier<E: Engine>(core: &Core<E>, attempt: &mut Attempt) {
    let rounds = &core.shared.state.rounds;
    let now = clock::now();
    let patience = match attempt.wait_until {
        Some(until) => until.since(now),
        None => {
            core.shared.stats.count(ClusterCount::BarrierWaits);
            let settings = core.shared.settings.load();
            let patience = match core.routing(&settings).consistency_wait {
                ConsistencyWait::Fixed(wait) => wait,
                ConsistencyWait::Auto if primary_is_busy(core) => PATIENCE_BUSY,
                ConsistencyWait::Auto => PATIENCE_FREE,
            };
            attempt.wait_until = Some(now.plus(patience));
            patience
        }
    };
    core.place.set_activity(Activity::Waiting);
    let completed = rounds.completed();
    rounds.ask();
    if tokio::time::timeout_at(clock::deadline(patience), rounds.after(completed)).await.is_err() {
        core.shared.stats.count(ClusterCount::BarrierTimeouts);
        attempt.wait_until = Some(Tick::ZERO);
    }
    core.shared.stats.barrier.record(clock::now().since(now));
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

// A backend of the node's pool.
async fn take<E: Engine>(
    core: &mut Core<E>,
    node: NodeId,
    pass: Option<Pass>,
    purpose: Purpose,
) -> Result<(), Missed> {
    let now = clock::now();
    let Some(pool) = core.lane.pool(node) else {
        return Err(Missed::Node("the node joined after this session did".to_owned()));
    };
    let want = Want { state_key: core.wanted.key(), purpose };
    let lease = match pool.try_take(&want, now) {
        Some(lease) => lease,
        None => wait_and_open(core, node, pass, Arc::clone(pool), want, now).await?,
    };
    core.lane.traffic.assignment(u64::try_from(clock::now().since(now).as_micros()).unwrap_or(u64::MAX));
    let view = core.shared.state.view.load_full();
    match view.node(node) {
        Some(known) => hand_over(core, known, pass, lease),
        None => return Err(Missed::Node("it left the configuration".to_owned())),
    }
    Ok(())
}

fn hand_over<E: Engine>(
    core: &mut Core<E>,
    node: &NodeView,
    pass: Option<Pass>,
    mut lease: Lease<E::Backend>,
) {
    lease.lend_to(core.place.id);
    *core.place.current.lock() = Some((node.id, Arc::clone(lease.cancel_target())));
    node.live.active.fetch_add(1, Ordering::Relaxed);
    core.held = Some(Held { lease, node: node.id, start: node.start, live: Arc::clone(&node.live), pass });
}

async fn wait_and_open<E: Engine>(
    core: &mut Core<E>,
    node: NodeId,
    pass: Option<Pass>,
    pool: Arc<Pool<E::Backend>>,
    want: Want,
    since: Tick,
) -> Result<Lease<E::Backend>, Missed> {
    let settings = core.shared.settings.load_full();
    let limit = settings.pool.queue_timeout;
    core.place.set_activity(Activity::Waiting);
    core.place.waiting_since.store(since.0, Ordering::Relaxed);
    let (slot, place) = (&mut core.slot, &core.place);
    let taken = tokio::select! {
        biased;
        taken = poll_fn(|cx| pool.poll_take(slot, &want, since, cx)) => taken,
        error = poll_fn(|cx| place.poll_interrupt(cx)) => {
            core.slot.clear();
            core.place.waiting_since.store(0, Ordering::Relaxed);
            return Err(Missed::Client(Box::new(error)));
        }
        () = tokio::time::sleep_until(clock::deadline(limit)) => {
            core.slot.clear();
            core.place.waiting_since.store(0, Ordering::Relaxed);
            core.shared.stats.count(ClusterCount::QueueTimeouts);
            return Err(Missed::Client(Box::new(queue_timeout(core, node, &pool, limit))));
        }
    };
    core.place.waiting_since.store(0, Ordering::Relaxed);
    match taken {
        Ok(Taken::Ready(lease)) => Ok(lease),
        Ok(Taken::Open(permit)) => open(core, &settings, node, pass, permit).await,
        Err(error @ TakeError::Closed) => Err(Missed::Node(error.to_string())),
    }
}

fn queue_timeout<E: Engine>(
    core: &Core<E>,
    node: NodeId,
    pool: &Arc<Pool<E::Backend>>,
    limit: Duration,
) -> ClientError {
    let stats = pool.stats(clock::now());
    let pins: Vec<String> = pool
        .node()
        .pins()
        .reasons()
        .into_iter()
        .map(|(pin, n)| format!("{n} {}", pin.reason.word()))
        .collect();
    let pinned =
        if pins.is_empty() { String::new() } else { format!("; pinned on the node: {}", pins.join(", ")) };
    ClientError::new(
        "53300",
        1040,
        format!(
            "no connection to node {} became free within {limit:?} (pool.queue_timeout)",
            core.node_name(node)
        ),
    )
    .detail(format!(
        "Pool of user {} and database {}: {} in use, {} waiting{pinned}.",
        core.lane.identity.user, core.lane.identity.database, stats.active, stats.waiting
    ))
    .hint("raise pool.size, shorten transactions, or see SHOW PINS")
}

async fn open<E: Engine>(
    core: &Core<E>,
    settings: &Cluster,
    node: NodeId,
    pass: Option<Pass>,
    permit: Permit<E::Backend>,
) -> Result<Lease<E::Backend>, Missed> {
    let began = clock::now();
    let connector = core.shared.connector.load_full();
    let Some(target) = settings.nodes.get(usize::from(node.0)) else {
        return Err(Missed::Node("it left the configuration".to_owned()));
    };
    let opening = E::Backend::open(&connector, target, &core.lane.identity);
    let opened = match tokio::time::timeout_at(clock::deadline(settings.timeouts.connect), opening).await {
        Ok(opened) => opened,
        Err(_) => Err(OpenError {
            fault: Fault::Peer,
            retry: Retry::AnotherNode,
            sqlstate: None,
            message: format!(
                "node {}: no connection within {:?} (timeouts.connect)",
                target.name, settings.timeouts.connect
            ),
        }),
    };
    core.shared.stats.connect.record(clock::now().since(began));
    match opened {
        Ok((backend, birth)) => {
            core.shared.stats.count(ClusterCount::BackendsOpened);
            // Dropping the permit with the backend closes it: it leads somewhere else than the monitor looked at.
            prove(core, node, pass, birth).map_err(Missed::Node)?;
            Ok(permit.fulfil(backend))
        }
        Err(error) => {
            core.shared.stats.count(ClusterCount::BackendsFailed);
            tracing::debug!(node = %target.name, user = %core.lane.identity.user, %error, "backend not opened");
            // A replica may not have replayed a new password or database yet: the primary's word counts.
            Err(if error.retry == Retry::Never && pass.is_some() {
                Missed::Client(Box::new(ClientError::server(
                    error.sqlstate.unwrap_or(*b"08001"),
                    error.message,
                )))
            } else {
                Missed::Node(error.message)
            })
        }
    }
}

/// Whether a new backend leads to the very server that the monitor knows under that node's name, in the role that it is wanted for: a
/// name may resolve to another machine by now, and positions of one server say nothing of another.
fn prove<E: Engine>(core: &Core<E>, node: NodeId, pass: Option<Pass>, birth: Birth) -> Result<(), String> {
    let view = core.shared.state.view.load();
    let Some(known) = view.node(node) else { return Err("it left the configuration".to_owned()) };
    if birth.identity != known.identity {
        return Err(format!("node {} leads to another system than the monitor sees", known.name));
    }
    if birth.start != known.start {
        return Err(format!("node {} was restarted a moment ago", known.name));
    }
    if pass.is_some() && !birth.writable {
        return Err(format!("node {} does not take writes any more", known.name));
    }
    if pass.is_none() && birth.writable {
        return Err(format!("node {} is no replica any more", known.name));
    }
    Ok(())
}

// Whether the backend is what the unit needs.
fn is_prepared<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    let pinned = match plan.pin {
        Some(pin) => core.pin.is_some_and(|held| held.certainty >= pin.certainty),
        None => true,
    };
    let settled = core.pin.is_some() || (core.lane.mode == PoolMode::Transaction && !core.needs_carrying());
    pinned && (settled || core.tx != TxState::Idle)
}

// Makes the backend what the unit needs: pinned if it will pin, with the session's settings, free of strangers' sequence values.
async fn prepare<E: Engine>(core: &mut Core<E>, plan: &Plan) -> Result<(), ClientError> {
    if let Some(pin) = plan.pin
        && core.pin.is_none_or(|held| held.certainty < pin.certainty)
    {
        pin_backend(core, pin.reason).await?;
    }
    if core.pin.is_some() || core.tx != TxState::Idle {
        return Ok(());
    }
    if core.lane.mode == PoolMode::Session {
        core.pin = Some(Pin { reason: PinReason::SessionMode, certainty: Certainty::Known });
        if let Some(held) = &mut core.held {
            held.lease.soil(Dirt::Unknown);
        }
    }
    if core.needs_carrying() { carry(core).await } else { Ok(()) }
}

async fn carry<E: Engine>(core: &mut Core<E>) -> Result<(), ClientError> {
    let wanted = Arc::clone(&core.wanted);
    let Some(held) = &mut core.held else { return Ok(()) };
    match held.lease.carry(&wanted).await {
        // What the server reports of our own unit is no news to the client: it asked for these settings.
        Ok(_) => Ok(()),
        Err(error) => {
            core.drop_backend();
            Err(error.detail("The session's settings could not be carried to another server connection."))
        }
    }
}

async fn pin_backend<E: Engine>(core: &mut Core<E>, reason: PinReason) -> Result<(), ClientError> {
    let limit = core.shared.settings.load().pool.queue_timeout;
    let Some(held) = &mut core.held else { return Ok(()) };
    if held.lease.pin().is_err() {
        let queued = tokio::time::timeout_at(clock::deadline(limit), held.lease.pin_queued()).await;
        if queued.is_err() {
            core.shared.stats.count(ClusterCount::QueueTimeouts);
            let error = ClientError::new(
                "53300",
                1040,
                format!(
                    "the statement needs a connection of its own ({}), and pool.pinned of them are taken",
                    reason.word()
                ),
            )
            .hint("see SHOW PINS for who holds them and why; raise pool.pinned");
            if !core.must_keep() {
                super::settle::give_back(core, clock::now());
            }
            return Err(error);
        }
    }
    let Some(held) = &mut core.held else { return Ok(()) };
    if core.pin.is_none() && may_see_sequences(reason) && *held.lease.sequences() {
        // What the sequences gave to others must not be seen: the server itself says 55000 then.
        if let Err(error) = held.lease.discard_sequences().await {
            core.drop_backend();
            return Err(ClientError::new("08006", 2013, format!("the server was lost: {error}")));
        }
    }
    Ok(())
}
