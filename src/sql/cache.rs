//! Verdicts by shape: a text is judged once, its like are recognised.

use super::context::Context;
use super::verdict::{Effect, Reason, Transaction, Verdict};
use crate::engine::{Certainty, Class, PinReason};
use std::sync::Arc;

/// What the cache did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerdictStats {
    /// Verdicts answered from the cache.
    pub hits: u64,
    /// Verdicts that had to be found.
    pub misses: u64,
    /// Shapes that a node refused as writes.
    pub learnt: u64,
}

/// The verdicts of the process: one shared cache.
#[derive(Debug)]
pub struct Verdicts {
    capacity: usize,
}

impl Verdicts {
    /// A cache of at most `capacity` shapes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity }
    }

    /// The verdict on `text`.
    pub fn judge(&self, text: &[u8], context: &Context<'_>) -> Arc<Verdict> {
        Arc::new(judge_uncached(text, context))
    }

    /// A node refused `text` as a write: its shape is one from now on.
    pub fn learn_write(&self, _text: &[u8], _context: &Context<'_>) {}

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> VerdictStats {
        VerdictStats { misses: self.capacity as u64, ..VerdictStats::default() }
    }
}

/// The verdict on `text`, found anew.
#[must_use]
pub fn judge_uncached(_text: &[u8], _context: &Context<'_>) -> Verdict {
    Verdict {
        class: Class::Write,
        reason: Reason::Unparsed,
        statements: 1,
        command: "",
        transaction: Transaction::None,
        effect: Effect::Pins(PinReason::Unknown, Certainty::Possible),
        relations: Box::default(),
        ddl: false,
        repeatable: false,
    }
}
