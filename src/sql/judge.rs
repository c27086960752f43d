//! From a text to its verdict: cut it into statements, judge each, let the strongest win.

use super::context::{Context, Dialect, Lexing};
use super::lexer::Kind;
use super::outcome::{Outcome, weight};
use super::tokens::{self, Tok};
use super::verdict::{Change, Effect, Reason, Relation, Return, Transaction, Verdict};
use super::{deep, mysql, postgres};
use crate::engine::{Certainty, Class, Pin, PinReason};

/// Texts beyond this many bytes are not parsed.
pub const PARSED_MAX: usize = 64 * 1024;
/// Texts beyond this many bytes are not even read: writes that may leave anything behind.
pub const READ_MAX: usize = 1024 * 1024;

/// The verdict on `text`, found anew.
#[must_use]
pub fn judge_uncached(text: &[u8], context: &Context<'_>) -> Verdict {
    if text.len() > READ_MAX {
        return long_text();
    }
    let folded = text.to_ascii_lowercase();
    let toks = tokens::read(text, &folded, context.lexing);
    let ambiguous = context.lexing.ambiguous_bytes && !text.is_ascii();
    let mut outcomes: Vec<Outcome> = if ambiguous && !toks.is_empty() {
        vec![Outcome::unknown("")]
    } else {
        statements(&toks, context.lexing.dialect).into_iter().map(|toks| one(toks, context)).collect()
    };
    if text.len() > PARSED_MAX {
        for outcome in &mut outcomes {
            if outcome.reason == Reason::Unparsed {
                outcome.reason = Reason::LongText;
                outcome.pin = Some(Pin { reason: PinReason::LongText, certainty: Certainty::Possible });
            }
        }
    } else if outcomes.iter().any(|outcome| outcome.class != Class::Write && outcome.reason == Reason::Read) {
        second_opinion(text, context, &mut outcomes);
    }
    combine(outcomes)
}

fn one(toks: &[Tok<'_>], context: &Context<'_>) -> Outcome {
    if context.lexing.dialect == Dialect::Postgres {
        postgres::judge(toks, context)
    } else {
        mysql::judge(toks, context)
    }
}

/// What the lexer takes for a read, the parser must not know for a write. That it refuses a text proves nothing.
fn second_opinion(text: &[u8], context: &Context<'_>, outcomes: &mut [Outcome]) {
    // It knows the defaults only; under other rules it would read other strings.
    if context.lexing != Lexing::new(context.lexing.dialect) {
        return;
    }
    let Some(opinions) = deep::writes(text, context.lexing.dialect) else { return };
    let paired = opinions.len() == outcomes.len();
    let any = opinions.contains(&true);
    for (at, outcome) in outcomes.iter_mut().enumerate() {
        let writes = if paired { opinions.get(at).is_some_and(|writes| *writes) } else { any };
        if writes && outcome.reason == Reason::Read {
            outcome.write(Reason::Command);
            outcome.pin(PinReason::Unknown, Certainty::Possible);
        }
    }
}

fn long_text() -> Verdict {
    combine(vec![
        Outcome::read("").writing(Reason::LongText).pinning(PinReason::LongText, Certainty::Possible),
    ])
}

/// Cuts at semicolons outside brackets. A body `BEGIN ATOMIC … END` holds semicolons of its own: it goes on to the end.
fn statements<'t, 'a>(toks: &'t [Tok<'a>], dialect: Dialect) -> Vec<&'t [Tok<'a>]> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    for (at, tok) in toks.iter().enumerate() {
        match tok.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Semicolon if depth == 0 => {
                found.push(toks.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        if has_body(tok, toks.get(start), toks.get(at + 1), dialect) {
            break;
        }
    }
    found.push(toks.get(start..).unwrap_or_default());
    found.retain(|statement| !statement.is_empty());
    found
}

/// Whether a routine's body begins here.
fn has_body(tok: &Tok<'_>, head: Option<&Tok<'_>>, next: Option<&Tok<'_>>, dialect: Dialect) -> bool {
    let creates = head.is_some_and(|head| head.is_any(&["create", "alter"]));
    let atomic = dialect != Dialect::Postgres || next.is_some_and(|next| next.is("atomic"));
    creates && tok.is("begin") && atomic
}

/// One verdict from all statements' outcomes.
fn combine(mut outcomes: Vec<Outcome>) -> Verdict {
    let statements = u16::try_from(outcomes.len()).unwrap_or(u16::MAX);
    let command = outcomes.first().map_or("", |outcome| outcome.command);
    let ddl = outcomes.iter().any(|outcome| outcome.ddl);
    let outside = outcomes.iter().any(|outcome| outcome.outside);
    let bound = outcomes.iter().any(|outcome| outcome.bound);
    let own_values = outcomes.iter().any(|outcome| outcome.own_values);
    let channels = outcomes.iter().any(|outcome| outcome.channels);
    let ends = outcomes.iter().any(|outcome| outcome.ends);
    let empties = match outcomes.as_mut_slice() {
        [one] => one.empties.take(),
        _ => None,
    };
    let transaction = match outcomes.as_slice() {
        [one] => one.transaction,
        several if several.iter().any(|one| one.transaction != Transaction::None) => Transaction::Other,
        _ => Transaction::None,
    };
    // The first of the strongest, so that the reason names what comes first in the text.
    let strongest = outcomes.iter().rev().max_by_key(|outcome| outcome.class);
    let (class, reason) =
        strongest.map_or((Class::Read, Reason::Empty), |outcome| (outcome.class, outcome.reason.clone()));
    let pin = outcomes.iter().filter_map(|outcome| outcome.pin).rev().max_by_key(|pin| weight(*pin));
    let changes = changes(&mut outcomes);
    let mut relations: Vec<Relation> = Vec::new();
    for relation in outcomes.iter_mut().flat_map(|outcome| outcome.relations.drain(..)) {
        if !relations.contains(&relation) {
            relations.push(relation);
        }
    }
    let names = outcomes.iter_mut().flat_map(|outcome| outcome.names.drain(..)).collect();
    let numbered = |(statement, outcome): (u16, &mut Outcome)| {
        outcome.returns.drain(..).map(|found| Return { statement, ..found }).collect::<Vec<_>>()
    };
    let returns = (0..).zip(&mut outcomes).flat_map(numbered).collect();
    let effect = match pin {
        Some(pin) if changes.is_empty() => Effect::Pins(pin.reason, pin.certainty),
        Some(pin) => Effect::Mixed(pin.reason, pin.certainty, changes.into()),
        None if changes.is_empty() => Effect::None,
        None => Effect::Changes(changes.into()),
    };
    let traceless =
        pin.is_none_or(|pin| pin.certainty == Certainty::Known || pin.reason == PinReason::Relation);
    Verdict {
        class,
        reason,
        statements,
        command,
        transaction,
        effect,
        relations: relations.into(),
        names,
        returns,
        ends,
        own_values,
        empties,
        channels,
        bound,
        ddl,
        repeatable: statements == 1 && transaction == Transaction::None && traceless && !outside,
    }
}

/// What all statements change, in their order.
fn changes(outcomes: &mut [Outcome]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for outcome in outcomes {
        let looks = outcome.changes.is_empty() && outcome.transaction == Transaction::None;
        if looks && changes.iter().any(|change| matches!(change, Change::Reset(_) | Change::ResetAll)) {
            changes.push(Change::Looks);
        }
        changes.append(&mut outcome.changes);
    }
    changes
}
