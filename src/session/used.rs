//! The prepared statements that a segment uses, and what its client goes by.

use super::names::{self, At};
use super::plan::{Judge, Plan, Wish};
use super::prepared::{Entry, Memo};
use super::statements::Statements;
use crate::engine::seam::{Exchange, Form, Part, Resolution};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A prepared statement that a segment uses.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) entry: Arc<Entry>,
    /// Whether the client prepares it, or is told what it gives, in this very unit: what it was told before does not matter.
    pub(super) vouched: bool,
    /// Whether a text names it: it must be there before the unit is sent.
    pub(super) by_text: bool,
}

impl Plan {
    // A statement is prepared, at a part of that number within the unit.
    pub(super) fn prepare<X: Exchange>(
        &mut self,
        statements: &mut Statements,
        judge: &Judge<'_>,
        (index, part): (usize, usize),
        name: &[u8],
        prepared: &Arc<Entry>,
    ) -> Resolution {
        self.prepares += 1;
        let verdict = self.judge((index, false), prepared.prepared.text(), judge);
        let resolution = statements.prepare(part, name, prepared);
        if let Resolution::Duplicate(_) = &resolution
            && let Some(existing) = statements.find(name)
        {
            self.uses(existing, true, !statements.is_pending(name));
        } else if judge.edits(&verdict) {
            if !verdict.names.is_empty() {
                prepared.indirect.store(true, Ordering::Relaxed);
            }
            let at = At { index, part, runs: false };
            let edited = names::indirect::<X>(self, statements, judge, at, prepared, &verdict);
            return Resolution::Edited(Arc::new(edited));
        }
        resolution
    }

    // A prepared statement is run or described.
    pub(super) fn used<X: Exchange>(
        &mut self,
        exchange: &X,
        statements: &mut Statements,
        judge: &Judge<'_>,
        (index, name, runs): (usize, &[u8], bool),
        mut entry: Arc<Entry>,
    ) -> Resolution {
        let pending = statements.is_pending(name);
        let vouched = pending || !runs || is_told(exchange, index, name);
        if entry.prepared.columns.are_outdated() && !pending {
            self.needs_server = true;
            if !vouched {
                self.recall((index, runs), &entry, judge);
                return Resolution::Outdated;
            }
            let renewed = judge.store.renewed(&entry, judge.circumstances);
            statements.renew(entry.prepared.id, &renewed);
            entry = renewed;
        }
        let edits = || judge.edits(&judge.verdicts.judge(entry.prepared.text(), &judge.context));
        if entry.indirect.load(Ordering::Relaxed) || (judge.first.is_some() && edits()) {
            let verdict = judge.verdicts.judge(entry.prepared.text(), &judge.context);
            self.add((index, runs), &verdict, judge.catalog.cleared(judge.path, &verdict.relations));
            let at = At { index, part: exchange.base() + index, runs };
            let edited = names::indirect::<X>(self, statements, judge, at, &entry, &verdict);
            return Resolution::Edited(Arc::new(edited));
        }
        if !pending {
            self.recall((index, runs), &entry, judge);
        } else if exchange.base() > 0 || !self.effects.is_empty() {
            self.act((index, runs), &entry, judge);
        }
        // What SQL's PREPARE prepared cannot come with the unit.
        self.uses(&entry, vouched, entry.prepared.form == Form::Sql);
        Resolution::Statement(Arc::clone(&entry.prepared))
    }

    /// Notes that it uses a prepared statement.
    pub(super) fn uses(&mut self, entry: &Arc<Entry>, vouched: bool, by_text: bool) {
        // A pipeline that runs a few of them again and again does not name each time.
        let known = self.used.iter_mut().rev().take(4).find(|used| Arc::ptr_eq(&used.entry, entry));
        match known {
            Some(last) => {
                last.vouched |= vouched;
                last.by_text |= by_text;
            }
            None => self.used.push(Used { entry: Arc::clone(entry), vouched, by_text }),
        }
    }

    /// Whether it uses that one.
    pub(super) fn is_used(&self, id: u64) -> bool {
        self.used.iter().any(|used| used.entry.prepared.id == id)
    }

    // A prepared statement carries its verdict, as long as its circumstances hold and no node taught better.
    pub(super) fn recall(&mut self, at: (usize, bool), entry: &Entry, judge: &Judge<'_>) {
        let same = entry.circumstances == judge.circumstances;
        if let Some(memo) = entry.memo.load().as_deref().filter(|_| same) {
            self.hint = memo.hint.or(self.hint);
            self.level = memo.level.or(self.level);
            return self.add(at, &memo.verdict, memo.cleared.clone());
        }
        let mut alone = Self::default();
        alone.judge(at, entry.prepared.text(), judge);
        let lasting =
            alone.unknown.is_empty() && !alone.names_unknown && alone.effects.is_empty() && !alone.early;
        if let Some(verdict) = alone.verdict.filter(|_| lasting && same) {
            let cleared = judge.catalog.cleared(judge.path, &verdict.relations);
            entry.memo.store(Some(Arc::new(Memo { verdict, cleared, hint: alone.hint, level: alone.level })));
        }
        self.judge(at, entry.prepared.text(), judge);
    }

    // A statement that this very unit prepares is judged already; the session is changed where it is run.
    pub(super) fn act(&mut self, (part, runs): (usize, bool), entry: &Entry, judge: &Judge<'_>) {
        let verdict = judge.verdicts.judge(entry.prepared.text(), &judge.context);
        self.rereads.note(runs, &verdict, judge.context.lexing);
        if runs {
            self.look(part, &verdict);
        }
        if !verdict.effect.changes().is_empty() {
            self.effects.push(Wish { part, runs, verdict });
        }
    }
}

/// Whether what is bound at `index` to `name`, or described there, is described before anything else is bound.
pub(super) fn is_told<X: Exchange>(exchange: &X, index: usize, bound: &[u8]) -> bool {
    for later in index + 1..exchange.parts() {
        match exchange.part(later) {
            Part::Portal => return true,
            Part::Use { name, runs: false } if name == bound => return true,
            Part::Use { runs: true, .. } | Part::Prepare { .. } => return false,
            _ => {}
        }
    }
    false
}
