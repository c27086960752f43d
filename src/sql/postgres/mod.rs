//! PostgreSQL's statements.

mod call;
mod channel;
mod database;
mod modify;
mod prepared;
mod query;
mod setting;
mod signal;
mod statement;
mod transaction;
mod utility;

use super::context::{Context, Lexing};
use super::outcome::Outcome;
use super::tokens::Tok;
use crate::catalog::names::Call;
use crate::catalog::{Does, Names, SearchPath};

pub(super) use call::asks_session_setting;
pub use channel::{Savepoint, savepoint};

/// What the judges of PostgreSQL's statements know beside the tokens.
pub(super) struct Env<'e> {
    pub(super) context: &'e Context<'e>,
    /// Where unqualified functions are looked up.
    path: Option<SearchPath>,
}

impl<'e> Env<'e> {
    fn names(&self) -> Option<&'e Names> {
        self.context.names
    }

    /// What users' functions that may be meant by this call do; `None`: users have none such.
    fn routine(&self, schema: &str, name: &str, arguments: Option<u16>) -> Option<Does> {
        let path = self.path.as_ref();
        self.names()?.routine(&Call { schema, name, arguments, path })
    }

    fn lexing(&self) -> Lexing {
        self.context.lexing
    }
}

/// What one statement, of at least one token, does.
pub(super) fn judge(toks: &[Tok<'_>], context: &Context<'_>) -> Outcome {
    let path = SearchPath::parse(context.search_path);
    statement::judge(toks, &Env { context, path })
}
