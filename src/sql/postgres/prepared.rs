//! SQL's own `PREPARE`, `EXECUTE` and `DEALLOCATE`: whose names they use. What an EXECUTE does is what the statement does that it runs, which only its
//! session knows.

use super::Env;
use super::query::walk;
use crate::engine::Class;
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Reader, Tok, closing};
use crate::sql::verdict::{Change, NameUse, NameVerb, Reason};

/// `PREPARE name [(types)] AS statement`: analysed by the primary, changes nothing but the session.
pub(super) fn prepare(toks: &[Tok<'_>]) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    let Some(used) = name(&mut reader, NameVerb::Prepare) else { return Outcome::unknown("PREPARE") };
    if reader.peek().is_some_and(|tok| tok.kind == Kind::Open) {
        let Some(close) = closing(toks, reader.at) else { return Outcome::unknown("PREPARE") };
        reader.at = close + 1;
    }
    let (true, Some(first), Some(last)) = (reader.eat("as"), reader.peek(), toks.last()) else {
        return Outcome::unknown("PREPARE");
    };
    let end = last.span().end;
    let used = NameUse { rest: used.at.end..end, inner: first.start..end, ..used };
    Outcome {
        class: Class::NodeLocal,
        reason: Reason::SessionState,
        names: vec![used],
        ..Outcome::read("PREPARE")
    }
}

/// `EXECUTE name [(arguments)]`, also within another statement.
pub(super) fn execute(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    let Some(used) = name(&mut reader, NameVerb::Execute) else { return Outcome::unknown("EXECUTE") };
    let mut outcome = Outcome { reason: Reason::SessionState, ..Outcome::read("EXECUTE") };
    if reader.peek().is_some_and(|tok| tok.kind == Kind::Open) {
        let Some(close) = closing(toks, reader.at) else { return Outcome::unknown("EXECUTE") };
        walk(toks.get(reader.at..=close).unwrap_or_default(), env, &mut outcome);
    }
    outcome.names.push(used);
    outcome
}

/// `DEALLOCATE [PREPARE] {name | ALL}`.
pub(super) fn deallocate(toks: &[Tok<'_>]) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    if toks.len() > 2 {
        reader.eat("prepare");
    }
    let (change, used) = if reader.eat("all") {
        let used =
            NameUse { verb: NameVerb::DeallocateAll, name: "".into(), at: 0..0, rest: 0..0, inner: 0..0 };
        (Change::DeallocateAll, used)
    } else {
        match name(&mut reader, NameVerb::Deallocate) {
            Some(used) => (Change::Deallocate(used.name.clone()), used),
            None => return Outcome::unknown("DEALLOCATE"),
        }
    };
    if !reader.done() {
        return Outcome::unknown("DEALLOCATE");
    }
    Outcome { names: vec![used], ..Outcome::change("DEALLOCATE", change) }
}

fn name(reader: &mut Reader<'_, '_>, verb: NameVerb) -> Option<NameUse> {
    let tok = reader.next()?;
    let name = tok.name()?.into();
    Some(NameUse { verb, name, at: tok.span(), rest: 0..0, inner: 0..0 })
}
