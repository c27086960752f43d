//! The prepared statements of one client, by the names that it gave them.

use super::prepared::Entry;
use crate::engine::seam::Resolution;
use hashbrown::HashMap;
use std::sync::Arc;

/// Names and what they stand for. What is prepared in a unit counts within it at once, and for good when the server has confirmed it.
#[derive(Debug, Default)]
pub(super) struct Statements {
    named: HashMap<Box<[u8]>, Arc<Entry>>,
    anonymous: Option<Arc<Entry>>,
    pending: Vec<(u16, Box<[u8]>, Arc<Entry>)>,
    // Whether the anonymous statement was prepared in this very unit.
    anonymous_pending: bool,
    forgotten: Vec<(Box<[u8]>, Arc<Entry>)>,
}

impl Statements {
    /// Notes that the part `index` of the segment prepares `name`.
    pub(super) fn prepare(&mut self, index: usize, name: &[u8], prepared: &Arc<Entry>) -> Resolution {
        if !name.is_empty() && self.find(name).is_some() {
            return Resolution::Duplicate;
        }
        if name.is_empty() {
            // Nothing is allocated for it: the commonest of all.
            self.anonymous = Some(Arc::clone(prepared));
            self.anonymous_pending = true;
        } else {
            self.pending.push((u16::try_from(index).unwrap_or(u16::MAX), name.into(), Arc::clone(prepared)));
        }
        Resolution::Statement(Arc::clone(&prepared.prepared))
    }

    /// What `name` stands for.
    #[must_use]
    pub(super) fn find(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        if name.is_empty() {
            return self.anonymous.as_ref();
        }
        let pending = self.pending.iter().rev().find(|(_, pending, _)| &**pending == name);
        pending.map(|(_, _, prepared)| prepared).or_else(|| self.named.get(name))
    }

    /// Whether `name` is prepared in this very unit: it is judged already.
    #[must_use]
    pub(super) fn is_pending(&self, name: &[u8]) -> bool {
        if name.is_empty() {
            return self.anonymous_pending;
        }
        self.pending.iter().any(|(_, pending, _)| &**pending == name)
    }

    /// Forgets `name`; returns what it stood for.
    pub(super) fn forget(&mut self, name: &[u8]) -> Option<Arc<Entry>> {
        if name.is_empty() {
            self.anonymous = None;
            return None;
        }
        if let Some(at) = self.pending.iter().rposition(|(_, pending, _)| &**pending == name) {
            return Some(self.pending.remove(at).2);
        }
        let (name, prepared) = self.named.remove_entry(name)?;
        self.forgotten.push((name, Arc::clone(&prepared)));
        Some(prepared)
    }

    /// The segment was answered: the parts in `confirmed` were prepared.
    pub(super) fn confirm(&mut self, confirmed: &[u16]) {
        for (part, name, prepared) in self.pending.drain(..) {
            if confirmed.contains(&part) {
                self.named.insert(name, prepared);
            }
        }
        self.forgotten.clear();
        self.anonymous_pending = false;
    }

    /// The segment never ran: everything is as before.
    pub(super) fn undo(&mut self) {
        self.pending.clear();
        self.anonymous_pending = false;
        for (name, prepared) in self.forgotten.drain(..) {
            self.named.insert(name, prepared);
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
