//! What a function call in a statement does.

use super::query::Walker;
use crate::catalog::Does;
use crate::engine::{Certainty, PinReason};
use crate::sql::functions::{self, Deed};
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Chain, Tok};
use crate::sql::verdict::{Change, Reason};

/// Judges the call whose name is `chain`; its bracket is the next token.
pub(super) fn judge(walker: &mut Walker<'_, '_, '_, '_>, chain: &Chain<'_>) {
    let (schema, name) = (chain.schema(), chain.name());
    let quoted = chain
        .next
        .checked_sub(1)
        .and_then(|at| walker.toks.get(at))
        .is_some_and(|tok| tok.kind == Kind::Quoted);
    // pgjdbc asks for keys by this one; it unrolls an array.
    if schema == "information_schema" && name.starts_with("_pg_") {
        return;
    }
    let deed = functions::postgres(name, walker.env.context.server_major);
    let builtin = chain.parts.len() == 1 || schema == "pg_catalog" && chain.parts.len() == 2;
    let deed = deed.filter(|deed| builtin && !(*deed == Deed::Keyword && quoted));
    walker.out.bound |= builtin && functions::is_bound(name);
    let arguments = count(walker.toks, chain.next + 1);
    let own = walker.env.routine(schema, name, arguments).filter(|_| chain.parts.len() < 3);
    if let Some(own) = own {
        does(own, || Reason::Function(name.into()), name, walker.out);
    }
    if deed.is_some() || own.is_none() {
        let arguments = walker.toks.get(chain.next + 1..).unwrap_or_default();
        apply(deed, name, arguments, walker.env.lexing(), walker.out);
    }
}

/// Adds what `deed` means to `out`. `arguments` are the tokens behind the bracket.
pub(super) fn apply(
    deed: Option<Deed>,
    name: &str,
    arguments: &[Tok<'_>],
    lexing: crate::sql::Lexing,
    out: &mut Outcome,
) {
    let function = || Reason::Function(name.into());
    match deed {
        Some(Deed::Harmless | Deed::Keyword) => {}
        Some(Deed::Local) => {
            out.local(name);
            out.channels |= name == "pg_listening_channels";
        }
        Some(Deed::Write) => {
            out.write(function());
            out.ends |= name.starts_with("pg_advisory_unlock");
        }
        Some(Deed::Sequence) => {
            out.local(name);
            out.own_values = true;
        }
        Some(Deed::Connection) => {
            out.write(function());
            out.pin(PinReason::Sequence, Certainty::Known);
        }
        Some(Deed::Advisory) => {
            out.write(function());
            out.pin(PinReason::AdvisoryLock, Certainty::Known);
        }
        Some(Deed::Seed) => {
            out.write(function());
            out.pin(PinReason::Seed, Certainty::Known);
        }
        Some(Deed::Config) => {
            out.write(function());
            config(arguments, lexing, out);
        }
        Some(Deed::Setting) => {
            if !asks_session_setting(arguments, lexing) {
                out.local(name);
            }
        }
        None => out.user_code(function()),
    }
}

/// Whether `current_setting` with these arguments asks for a setting of the session.
pub(in crate::sql) fn asks_session_setting(arguments: &[Tok<'_>], lexing: crate::sql::Lexing) -> bool {
    let asked = arguments.first().and_then(|tok| tok.constant(lexing));
    let whole =
        arguments.get(1).is_some_and(|tok| matches!(tok.kind, Kind::Close | Kind::Comma | Kind::Cast));
    whole && asked.is_some_and(|setting| functions::session_setting(&setting.to_ascii_lowercase()))
}

/// Adds what users' code called or meant by `reason` does.
pub(super) fn does(does: Does, reason: impl Fn() -> Reason, name: &str, out: &mut Outcome) {
    if does.has(Does::PINS) {
        out.user_code(reason());
    }
    if does.has(Does::WRITES) {
        out.write(reason());
    }
    if does.has(Does::LOCAL) {
        out.local(name);
    }
    out.outside |= does.has(Does::OUTSIDE);
    out.bound |= does.has(Does::BOUND);
}

/// The number of arguments in the bracket whose inside begins at `at`; `None`: not to be told.
fn count(toks: &[Tok<'_>], at: usize) -> Option<u16> {
    let mut depth = 0_usize;
    let mut commas = 0_u16;
    let mut empty = true;
    let mut ordered = false;
    for tok in toks.get(at..)? {
        match tok.kind {
            Kind::Close if depth == 0 => return Some(if empty { 0 } else { commas.checked_add(1)? }),
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            Kind::Other if tok.word == "[" => depth += 1,
            Kind::Other if tok.word == "]" => depth = depth.checked_sub(1)?,
            Kind::Comma if depth == 0 && !ordered => commas = commas.checked_add(1)?,
            // `agg(a ORDER BY b, c)`.
            Kind::Word if depth == 0 && tok.word == "order" => ordered = true,
            // `count(*)`.
            Kind::Operator if empty && tok.word == "*" => continue,
            _ => {}
        }
        empty = false;
    }
    None
}

/// `set_config` anywhere in a statement: whether it runs, how often, and what it sets, only the server knows. The name is enough to ask it.
fn config(arguments: &[Tok<'_>], lexing: crate::sql::Lexing, out: &mut Outcome) {
    let name = arguments.first().and_then(|tok| tok.constant(lexing));
    let whole = arguments.get(1).is_some_and(|tok| matches!(tok.kind, Kind::Comma | Kind::Cast));
    match name.map(|name| name.to_ascii_lowercase()).filter(|_| whole) {
        Some(name) if name == "seed" => out.pin(PinReason::Seed, Certainty::Known),
        Some(name) if !name.starts_with("primacy.") => return out.changes.push(Change::Touch(name.into())),
        _ => out.pin(PinReason::SettingValue, Certainty::Possible),
    }
    // The name is a literal, which is no part of a text's shape: such a text is judged each time.
    out.changes.push(Change::Local);
}
