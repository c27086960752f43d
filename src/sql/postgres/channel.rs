//! `LISTEN`, `UNLISTEN`, and the names of savepoints, to which a transaction may return and undo them.

use crate::engine::{Certainty, PinReason};
use crate::sql::Lexing;
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{self, Reader, Tok};
use crate::sql::verdict::Change;

/// The longest name that PostgreSQL keeps, in bytes; it warns of a longer one.
const NAME_MAX: usize = 63;

/// Words that may not name a channel without quotes: reserved, or for types and functions only (PostgreSQL 18, `kwlist.h`).
const RESERVED: &str = " all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create \
     current_catalog current_date current_role current_time current_timestamp current_user default deferrable desc distinct do else end \
     except false fetch for foreign from grant group having in initially intersect into lateral leading limit localtime localtimestamp not \
     null offset on only or order placing primary references returning select session_user some symmetric system_user table then to \
     trailing true union unique user using variadic when where window with authorization binary collation concurrently cross \
     current_schema freeze full ilike inner is isnull join left like natural notnull outer overlaps right similar tablesample verbose ";

/// `LISTEN channel`. What is not read here only the server can run: on a connection that the session keeps.
pub(super) fn listen(toks: &[Tok<'_>]) -> Outcome {
    match toks {
        [_, channel] => channel_name(channel),
        _ => None,
    }
    .map_or_else(
        || Outcome::command("LISTEN").pinning(PinReason::Listen, Certainty::Known),
        |channel| Outcome { changes: vec![Change::Listen(channel)], ..Outcome::command("LISTEN") },
    )
}

/// `UNLISTEN channel`, `UNLISTEN *`.
pub(super) fn unlisten(toks: &[Tok<'_>]) -> Outcome {
    match toks {
        [_, all] if all.is_operator("*") => {
            Outcome { ends: true, ..Outcome::change("UNLISTEN", Change::Unlisten(None)) }
        }
        // The other channels are listened to as before.
        [_, channel] => {
            let change = channel_name(channel).map_or(Change::Local, |name| Change::Unlisten(Some(name)));
            Outcome { ends: true, ..Outcome::change("UNLISTEN", change) }
        }
        _ => Outcome { ends: true, ..Outcome::change("UNLISTEN", Change::Local) },
    }
}

fn channel_name(tok: &Tok<'_>) -> Option<Box<str>> {
    let reserved = || {
        let word = tok.word;
        RESERVED.match_indices(word).any(|(at, _)| {
            let rest = RESERVED.get(at + word.len()..).unwrap_or_default();
            RESERVED.get(..at).is_some_and(|before| before.ends_with(' ')) && rest.starts_with(' ')
        })
    };
    let plain = match tok.kind {
        Kind::Word => tok.raw.is_ascii() && !reserved(),
        Kind::Quoted => std::str::from_utf8(tok.raw).is_ok(),
        _ => false,
    };
    let name = tok.name().filter(|name| plain && !name.is_empty())?;
    // One that the server would cut, and say so, is its own to name.
    (tok.raw.len() <= NAME_MAX || name.len() < NAME_MAX).then(|| name.into())
}

/// What one text does with savepoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Savepoint {
    /// `SAVEPOINT name`.
    Set(Box<str>),
    /// `RELEASE [SAVEPOINT] name`.
    Release(Box<str>),
    /// `ROLLBACK [WORK] TO [SAVEPOINT] name`.
    Return(Box<str>),
}

/// Reads a text that is known to be one statement of transaction control; `None` when it is another.
#[must_use]
pub fn savepoint(text: &[u8], lexing: Lexing) -> Option<Savepoint> {
    let folded = text.to_ascii_lowercase();
    let mut toks = tokens::read(text, &folded, lexing);
    while toks.last().is_some_and(|tok| tok.kind == Kind::Semicolon) {
        toks.pop();
    }
    let mut reader = Reader::new(&toks, 0);
    let what: fn(Box<str>) -> Savepoint = if reader.eat("savepoint") {
        Savepoint::Set
    } else if reader.eat("release") {
        reader.eat("savepoint");
        Savepoint::Release
    } else if reader.eat_any(&["rollback", "abort"]) {
        reader.eat_any(&["work", "transaction"]);
        if !reader.eat("to") {
            return None;
        }
        reader.eat("savepoint");
        Savepoint::Return
    } else {
        return None;
    };
    let name = reader.next()?.name()?;
    reader.done().then(|| what(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Dialect;

    #[test]
    fn savepoints_are_read_as_the_server_reads_them() {
        let lexing = Lexing::new(Dialect::Postgres);
        let read = |text: &str| savepoint(text.as_bytes(), lexing);
        assert_eq!(read("SAVEPOINT A"), Some(Savepoint::Set("a".into())));
        assert_eq!(read("savepoint \"A\";"), Some(Savepoint::Set("A".into())));
        assert_eq!(read("RELEASE a"), Some(Savepoint::Release("a".into())));
        assert_eq!(read("release savepoint a"), Some(Savepoint::Release("a".into())));
        assert_eq!(read("ROLLBACK TO a"), Some(Savepoint::Return("a".into())));
        assert_eq!(read("/* x */ abort work to savepoint a ;"), Some(Savepoint::Return("a".into())));
        for other in ["ROLLBACK", "ROLLBACK AND CHAIN", "COMMIT", "SAVEPOINT a; SAVEPOINT b", "SAVEPOINT", ""]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
