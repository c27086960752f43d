//! PostgreSQL's statements.

mod call;
mod modify;
mod query;
mod setting;
mod statement;
mod transaction;
mod utility;

use super::context::{Context, Lexing};
use super::outcome::Outcome;
use super::tokens::Tok;
use crate::catalog::Names;

/// What the judges of PostgreSQL's statements know beside the tokens.
pub(super) struct Env<'e> {
    pub(super) context: &'e Context<'e>,
}

impl<'e> Env<'e> {
    fn names(&self) -> Option<&'e Names> {
        self.context.names
    }

    fn lexing(&self) -> Lexing {
        self.context.lexing
    }
}

/// What one statement, of at least one token, does.
pub(super) fn judge(toks: &[Tok<'_>], context: &Context<'_>) -> Outcome {
    statement::judge(toks, &Env { context })
}
