//! Statements about sessions that are the proxy's: by their ids, `pg_backend_pid()`, `pg_cancel_backend(id)`, `pg_terminate_backend(id)`, and what they
//! listen to, `pg_listening_channels()`, as a whole statement. Within others they mean what they mean to the server.

use super::Env;
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Reader, Tok};
use crate::sql::verdict::Change;

/// `SELECT function([id]) [[AS] name]`, `SELECT * FROM pg_listening_channels()`; `None` when it is anything else.
pub(super) fn select(toks: &[Tok<'_>], env: &Env<'_>) -> Option<Outcome> {
    let mut reader = Reader::new(toks, 1);
    let table = reader.peek().is_some_and(|tok| tok.is_operator("*"))
        && toks.get(2).is_some_and(|tok| tok.is("from"));
    reader.at += if table { 2 } else { 0 };
    let chain = reader.chain()?;
    let function = chain.name();
    let ours = match function {
        "pg_listening_channels" => true,
        "pg_backend_pid" | "pg_cancel_backend" | "pg_terminate_backend" => !table,
        _ => false,
    };
    if !ours {
        return None;
    }
    let own = env.names().is_some_and(|names| names.has_routine(function));
    let builtin = match chain.parts.len() {
        1 => !own,
        2 => chain.schema() == "pg_catalog",
        _ => false,
    };
    if !builtin || !reader.eat_kind(Kind::Open) {
        return None;
    }
    let id = match reader.peek()? {
        tok if tok.kind == Kind::Number => {
            tok.word.parse::<u32>().ok().filter(|id| i32::try_from(*id).is_ok())
        }
        _ => None,
    };
    reader.at += usize::from(id.is_some());
    if !reader.eat_kind(Kind::Close) {
        return None;
    }
    let column = if reader.done() {
        function.into()
    } else {
        let named = reader.eat("as");
        // What may not be a name without AS is not looked at.
        reader.next().filter(|tok| !table && (named || tok.kind == Kind::Quoted))?.name()?.into()
    };
    if !reader.done() {
        return None;
    }
    let change = match (function, id) {
        ("pg_backend_pid", None) => Change::BackendId(column),
        ("pg_listening_channels", None) => Change::Channels(column),
        ("pg_cancel_backend", Some(id)) => Change::Signal { id, terminate: false, column },
        ("pg_terminate_backend", Some(id)) => Change::Signal { id, terminate: true, column },
        _ => return None,
    };
    Some(Outcome::change("SELECT", change))
}
