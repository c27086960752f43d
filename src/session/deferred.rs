//! Transactions that no server knows of yet (`reads_in_transactions: until_first_write`). Such a BEGIN is answered here, and the reads behind it run as they
//! would outside of a transaction, on replicas; whatever is more than such a read, or runs on the primary for another reason, begins the transaction
//! there first, and from then on it is one like any other. A COMMIT or ROLLBACK that comes before is answered here, too.

use super::core::Core;
use super::plan::Plan;
use super::{judge, listen};
use crate::clock::{self, Tick};
use crate::config::settings::{Consistency, PoolMode, ReadsInTransactions, RouteSetting};
use crate::engine::seam::{Answer, Backend, Confirmed, Engine, Exchange, Outcome, Part};
use crate::engine::{Class, TxState};
use crate::error::ClientError;
use crate::sql::{Dialect, Isolation, Transaction, speaks_of_now};
use crate::telemetry::ClusterCount;
use std::sync::atomic::Ordering;

/// A transaction that its client is in and no server knows of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deferred {
    /// What its BEGIN said.
    isolation: Option<Isolation>,
    read_only: Option<bool>,
    /// Whether a statement was run in it.
    ran: bool,
    /// Whether one failed: only its end is accepted.
    pub(super) failed: bool,
}

impl Deferred {
    /// Its state, as its client is told.
    pub(super) fn tx(&self) -> TxState {
        if self.failed { TxState::Failed } else { TxState::Open }
    }

    // What begins it on a server, and brings it to the state that it is in. `sets`: what comes next may say how it is to be, which must come first.
    fn text(&self, sets: bool) -> String {
        let isolation = self.isolation.map_or("", |_| " ISOLATION LEVEL READ COMMITTED");
        let mode = self.read_only.map_or("", |_| " READ WRITE");
        let then = match self.failed {
            true => "; ROLLBACK TO SAVEPOINT a_statement_failed",
            false if self.ran && sets => "; SELECT",
            false => "",
        };
        format!("BEGIN{isolation}{mode}{then}")
    }
}

/// What of a unit is answered here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answered {
    /// A BEGIN.
    Begin(Deferred),
    /// The same in front of others, in so many parts.
    BeginFirst(Deferred, usize),
    /// A COMMIT or ROLLBACK, with this tag.
    End(&'static str),
}

/// What of the framed unit is answered here.
pub(super) fn answers<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> Option<Answered> {
    if plan.transaction == Transaction::None || exchange.is_mid_unit() || plan.misnamed {
        return None;
    }
    let alone = plan.statements == 1
        && plan.runs == 1
        && !plan.open
        && exchange.is_self_contained()
        && runs_one(exchange, exchange.parts());
    match (plan.transaction, &core.deferred) {
        (Transaction::Begin { .. }, None) if alone => begins(core, plan).map(Answered::Begin),
        (_, None) if !alone => begins_first(core, exchange, plan),
        (Transaction::Commit, Some(Deferred { failed: false, .. })) if alone => Some(Answered::End("COMMIT")),
        (Transaction::Commit | Transaction::Rollback, Some(_)) if alone => Some(Answered::End("ROLLBACK")),
        _ => None,
    }
}

// Whether the first parts are about one statement.
fn runs_one<X: Exchange>(exchange: &X, parts: usize) -> bool {
    let mut names = (0..parts).filter_map(|index| match exchange.part(index) {
        Part::Prepare { name, .. } | Part::Use { name, .. } => Some(name),
        _ => None,
    });
    let first = names.next();
    names.all(|name| Some(name) == first)
}

// Pipelines of drivers begin with it: what follows, where it reads, is a unit of its own then.
fn begins_first<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> Option<Answered> {
    let reads = plan.class == Class::Read && plan.pin.is_none() && plan.effects.is_empty() && !plan.bound;
    if !reads || !may_defer(core, plan) {
        return None;
    }
    let parts = exchange.first().filter(|parts| runs_one(exchange, *parts))?;
    let text = match exchange.part(0) {
        Part::Prepare { text, .. } => text,
        // What the same unit prepares or closes later may be another one.
        Part::Use { name, runs: true } if !core.statements.is_pending(name) => {
            core.statements.find(name)?.prepared.text()
        }
        _ => return None,
    };
    let (generation, names) = core.lane.catalog.known();
    let known = (generation, names.as_deref());
    let judge = judge::judge(&core.shared, &core.lane.catalog, known, &core.reading);
    begins(core, &Plan::of_text(text, &judge)).map(|deferred| Answered::BeginFirst(deferred, parts))
}

// Only what is read committed can be cut in two: each of its statements sees what is committed when it begins, wherever it runs.
pub(super) fn begins<E: Engine>(core: &Core<E>, plan: &Plan) -> Option<Deferred> {
    let Transaction::Begin { read_only, isolation, deferrable } = plan.transaction else { return None };
    let level = isolation.is_none_or(|level| level == Isolation::ReadCommitted);
    let plain = plan.pin.is_none() && plan.effects.is_empty() && !deferrable && read_only != Some(true);
    let deferred = Deferred { isolation, read_only, ran: false, failed: false };
    (level && plain && plan.statements == 1 && may_defer(core, plan)).then_some(deferred)
}

fn may_defer<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    // Who listens is told of notifications when a server ends its transaction.
    let listens = listen::listens(core);
    if E::DIALECT != Dialect::Postgres || core.held.is_some() || core.tx != TxState::Idle || listens {
        return false;
    }
    let settings = core.shared.settings.load();
    let routing = core.routing(&settings);
    let level = plan.level.or(core.consistency).unwrap_or(routing.consistency);
    routing.reads_in_transactions == ReadsInTransactions::UntilFirstWrite
        && core.lane.mode == PoolMode::Transaction
        && plan.hint.unwrap_or(core.route) != RouteSetting::Primary
        && level != Consistency::Strong
        && core.read_committed
        && !core.is_read_only()
}

/// Answers it.
pub(super) fn answer<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &Plan,
    answered: Answered,
    began: Tick,
) {
    let parts = match answered {
        Answered::BeginFirst(_, parts) => {
            core.statements.undo_from(parts);
            0..parts
        }
        _ => 0..exchange.parts(),
    };
    let parts = parts.filter_map(|part| part.try_into().ok()).collect();
    core.statements.confirm(&Confirmed { parts, ..Confirmed::default() });
    if plan.simple {
        core.statements.forget_anonymous();
    }
    match answered {
        Answered::Begin(deferred) | Answered::BeginFirst(deferred, _) => {
            core.shared.stats.count(ClusterCount::Deferred);
            core.deferred = Some(deferred);
            core.tx_since = began;
        }
        Answered::End(_) => {
            core.deferred = None;
            let took = clock::now().since(core.tx_since);
            core.lane.traffic.transaction(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
    core.place.in_transaction.store(core.deferred.is_some(), Ordering::Relaxed);
    match answered {
        Answered::Begin(_) => exchange.answer(&[(0, Answer::Done(plan.command()))], TxState::Open),
        Answered::BeginFirst(_, parts) => exchange.answer_first(parts, Answer::Done("BEGIN")),
        Answered::End(tag) => exchange.answer(&[(0, Answer::Done(tag))], TxState::Idle),
    }
}

/// Whether the framed segment, in such a transaction, is a read that does the same outside of it, and leaves nothing there.
pub(super) fn is_apart<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> bool {
    reads_apart(core, plan) && exchange.is_self_contained() && !speaks_of_time(exchange, plan)
}

/// Whether `plan` is one as far as verdicts tell.
pub(super) fn reads_apart<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    let more = plan.bound || plan.own_values || plan.writes || plan.blind || plan.ends || plan.early;
    core.deferred.is_some_and(|deferred| !deferred.failed)
        && plan.class == Class::Read
        && plan.transaction == Transaction::None
        && plan.pin.is_none()
        && plan.effects.is_empty()
        && !more
        && !plan.misnamed
}

// Whether a value in it, or in what it runs, may be a time of the transaction's: 'now' is when that began. With a backslash a text may hide one.
fn speaks_of_time<X: Exchange>(exchange: &X, plan: &Plan) -> bool {
    let hides = |text: &[u8]| memchr::memchr(b'\\', text).is_some();
    let is_hidden = |index| match exchange.part(index) {
        Part::Text(text) | Part::Prepare { text, .. } => hides(text),
        _ => false,
    };
    let used = |text: &[u8]| hides(text) || speaks_of_now(text);
    speaks_of_now(exchange.bytes())
        || (0..exchange.parts()).any(is_hidden)
        || plan.used.iter().any(|one| used(one.entry.prepared.text()))
}

/// Whether the backend that is held is to begin the transaction first.
pub(super) fn is_to_begin<E: Engine>(core: &Core<E>) -> bool {
    core.deferred.is_some() && core.held.is_some() && !core.on_replica()
}

/// Begins it there. What `plan` does comes next.
///
/// # Errors
/// The backend is lost.
pub(super) async fn begin<E: Engine>(core: &mut Core<E>, plan: &Plan) -> Result<(), ClientError> {
    let (Some(deferred), Some(held)) = (core.deferred, &mut core.held) else { return Ok(()) };
    let text = deferred.text(!plan.effects.is_empty());
    let begun = held.lease.begin(&text).await;
    let tx = held.lease.tx();
    if begun.is_err() || tx != deferred.tx() {
        core.drop_backend();
        let reason =
            begun.err().map_or_else(|| "it did not begin a transaction".to_owned(), |e| e.to_string());
        return Err(ClientError::new("08006", 2013, format!("the server was lost: {reason}")));
    }
    core.shared.stats.count(ClusterCount::DeferredBegun);
    core.tx = tx;
    core.deferred = None;
    Ok(())
}

/// A unit that ran apart from the transaction was answered.
pub(super) fn settled<E: Engine>(core: &mut Core<E>, plan: &Plan, outcome: &Outcome) {
    let Some(deferred) = &mut core.deferred else { return };
    deferred.ran |= plan.runs > 0;
    deferred.failed |= outcome.failed.is_some();
    if outcome.tx != TxState::Idle {
        // The server has one of its own now.
        core.deferred = None;
    }
}
