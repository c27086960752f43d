//! Utility commands: COPY, maintenance, and everything that changes the catalog.

use super::query::walk;
use super::{Env, database};
use crate::catalog::Does;
use crate::engine::{Certainty, PinReason};
use crate::sql::functions::{self, Deed};
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Reader, Tok, chain, closing};
use crate::sql::verdict::Reason;

/// A command that is neither a query nor session state nor transaction control.
pub(super) fn judge(word: &str, toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    match word {
        "notify" => Outcome::command("NOTIFY"),
        "lock" => Outcome::command("LOCK"),
        "vacuum" => Outcome::command("VACUUM"),
        "analyze" | "analyse" => Outcome::command("ANALYZE"),
        "checkpoint" => Outcome::command("CHECKPOINT"),
        "cluster" => Outcome::command("CLUSTER"),
        "reindex" => Outcome::command("REINDEX"),
        "truncate" => truncate(toks),
        "refresh" => refresh(toks, env),
        "create" => Outcome { empties: database::emptied(toks), ..create(toks, env) },
        "alter" => Outcome { empties: database::emptied(toks), ..alter(toks, env) },
        "drop" => Outcome { empties: database::emptied(toks), ends: true, ..ddl("DROP", toks, env) },
        "comment" => Outcome::ddl("COMMENT", env.context),
        "grant" => Outcome::ddl("GRANT", env.context),
        "revoke" => Outcome::ddl("REVOKE", env.context),
        "security" => Outcome::ddl("SECURITY LABEL", env.context),
        "reassign" => Outcome::ddl("REASSIGN OWNED", env.context),
        "import" => Outcome::ddl("IMPORT FOREIGN SCHEMA", env.context)
            .pinning(PinReason::Unknown, Certainty::Possible),
        _ => Outcome::unknown(""),
    }
}

fn truncate(toks: &[Tok<'_>]) -> Outcome {
    let mut outcome = Outcome::command("TRUNCATE");
    let mut reader = Reader::new(toks, 1);
    reader.eat("table");
    loop {
        reader.eat("only");
        match reader.chain() {
            Some(chain) => outcome.relation(chain.schema(), chain.name(), true),
            None => break,
        }
        if reader.peek().is_some_and(|tok| tok.is_operator("*")) {
            reader.next();
        }
        if !reader.eat_kind(Kind::Comma) {
            break;
        }
    }
    let rest = toks.get(reader.at..).unwrap_or_default();
    let plain = rest.iter().all(|tok| tok.is_any(&["restart", "continue", "identity", "restrict"]));
    if !plain || outcome.relations.is_empty() {
        // CASCADE reaches tables that the text does not name.
        outcome.pin(PinReason::Relation, Certainty::Possible);
    }
    outcome
}

fn refresh(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut outcome = Outcome::ddl("REFRESH MATERIALIZED VIEW", env.context);
    let mut reader = Reader::new(toks, 1);
    let named = reader.eat_all(&["materialized", "view"]);
    reader.eat("concurrently");
    match reader.chain().filter(|_| named) {
        Some(chain) => outcome.relation(chain.schema(), chain.name(), true),
        None => outcome.pin(PinReason::Relation, Certainty::Possible),
    }
    outcome
}

/// DDL of a kind that may run functions which its text calls (a default of a new column, a check of old rows, an index).
fn ddl(command: &'static str, toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut outcome = Outcome::ddl(command, env.context);
    calls(toks, env, &mut outcome);
    outcome
}

/// Words before a name in brackets that is no call: `ON t (a)`, `REFERENCES t (a)`.
const BEFORE_COLUMNS: [&str; 12] = [
    "on",
    "using",
    "table",
    "exists",
    "references",
    "key",
    "only",
    "unique",
    "constraint",
    "of",
    "index",
    "into",
];

/// Looks at everything that could be a call, without knowing the grammar around it.
fn calls(toks: &[Tok<'_>], env: &Env<'_>, outcome: &mut Outcome) {
    let mut at = 0;
    while let Some(tok) = toks.get(at) {
        match tok.kind {
            Kind::Escaped | Kind::Variable | Kind::Executable | Kind::Broken => {
                outcome.pin(PinReason::Unknown, Certainty::Possible);
                return;
            }
            _ => {}
        }
        let Some(chain) = chain(toks, at) else {
            at += 1;
            continue;
        };
        let columns =
            at.checked_sub(1).and_then(|at| toks.get(at)).is_some_and(|tok| tok.is_any(&BEFORE_COLUMNS));
        let called = toks.get(chain.next).is_some_and(|tok| tok.kind == Kind::Open);
        if called && !columns {
            called_in_ddl(&chain, env, outcome);
        }
        if env.names().is_some_and(|names| names.of_type(chain.name()).has(Does::PINS)) {
            outcome.pin(PinReason::UserFunction, Certainty::Possible);
        }
        at = chain.next;
    }
}

fn called_in_ddl(chain: &crate::sql::tokens::Chain<'_>, env: &Env<'_>, outcome: &mut Outcome) {
    let name = chain.name();
    let deed = functions::postgres(name, env.context.server_major);
    let own = match env.names() {
        // The text around it is not read well enough to count arguments.
        Some(_) => env.routine(chain.schema(), name, None).is_some_and(|does| does.has(Does::PINS)),
        // Without the catalog every name that is not built in may be a user's.
        None => deed.is_none() || !matches!(chain.schema(), "" | "pg_catalog"),
    };
    if own {
        outcome.pin(PinReason::UserFunction, Certainty::Possible);
    } else if matches!(deed, Some(Deed::Sequence | Deed::Advisory | Deed::Seed | Deed::Config)) {
        super::call::apply(deed, name, &[], env.lexing(), outcome);
    }
}

fn alter(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    match toks.get(1).map(|tok| tok.word) {
        Some("system") => Outcome::command("ALTER SYSTEM"),
        Some("extension") => {
            Outcome::ddl("ALTER", env.context).pinning(PinReason::Unknown, Certainty::Possible)
        }
        _ => ddl("ALTER", toks, env),
    }
}

fn create(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut reader = Reader::new(toks, 1);
    reader.eat_all(&["or", "replace"]);
    let mut temporary = false;
    while reader.eat_any(&["local", "global", "temp", "temporary", "unlogged", "recursive"]) {
        temporary |= toks.get(reader.at - 1).is_some_and(|tok| tok.is_any(&["temp", "temporary"]));
    }
    temporary |= toks.iter().any(|tok| tok.name().is_some_and(|name| name == "pg_temp"));
    let mut outcome = match reader.peek().map(|tok| tok.word) {
        Some("table") => create_table(toks, env),
        Some("materialized") => create_as(toks, env),
        // Their bodies are kept, not run.
        Some("view" | "function" | "procedure" | "trigger" | "rule" | "policy" | "constraint" | "event")
        | Some("aggregate" | "type" | "domain" | "operator" | "cast" | "sequence") => {
            Outcome::ddl("CREATE", env.context)
        }
        Some("extension") => {
            Outcome::ddl("CREATE", env.context).pinning(PinReason::Unknown, Certainty::Possible)
        }
        Some("schema") => create_schema(toks, env),
        Some(_) => ddl("CREATE", toks, env),
        None => return Outcome::unknown("CREATE"),
    };
    if toks.windows(2).any(|pair| matches!(pair, [a, b] if a.is("language") && b.name().is_some_and(|name| name.eq_ignore_ascii_case("c")))) {
        outcome.pin(PinReason::Load, Certainty::Possible);
    }
    if toks.iter().any(|tok| matches!(tok.kind, Kind::Escaped | Kind::Broken | Kind::Executable)) {
        outcome.pin(PinReason::Unknown, Certainty::Possible);
    }
    if temporary {
        outcome.pin(PinReason::TempObject, Certainty::Known);
    }
    outcome
}

fn create_table(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut depth = 0_usize;
    let top_as = toks.iter().any(|tok| {
        match tok.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && tok.is("as")
    });
    // Defaults and checks of a new, empty table do not run; the query of CREATE TABLE AS does.
    if top_as { create_as(toks, env) } else { Outcome::ddl("CREATE", env.context) }
}

/// `CREATE … AS query`.
fn create_as(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut outcome = Outcome::ddl("CREATE", env.context);
    let mut depth = 0_usize;
    let body = toks.iter().position(|tok| {
        match tok.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && tok.is("as")
    });
    match body.and_then(|at| toks.get(at + 1..)).filter(|body| !body.is_empty()) {
        Some(body) if body.first().is_some_and(|tok| tok.is("execute")) => {
            let run = super::prepared::execute(body, env);
            outcome.names = run.names;
            if let Some(pin) = run.pin {
                outcome.pin(pin.reason, pin.certainty);
            }
        }
        Some(body) => walk(body, env, &mut outcome),
        None => outcome.pin(PinReason::Unknown, Certainty::Possible),
    }
    outcome
}

/// `CREATE SCHEMA`, alone or with the objects in it.
fn create_schema(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let outcome = Outcome::ddl("CREATE", env.context);
    if toks.iter().skip(1).any(|tok| tok.is("create")) {
        return outcome.pinning(PinReason::Unknown, Certainty::Possible);
    }
    outcome
}

/// `COPY`: out to the client is a read, everything else a write.
pub(super) fn copy(toks: &[Tok<'_>], env: &Env<'_>) -> Outcome {
    let mut outcome = Outcome::read("COPY");
    let mut reader = Reader::new(toks, 1);
    reader.eat("binary");
    let query = if reader.peek().is_some_and(|tok| tok.kind == Kind::Open) {
        let Some(close) = closing(toks, reader.at) else { return Outcome::unknown("COPY") };
        let query = toks.get(reader.at + 1..close).unwrap_or_default();
        reader.at = close + 1;
        Some(query)
    } else {
        None
    };
    let table = if query.is_none() { reader.chain() } else { None };
    if reader.peek().is_some_and(|tok| tok.kind == Kind::Open) {
        let Some(close) = closing(toks, reader.at) else { return Outcome::unknown("COPY") };
        reader.at = close + 1;
    }
    let out = reader.eat("to");
    if !out && !reader.eat("from") {
        return Outcome::unknown("COPY");
    }
    let client = reader.eat_any(&["stdout", "stdin"]);
    if !(out && client) {
        outcome.write(if out { Reason::Into } else { Reason::Command });
    }
    match (query, table) {
        (Some(query), _) => walk(query, env, &mut outcome),
        (None, Some(table)) => {
            if out && functions::local_view(table.name()) {
                outcome.local(table.name());
            }
            if !(out && table.schema() == "pg_catalog") {
                outcome.relation(table.schema(), table.name(), !out);
            }
        }
        (None, None) => return Outcome::unknown("COPY"),
    }
    if !out {
        // Only its condition can call anything.
        let rest = toks.get(reader.at..).unwrap_or_default();
        if let Some(condition) = rest.iter().position(|tok| tok.is("where")) {
            walk(rest.get(condition..).unwrap_or_default(), env, &mut outcome);
        }
    }
    if toks.iter().any(|tok| matches!(tok.kind, Kind::Escaped | Kind::Broken | Kind::Executable)) {
        return Outcome::unknown("COPY");
    }
    outcome
}
