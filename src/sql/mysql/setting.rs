//! MySQL's `SET` and `SHOW`.

use crate::engine::{Certainty, PinReason};
use crate::sql::context::{Dialect, Lexing};
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Reader, Tok};
use crate::sql::verdict::{Change, Reason, Transaction, Value};

fn pinned(reason: PinReason) -> Outcome {
    Outcome::read("SET").writing(Reason::SessionState).pinning(reason, Certainty::Known)
}

/// `SET …`; `toks` begins with it.
pub(super) fn set(toks: &[Tok<'_>]) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    if reader.eat("names") {
        let mut outcome = match reader.next().and_then(text) {
            Some(value) => Outcome::change(
                "SET",
                Change::Set { name: "names".into(), value: Value::Constant(value.into()) },
            ),
            None => return Outcome::unknown("SET"),
        };
        if !reader.done() {
            outcome = pinned(PinReason::SettingValue);
        }
        return outcome;
    }
    if reader.eat("role") {
        return pinned(PinReason::SettingValue);
    }
    if reader.eat("password") || reader.eat("default") || reader.eat("resource") {
        return Outcome { ddl: true, ..Outcome::command("SET") };
    }
    if reader.eat("transaction") {
        // It holds for the next transaction only.
        return pinned(PinReason::SettingInTransaction);
    }
    assignments(reader)
}

fn assignments(mut reader: Reader<'_, '_>) -> Outcome {
    let mut all = Outcome::change("SET", Change::Local);
    all.changes.clear();
    loop {
        let Some((name, scope)) = target(&mut reader) else { return pinned(PinReason::SettingValue) };
        match scope {
            Scope::Global => return Outcome::command("SET"),
            Scope::User => return pinned(PinReason::UserVariable),
            Scope::Session => {}
        }
        let Some(value) = value(&mut reader) else { return pinned(PinReason::SettingValue) };
        if name == "autocommit" {
            all.transaction = Transaction::Other;
        }
        if matches!(
            name.as_str(),
            "insert_id" | "last_insert_id" | "identity" | "timestamp" | "rand_seed1" | "rand_seed2"
        ) {
            return pinned(PinReason::UserVariable);
        }
        all.changes.push(match value {
            Some(value) => Change::Set { name: name.into(), value: Value::Constant(value.into()) },
            None => Change::Reset(name.into()),
        });
        if reader.done() {
            return all;
        }
        if !reader.eat_kind(Kind::Comma) {
            return pinned(PinReason::SettingValue);
        }
    }
}

enum Scope {
    Session,
    Global,
    User,
}

/// What is assigned to, behind it the sign.
fn target(reader: &mut Reader<'_, '_>) -> Option<(String, Scope)> {
    let tok = reader.peek()?;
    if tok.kind == Kind::Variable && !tok.word.starts_with("@@") {
        return Some((String::new(), Scope::User));
    }
    let global = reader.eat_any(&["global", "persist", "persist_only"]);
    if !global {
        reader.eat_any(&["session", "local"]);
    }
    let tok = reader.next()?;
    let mut name = tok.word.trim_start_matches('@').to_owned();
    let mut global = global;
    if reader.eat_kind(Kind::Dot) {
        global |= matches!(name.as_str(), "global" | "persist" | "persist_only");
        name = reader.next()?.name()?.to_ascii_lowercase();
    } else if tok.kind != Kind::Variable {
        name = tok.name()?.to_ascii_lowercase();
    }
    let colon = reader.peek().is_some_and(|tok| tok.word == ":");
    reader.at += usize::from(colon);
    reader.next()?.is_operator("=").then_some(())?;
    Some((name, if global { Scope::Global } else { Scope::Session }))
}

/// A plain value; `Some(None)` is DEFAULT.
fn value(reader: &mut Reader<'_, '_>) -> Option<Option<String>> {
    let tok = reader.next()?;
    let value = match tok.kind {
        Kind::Word if tok.word == "default" => None,
        Kind::Operator if tok.word == "-" => {
            Some(format!("-{}", reader.next().filter(|tok| tok.kind == Kind::Number)?.word))
        }
        _ => Some(text(tok)?),
    };
    reader.peek().is_none_or(|tok| tok.kind == Kind::Comma).then_some(value)
}

fn text(tok: &Tok<'_>) -> Option<String> {
    match tok.kind {
        Kind::Word => Some(tok.word.to_owned()),
        Kind::Number => Some(tok.word.to_owned()),
        Kind::Literal => tok.constant(Lexing::new(Dialect::Mysql)),
        _ => None,
    }
}

/// `SHOW …`: of schemas a read, of everything else the server's own.
pub(super) fn show(toks: &[Tok<'_>]) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    reader.eat_any(&["full", "extended"]);
    reader.eat("full");
    let mut outcome = Outcome::read("SHOW");
    let what = reader.next().map_or("", |tok| tok.word);
    let schema = matches!(
        what,
        "databases"
            | "schemas"
            | "tables"
            | "columns"
            | "fields"
            | "index"
            | "indexes"
            | "keys"
            | "create"
            | "triggers"
            | "events"
            | "procedure"
            | "function"
            | "character"
            | "charset"
            | "collation"
            | "table"
    );
    if !schema {
        outcome.local(what);
    }
    outcome
}
