//! The prepared statements of one client, by the names that it gave them: by the protocol and by SQL, which share one space of names.

use super::prepared::Entry;
use crate::engine::seam::{Confirmed, Resolution};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// What the unit under way does to names, from there on.
#[derive(Debug)]
struct Step {
    proof: Proof,
    name: Box<[u8]>,
    what: What,
}

#[derive(Debug)]
enum What {
    Prepared(Arc<Entry>),
    Closed,
    AllClosed,
}

/// What shows that a step was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The answer to that part of the unit.
    Part(u32),
    /// The tag of SQL's PREPARE or DEALLOCATE, at that part: the steps that have one are done in their order.
    Tag(u32),
}

impl Proof {
    fn part(self) -> u32 {
        match self {
            Self::Part(part) | Self::Tag(part) => part,
        }
    }
}

/// Names and what they stand for. What is prepared in a unit counts within it at once, and for good when the server has confirmed it; what is closed
/// likewise.
#[derive(Debug, Default)]
pub(super) struct Statements {
    named: HashMap<Box<[u8]>, Arc<Entry>>,
    anonymous: Option<Arc<Entry>>,
    // What the unit under way does, in its order.
    pending: Vec<Step>,
    // The parts of this unit that prepare or close the anonymous statement, and what it was before each.
    anonymous_pending: SmallVec<[(u32, Option<Arc<Entry>>); 1]>,
}

impl Statements {
    /// Notes that the part `index` of the unit prepares `name`.
    pub(super) fn prepare(&mut self, index: usize, name: &[u8], prepared: &Arc<Entry>) -> Resolution {
        if !name.is_empty()
            && let Some(existing) = self.find(name)
        {
            return Resolution::Duplicate(Arc::clone(&existing.prepared));
        }
        let index = part(index);
        if name.is_empty() {
            // Nothing is allocated for it: the commonest of all.
            let before = self.anonymous.replace(Arc::clone(prepared));
            self.anonymous_pending.push((index, before));
        } else {
            let what = What::Prepared(Arc::clone(prepared));
            self.pending.push(Step { proof: Proof::Part(index), name: name.into(), what });
        }
        Resolution::Statement(Arc::clone(&prepared.prepared))
    }

    /// Notes that a text at the part `index` prepares `name`.
    pub(super) fn prepare_by_text(&mut self, index: usize, name: &[u8], prepared: &Arc<Entry>) {
        self.by_text(index, name, What::Prepared(Arc::clone(prepared)));
    }

    /// Notes that a text at the part `index` drops `name`, or all.
    pub(super) fn close_by_text(&mut self, index: usize, name: Option<&[u8]>) {
        let what = if name.is_some() { What::Closed } else { What::AllClosed };
        self.by_text(index, name.unwrap_or_default(), what);
    }

    fn by_text(&mut self, index: usize, name: &[u8], what: What) {
        self.pending.push(Step { proof: Proof::Tag(part(index)), name: name.into(), what });
    }

    /// What `name` stands for.
    #[must_use]
    pub(super) fn find(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        if name.is_empty() {
            return self.anonymous.as_ref();
        }
        for step in self.pending.iter().rev() {
            match &step.what {
                What::Prepared(prepared) if *step.name == *name => return Some(prepared),
                What::Closed if *step.name == *name => return None,
                What::AllClosed => return None,
                _ => {}
            }
        }
        self.named.get(name)
    }

    /// Whether `name` is prepared in this very unit: it is judged already.
    #[must_use]
    pub(super) fn is_pending(&self, name: &[u8]) -> bool {
        if name.is_empty() {
            return !self.anonymous_pending.is_empty();
        }
        self.pending.iter().any(|step| *step.name == *name)
    }

    /// Notes that the part `index` of the unit closes `name`; returns what it stood for.
    pub(super) fn close(&mut self, index: usize, name: &[u8]) -> Option<Arc<Entry>> {
        if name.is_empty() {
            let before = self.anonymous.take();
            self.anonymous_pending.push((part(index), before));
            return None;
        }
        let closed = self.find(name).cloned()?;
        self.pending.push(Step { proof: Proof::Part(part(index)), name: name.into(), what: What::Closed });
        Some(closed)
    }

    /// Whether `name` was there before the unit under way.
    #[must_use]
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.named.contains_key(name)
    }

    /// `name` is gone, outside any unit. Whether it was there.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        self.named.remove(name).is_some()
    }

    /// The unit was answered: what is `confirmed` was done. Returns the statements that texts prepared.
    pub(super) fn confirm(&mut self, confirmed: &Confirmed) -> SmallVec<[u64; 1]> {
        let mut tags = confirmed.tags;
        let mut gained = SmallVec::new();
        for Step { proof, name, what } in self.pending.drain(..) {
            let done = match proof {
                Proof::Part(part) => confirmed.parts.binary_search(&part).is_ok(),
                Proof::Tag(_) => {
                    let done = tags > 0;
                    tags -= u32::from(done);
                    done
                }
            };
            match what {
                _ if !done => {}
                What::Prepared(prepared) => {
                    if matches!(proof, Proof::Tag(_)) {
                        gained.push(prepared.prepared.id);
                    }
                    self.named.insert(name, prepared);
                }
                What::Closed => drop(self.named.remove(&name)),
                What::AllClosed => self.named.clear(),
            }
        }
        for (part, before) in self.anonymous_pending.drain(..) {
            if confirmed.parts.binary_search(&part).is_err() {
                // A Parse that fails takes its predecessor with it; one that is skipped behind a failure does not.
                self.anonymous = before.filter(|_| confirmed.failed != Some(part));
                break;
            }
        }
        gained
    }

    /// The unit never ran: everything is as before.
    pub(super) fn undo(&mut self) {
        self.pending.clear();
        if let Some((_, before)) = self.anonymous_pending.drain(..).next() {
            self.anonymous = before;
        }
    }

    /// The unit ends in front of the part `index`: that, and what follows it, is still to come.
    pub(super) fn undo_from(&mut self, index: usize) {
        let index = part(index);
        self.pending.retain(|step| step.proof.part() < index);
        while self.anonymous_pending.last().is_some_and(|(part, _)| *part >= index) {
            self.anonymous = self.anonymous_pending.pop().and_then(|(_, before)| before);
        }
    }

    /// Whatever stands for the statement `id` stands for `renewed` from here on.
    pub(super) fn renew(&mut self, id: u64, renewed: &Arc<Entry>) {
        let pending = self.pending.iter_mut().filter_map(|step| match &mut step.what {
            What::Prepared(prepared) => Some(prepared),
            _ => None,
        });
        for entry in self.named.values_mut().chain(&mut self.anonymous).chain(pending) {
            if entry.prepared.id == id {
                *entry = Arc::clone(renewed);
            }
        }
    }

    /// A simple query ran: the anonymous statement is gone.
    pub(super) fn forget_anonymous(&mut self) {
        self.anonymous = None;
    }

    /// All are gone (`DEALLOCATE ALL`): the named ones.
    pub(super) fn clear(&mut self) {
        self.named.clear();
        self.pending.clear();
    }
}

fn part(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::prepared::{Circumstances, Store};
    use super::*;
    use crate::engine::words::Dialect;
    use crate::sql::Lexing;

    fn entry(store: &Store, text: &str) -> Arc<Entry> {
        let circumstances = Circumstances { generation: 1, path: 0, lexing: Lexing::new(Dialect::Postgres) };
        store.get(circumstances, text.as_bytes(), text.as_bytes())
    }

    #[test]
    fn what_is_skipped_behind_an_error_leaves_what_was_there() {
        let store = Store::default();
        let (one, two) = (entry(&store, "select 1"), entry(&store, "select 2"));
        let mut statements = Statements::default();
        statements.prepare(0, b"", &one);
        statements.confirm(&Confirmed { parts: vec![0], ..Confirmed::default() });
        let id = |statements: &Statements| statements.find(b"").map(|entry| entry.prepared.id);
        // Skipped: something before it failed.
        statements.prepare(70_000, b"", &two);
        statements.confirm(&Confirmed::default());
        assert_eq!(id(&statements), Some(one.prepared.id));
        statements.close(3, b"");
        statements.confirm(&Confirmed::default());
        assert_eq!(id(&statements), Some(one.prepared.id));
        // It failed itself.
        statements.prepare(70_000, b"", &two);
        statements.confirm(&Confirmed { failed: Some(70_000), ..Confirmed::default() });
        assert_eq!(id(&statements), None);
        assert!(part(70_000) != part(70_001), "parts of a long unit are told from one another");
    }

    #[test]
    fn what_texts_do_is_done_as_far_as_their_tags_came() {
        let store = Store::default();
        let mut statements = Statements::default();
        let (one, two) = (entry(&store, "select 1"), entry(&store, "select 2"));
        statements.prepare_by_text(0, b"p", &one);
        statements.close_by_text(0, None);
        assert!(statements.find(b"p").is_none());
        statements.prepare_by_text(0, b"p", &two);
        assert_eq!(statements.find(b"p").unwrap().prepared.id, two.prepared.id);
        let gained = statements.confirm(&Confirmed { tags: 1, ..Confirmed::default() });
        assert_eq!(gained.as_slice(), [one.prepared.id]);
        assert_eq!(statements.find(b"p").unwrap().prepared.id, one.prepared.id);
    }
}
