//! Prepared statements as they cross the seam: what all clients share of one, and what a name in a unit stands for.

use super::edit::Edited;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a statement came to be prepared, and is prepared again on another backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// By the protocol.
    Protocol,
    /// By SQL's own PREPARE: the body is what follows the name.
    Sql,
}

/// A prepared statement, shared by all clients that prepared the same text under the same circumstances.
#[derive(Debug)]
pub struct Prepared {
    /// Unique in this process; the name on a backend is made of it.
    pub id: u64,
    /// What a server needs to prepare it.
    pub body: Box<[u8]>,
    /// Where the text lies in `body`.
    pub text: Range<usize>,
    /// How it is prepared.
    pub form: Form,
    /// What clients were told of its result.
    pub columns: Columns,
}

impl Prepared {
    /// One of which nobody has been told anything yet.
    #[must_use]
    pub fn new(id: u64, body: &[u8], text: Range<usize>, form: Form) -> Self {
        Self { id, body: body.into(), text, form, columns: Columns::default() }
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.body.get(self.text.clone()).unwrap_or_default()
    }
}

/// The columns of a statement's result, as clients were told them: a hash of their names and types.
///
/// Invariant: whoever is served by a statement that is not outdated and was told columns was told these. Once a server describes others the
/// statement is outdated for good: who prepares its text anew gets another.
#[derive(Debug, Default)]
pub struct Columns {
    told: AtomicU64,
    outdated: AtomicBool,
    now: AtomicU64,
}

impl Columns {
    /// A server describes these (never 0). False: others than were told before; the statement is outdated.
    pub fn learn(&self, described: u64) -> bool {
        match self.told.compare_exchange(0, described, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(told) if told == described => true,
            Err(_) => {
                self.now.store(described, Ordering::Release);
                self.outdated.store(true, Ordering::Release);
                false
            }
        }
    }

    /// Whether anybody was told anything.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.told.load(Ordering::Acquire) != 0
    }

    /// Whether its users were told of columns that are no more.
    #[must_use]
    pub fn are_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    /// What made it outdated.
    #[must_use]
    pub fn now(&self) -> Option<u64> {
        Some(self.now.load(Ordering::Acquire)).filter(|now| *now != 0)
    }
}

/// What a part's name stands for, decided by the session.
#[derive(Debug, Clone, Default)]
pub enum Resolution {
    /// The bytes go as they are.
    #[default]
    AsIs,
    /// The shared statement of that name.
    Statement(Arc<Prepared>),
    /// The client has no such statement: the server shall say so.
    Missing,
    /// The client has one of that name already, this one: the server shall refuse it.
    Duplicate(Arc<Prepared>),
    /// Its result has other columns than the client was told: the server shall refuse it.
    Outdated,
    /// The text goes with other names of prepared statements.
    Edited(Arc<Edited>),
}

/// What a server confirmed of a unit's names of prepared statements.
#[derive(Debug, Default)]
pub struct Confirmed {
    /// Parts (by number within the unit, ascending) that were prepared, or closed.
    pub parts: Vec<u32>,
    /// The part whose preparation of an anonymous statement failed.
    pub failed: Option<u32>,
    /// How many of SQL's own PREPARE and DEALLOCATE succeeded, in their order.
    pub tags: u32,
}

/// How the name of every shared statement begins.
pub const PREFIX: &str = "__primacy_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_is_described_otherwise_is_outdated_for_good() {
        let columns = Columns::default();
        assert!(!columns.are_known() && columns.learn(7) && columns.learn(7));
        assert!(columns.are_known() && !columns.are_outdated());
        assert!(!columns.learn(9));
        assert!(columns.are_outdated() && columns.now() == Some(9));
        assert!(columns.learn(7) && columns.are_outdated(), "what others were told is past");
    }
}
