//! What a segment does as a whole: the verdicts on its parts, put together. Pure but for the shared caches it reads.

use super::names::{self, At};
use super::prepared::Circumstances;
use super::reading::Rereads;
use super::statements::Statements;
use super::used::Used;
use crate::catalog::{Catalog, Cleared};
use crate::config::settings::{Consistency, RouteSetting};
use crate::engine::seam::{Exchange, Part, Resolution};
use crate::engine::{Certainty, Class, Pin, PinReason};
use crate::sql::{Change, Context, Effect, Hint, HintedLevel, Reason, Transaction, Verdict, Verdicts, hint};
use smallvec::SmallVec;
use std::sync::Arc;

/// A change of session state that a segment asks for.
#[derive(Debug)]
pub(super) struct Wish {
    /// The part that it stands at.
    pub(super) part: usize,
    /// Whether it is run there: what is only prepared or described changes nothing.
    pub(super) runs: bool,
    /// The verdict with that effect.
    pub(super) verdict: Arc<Verdict>,
}

/// What a segment does.
#[derive(Debug)]
pub(super) struct Plan {
    /// The strongest class in it.
    pub(super) class: Class,
    /// Whether that class is only doubt.
    pub(super) doubt: bool,
    /// Whether anything in it may write: transaction control and session state alone do not.
    pub(super) writes: bool,
    /// Whether not all of it was looked at: it may end transactions.
    pub(super) blind: bool,
    /// Whether a text in it is run by itself (not prepared first): the anonymous statement dies with it.
    pub(super) simple: bool,
    /// Whether a text in it changes the catalog.
    pub(super) ddl: bool,
    /// Whether a text that pins did other things, too, that were not looked at one by one.
    pub(super) mixed: bool,
    /// The verdict that gave it its class.
    pub(super) verdict: Option<Arc<Verdict>>,
    /// What it does to the session, or would if it were run.
    pub(super) effects: SmallVec<[Wish; 1]>,
    /// A pin that it brings with it.
    pub(super) pin: Option<Pin>,
    /// What it does to transactions; of several `Other`.
    pub(super) transaction: Transaction,
    /// The generation of the catalog that it was judged by.
    pub(super) generation: u64,
    /// Statements that it runs.
    pub(super) runs: u32,
    /// Whether its unit goes on behind it.
    pub(super) open: bool,
    /// Statements that it prepares.
    pub(super) prepares: u32,
    /// Whether each of its texts may be run again elsewhere after a refusal.
    pub(super) repeatable: bool,
    /// Whether something in it is answered by nobody but a server.
    pub(super) needs_server: bool,
    /// A hint in a text.
    pub(super) hint: Option<RouteSetting>,
    /// A level in a text.
    pub(super) level: Option<Consistency>,
    /// Relations of these verdicts are not known yet.
    pub(super) unknown: SmallVec<[Arc<Verdict>; 1]>,
    /// Whether the names of the database's own functions are not known yet.
    pub(super) names_unknown: bool,
    /// Whether something in it may let the server acknowledge writes before they are durable.
    pub(super) early: bool,
    /// How it changes, on its way, how what follows in it is read.
    pub(super) rereads: Rereads,
    /// Whether a relation is named in it without its schema.
    pub(super) bare: bool,
    /// Statements that were judged for it.
    pub(super) statements: u32,
    /// The last part that runs and does more than change the session's state.
    pub(super) looks: Option<usize>,
    /// Whether it may end what pins the session.
    pub(super) ends: bool,
    /// Whether it asks for the session's own values of sequences.
    pub(super) own_values: bool,
    /// Whether it asks which channels the session listens to, in a way that only a server answers.
    pub(super) channels: bool,
    /// Whether it belongs to the transaction that it runs in.
    pub(super) bound: bool,
    /// Whether a name in it does not stand for what it should: a server says so.
    pub(super) misnamed: bool,
    /// Whether it may run apart from a transaction of which no server knows yet.
    pub(super) apart: bool,
    /// Prepared statements that it uses.
    pub(super) used: SmallVec<[Used; 1]>,
    /// Statements that its texts prepare: they must not be there before.
    pub(super) gains: SmallVec<[u64; 1]>,
    /// Whether what it resets is sent so that it has the client's start-up values at once.
    pub(super) returns: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            class: Class::Read,
            doubt: false,
            writes: false,
            blind: false,
            simple: false,
            ddl: false,
            mixed: false,
            verdict: None,
            effects: SmallVec::new(),
            pin: None,
            transaction: Transaction::None,
            generation: 0,
            runs: 0,
            open: false,
            prepares: 0,
            repeatable: true,
            needs_server: false,
            hint: None,
            level: None,
            unknown: SmallVec::new(),
            names_unknown: false,
            early: false,
            rereads: Rereads::default(),
            bare: false,
            statements: 0,
            looks: None,
            ends: false,
            own_values: false,
            channels: false,
            bound: false,
            misnamed: false,
            apart: false,
            used: SmallVec::new(),
            gains: SmallVec::new(),
            returns: false,
        }
    }
}

/// What judging needs beside the segment.
pub(super) struct Judge<'a> {
    /// The shared cache of verdicts.
    pub(super) verdicts: &'a Verdicts,
    /// How texts are read.
    pub(super) context: Context<'a>,
    /// What the database says of its relations.
    pub(super) catalog: &'a Catalog,
    /// The effective search path.
    pub(super) path: &'a str,
    /// The shared statements.
    pub(super) store: &'a super::prepared::Store,
    /// Under what the segment's statements are shared.
    pub(super) circumstances: Circumstances,
    /// The client's own start-up values, where texts that return to them are to be sent so that they do.
    pub(super) first: Option<&'a [(&'a str, &'a str)]>,
}

impl Judge<'_> {
    /// Whether a text with that verdict is sent otherwise than it came.
    pub(super) fn edits(&self, verdict: &Verdict) -> bool {
        !verdict.names.is_empty() || (self.first.is_some() && !verdict.returns.is_empty())
    }
}

impl Wish {
    /// What is asked for, in its order.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.verdict.effect.changes().iter()
    }
}

impl Plan {
    /// Judges the framed segment of `exchange`, resolves its names, and notes in `statements` what it prepares and forgets.
    pub(super) fn make<X: Exchange>(
        &mut self,
        exchange: &mut X,
        statements: &mut Statements,
        judge: &Judge<'_>,
    ) {
        *self = Self::default();
        let plan = self;
        plan.returns = judge.first.is_some();
        let base = exchange.base();
        plan.generation = judge.context.generation;
        plan.open = exchange.is_open();
        for index in 0..exchange.parts() {
            match exchange.part(index) {
                Part::Text(text) => {
                    let verdict = plan.text(index, text, judge);
                    if judge.edits(&verdict) {
                        let at = At { index, part: base + index, runs: true };
                        let edited = names::edit::<X>(plan, statements, judge, at, text, &verdict, false);
                        exchange.resolve(index, Resolution::Edited(Arc::new(edited)));
                    }
                }
                Part::Prepare { name, text, body } => {
                    let prepared = judge.store.get(judge.circumstances, body, text);
                    let resolution =
                        plan.prepare::<X>(statements, judge, (index, base + index), name, &prepared);
                    plan.misnamed |= matches!(resolution, Resolution::Duplicate(_));
                    exchange.resolve(index, resolution);
                }
                Part::Use { name, runs } => {
                    plan.runs += u32::from(runs);
                    let resolution = match statements.find(name).cloned() {
                        None => Resolution::Missing,
                        Some(entry) => plan.used(exchange, statements, judge, (index, name, runs), entry),
                    };
                    plan.needs_server |= matches!(resolution, Resolution::Missing);
                    plan.misnamed |= matches!(resolution, Resolution::Missing | Resolution::Outdated);
                    exchange.resolve(index, resolution);
                }
                Part::Forget { name } => {
                    let known = statements.close(base + index, name).map(|entry| Arc::clone(&entry.prepared));
                    exchange.resolve(index, known.map_or(Resolution::AsIs, Resolution::Statement));
                }
                Part::Opaque(class, reason) => {
                    plan.runs += 1;
                    plan.raise(class, None);
                    plan.writes |= class == Class::Write;
                    plan.blind = true;
                    plan.needs_server = true;
                    plan.repeatable = false;
                    plan.pins(reason, Certainty::Possible);
                }
                Part::Long(text) => {
                    plan.text(index, text, judge);
                    plan.raise(Class::Write, None);
                    plan.writes = true;
                    plan.blind = true;
                    plan.needs_server = true;
                    plan.repeatable = false;
                    plan.pins(PinReason::LongText, Certainty::Possible);
                }
                Part::Portal | Part::Neutral => {}
            }
        }
        plan.read_carefully();
    }

    // What changes on its way how it is to be read was not read so: in doubt, and what ran may have left anything behind.
    fn read_carefully(&mut self) {
        if self.statements < 2 {
            return;
        }
        if self.rereads.text {
            self.raise(Class::Write, None);
            self.writes = true;
            self.pins(PinReason::Unknown, Certainty::Possible);
        }
        if self.rereads.path && self.bare {
            self.raise(Class::Write, None);
            self.writes = true;
            self.pins(PinReason::Relation, Certainty::Possible);
        }
    }

    pub(super) fn look(&mut self, part: usize, verdict: &Verdict) {
        if verdict.effect.changes().is_empty() && verdict.transaction == Transaction::None {
            self.looks = Some(part);
        }
    }

    /// The database that nobody may be connected to for it.
    pub(super) fn empties(&self) -> Option<&str> {
        self.verdict.as_ref().filter(|_| self.runs > 0)?.empties.as_deref()
    }

    /// What one text would do.
    pub(super) fn of_text(text: &[u8], judge: &Judge<'_>) -> Self {
        let mut plan = Self::default();
        plan.text(0, text, judge);
        plan
    }

    /// Whether it may have written: what is only prepared or described writes nothing.
    pub(super) fn wrote(&self) -> bool {
        self.writes && self.runs > 0
    }

    fn text(&mut self, index: usize, text: &[u8], judge: &Judge<'_>) -> Arc<Verdict> {
        self.runs += 1;
        self.simple = true;
        self.judge((index, true), text, judge)
    }

    // `at`: the part, and whether the text is run there.
    pub(super) fn judge(&mut self, at: (usize, bool), text: &[u8], judge: &Judge<'_>) -> Arc<Verdict> {
        self.hints(text);
        let verdict = judge.verdicts.judge(text, &judge.context);
        self.early |= super::early::may_be_switched_on(text, &verdict);
        self.rereads.note(at.1, &verdict, judge.context.lexing);
        self.add(at, &verdict, judge.catalog.cleared(judge.path, &verdict.relations));
        self.names_unknown |= judge.context.names.is_none();
        verdict
    }

    fn hints(&mut self, text: &[u8]) {
        match hint(text) {
            None => {}
            Some(Hint::Primary) => self.hint = Some(RouteSetting::Primary),
            Some(Hint::Replica) if self.hint.is_none() => self.hint = Some(RouteSetting::Replica),
            Some(Hint::Consistency(level)) => self.level = Some(hinted(level)),
            Some(_) => {}
        }
    }

    /// Adds what one verdict says, its relations being `cleared`.
    pub(super) fn add(&mut self, (part, runs): (usize, bool), verdict: &Arc<Verdict>, cleared: Cleared) {
        self.raise(verdict.class, Some(verdict));
        self.repeatable &= verdict.repeatable;
        self.ddl |= verdict.ddl;
        self.bare |= verdict.relations.iter().any(|relation| relation.schema.is_empty());
        self.statements += u32::from(verdict.statements);
        if runs {
            self.look(part, verdict);
        }
        self.ends |= verdict.ends;
        self.own_values |= verdict.own_values;
        self.channels |= verdict.channels;
        self.bound |= verdict.bound;
        self.writes |= verdict.class == Class::Write
            && !matches!(verdict.reason, Reason::TransactionControl | Reason::SessionState);
        match &verdict.effect {
            Effect::None => {}
            Effect::Changes(changes) => {
                self.effects.push(Wish { part, runs, verdict: Arc::clone(verdict) });
                // Each statement that we answer is one change: more statements than changes means that a server has something to run.
                let all_ours =
                    changes.iter().all(answered_here) && changes.len() == usize::from(verdict.statements);
                self.needs_server |= !all_ours;
            }
            Effect::Pins(reason, certainty) | Effect::Mixed(reason, certainty, _) => {
                self.pins(*reason, *certainty);
                if let Effect::Mixed(..) = verdict.effect {
                    self.effects.push(Wish { part, runs, verdict: Arc::clone(verdict) });
                }
                if verdict.statements > 1 {
                    // Beside what pins, the text may have set what is not tracked then: the pin does not end by its probe.
                    self.mixed = true;
                }
            }
        }
        self.needs_server |= !matches!(verdict.effect, Effect::Changes(_)) && verdict.statements > 0;
        match cleared {
            Cleared::Yes { primary_only, bound } => {
                self.bound |= bound;
                if primary_only {
                    self.raise(self.class.max(Class::NodeLocal), None);
                }
            }
            Cleared::Writes(_) => {
                self.raise(Class::Write, None);
                self.writes = true;
            }
            Cleared::No(_) => self.add_doubt(verdict),
            Cleared::Unknown => self.unknown.push(Arc::clone(verdict)),
        }
        self.transaction = match (self.transaction, verdict.transaction) {
            (so_far, Transaction::None) => so_far,
            (Transaction::None, this) => this,
            // A transaction that begins and ends, or begins with what it runs, in one unit.
            (
                Transaction::Begin { isolation, deferrable, .. },
                Transaction::Begin { .. } | Transaction::Other,
            ) => Transaction::Begin { read_only: None, isolation, deferrable },
            _ => Transaction::Other,
        };
    }

    /// The relations of `verdict` cannot be cleared.
    pub(super) fn add_doubt(&mut self, _verdict: &Arc<Verdict>) {
        self.raise(Class::Write, None);
        self.writes = true;
        self.pins(PinReason::Relation, Certainty::Possible);
    }

    /// What users gave to the database cannot be known now: whatever is more than transaction control or session state may call it.
    pub(super) fn add_ignorance(&mut self) {
        let plain = |reason: &Reason| {
            matches!(reason, Reason::TransactionControl | Reason::SessionState | Reason::Empty)
        };
        if self.verdict.as_ref().is_some_and(|verdict| plain(&verdict.reason)) {
            return;
        }
        self.raise(Class::Write, None);
        self.writes = true;
        self.pins(PinReason::UserFunction, Certainty::Possible);
    }

    /// Adds what a later segment of the same unit does.
    pub(super) fn merge(&mut self, next: Self) {
        if next.class > self.class || (next.class == self.class && next.writes && !self.writes) {
            self.verdict = next.verdict;
        }
        self.class = self.class.max(next.class);
        self.writes |= next.writes;
        self.blind |= next.blind;
        self.simple |= next.simple;
        self.ddl |= next.ddl;
        self.ends |= next.ends;
        self.own_values |= next.own_values;
        self.channels |= next.channels;
        self.mixed |= next.mixed;
        self.rereads.merge(next.rereads);
        self.bare |= next.bare;
        self.statements += next.statements;
        self.effects.extend(next.effects);
        if let Some(pin) = next.pin {
            self.pins(pin.reason, pin.certainty);
        }
        self.runs += next.runs;
        self.open = next.open;
        self.returns |= next.returns;
        self.prepares += next.prepares;
        self.repeatable = false;
        self.read_carefully();
        self.used.extend(next.used);
        self.gains.extend(next.gains);
        if next.transaction != Transaction::None {
            self.transaction =
                if self.transaction == Transaction::None { next.transaction } else { Transaction::Other };
        }
    }

    /// The changes that it makes.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.effects.iter().filter(|wish| wish.runs).flat_map(Wish::changes)
    }

    /// Whether settings return to the client's start-up values: not to the server's, which it would report.
    pub(super) fn resets(&self) -> bool {
        self.changes()
            .any(|change| matches!(change, Change::Reset(_) | Change::ResetAll | Change::DiscardAll))
    }

    /// Whether this one does, in the end.
    pub(super) fn resets_setting(&self, setting: &str) -> bool {
        let is = |name: &str| name.eq_ignore_ascii_case(setting);
        let last = self.changes().filter_map(|change| match change {
            Change::Reset(name) => is(name).then_some(true),
            Change::ResetAll => (!is("session_authorization") && !is("is_superuser")).then_some(true),
            Change::DiscardAll => Some(true),
            Change::Set { name, .. } | Change::SetLocal { name, .. } | Change::Touch(name) => {
                is(name).then_some(false)
            }
            _ => None,
        });
        last.last().unwrap_or(false)
    }

    /// The command that gave it its class, for people.
    pub(super) fn command(&self) -> &'static str {
        self.verdict.as_ref().map_or("", |verdict| verdict.command)
    }

    /// Whether it is a query that is held for a write only because something in it is not known to be harmless.
    pub(super) fn cautious(&self) -> bool {
        let query = ["SELECT", "VALUES", "TABLE", "WITH", "EXPLAIN"].contains(&self.command());
        self.doubt && query && self.pin.is_none_or(|pin| pin.certainty == Certainty::Possible)
    }

    pub(super) fn raise(&mut self, class: Class, verdict: Option<&Arc<Verdict>>) {
        let doubtful = verdict.is_none_or(|verdict| verdict.reason.is_doubt());
        if class > self.class || self.verdict.is_none() {
            self.doubt = doubtful;
            if let Some(verdict) = verdict {
                self.verdict = Some(Arc::clone(verdict));
            }
        } else if class == self.class && !doubtful {
            self.doubt = false;
        }
        self.class = self.class.max(class);
    }

    /// Notes a pin; a known one wins over a possible one.
    pub(super) fn pins(&mut self, reason: PinReason, certainty: Certainty) {
        if self.pin.is_none_or(|pin| pin.certainty < certainty) {
            self.pin = Some(Pin { reason, certainty });
        }
    }
}

fn hinted(level: HintedLevel) -> Consistency {
    match level {
        HintedLevel::Eventual => Consistency::Eventual,
        HintedLevel::Session => Consistency::Session,
        HintedLevel::Causal => Consistency::Causal,
        HintedLevel::Strong => Consistency::Strong,
    }
}

/// Whether the proxy can answer the change by itself when it holds no backend for the session.
#[must_use]
pub(super) fn answered_here(change: &Change) -> bool {
    matches!(
        change,
        Change::Primacy { .. }
            | Change::ShowPrimacy(_)
            | Change::DeallocateAll
            | Change::Deallocate(_)
            | Change::DiscardAll
            | Change::BackendId(_)
            | Change::Listen(_)
            | Change::Unlisten(_)
            | Change::Channels(_)
            | Change::Signal { .. }
    )
}
