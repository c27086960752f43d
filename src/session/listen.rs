//! What a session listens to by the shared listener, and what it is told of that: when it is idle, and in front of the end of each unit outside a
//! transaction. What the shared listener cannot do for it pins.

use super::channels::Channels;
use super::core::Core;
use super::hub::{Gone, Hub, Mailbox};
use super::plan::Plan;
use super::{ear, local};
use crate::config::settings::PoolMode;
use crate::engine::seam::{Backend, Engine, Exchange, Outcome, Part};
use crate::engine::{Certainty, Class, PinReason, TxState};
use crate::error::ClientError;
use crate::sql::{Change, Savepoint, Transaction, savepoint};
use crate::task;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// So many bytes of notifications are given to an idle client before it is looked whether it takes them.
const PORTION: usize = 64 * 1024;
/// What may pin a session that the shared listener serves: nothing of it can listen.
const DEAF_PINS: [PinReason; 3] = [PinReason::TempObject, PinReason::AdvisoryLock, PinReason::HoldCursor];

/// A session's part of the shared listener.
pub(super) struct Ears {
    hub: Arc<Hub>,
    mailbox: Arc<Mailbox>,
    channels: Channels,
    // What a statement that is not answered yet is about to listen to.
    joining: Vec<Arc<str>>,
    // The server's process whose notifications are the session's own, from behind that many on: nobody else uses it.
    own: Option<(u32, u64)>,
}

impl Ears {
    fn is_of_use(&self) -> bool {
        !self.channels.is_empty() || !self.joining.is_empty()
    }

    /// The channels that are listened to now.
    pub(super) fn active(&self) -> &Arc<BTreeSet<Arc<str>>> {
        self.channels.active()
    }

    /// The backend goes out of the session's hands.
    pub(super) fn forget_own(&mut self) {
        self.own = None;
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.hub.leave(self.channels.all().iter().chain(&self.joining), &self.mailbox);
    }
}

/// Whether a unit listens to something.
pub(super) fn concerns(plan: &Plan) -> bool {
    !plan.effects.is_empty() && plan.changes().any(|change| matches!(change, Change::Listen(_)))
}

/// Whether a transaction that no server knows of begins for what `plan` listens to: only its end, which a server tells, decides whether it does.
pub(super) fn begins<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    core.deferred.is_some_and(|deferred| !deferred.failed) && concerns(plan)
}

/// Whether the shared listener can listen for the session, as far as that is known without asking.
pub(super) fn may_share<E: Engine>(core: &Core<E>) -> bool {
    let utf8 = core.told("client_encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("utf8"));
    core.lane.mode == PoolMode::Transaction && utf8 && !may_listen_itself(core)
}

/// Whether the backend that the session keeps may listen for it.
pub(super) fn may_listen_itself<E: Engine>(core: &Core<E>) -> bool {
    core.pin.is_some() && !core.pin_entry.as_ref().is_some_and(|entry| entry.is_only(&DEAF_PINS))
}

/// What is listened to in a session, or may be when its transaction ends.
pub(super) fn listens<E: Engine>(core: &Core<E>) -> bool {
    core.ears.is_some()
}

/// Sees to it that what `plan` listens to is heard before it is answered; where the shared listener cannot, the session's own backend is to listen.
pub(super) async fn prepare<E: Engine>(core: &mut Core<E>, plan: &mut Plan) {
    // What else is answered here could fail, and undo it.
    let plain = plan
        .changes()
        .all(|change| matches!(change, Change::Listen(_) | Change::Unlisten(_) | Change::Channels(_)));
    if !plain || !local::answers(core, plan) || join(core, plan).await.is_err() {
        natively(core, plan);
    }
}

/// The session's own backend is to listen.
pub(super) fn natively<E: Engine>(core: &Core<E>, plan: &mut Plan) {
    let alone = !plan.needs_server;
    plan.needs_server = true;
    if alone && core.client_tx() == TxState::Failed {
        return; // The server refuses it.
    }
    plan.class = Class::Write;
    plan.doubt = false;
    // Beside another pin it would not be seen when that one ends.
    plan.mixed |= plan.pin.is_some();
    plan.pins(PinReason::Listen, Certainty::Known);
}

async fn join<E: Engine>(core: &mut Core<E>, plan: &Plan) -> Result<(), Gone> {
    let (shared, database) = (Arc::clone(&core.shared), Arc::clone(&core.lane.identity.database));
    let ears = core.ears.get_or_insert_with(|| {
        Box::new(Ears {
            hub: shared.hubs.of(&database),
            mailbox: Mailbox::new(Arc::clone(&core.place.entry)),
            channels: Channels::default(),
            joining: Vec::new(),
            own: None,
        })
    });
    let known = ears.channels.all();
    for change in plan.changes() {
        if let Change::Listen(channel) = change
            && !known.contains(&**channel)
        {
            ears.joining.push(Arc::from(&**channel));
        }
    }
    if ears.joining.is_empty() {
        return Ok(());
    }
    let hub = Arc::clone(&ears.hub);
    let start = || drop(task::spawn("listen", ear::run(Arc::clone(&shared), Arc::clone(&hub), database)));
    let joined = tokio::select! {
        biased;
        joined = ears.hub.join(&ears.joining, &ears.mailbox, start) => joined,
        () = doomed(&core.place.entry) => Err(Gone),
    };
    if joined.is_err() {
        ears.hub.leave(ears.joining.iter(), &ears.mailbox);
        ears.joining.clear();
        let of_use = ears.is_of_use();
        core.ears = core.ears.take().filter(|_| of_use);
    }
    joined
}

async fn doomed(entry: &super::registry::ClientEntry) {
    poll_fn(|cx| entry.poll_doom(cx).map_or(Poll::Pending, |_| Poll::Ready(()))).await;
}

/// `LISTEN` is answered.
pub(super) fn listen<E: Engine>(core: &mut Core<E>, channel: &str) {
    let within = core.client_tx() != TxState::Idle;
    if let Some(ears) = &mut core.ears {
        ears.joining.retain(|joining| **joining != *channel);
        ears.channels.listen(Arc::from(channel), within);
    }
}

/// `UNLISTEN` is answered, here or by a server; `None`: to nothing any more.
pub(super) fn unlisten<E: Engine>(core: &mut Core<E>, channel: Option<&str>) {
    let within = core.client_tx() != TxState::Idle;
    change(core, |channels| channels.unlisten(channel, within));
}

/// The transaction came to nothing.
pub(super) fn undone<E: Engine>(core: &mut Core<E>) {
    change(core, |channels| channels.end(false));
}

/// The channels that are listened to, for `pg_listening_channels()`.
pub(super) fn names<E: Engine>(core: &Core<E>) -> Vec<String> {
    let active = core.ears.as_ref().map(|ears| ears.channels.active());
    active.into_iter().flat_map(|active| active.iter()).map(ToString::to_string).collect()
}

fn change<E: Engine>(core: &mut Core<E>, change: impl FnOnce(&mut Channels)) {
    let Some(ears) = &mut core.ears else { return };
    let before = ears.channels.all();
    change(&mut ears.channels);
    let after = ears.channels.all();
    ears.hub.leave(before.difference(&after), &ears.mailbox);
    if !ears.is_of_use() {
        core.ears = None;
    }
}

/// Before a unit is sent: what a transaction is about to listen to it has not listened to so far; and what the backend's process has notified of so far
/// was somebody else's.
pub(super) async fn before<E: Engine>(core: &mut Core<E>, plan: &Plan) {
    let (Some(ears), Some(held)) = (&mut core.ears, &core.held) else { return };
    let controls = plan.transaction != Transaction::None || plan.blind;
    let cuts = controls && ears.channels.are_coming();
    let may_notify = held.pass.is_some() && (plan.class == Class::Write || plan.writes || controls);
    let pid = held.lease.cancel_target().pid;
    let strange = may_notify && ears.own.is_none_or(|(own, _)| own != pid);
    if !cuts && !strange {
        return;
    }
    let Some(heard) = catch_up(ears, &core.place.entry).await else { return };
    if cuts {
        keep_active(ears);
    }
    if strange {
        ears.own = Some((pid, heard));
    }
}

fn keep_active(ears: &Ears) {
    let active = ears.channels.active();
    ears.mailbox.keep(|channel| std::str::from_utf8(channel).is_ok_and(|channel| active.contains(channel)));
}

// `None`: the listener is lost, and the session with it.
async fn catch_up(ears: &Ears, entry: &super::registry::ClientEntry) -> Option<u64> {
    tokio::select! {
        biased;
        heard = ears.hub.catch_up() => heard.ok(),
        () = doomed(entry) => None,
    }
}

/// The end of a unit stands at the door, outside a transaction: what it notified of itself, and what else has been heard, goes in front.
pub(super) async fn at_end<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &Plan,
    outcome: &Outcome,
) -> Result<(), ClientError> {
    change(core, |channels| channels.end(was_committed(outcome)));
    if let Some(ears) = &core.ears {
        if plan.wrote() || core.tx_wrote || plan.blind {
            catch_up(ears, &core.place.entry).await;
        }
        if ears.mailbox.has_news() {
            core.wrote();
            tell(core, exchange, usize::MAX)?;
        }
    }
    exchange.conclude();
    Ok(())
}

// A transaction that ends without a word (an implicit one of several messages) is committed.
fn was_committed(outcome: &Outcome) -> bool {
    outcome.committed || (outcome.failed.is_none() && outcome.transactions == 0)
}

/// A unit has ended.
pub(super) fn settled<E: Engine>(core: &mut Core<E>, exchange: &E::Exchange, plan: &Plan, outcome: &Outcome) {
    if core.ears.is_none() {
        return;
    }
    if outcome.tx == TxState::Idle || outcome.committed {
        return change(core, |channels| channels.end(was_committed(outcome)));
    }
    if plan.transaction != Transaction::Other || outcome.failed.is_some() {
        return;
    }
    let alone = plan.statements == 1 && plan.runs == 1;
    match plan.command() {
        "ROLLBACK" | "ABORT" if alone => undone(core),
        _ => {
            let what = if alone { control(core, exchange) } else { None };
            change(core, |channels| channels.savepoint(what));
        }
    }
}

// What the only statement of a unit did with a savepoint.
fn control<E: Engine>(core: &Core<E>, exchange: &E::Exchange) -> Option<Savepoint> {
    let lexing = core.reading.lexing;
    (0..exchange.parts()).find_map(|index| match exchange.part(index) {
        Part::Text(text) | Part::Prepare { text, .. } => savepoint(text, lexing),
        Part::Use { name, runs: true } => savepoint(core.statements.find(name)?.prepared.text(), lexing),
        _ => None,
    })
}

/// Whether there is something that an idle client is to be told.
pub(super) fn has_news<E: Engine>(core: &Core<E>) -> bool {
    core.client_tx() == TxState::Idle && core.ears.as_ref().is_some_and(|ears| ears.mailbox.has_news())
}

/// Gives an idle client a portion of what waits for it.
///
/// # Errors
/// It cannot be given to it, and the session ends.
pub(super) fn tell_idle<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
) -> Result<(), ClientError> {
    tell(core, exchange, PORTION)
}

// What is told raises the floor of what the session reads: somebody's commit came before it. The database's was raised when it was heard.
fn tell<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    portion: usize,
) -> Result<(), ClientError> {
    let utf8 = core.told("client_encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("utf8"));
    let Some(ears) = &core.ears else { return Ok(()) };
    let (mut told, mut heard) = (0, core.last_write);
    while told < portion
        && let Some(news) = ears.mailbox.take()
    {
        let channel = std::str::from_utf8(news.message.channel()).unwrap_or_default();
        if !ears.channels.active().contains(channel) {
            continue;
        }
        if !utf8 && !news.message.text.is_ascii() {
            return Err(untranslatable(channel));
        }
        let own = ears.own.is_some_and(|(pid, from)| news.message.pid == pid && news.number > from);
        exchange.notify(if own { core.place.id } else { news.message.pid }, &news.message);
        told += news.message.text.len();
        heard = heard.max(news.heard);
    }
    core.last_write = heard;
    Ok(())
}

fn untranslatable(channel: &str) -> ClientError {
    let text = format!(
        "terminating connection: a notification of channel \"{channel}\" cannot be given in the session's client_encoding"
    );
    ClientError::new("22P05", 1300, text).hint("let client_encoding be UTF8 in sessions that listen").fatal()
}
