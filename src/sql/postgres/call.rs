//! What a function call in a statement does.

use super::query::Walker;
use crate::engine::{Certainty, PinReason};
use crate::sql::functions::{self, Deed};
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Chain, Tok};
use crate::sql::verdict::Reason;

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
    let mut deed = functions::postgres(name, walker.env.context.server_major);
    let builtin = schema == "pg_catalog" && chain.parts.len() == 2;
    let own = walker.env.names().is_some_and(|names| names.functions.contains(name));
    if !builtin && (chain.parts.len() > 1 || own) {
        deed = None;
    }
    if deed == Some(Deed::Keyword) && quoted {
        deed = None;
    }
    let arguments = walker.toks.get(chain.next + 1..).unwrap_or_default();
    apply(deed, name, arguments, walker.env.lexing(), walker.out);
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
        Some(Deed::Local) => out.local(name),
        Some(Deed::Write) => out.write(function()),
        Some(Deed::Sequence | Deed::Connection) => {
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
            out.pin(PinReason::SettingValue, Certainty::Possible);
        }
        Some(Deed::Setting) => {
            let asked = arguments.first().and_then(|tok| tok.constant(lexing));
            let whole = arguments
                .get(1)
                .is_some_and(|tok| matches!(tok.kind, Kind::Close | Kind::Comma | Kind::Cast));
            match asked {
                Some(setting) if whole && functions::session_setting(&setting.to_ascii_lowercase()) => {}
                _ => out.local(name),
            }
        }
        None => out.user_code(function()),
    }
}
