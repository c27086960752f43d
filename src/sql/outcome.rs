//! What one statement does, while it is being found out.

use super::context::Context;
use super::verdict::{Change, NameUse, Reason, Relation, Return, Transaction};
use crate::catalog::Does;
use crate::engine::{Certainty, Class, Pin, PinReason};

/// What was found so far.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) class: Class,
    pub(super) reason: Reason,
    pub(super) command: &'static str,
    pub(super) transaction: Transaction,
    pub(super) pin: Option<Pin>,
    pub(super) changes: Vec<Change>,
    pub(super) relations: Vec<Relation>,
    pub(super) names: Vec<NameUse>,
    pub(super) returns: Vec<Return>,
    pub(super) ddl: bool,
    /// It calls what may act outside the database.
    pub(super) outside: bool,
    pub(super) ends: bool,
    pub(super) own_values: bool,
    /// The database that nobody may be connected to.
    pub(super) empties: Option<Box<str>>,
    pub(super) channels: bool,
    /// It belongs to the transaction that it runs in.
    pub(super) bound: bool,
}

impl Outcome {
    /// A read, until something else is found.
    pub(super) fn read(command: &'static str) -> Self {
        Self {
            class: Class::Read,
            reason: Reason::Read,
            command,
            transaction: Transaction::None,
            pin: None,
            changes: Vec::new(),
            relations: Vec::new(),
            names: Vec::new(),
            returns: Vec::new(),
            ddl: false,
            outside: false,
            ends: false,
            own_values: false,
            empties: None,
            channels: false,
            bound: false,
        }
    }

    /// A command that writes and leaves nothing behind.
    pub(super) fn command(command: &'static str) -> Self {
        Self::read(command).writing(Reason::Command)
    }

    /// A command that changes the catalog.
    pub(super) fn ddl(command: &'static str, context: &Context<'_>) -> Self {
        let mut outcome = Self { ddl: true, ..Self::command(command) };
        if context.names.is_some_and(|names| names.events().has(Does::PINS)) {
            outcome.pin(PinReason::UserFunction, Certainty::Possible);
        }
        outcome
    }

    /// Not understood: the primary, and dirty.
    pub(super) fn unknown(command: &'static str) -> Self {
        Self::read(command).writing(Reason::Unparsed).pinning(PinReason::Unknown, Certainty::Possible)
    }

    /// Only a change of session state.
    pub(super) fn change(command: &'static str, change: Change) -> Self {
        Self { reason: Reason::SessionState, changes: vec![change], ..Self::read(command) }
    }

    /// Transaction control.
    pub(super) fn control(command: &'static str, transaction: Transaction) -> Self {
        Self { reason: Reason::TransactionControl, transaction, ..Self::read(command) }
    }

    pub(super) fn writing(mut self, reason: Reason) -> Self {
        self.write(reason);
        self
    }

    pub(super) fn pinning(mut self, reason: PinReason, certainty: Certainty) -> Self {
        self.pin(reason, certainty);
        self
    }

    /// It writes. The first reason stays.
    pub(super) fn write(&mut self, reason: Reason) {
        if self.class < Class::Write {
            self.class = Class::Write;
            self.reason = reason;
        }
    }

    /// It describes the server.
    pub(super) fn local(&mut self, name: &str) {
        if self.class < Class::NodeLocal {
            self.class = Class::NodeLocal;
            self.reason = Reason::NodeLocal(name.into());
        }
    }

    /// It leaves state behind; of several pins the one that is hardest to be rid of stays.
    pub(super) fn pin(&mut self, reason: PinReason, certainty: Certainty) {
        let pin = Pin { reason, certainty };
        if self.pin.is_none_or(|old| weight(old) < weight(pin)) {
            self.pin = Some(pin);
        }
    }

    /// Unknown code may run.
    pub(super) fn user_code(&mut self, reason: Reason) {
        self.write(reason);
        self.pin(PinReason::UserFunction, Certainty::Possible);
    }

    pub(super) fn relation(&mut self, schema: &str, name: &str, written: bool) {
        let relation = Relation { schema: schema.into(), name: name.into(), written };
        if !self.relations.contains(&relation) {
            self.relations.push(relation);
        }
    }
}

/// What no reset undoes outweighs what only a full reset undoes; that outweighs what a probe can see end.
pub(super) fn weight(pin: Pin) -> u8 {
    match (pin.reason, pin.certainty) {
        (PinReason::Seed | PinReason::Load, Certainty::Known) => 3,
        (_, Certainty::Possible) => 2,
        (_, Certainty::Known) => 1,
    }
}
