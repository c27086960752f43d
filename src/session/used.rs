//! The prepared statements that a segment uses, and what its client goes by.

use super::prepared::Entry;
use crate::engine::seam::{Exchange, Part};
use std::sync::Arc;

/// A prepared statement that a segment uses.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) entry: Arc<Entry>,
    /// Whether the client prepares it, or is told what it gives, in this very unit: what it was told before does not matter.
    pub(super) vouched: bool,
    /// Whether a text names it: it must be there before the unit is sent.
    pub(super) by_text: bool,
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
