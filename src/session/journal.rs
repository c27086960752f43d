//! Settings that were touched where it cannot be told for sure what became of them: in transactions, by values that only the server knows. They
//! are noted by name, and when the transaction is over the server is asked, before anybody else gets the backend.

use super::core::Core;
use super::lost::lost_while_kept;
use super::reading::READ_BY;
use super::run::End;
use super::settle::{give_back, pin_session};
use crate::clock;
use crate::engine::carrier::{Carrier, Found};
use crate::engine::seam::{Backend, Engine};
use crate::engine::tracked::{Tracked, is_custom};
use crate::engine::{Certainty, Dirt, Pin, PinReason, TxState};
use crate::sql::{Change, Value};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// Who the session acts as. To set the one resets the other; `RESET ALL` resets neither.
pub(super) const WHO: [&str; 2] = ["session_authorization", "role"];

/// The settings that may not be what the books say.
#[derive(Debug, Default)]
pub(super) struct Journal {
    touched: BTreeSet<Box<str>>,
    /// Whether something was reset or rolled back: then it counts whether a value is the session's own.
    origins: bool,
    /// Whether a transaction was committed since the first of them was touched.
    committed: bool,
    /// Settings that the open transaction has just reset: they are to have their start-up values at once.
    restore: BTreeSet<Box<str>>,
    /// Whether how texts are read is only known to the server.
    reread: bool,
}

impl Journal {
    /// Notes a change that a unit ran, or tried to, for a client with these start-up settings and books; `parameter` is the value of a bound one.
    pub(super) fn note(
        &mut self,
        change: &Change,
        startup: &Tracked,
        books: [&Tracked; 2],
        seen: &mut Tracked,
        parameter: impl Fn(u16) -> Option<String>,
    ) {
        match change {
            Change::Set { name, value } => {
                self.touch(name);
                self.see(name, text(value, parameter).as_deref(), seen);
            }
            Change::SetLocal { name, value } => {
                if is_custom(name) {
                    self.touch(name);
                }
                let value = value.as_ref().and_then(|value| text(value, parameter));
                self.see(name, value.as_deref(), seen);
            }
            Change::Touch(name) => {
                self.touch(name);
                self.see(name, None, seen);
            }
            Change::Reset(name) => self.reset(name, startup, seen),
            Change::ResetAll => {
                let names = [startup, books[0], books[1]].into_iter().flat_map(Tracked::iter);
                let noted = std::mem::take(&mut self.touched);
                let names: BTreeSet<Box<str>> =
                    names.map(|(name, _)| name.into()).chain(noted.iter().cloned()).collect();
                self.touched = noted;
                names
                    .iter()
                    .filter(|name| !WHO.contains(&&***name))
                    .for_each(|name| self.reset(name, startup, seen));
            }
            _ => {}
        }
    }

    fn touch(&mut self, name: &str) {
        self.touched.insert(name.into());
        self.restore.remove(name);
        if name == WHO[0] {
            self.touched.insert(WHO[1].into());
        }
    }

    fn reset(&mut self, name: &str, startup: &Tracked, seen: &mut Tracked) {
        self.touch(name);
        self.origins = true;
        let with: &[&str] = if name == WHO[0] { &WHO } else { &[name] };
        for name in with {
            if startup.get(name).is_some() {
                self.restore.insert((*name).into());
            }
        }
        self.see(name, startup.get(name), seen);
    }

    // How texts are read from here on, if that changes it.
    fn see(&mut self, name: &str, value: Option<&str>, seen: &mut Tracked) {
        if !READ_BY.contains(&name) {
            return;
        }
        match value {
            Some(value) => seen.set(name, value),
            None => self.reread = true,
        }
        if name == WHO[0] {
            seen.set(WHO[1], "none");
        }
    }

    /// A unit has ended; `alone`: nothing in it touched settings. False: nothing is left to be found out.
    pub(super) fn ended(&mut self, unit: Ended) -> bool {
        self.committed |= unit.committed;
        // A return to a savepoint may have undone anything.
        self.origins |= unit.controls && !unit.over;
        self.reread |= unit.controls && unit.saw;
        if unit.failed {
            self.restore.clear();
            self.reread |= unit.saw;
        }
        if !unit.over {
            return unit.saw || self.reread || !self.touched.is_empty();
        }
        let undone = !self.committed && (unit.failed || (unit.was_open && unit.alone));
        if undone {
            // A custom setting stays known, whatever became of its value: it is what it was.
            self.touched.retain(|name| is_custom(name));
            self.origins = false;
            return !self.touched.is_empty();
        }
        self.origins |= !unit.alone && (unit.controls || unit.failed);
        !self.touched.is_empty()
    }
}

/// How a unit ended, as far as settings are concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Whether a transaction was committed in it.
    pub(super) committed: bool,
    /// Whether it failed.
    pub(super) failed: bool,
    /// Whether it began in a transaction.
    pub(super) was_open: bool,
    /// Whether no transaction is open behind it.
    pub(super) over: bool,
    /// Whether it controls transactions otherwise than by one plain beginning or end.
    pub(super) controls: bool,
    /// Whether it touched no settings itself.
    pub(super) alone: bool,
    /// Whether the transaction changed how texts are read.
    pub(super) saw: bool,
}

fn text(value: &Value, parameter: impl Fn(u16) -> Option<String>) -> Option<String> {
    match value {
        Value::Constant(text) | Value::List(text) => Some(text.to_string()),
        Value::Parameter(n) => parameter(*n),
    }
}

/// Finds out what the journal leaves open, now that the unit's answer is with the client, and gives the backend back if nothing keeps it.
pub(super) async fn settle<E: Engine>(core: &mut Core<E>) -> Result<(), End> {
    let found_out = match core.tx {
        TxState::Failed => Ok(()),
        TxState::Open => within(core).await,
        TxState::Idle => after(core).await,
    };
    if let Err(error) = found_out {
        let error = lost_while_kept(core, &error.to_string());
        core.drop_backend();
        return Err(End::Sent(Box::new(error)));
    }
    if !core.must_keep() {
        give_back(core, clock::now());
    }
    Ok(())
}

// In the open transaction: what was reset gets the client's start-up values, as if its own statement had done it, and what texts are read by is asked.
async fn within<E: Engine>(core: &mut Core<E>) -> io::Result<()> {
    let (Some(journal), Some(held)) = (core.journal.as_mut(), core.held.as_mut()) else { return Ok(()) };
    let restore = std::mem::take(&mut journal.restore);
    let mut values: Vec<(&str, &str)> =
        restore.iter().filter_map(|name| Some((&**name, core.startup.get(name)?))).collect();
    // A role is taken with the rights of the session's user.
    values.sort_by_key(|(name, _)| WHO.iter().position(|who| who == name).map_or(0, |at| at + 1));
    let mut stands = values.is_empty() || held.lease.amend(&values).await?;
    if stands && std::mem::take(&mut journal.reread) {
        let shown = held.lease.show(&READ_BY).await?;
        stands = shown.is_some();
        if let Some(shown) = shown {
            core.seen = Some(Box::new(Tracked::new(READ_BY.into_iter().zip(shown))));
        }
    }
    core.tx = if stands { core.tx } else { held.lease.tx() };
    core.read_anew();
    Ok(())
}

// After the transaction: what the touched settings are now.
async fn after<E: Engine>(core: &mut Core<E>) -> io::Result<()> {
    let (Some(journal), Some(held)) = (core.journal.take(), core.held.as_mut()) else { return Ok(()) };
    core.seen = None;
    let names: Vec<&str> = journal.touched.iter().map(AsRef::as_ref).collect();
    let mut found = held.lease.ask(&names, journal.origins).await?;
    if found.is_none() {
        // Once more: a cancel request that comes late may have met the question.
        found = held.lease.ask(&names, journal.origins).await?;
    }
    let Some(found) = found else {
        let custom = names.iter().any(|name| is_custom(name));
        held.lease.soil(if custom { Dirt::Incurable } else { Dirt::Unknown });
        pin_session(core, Pin { reason: PinReason::SettingValue, certainty: Certainty::Possible }, "SET");
        core.read_anew();
        return Ok(());
    };
    let (mut wanted, mut carried) = (Tracked::clone(&core.wanted), Tracked::clone(held.lease.tracked()));
    for (name, found) in names.iter().zip(found) {
        take_over(name, found, journal.origins, core, (&mut wanted, &mut carried));
    }
    if let Some(held) = &mut core.held {
        held.lease.set_tracked(Arc::new(carried));
    }
    core.want(Arc::new(wanted));
    if !core.needs_carrying() {
        core.accept();
    }
    Ok(())
}

// One answer. What the server has of its own is what the client's start-up value is to be again; where it has none, what a fresh backend has.
fn take_over<E: Engine>(
    name: &str,
    found: Found,
    origins: bool,
    core: &Core<E>,
    (wanted, carried): (&mut Tracked, &mut Tracked),
) {
    let startup = core.startup.get(name);
    let Some(value) = found.value else {
        // There is no such setting: nothing set it, and nobody had set it before.
        wanted.remove(name);
        return carried.remove(name);
    };
    let reset = match name {
        "session_authorization" => *value == *core.lane.identity.user,
        "role" => origins && value == "none",
        // A custom one that was reset is empty, and stays known.
        _ if is_custom(name) => origins && value.is_empty(),
        _ => origins && !found.given,
    };
    if reset && name != "role" && !is_custom(name) {
        carried.remove(name);
    } else {
        carried.set(name, &value);
    }
    match startup.filter(|_| reset) {
        Some(startup) => wanted.set(name, startup),
        None => match carried.get(name).map(str::to_owned) {
            Some(value) => wanted.set(name, &value),
            None => wanted.remove(name),
        },
    }
}
