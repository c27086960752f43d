//! Every command of PostgreSQL, by its first word.

use super::query::walk;
use super::{Env, channel, prepared, setting, signal, transaction, utility};
use crate::engine::{Certainty, Class, PinReason};
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Reader, Tok};
use crate::sql::verdict::{Change, Reason, Return, ReturnForm, Transaction};

/// What one statement, of at least one token, does.
pub(super) fn judge(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let Some(first) = toks.first() else { return Outcome::unknown("") };
    if first.kind == Kind::Open {
        return query("SELECT", toks, env);
    }
    if first.kind != Kind::Word {
        return Outcome::unknown("");
    }
    match first.word {
        "select" => signal::select(toks, env)
            .or_else(|| setting::select(toks, env))
            .unwrap_or_else(|| query("SELECT", toks, env)),
        "values" => query("VALUES", toks, env),
        "table" => query("TABLE", toks, env),
        "with" => query("WITH", toks, env),
        "insert" => query("INSERT", toks, env),
        "update" => query("UPDATE", toks, env),
        "delete" => query("DELETE", toks, env),
        "merge" => query("MERGE", toks, env),
        "begin" => transaction::begin(Reader::new(toks, 1), false),
        "start" => transaction::begin(Reader::new(toks, 1), true),
        "commit" => transaction::end(Reader::new(toks, 1), "COMMIT"),
        "end" => transaction::end(Reader::new(toks, 1), "END"),
        "rollback" => transaction::end(Reader::new(toks, 1), "ROLLBACK"),
        "abort" => transaction::end(Reader::new(toks, 1), "ABORT"),
        "savepoint" => Outcome::control("SAVEPOINT", Transaction::Other),
        "release" => Outcome::control("RELEASE", Transaction::Other),
        "explain" => explain(toks, env),
        "copy" => utility::copy(toks, env),
        "declare" => declare(toks, env),
        "set" => returning(setting::set(toks, env), toks),
        "reset" => returning(setting::reset(toks), toks),
        "show" => Outcome { bound: true, ..setting::show(toks) },
        "discard" => setting::discard(toks),
        "deallocate" => prepared::deallocate(toks),
        _ => session(first.word, toks, env),
    }
}

/// Notes where a `SET` or `RESET` returns a setting to what it was at first.
fn returning(mut outcome: Outcome, toks: &[Tok<'_>]) -> Outcome {
    let (Some(first), Some(last), [change]) = (toks.first(), toks.last(), outcome.changes.as_slice()) else {
        return outcome;
    };
    let form = if first.is("reset") { ReturnForm::Reset } else { ReturnForm::Default };
    let (name, form) = match change {
        Change::Reset(name) => (Some(name.clone()), form),
        Change::ResetAll => (None, form),
        Change::SetLocal { name, value: None } if last.is_any(&["default", "local", "names"]) => {
            (Some(name.clone()), ReturnForm::LocalDefault)
        }
        _ => return outcome,
    };
    outcome.returns.push(Return { name, at: first.start..last.span().end, statement: 0, form });
    outcome
}

/// Commands whose effect on the session is known by their name alone.
fn session(word: &str, toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let second = toks.get(1);
    match word {
        "fetch" => Outcome { bound: true, ..Outcome::read("FETCH") },
        "move" => Outcome { bound: true, ..Outcome::read("MOVE") },
        "close" => match second {
            Some(tok) if tok.is("all") && toks.len() == 2 => Outcome::change("CLOSE", Change::CloseAll),
            _ => Outcome { ends: true, bound: true, ..Outcome::read("CLOSE") },
        },
        "prepare" if second.is_some_and(|tok| tok.is("transaction")) => {
            Outcome { transaction: Transaction::Other, ..Outcome::command("PREPARE TRANSACTION") }
        }
        "prepare" => prepared::prepare(toks),
        "execute" => prepared::execute(toks, env),
        "listen" => channel::listen(toks),
        "unlisten" => channel::unlisten(toks),
        "load" => Outcome::command("LOAD").pinning(PinReason::Load, Certainty::Known),
        "call" => call(toks, env),
        "do" => Outcome::command("DO").pinning(PinReason::Procedure, Certainty::Possible),
        _ => utility::judge(word, toks, env),
    }
}

/// `CALL procedure(…)`: known as far as the procedure is.
fn call(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut outcome = Outcome::command("CALL");
    walk(toks.get(1..).unwrap_or_default(), env, &mut outcome);
    if env.names().is_none() || outcome.pin.is_some_and(|pin| pin.certainty == Certainty::Possible) {
        outcome.pin = None;
        outcome.pin(PinReason::Procedure, Certainty::Possible);
    }
    outcome
}

/// A query or a data-modifying statement.
fn query(command: &'static str, toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut outcome = Outcome::read(command);
    walk(toks, env, &mut outcome);
    if matches!(command, "INSERT" | "UPDATE" | "DELETE" | "MERGE") {
        // Whatever else was found, the command writes; and what it writes must be known.
        outcome.write(Reason::Command);
        if !outcome.relations.iter().any(|relation| relation.written) {
            outcome.pin(PinReason::Relation, Certainty::Possible);
        }
    }
    outcome
}

/// `DECLARE name … CURSOR [{WITH | WITHOUT} HOLD] FOR query`.
fn declare(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let Some(cursor) = toks.iter().position(|tok| tok.is("cursor")) else {
        return Outcome::unknown("DECLARE");
    };
    let mut reader = Reader::new(toks, cursor + 1);
    let hold = reader.eat_all(&["with", "hold"]);
    let plain =
        hold || reader.eat_all(&["without", "hold"]) || reader.peek().is_some_and(|tok| tok.is("for"));
    if !plain || !reader.eat("for") || reader.done() {
        return Outcome::unknown("DECLARE");
    }
    let mut outcome = Outcome { bound: true, ..Outcome::read("DECLARE") };
    walk(toks.get(reader.at..).unwrap_or_default(), env, &mut outcome);
    if hold {
        outcome.pin(PinReason::HoldCursor, Certainty::Known);
    }
    outcome
}

/// `EXPLAIN`: of a read a read, of anything else a write; with ANALYZE what its statement is.
fn explain(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    let mut analyze = false;
    if reader.peek().is_some_and(|tok| tok.kind == Kind::Open) {
        let Some(close) = crate::sql::tokens::closing(toks, 1) else { return Outcome::unknown("EXPLAIN") };
        // `(SELECT …)` in brackets is a statement, not a list of options.
        if !toks
            .get(2)
            .is_some_and(|tok| tok.is_any(&["select", "values", "table", "with"]) || tok.kind == Kind::Open)
        {
            let options = toks.get(2..close).unwrap_or_default();
            analyze =
                options.iter().any(|tok| tok.is_any(&["analyze", "analyse"]) || tok.kind == Kind::Quoted);
            reader.at = close + 1;
        }
    } else {
        analyze = reader.eat_any(&["analyze", "analyse"]);
        reader.eat("verbose");
    }
    let inner = toks.get(reader.at..).unwrap_or_default();
    let explainable = inner.first().is_some_and(|tok| {
        tok.kind == Kind::Open
            || tok.is_any(&[
                "select", "values", "table", "with", "insert", "update", "delete", "merge", "execute",
                "create", "declare", "refresh",
            ])
    });
    if !explainable {
        return Outcome::unknown("EXPLAIN");
    }
    let mut outcome = if inner.first().is_some_and(|tok| tok.is("select")) {
        // A set_config under EXPLAIN is no plain change.
        query("SELECT", inner, env)
    } else {
        judge(inner, env)
    };
    outcome.command = "EXPLAIN";
    if outcome.class == Class::Write && analyze {
        outcome.reason = Reason::ExplainAnalyze;
    }
    if !analyze {
        outcome.ddl = false;
    }
    outcome
}
