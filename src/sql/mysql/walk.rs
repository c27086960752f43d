//! Walks over MySQL's queries and data-modifying statements.

use crate::engine::{Certainty, PinReason};
use crate::sql::context::Context;
use crate::sql::functions::{self, Deed};
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Tok, chain, closing};
use crate::sql::verdict::Reason;

/// Session variables that are the same wherever the session's settings were carried to.
const SESSION_VARIABLES: [&str; 14] = [
    "@@autocommit",
    "@@session",
    "@@local",
    "@@sql_mode",
    "@@time_zone",
    "@@tx_isolation",
    "@@transaction_isolation",
    "@@character_set_client",
    "@@character_set_connection",
    "@@character_set_results",
    "@@collation_connection",
    "@@max_allowed_packet",
    "@@wait_timeout",
    "@@interactive_timeout",
];

/// What a statement that begins with a query or DML keyword does.
pub(super) fn walk(command: &'static str, toks: &[Tok<'_>], context: &Context<'_>) -> Outcome {
    let mut outcome = Outcome::read(command);
    let modifies = matches!(command, "INSERT" | "REPLACE" | "UPDATE" | "DELETE");
    if modifies {
        outcome.write(Reason::Command);
    }
    let mut depth = 0_i32;
    let mut at = 0;
    while let Some(tok) = toks.get(at) {
        match tok.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            Kind::Variable => variable(tok, &mut outcome),
            Kind::Word | Kind::Quoted => {
                at = word(toks, at, context, &mut outcome);
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
        at += 1;
    }
    if depth != 0 {
        outcome.write(Reason::Unparsed);
        outcome.pin(PinReason::Unknown, Certainty::Possible);
    }
    if modifies {
        target(command, toks, &mut outcome);
    }
    outcome
}

fn variable(tok: &Tok<'_>, outcome: &mut Outcome) {
    if !tok.word.starts_with("@@") {
        outcome.write(Reason::SessionState);
        outcome.pin(PinReason::UserVariable, Certainty::Known);
    } else if !SESSION_VARIABLES.contains(&tok.word) {
        outcome.local(tok.word);
    }
}

/// The name or keyword at `at`; returns where to go on.
fn word(toks: &[Tok<'_>], at: usize, context: &Context<'_>, outcome: &mut Outcome) -> usize {
    let Some(tok) = toks.get(at) else { return at + 1 };
    let previous = at.checked_sub(1).and_then(|at| toks.get(at));
    let next = toks.get(at + 1);
    if tok.kind == Kind::Word {
        match tok.word {
            "into" if outcome.reason == Reason::Read => outcome.write(Reason::Into),
            "for" if next.is_some_and(|tok| tok.is_any(&["update", "share"])) => {
                outcome.write(Reason::Locking)
            }
            "lock" if next.is_some_and(|tok| tok.is("in")) => outcome.write(Reason::Locking),
            "insert" | "replace" | "update" | "delete" if next.is_none_or(|tok| tok.kind != Kind::Open) => {
                outcome.write(Reason::ModifyingCte);
            }
            "next" | "previous" if next.is_some_and(|tok| tok.is("value")) => {
                outcome.write(Reason::Function("nextval".into()));
                outcome.pin(PinReason::Sequence, Certainty::Known);
            }
            "procedure" => outcome.write(Reason::Command),
            _ => {}
        }
    }
    let Some(chain) = chain(toks, at) else { return at + 1 };
    if toks.get(chain.next).is_some_and(|tok| tok.kind == Kind::Open) {
        let alias = previous.is_some_and(|tok| tok.is("as")) && tok.kind == Kind::Quoted;
        let inserted = previous.is_some_and(|tok| tok.is_any(&["into", "ignore", "insert", "replace"]));
        let table =
            closing(toks, chain.next).and_then(|close| toks.get(close + 1)).is_some_and(|tok| tok.is("as"));
        let defined = table
            && previous.is_some_and(|tok| tok.is_any(&["with", "recursive"]) || tok.kind == Kind::Comma);
        if !(alias || defined || inserted && outcome.reason == Reason::Command) {
            let spaced = tok.kind == Kind::Quoted || chain.parts.len() > 1;
            call(&chain.name().to_ascii_lowercase(), spaced, context, outcome);
        }
    } else if previous.is_some_and(|tok| tok.is_any(&["from", "join", "table"])) && !tok.is("select") {
        relation(chain.schema(), chain.name(), outcome);
    }
    chain.next
}

fn relation(schema: &str, name: &str, outcome: &mut Outcome) {
    let schema_folded = schema.to_ascii_lowercase();
    if matches!(schema_folded.as_str(), "performance_schema" | "sys") || is_local_table(&schema_folded, name)
    {
        outcome.local(name);
    } else if schema_folded != "information_schema" && name != "dual" {
        outcome.relation(schema, name, false);
    }
}

fn is_local_table(schema: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    schema == "information_schema"
        && (name.starts_with("innodb_")
            || matches!(
                name.as_str(),
                "processlist" | "global_status" | "global_variables" | "session_variables" | "plugins"
            ))
}

fn call(name: &str, spaced: bool, context: &Context<'_>, outcome: &mut Outcome) {
    let own = context.names.is_some_and(|names| names.has_routine(name));
    let deed = functions::mysql(name).filter(|_| !own && !spaced);
    let function = || Reason::Function(name.into());
    match deed {
        Some(Deed::Harmless | Deed::Keyword | Deed::Setting) => {}
        Some(Deed::Local) => outcome.local(name),
        Some(Deed::Write | Deed::Config) => outcome.write(function()),
        Some(Deed::Sequence | Deed::Connection | Deed::Seed) => {
            outcome.write(function());
            outcome.pin(PinReason::Sequence, Certainty::Known);
        }
        Some(Deed::Advisory) => {
            outcome.write(function());
            outcome.pin(PinReason::AdvisoryLock, Certainty::Known);
        }
        None => outcome.user_code(function()),
    }
}

/// The table that a data-modifying statement names first; several, or none, cannot be told here.
fn target(command: &str, toks: &[Tok<'_>], outcome: &mut Outcome) {
    let mut at = 1;
    while toks.get(at).is_some_and(|tok| {
        tok.is_any(&["low_priority", "high_priority", "delayed", "quick", "ignore", "into", "from"])
    }) {
        at += 1;
    }
    let multiple = |next: usize| {
        toks.get(next).is_some_and(|tok| {
            tok.kind == Kind::Comma
                || tok.kind == Kind::Dot
                || tok.is_any(&[
                    "join",
                    "inner",
                    "left",
                    "right",
                    "cross",
                    "natural",
                    "straight_join",
                    "from",
                    "using",
                ])
        })
    };
    match chain(toks, at) {
        Some(chain) if !(matches!(command, "UPDATE" | "DELETE") && multiple(chain.next)) => {
            outcome.relation(chain.schema(), chain.name(), true);
        }
        _ => outcome.pin(PinReason::Relation, Certainty::Possible),
    }
}
