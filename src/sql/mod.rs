//! WHAT a statement does: from its text to a verdict. Pure: no cluster, no socket, no clock in sight.
//!
//! `lexer` cuts, `shape` recognises, `cache` remembers (`front` of it what came byte for byte); on a miss `judge` asks the dialect (`postgres`, `mysql`) and, for a
//! second opinion, the parser (`deep`). What is not surely a read is a write.

mod body;
mod cache;
pub mod closure;
mod context;
mod deep;
mod front;
mod functions;
mod hints;
mod judge;
mod lexer;
mod mysql;
mod normal;
mod outcome;
mod postgres;
mod shape;
mod stride;
mod tokens;
pub mod verdict;

#[cfg(test)]
mod tests;

pub use cache::{VerdictStats, Verdicts};
pub use context::{Context, Dialect, Lexing};
pub use functions::speaks_of_now;
pub use hints::{Hint, HintedLevel, explained_route, hint};
pub use judge::{PARSED_MAX, READ_MAX, judge_uncached};
pub use normal::{normal, normal_key};
pub use postgres::{Savepoint, savepoint};
pub use verdict::{
    Change, Effect, Isolation, NameUse, NameVerb, Reason, Relation, Return, ReturnForm, Transaction, Value,
    Verdict,
};
