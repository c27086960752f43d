//! The prepared statements of one client, by the names that it gave them.

use super::prepared::Entry;
use crate::engine::seam::Resolution;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// A part of the unit under way, a name, and what it stands for from there on.
type Step = (u16, Box<[u8]>, Option<Arc<Entry>>);

/// Names and what they stand for. What is prepared in a unit counts within it at once, and for good when the server has confirmed it; what is closed
/// likewise.
#[derive(Debug, Default)]
pub(super) struct Statements {
    named: HashMap<Box<[u8]>, Arc<Entry>>,
    anonymous: Option<Arc<Entry>>,
    // What the unit under way does, part by part; `None`: the name is closed.
    pending: Vec<Step>,
    // The parts of this unit that prepare or close the anonymous statement, and what it was before each.
    anonymous_pending: SmallVec<[(u16, Option<Arc<Entry>>); 1]>,
}

impl Statements {
    /// Notes that the part `index` of the unit prepares `name`.
    pub(super) fn prepare(&mut self, index: usize, name: &[u8], prepared: &Arc<Entry>) -> Resolution {
        if !name.is_empty() && self.find(name).is_some() {
            return Resolution::Duplicate;
        }
        let index = part(index);
        if name.is_empty() {
            // Nothing is allocated for it: the commonest of all.
            let before = self.anonymous.replace(Arc::clone(prepared));
            self.anonymous_pending.push((index, before));
        } else {
            self.pending.push((index, name.into(), Some(Arc::clone(prepared))));
        }
        Resolution::Statement(Arc::clone(&prepared.prepared))
    }

    /// What `name` stands for.
    #[must_use]
    pub(super) fn find(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        if name.is_empty() {
            return self.anonymous.as_ref();
        }
        match self.pending.iter().rev().find(|(_, pending, _)| &**pending == name) {
            Some((_, _, prepared)) => prepared.as_ref(),
            None => self.named.get(name),
        }
    }

    /// Whether `name` is prepared in this very unit: it is judged already.
    #[must_use]
    pub(super) fn is_pending(&self, name: &[u8]) -> bool {
        if name.is_empty() {
            return !self.anonymous_pending.is_empty();
        }
        self.pending.iter().any(|(_, pending, _)| &**pending == name)
    }

    /// Notes that the part `index` of the unit closes `name`; returns what it stood for.
    pub(super) fn close(&mut self, index: usize, name: &[u8]) -> Option<Arc<Entry>> {
        if name.is_empty() {
            let before = self.anonymous.take();
            self.anonymous_pending.push((part(index), before));
            return None;
        }
        let closed = self.find(name).cloned()?;
        self.pending.push((part(index), name.into(), None));
        Some(closed)
    }

    /// `name` is gone, outside any unit. Whether it was there.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        self.named.remove(name).is_some()
    }

    /// The unit was answered: the parts in `confirmed` (ascending) were prepared, or closed.
    pub(super) fn confirm(&mut self, confirmed: &[u16]) {
        for (part, name, what) in self.pending.drain(..) {
            if confirmed.binary_search(&part).is_err() {
                continue;
            }
            match what {
                Some(prepared) => drop(self.named.insert(name, prepared)),
                None => drop(self.named.remove(&name)),
            }
        }
        let mut steps = self.anonymous_pending.drain(..);
        if steps.any(|(part, _)| confirmed.binary_search(&part).is_err()) {
            // A Parse that fails takes its predecessor with it.
            self.anonymous = None;
        }
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
        self.pending.retain(|(part, ..)| *part < index);
        while self.anonymous_pending.last().is_some_and(|(part, _)| *part >= index) {
            self.anonymous = self.anonymous_pending.pop().and_then(|(_, before)| before);
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

fn part(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}
