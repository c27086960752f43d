//! A backend of one node: from its pool, or opened and proved; pinned and given the session's settings where the unit needs it.

use super::core::{Core, Held};
use super::deferred;
use super::plan::Plan;
use super::registry::Activity;
use super::unit::{dirt_of, may_see_sequences};
use crate::clock::{self, Tick};
use crate::cluster::NodeView;
use crate::config::settings::PoolMode;
use crate::engine::carrier::Carrier;
use crate::engine::seam::{Backend, Birth, Engine, Exchange, Identity, OpenError};
use crate::engine::{Certainty, Dirt, NodeId, Pin, PinReason, TxState};
use crate::error::{ClientError, Fault, Retry};
use crate::failover::Pass;
use crate::pool::{Lease, Permit, Pool, Purpose, TakeError, Taken};
use crate::sql::Transaction;
use crate::telemetry::ClusterCount;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

/// Why no backend could be had on a node, and whether another may do.
pub(super) enum Missed {
    /// The node cannot be used now.
    Node(String),
    /// The client is to be told.
    Client(Box<ClientError>),
}

/// Takes a backend of the node's pool; waits for one, or opens one, as there is need.
pub(super) async fn take<E: Engine>(
    core: &mut Core<E>,
    node: NodeId,
    pass: Option<Pass>,
    purpose: Purpose,
) -> Result<(), Missed> {
    let now = clock::now();
    let Some(pool) = core.lane.pool(node) else {
        return Err(Missed::Node("the node joined after this session did".to_owned()));
    };
    let pool = Arc::clone(pool);
    let at_once = pool.try_take(&core.wants(purpose), now);
    let taken = match at_once {
        Some(lease) => Ok(Taken::Ready(lease)),
        None => queue(core, &pool, purpose, now).await,
    };
    let lease = match taken.map_err(|waited| waited.missed(core, node, &pool))? {
        Taken::Ready(lease) => lease,
        Taken::Open(permit) => open(core, node, pass, permit).await?,
    };
    core.lane.traffic.assignment(micros(clock::now().since(now)));
    let view = core.shared.state.view.load_full();
    match view.node(node) {
        Some(known) => hand_over(core, known, pass, lease),
        None => return Err(Missed::Node("it left the configuration".to_owned())),
    }
    Ok(())
}

/// Microseconds, for figures.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How a wait in a pool's queue ended without a backend.
pub(super) enum Waited {
    Interrupted(Box<ClientError>),
    TimedOut(Duration),
    Closed,
}

impl Waited {
    fn missed<E: Engine>(self, core: &Core<E>, node: NodeId, pool: &Pool<E::Backend>) -> Missed {
        match self {
            Self::Interrupted(error) => Missed::Client(error),
            Self::TimedOut(limit) => Missed::Client(Box::new(queue_timeout(core, node, pool, limit))),
            Self::Closed => Missed::Node(TakeError::Closed.to_string()),
        }
    }

    /// As the client is told it.
    pub(super) fn told<E: Engine>(
        self,
        core: &Core<E>,
        node: NodeId,
        pool: &Pool<E::Backend>,
    ) -> Option<ClientError> {
        match self.missed(core, node, pool) {
            Missed::Client(error) => Some(*error),
            Missed::Node(_) => None,
        }
    }
}

/// Waits in the queue of `pool`. Allocates nothing after a session's first wait. Cancel safe: the slot leaves the queue when it is cleared.
pub(super) async fn queue<E: Engine>(
    core: &mut Core<E>,
    pool: &Arc<Pool<E::Backend>>,
    purpose: Purpose,
    since: Tick,
) -> Result<Taken<E::Backend>, Waited> {
    let limit = core.shared.settings.load().pool.queue_timeout;
    let deadline = since.plus(limit);
    core.place.set_activity(Activity::Waiting);
    core.place.waiting_since.store(since.0, Ordering::Relaxed);
    let taken = poll_fn(|cx| {
        // Made anew each time it is polled: what is kept over the wait makes every session larger.
        let want = core.wants(purpose);
        if let Poll::Ready(taken) = pool.poll_take(&mut core.slot, &want, since, cx) {
            return Poll::Ready(taken.map_err(|TakeError::Closed| Waited::Closed));
        }
        if let Poll::Ready(error) = core.place.poll_interrupt(cx) {
            return Poll::Ready(Err(Waited::Interrupted(Box::new(error))));
        }
        core.timer.poll(deadline, cx).map(|()| Err(Waited::TimedOut(limit)))
    })
    .await;
    core.place.waiting_since.store(0, Ordering::Relaxed);
    if taken.is_err() {
        core.slot.clear();
    }
    if matches!(taken, Err(Waited::TimedOut(_))) {
        core.shared.stats.count(ClusterCount::QueueTimeouts);
    }
    taken
}

/// The session has the backend from here on.
pub(super) fn hand_over<E: Engine>(
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

fn queue_timeout<E: Engine>(
    core: &Core<E>,
    node: NodeId,
    pool: &Pool<E::Backend>,
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
    let paused = if stats.paused { ", paused by an operator" } else { "" };
    ClientError::new(
        "53300",
        1040,
        format!(
            "no connection to node {} became free within {limit:?} (pool.queue_timeout)",
            core.node_name(node)
        ),
    )
    .detail(format!(
        "Pool of user {} and database {}{paused}: {} in use, {} waiting{pinned}.",
        core.lane.identity.user, core.lane.identity.database, stats.active, stats.waiting
    ))
    .hint("raise pool.size, shorten transactions, or see SHOW PINS")
}

/// Opens the backend that `permit` is for.
pub(super) async fn open<E: Engine>(
    core: &Core<E>,
    node: NodeId,
    pass: Option<Pass>,
    permit: Permit<E::Backend>,
) -> Result<Lease<E::Backend>, Missed> {
    let began = clock::now();
    let settings = core.shared.settings.load_full();
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
            errno: 0,
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
            core.shared.roster.enter(node, &core.lane.identity, backend.cancel_target(), began);
            Ok(permit.fulfil(backend))
        }
        Err(error) => {
            core.shared.stats.count(ClusterCount::BackendsFailed);
            tracing::debug!(node = %target.name, user = %core.lane.identity.user, %error, "backend not opened");
            // A replica may not have replayed a new password or database yet: the primary's word counts.
            Err(if error.retry == Retry::Never && pass.is_some() {
                Missed::Client(Box::new(ClientError::server(
                    error.sqlstate.unwrap_or(*b"08001"),
                    error.errno,
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

/// Whether anything of the unit can run: a failed transaction refuses all but its end, and what follows that in the same unit.
pub(super) fn may_run<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    core.client_tx() != TxState::Failed || plan.transaction != Transaction::None || plan.blind
}

/// Whether the backend is what the unit needs.
pub(super) fn is_prepared<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> bool {
    let pinned = match plan.pin.filter(|_| may_run(core, plan)) {
        Some(pin) => core.pin.is_some_and(|held| held.certainty >= pin.certainty),
        None => true,
    };
    if deferred::is_to_begin(core) {
        return false;
    }
    if plan.own_values && may_run(core, plan) && sees_strangers(core) {
        return false;
    }
    // A pinned session carries, too: what it has reset is to have the client's start-up value.
    let kept = core.pin.is_some() || core.lane.mode == PoolMode::Transaction;
    let ahead = || {
        !exchange.is_mid_unit()
            && plan.pin.is_none()
            && core.may_carry_ahead()
            // Units of our own are to find the session's settings, too.
            && !super::supply::is_needed(core, exchange, plan)
    };
    let settled = kept && (!core.needs_carrying() || ahead());
    pinned && (settled || core.tx != TxState::Idle)
}

/// Makes the backend what the unit needs: pinned if it will pin, with the session's settings, free of strangers' sequence values.
pub(super) async fn prepare<E: Engine>(core: &mut Core<E>, plan: &Plan) -> Result<(), ClientError> {
    if let Some(pin) = plan.pin.filter(|_| may_run(core, plan))
        && core.pin.is_none_or(|held| held.certainty < pin.certainty)
    {
        pin_backend(core, pin.reason).await?;
    }
    if plan.own_values && may_run(core, plan) {
        only_own_values(core).await?;
    }
    if core.tx != TxState::Idle {
        return Ok(());
    }
    if core.lane.mode == PoolMode::Session && core.pin.is_none() {
        core.pin = Some(Pin { reason: PinReason::SessionMode, certainty: Certainty::Known });
        if let Some(held) = &mut core.held {
            held.lease.soil(Dirt::Unknown);
        }
    }
    if core.needs_carrying() {
        carry(core).await?;
    }
    if deferred::is_to_begin(core) { deferred::begin(core, plan).await } else { Ok(()) }
}

async fn carry<E: Engine>(core: &mut Core<E>) -> Result<(), ClientError> {
    let wanted = Arc::clone(&core.wanted);
    let Some(held) = &mut core.held else { return Ok(()) };
    match held.lease.carry(&wanted).await {
        // What the server reports of our own unit is no news to the client: it asked for these settings.
        Ok(_) => {
            core.accept();
            Ok(())
        }
        Err(error) => {
            let kept = core.pin.is_some() && core.lane.mode == PoolMode::Transaction;
            core.drop_backend();
            // At the login it is the client's own wish that the server refuses; the server's own words say it best.
            let explained = core.greeting.told.is_empty() || error.detail.is_some();
            let carried = "The session's settings could not be carried to another server connection.";
            let error = if explained { error } else { error.detail(carried) };
            // What the session kept is gone with its backend.
            Err(if kept { error.fatal() } else { error })
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
    if core.pin.is_none() && core.tx == TxState::Idle && dirt_of(reason, E::DIALECT) == Dirt::Incurable {
        // What is not known may reset settings, too: to what the client gave when it connected.
        Box::pin(open_for_it_alone(core)).await;
    }
    if core.pin.is_none() && may_see_sequences(reason) { only_own_values(core).await } else { Ok(()) }
}

// Puts a backend that was opened with the client's own start-up settings in the place of the one that is held. Where none is to be had, that one must do.
async fn open_for_it_alone<E: Engine>(core: &mut Core<E>) {
    let Some((node, pass)) = core.held.as_ref().map(|held| (held.node, held.pass)) else { return };
    if super::returns::first(&core.startup, &core.greeting).next().is_none() {
        return;
    }
    let began = clock::now();
    let settings = core.shared.settings.load_full();
    let connector = core.shared.connector.load_full();
    let Some(target) = settings.nodes.get(usize::from(node.0)) else { return };
    let identity = Identity { first: Arc::clone(&core.startup), ..core.lane.identity.clone() };
    let opening = E::Backend::open(&connector, target, &identity);
    let opened = tokio::time::timeout_at(clock::deadline(settings.timeouts.connect), opening).await;
    let Ok(Ok((backend, birth))) = opened else { return };
    core.shared.stats.count(ClusterCount::BackendsOpened);
    if prove(core, node, pass, birth).is_err() {
        return;
    }
    core.shared.roster.enter(node, &core.lane.identity, backend.cancel_target(), began);
    *core.place.current.lock() = Some((node, Arc::clone(backend.cancel_target())));
    let id = core.place.id;
    if let Some(held) = &mut core.held {
        *held.lease = backend;
        held.lease.lend_to(id);
        held.lease.soil(Dirt::Incurable);
    }
}

// Whether others' values of sequences are on the backend.
fn sees_strangers<E: Engine>(core: &Core<E>) -> bool {
    core.held.as_ref().is_some_and(|held| held.lease.drawn().is_strange_to(core.place.id))
}

// What the sequences gave to others must not be seen: the server itself says 55000 then.
async fn only_own_values<E: Engine>(core: &mut Core<E>) -> Result<(), ClientError> {
    if !sees_strangers(core) {
        return Ok(());
    }
    if core.tx == TxState::Failed {
        // They cannot be discarded in it, and what follows its end in the same unit might see them.
        let text =
            "what a sequence gave is not yet defined in this session: others have had its connection since";
        return Err(ClientError::new("55000", 1105, text)
            .hint("end the failed transaction by a statement of its own"));
    }
    let Some(held) = &mut core.held else { return Ok(()) };
    if let Err(error) = held.lease.discard_sequences().await {
        core.drop_backend();
        return Err(ClientError::new("08006", 2013, format!("the server was lost: {error}")));
    }
    Ok(())
}
