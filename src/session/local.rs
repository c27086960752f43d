//! What the proxy answers by itself: its own settings, and statements about names that only it knows.

use super::core::Core;
use super::plan::{Plan, Wish, answered_here};
use super::{cancel, listen, registry};
use crate::config::settings::{Consistency, PoolMode, RouteSetting};
use crate::engine::seam::{Answer, Backend, Confirmed, Engine, Exchange, PREFIX, Part, Scalar};
use crate::engine::{PinReason, TxState};
use crate::error::ClientError;
use crate::sql::{Change, Transaction};
use std::sync::Arc;

/// Whether the whole unit is answered here.
pub(super) fn answers<E: Engine>(core: &Core<E>, plan: &Plan) -> bool {
    if plan.needs_server || plan.effects.is_empty() || core.client_tx() == TxState::Failed {
        return false;
    }
    // What is not known may have put statements beside ours on the kept backend.
    let statements_there = core.pin.is_some_and(|pin| {
        !matches!(
            pin.reason,
            PinReason::Listen | PinReason::AdvisoryLock | PinReason::HoldCursor | PinReason::TempObject
        )
    });
    let discards = wishes(plan).any(|change| matches!(change, Change::DiscardAll));
    let deallocates = wishes(plan).any(|change| match change {
        Change::DeallocateAll => true,
        // A shared statement is nobody's to drop.
        Change::Deallocate(name) => !core.statements.has(name.as_bytes()) && !name.starts_with(PREFIX),
        _ => false,
    });
    // It must stand alone: a server says what it thinks of it in company.
    let in_company = plan.changes().nth(1).is_some();
    // Its error ends the transaction that is open on the server.
    let named = || {
        wishes(plan).filter_map(|change| match change {
            Change::Deallocate(name) => Some(name),
            _ => None,
        })
    };
    let may_fail = named().any(|name| !core.statements.has(name.as_bytes())) || named().nth(1).is_some();
    if core.client_tx() == TxState::Open && may_fail {
        return false;
    }
    let there = (discards && (core.held.is_some() || core.deferred.is_some() || in_company))
        || (deallocates && statements_there);
    !there && !wishes(plan).any(|change| only_its_backend_knows(core, change))
}

// What the backend that the session keeps listens to, it must be told, and asked.
fn only_its_backend_knows<E: Engine>(core: &Core<E>, change: &Change) -> bool {
    match change {
        Change::Listen(_) => core.deferred.is_some() || !listen::may_share(core),
        Change::Unlisten(_) => core.lane.mode == PoolMode::Session || listen::may_listen_itself(core),
        Change::Channels(_) => !listen::listens(core) || listen::may_listen_itself(core),
        _ => false,
    }
}

fn wishes(plan: &Plan) -> impl Iterator<Item = &Change> {
    plan.effects.iter().flat_map(Wish::changes)
}

/// A setting of ours with a value that it does not have, or among statements that a server runs.
pub(super) fn refuses<E: Engine>(core: &Core<E>, exchange: &E::Exchange, plan: &Plan) -> Option<ClientError> {
    let ours = wishes(plan).any(|change| matches!(change, Change::Primacy { .. } | Change::ShowPrimacy(_)));
    if ours && !exchange.is_mid_unit() && plan.needs_server && core.client_tx() != TxState::Failed {
        return Some(
            ClientError::new(
                "0A000",
                1235,
                "primacy.* settings cannot be mixed with other statements in one text or pipeline",
            )
            .hint("send it alone"),
        );
    }
    let asks = plan.channels || wishes(plan).any(|change| matches!(change, Change::Channels(_)));
    if asks && listen::listens(core) && core.client_tx() != TxState::Failed {
        let text = "pg_listening_channels() must stand alone in a session that listens";
        return Some(ClientError::new("0A000", 1235, text).hint("send SELECT pg_listening_channels()"));
    }
    if core.client_tx() == TxState::Failed
        && plan.transaction == Transaction::None
        && describes_the_absent(core, exchange)
    {
        let text = "a prepared statement cannot be described in a failed transaction: its connection does not have it yet";
        return Some(ClientError::new("55000", 1105, text).hint("end the transaction first"));
    }
    None
}

// Whether a statement without a result is described that the backend lacks: a server that has it describes it in a failed transaction, too, but
// prepares none there. One with a result it does not describe either.
fn describes_the_absent<E: Engine>(core: &Core<E>, exchange: &E::Exchange) -> bool {
    const RESULTS: [&[u8]; 7] = [b"select", b"values", b"table", b"with", b"show", b"explain", b"fetch"];
    let is_there = |id| core.held.as_ref().is_some_and(|held| held.lease.standing(id) == Some(true));
    (0..exchange.parts()).any(|index| match exchange.part(index) {
        Part::Use { name, runs: false } if !name.is_empty() => {
            core.statements.find(name).is_some_and(|entry| {
                let text = entry.prepared.text().trim_ascii_start();
                let has_result = RESULTS
                    .iter()
                    .any(|word| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)));
                !has_result && !is_there(entry.prepared.id)
            })
        }
        _ => false,
    })
}

/// Answers the unit.
pub(super) fn answer<E: Engine>(core: &mut Core<E>, exchange: &mut E::Exchange, plan: &Plan) {
    if plan.simple {
        core.statements.forget_anonymous();
    }
    match all(core, exchange, plan) {
        Err(error) => {
            core.statements.undo();
            exchange.refuse(&error, core.client_tx());
        }
        Ok(texts) => {
            let parts = exchange.base()..exchange.base() + exchange.parts();
            let parts: Vec<u32> = parts.filter_map(|part| part.try_into().ok()).collect();
            core.statements.confirm(&Confirmed { parts, ..Confirmed::default() });
            let answers: Vec<_> = texts.iter().map(|(part, text)| (*part, text.answer())).collect();
            exchange.answer(&answers, core.client_tx());
        }
    }
}

fn all<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    plan: &Plan,
) -> Result<Vec<(usize, Text)>, ClientError> {
    let mut texts = Vec::new();
    for wish in &plan.effects {
        for change in wish.changes() {
            debug_assert!(answered_here(change));
            let text = if wish.runs { one(core, exchange, change)? } else { described(core, change)? };
            texts.push((wish.part, text));
        }
    }
    Ok(texts)
}

enum Text {
    Done(&'static str),
    Row(String, String),
    Value(Box<str>, Scalar),
    Rows(Box<str>, Vec<String>, String),
}

impl Text {
    fn answer(&self) -> Answer<'_> {
        match self {
            Self::Done(tag) => Answer::Done(tag),
            Self::Row(column, value) => Answer::Row { column, value },
            Self::Value(column, value) => Answer::Value { column, value: *value },
            Self::Rows(column, values, tag) => Answer::Rows { column, values, tag },
        }
    }
}

// What is only prepared or described changes nothing, but has columns or none.
fn described<E: Engine>(core: &Core<E>, change: &Change) -> Result<Text, ClientError> {
    match change {
        Change::ShowPrimacy(name) => Ok(Text::Row(format!("primacy.{name}"), show(core, name)?)),
        Change::BackendId(column) => Ok(Text::Value(column.clone(), Scalar::Int(0))),
        Change::Signal { column, .. } => Ok(Text::Value(column.clone(), Scalar::Bool(false))),
        Change::Channels(column) => Ok(Text::Rows(column.clone(), Vec::new(), String::new())),
        _ => Ok(Text::Done("")),
    }
}

fn one<E: Engine>(
    core: &mut Core<E>,
    exchange: &mut E::Exchange,
    change: &Change,
) -> Result<Text, ClientError> {
    match change {
        Change::Primacy { name, value } => {
            set(core, name, value.as_deref())?;
            Ok(Text::Done(if value.is_some() { "SET" } else { "RESET" }))
        }
        Change::ShowPrimacy(name) => Ok(Text::Row(format!("primacy.{name}"), show(core, name)?)),
        Change::BackendId(column) => {
            let id = Scalar::Int(i32::try_from(core.place.id).unwrap_or_default());
            Ok(Text::Value(column.clone(), id))
        }
        Change::Signal { id, terminate, column } => {
            Ok(Text::Value(column.clone(), Scalar::Bool(signal(core, *id, *terminate)?)))
        }
        Change::Listen(channel) => {
            listen::listen(core, channel);
            Ok(Text::Done("LISTEN"))
        }
        Change::Unlisten(channel) => {
            listen::unlisten(core, channel.as_deref());
            Ok(Text::Done("UNLISTEN"))
        }
        Change::Channels(column) => {
            let names = listen::names(core);
            let tag = format!("SELECT {}", names.len());
            Ok(Text::Rows(column.clone(), names, tag))
        }
        Change::DeallocateAll => {
            core.statements.clear();
            Ok(Text::Done("DEALLOCATE ALL"))
        }
        Change::Deallocate(name) => match core.statements.remove(name.as_bytes()) {
            true => Ok(Text::Done("DEALLOCATE")),
            false => {
                Err(ClientError::new("26000", 1243, format!("prepared statement \"{name}\" does not exist")))
            }
        },
        Change::DiscardAll => {
            core.statements.clear();
            core.statements.forget_anonymous();
            core.ears = None;
            core.want(Arc::new(core.wanted.back_to(&core.startup)));
            // Reported settings return to what the client was greeted with.
            for (name, value) in std::mem::take(&mut core.told) {
                let greeted = core.greeting.told.iter().find(|(greeted, _)| *greeted == name);
                if let Some((name, greeted)) = greeted.filter(|(_, greeted)| *greeted != value) {
                    exchange.tell_setting(name, greeted);
                }
            }
            core.read_anew();
            Ok(Text::Done("DISCARD ALL"))
        }
        _ => Err(ClientError::new("XX000", 1105, "a statement was answered that only a server can answer")),
    }
}

// Whether the session of that id was there to be cancelled, or ended.
fn signal<E: Engine>(core: &Core<E>, id: u32, terminate: bool) -> Result<bool, ClientError> {
    if id < registry::IDS_FROM {
        let text = format!("{id} is the id of a server's process, which several clients may share");
        return Err(ClientError::new("0A000", 1235, text)
            .hint("SELECT pg_backend_pid() and SHOW CLIENTS tell the ids of sessions; a server's own are signalled there"));
    }
    let Some(entry) = core.shared.registry.get(id) else { return Ok(false) };
    if entry.user != core.place.user {
        let what = if terminate { "terminate" } else { "cancel query in" };
        return Err(ClientError::new("42501", 1227, format!("permission denied to {what} session {id}"))
            .hint("only sessions of the same user can be"));
    }
    let administrator =
        || ClientError::new("57P01", 1053, "terminating connection due to administrator command");
    match (terminate, id == core.place.id) {
        (true, true) => return Err(administrator().fatal()),
        (true, false) => entry.end(administrator().fatal()),
        (false, true) => {
            return Err(ClientError::new("57014", 1317, "canceling statement due to user request"));
        }
        (false, false) => drop(cancel::cancel(&core.shared, &entry)),
    }
    Ok(true)
}

/// Gives one of our own settings a value.
pub(super) fn set<E: Engine>(core: &mut Core<E>, name: &str, value: Option<&str>) -> Result<(), ClientError> {
    match name {
        "route" => core.route = route_of(value)?,
        "consistency" => {
            core.consistency = match value {
                None | Some("") => None,
                Some("eventual") => Some(Consistency::Eventual),
                Some("session") => Some(Consistency::Session),
                Some("causal") => Some(Consistency::Causal),
                Some("strong") => Some(Consistency::Strong),
                Some(_) => return Err(invalid(name, value, "eventual, session, causal, strong")),
            };
        }
        _ => return Err(unknown(name)),
    }
    Ok(())
}

pub(super) fn word(level: Consistency) -> &'static str {
    match level {
        Consistency::Eventual => "eventual",
        Consistency::Session => "session",
        Consistency::Causal => "causal",
        Consistency::Strong => "strong",
    }
}

/// What a value of `primacy.route` stands for.
pub(super) fn route_of(value: Option<&str>) -> Result<RouteSetting, ClientError> {
    match value {
        None | Some("auto" | "") => Ok(RouteSetting::Auto),
        Some("primary") => Ok(RouteSetting::Primary),
        Some("replica") => Ok(RouteSetting::Replica),
        Some(_) => Err(invalid("route", value, "auto, primary, replica")),
    }
}

fn invalid(name: &str, value: Option<&str>, allowed: &str) -> ClientError {
    let value = value.unwrap_or_default();
    ClientError::new("22023", 1231, format!("invalid value for parameter \"primacy.{name}\": \"{value}\""))
        .hint(format!("Available values: {allowed}."))
}

pub(super) fn unknown(name: &str) -> ClientError {
    ClientError::new("42704", 1193, format!("unrecognized configuration parameter \"primacy.{name}\""))
        .hint("Primacy's own are primacy.route, primacy.consistency and (to show) primacy.node.")
}

fn show<E: Engine>(core: &Core<E>, name: &str) -> Result<String, ClientError> {
    match name {
        "node" => Ok(core.last_node.map(|node| core.node_name(node).to_string()).unwrap_or_default()),
        "route" => Ok(match core.route {
            RouteSetting::Auto => "auto",
            RouteSetting::Primary => "primary",
            RouteSetting::Replica => "replica",
        }
        .to_owned()),
        "consistency" => {
            let settings = core.shared.settings.load();
            let level = core.consistency.unwrap_or(core.routing(&settings).consistency);
            Ok(word(level).to_owned())
        }
        _ => Err(unknown(name)),
    }
}
