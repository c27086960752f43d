//! WHAT a statement does: from its text to a verdict. Pure: no cluster, no socket, no clock in sight.

pub mod verdict;

pub use verdict::{Change, Effect, Isolation, Reason, Relation, Transaction, Value, Verdict};
