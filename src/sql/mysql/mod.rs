//! MySQL's and MariaDB's statements. Coarser than PostgreSQL's: enough to tell reads from everything else, safely.

mod setting;
mod walk;

use super::context::Context;
use super::lexer::Kind;
use super::outcome::Outcome;
use super::tokens::{Reader, Tok};
use super::verdict::{Change, Isolation, Reason, Transaction, Value};
use crate::engine::{Certainty, Class, PinReason};
use walk::walk;

/// What one statement, of at least one token, does.
pub(super) fn judge(toks: &[Tok<'_>], context: &Context<'_>) -> Outcome {
    let outcome = judge_plain(toks, context);
    if toks.iter().any(|tok| matches!(tok.kind, Kind::Executable | Kind::Broken | Kind::Escaped)) {
        // What stands in `/*! … */` is code that was not read.
        return Outcome { transaction: outcome.transaction, ..Outcome::unknown(outcome.command) };
    }
    outcome
}

fn judge_plain(toks: &[Tok<'_>], context: &Context<'_>) -> Outcome {
    let Some(first) = toks.first() else { return Outcome::unknown("") };
    if first.kind == Kind::Open {
        return walk("SELECT", toks, context);
    }
    if first.kind != Kind::Word {
        return Outcome::unknown("");
    }
    match first.word {
        "select" => walk("SELECT", toks, context),
        "values" => walk("VALUES", toks, context),
        "table" => walk("TABLE", toks, context),
        "with" => walk("WITH", toks, context),
        "insert" => walk("INSERT", toks, context),
        "replace" => walk("REPLACE", toks, context),
        "update" => walk("UPDATE", toks, context),
        "delete" => walk("DELETE", toks, context),
        "begin" if toks.len() == 1 || toks.get(1).is_some_and(|tok| tok.is("work")) => Outcome::control(
            "BEGIN",
            Transaction::Begin { read_only: None, isolation: None, deferrable: false },
        ),
        "start" => start(toks),
        "commit" => end(toks, "COMMIT"),
        "rollback" => end(toks, "ROLLBACK"),
        "savepoint" => Outcome::control("SAVEPOINT", Transaction::Other),
        "release" => Outcome::control("RELEASE", Transaction::Other),
        "xa" => Outcome { transaction: Transaction::Other, ..Outcome::command("XA") },
        "set" => setting::set(toks),
        "show" => setting::show(toks),
        "use" => match toks.get(1).and_then(Tok::name) {
            Some(name) if toks.len() == 2 => Outcome::change(
                "USE",
                Change::Set { name: "database".into(), value: Value::Constant(name.into()) },
            ),
            _ => Outcome::unknown("USE"),
        },
        "desc" | "describe" | "explain" => explain(toks, context),
        "help" => Outcome::read("HELP"),
        word => other(word, toks),
    }
}

fn start(toks: &[Tok<'_>]) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    if !reader.eat("transaction") {
        // START REPLICA and the like act on the server.
        return Outcome::command("START");
    }
    let mut read_only = None;
    let mut isolation = None;
    while !reader.done() {
        if reader.eat_all(&["read", "only"]) {
            read_only = Some(true);
        } else if reader.eat_all(&["read", "write"]) {
            read_only = Some(false);
        } else if reader.eat_all(&["with", "consistent", "snapshot"]) {
            isolation = Some(Isolation::RepeatableRead);
        } else if !reader.eat_kind(Kind::Comma) {
            return Outcome::unknown("START TRANSACTION");
        }
    }
    Outcome::control("START TRANSACTION", Transaction::Begin { read_only, isolation, deferrable: false })
}

fn end(toks: &[Tok<'_>], command: &'static str) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    reader.eat("work");
    if command == "ROLLBACK" && reader.eat("to") {
        return Outcome::control("ROLLBACK TO", Transaction::Other);
    }
    let _ = reader.eat_all(&["and", "no", "chain"]);
    let _ = reader.eat_all(&["no", "release"]);
    match (reader.done(), command) {
        (true, "COMMIT") => Outcome::control(command, Transaction::Commit),
        (true, _) => Outcome::control(command, Transaction::Rollback),
        // AND CHAIN, RELEASE.
        _ => Outcome::control(command, Transaction::Other),
    }
}

fn explain(toks: &[Tok<'_>], context: &Context<'_>) -> Outcome {
    let body = toks.iter().skip(1).position(|tok| {
        tok.kind == Kind::Open
            || tok.is_any(&["select", "values", "table", "with", "insert", "replace", "update", "delete"])
    });
    let analyze = toks.get(1).is_some_and(|tok| tok.is("analyze"));
    let Some(body) = body else {
        // DESCRIBE table; EXPLAIN FOR CONNECTION speaks of the server.
        let mut outcome = Outcome::read("EXPLAIN");
        if toks.iter().any(|tok| tok.is("connection")) {
            outcome.local("connection");
        }
        return if toks.len() < 2 { Outcome::unknown("EXPLAIN") } else { outcome };
    };
    let mut outcome = judge_plain(toks.get(body + 1..).unwrap_or_default(), context);
    outcome.command = "EXPLAIN";
    if outcome.class == Class::Write && analyze {
        outcome.reason = Reason::ExplainAnalyze;
    }
    outcome
}

fn other(word: &str, toks: &[Tok<'_>]) -> Outcome {
    let second = toks.get(1).map_or("", |tok| tok.word);
    let ddl = |command| Outcome { ddl: true, ..Outcome::command(command) };
    match word {
        "create" | "drop" if second == "temporary" => ddl(if word == "create" { "CREATE" } else { "DROP" })
            .pinning(PinReason::TempObject, Certainty::Known),
        "create" => ddl("CREATE"),
        "alter" => ddl("ALTER"),
        "drop" if second == "prepare" => {
            Outcome::command("DROP").pinning(PinReason::SqlPrepare, Certainty::Known)
        }
        "drop" => ddl("DROP"),
        "rename" => ddl("RENAME"),
        "truncate" => ddl("TRUNCATE"),
        "grant" => ddl("GRANT"),
        "revoke" => ddl("REVOKE"),
        "optimize" => ddl("OPTIMIZE"),
        "repair" => ddl("REPAIR"),
        "analyze" => Outcome::command("ANALYZE"),
        "check" => Outcome::command("CHECK"),
        "checksum" => Outcome::command("CHECKSUM"),
        "load" => Outcome::command("LOAD DATA").pinning(PinReason::Relation, Certainty::Possible),
        "call" => Outcome::command("CALL").pinning(PinReason::Procedure, Certainty::Possible),
        "do" => Outcome::command("DO").pinning(PinReason::Procedure, Certainty::Possible),
        "handler" => Outcome::command("HANDLER").pinning(PinReason::HoldCursor, Certainty::Known),
        "prepare" | "execute" | "deallocate" => {
            Outcome::command("PREPARE").pinning(PinReason::SqlPrepare, Certainty::Known)
        }
        "lock" => Outcome::command("LOCK").pinning(PinReason::LockTables, Certainty::Known),
        "unlock" => Outcome::command("UNLOCK"),
        "flush" if toks.iter().any(|tok| tok.is("lock") || tok.is("export")) => {
            Outcome::command("FLUSH").pinning(PinReason::LockTables, Certainty::Known)
        }
        "flush" => Outcome::command("FLUSH"),
        "kill" => Outcome::command("KILL"),
        "change" | "stop" | "reset" | "purge" | "shutdown" | "restart" | "install" | "uninstall"
        | "binlog" | "clone" | "import" => Outcome::command("ADMIN"),
        _ => Outcome::unknown(""),
    }
}
