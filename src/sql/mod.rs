//! WHAT a statement does: from its text to a verdict. Pure: no cluster, no socket, no clock in sight.

pub mod cache;
pub mod context;
pub mod hints;
pub mod verdict;

pub use cache::{VerdictStats, Verdicts, judge_uncached};
pub use context::{Context, Dialect, Lexing};
pub use hints::{Hint, HintedLevel, hint};
pub use verdict::{Change, Effect, Isolation, Reason, Relation, Transaction, Value, Verdict};
