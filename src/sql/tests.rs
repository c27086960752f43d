//! Tests of the verdicts: the tables of statements, what drivers send, and that garbage is never a read.

use super::*;
use crate::catalog::Names;
use crate::engine::{Certainty, Class};

mod cache;
mod lexing;
mod property;
mod tables;
mod values;

fn set(names: &[&str]) -> std::collections::HashSet<Box<str>> {
    names.iter().map(|name| Box::from(*name)).collect()
}

/// The database of the tables.
fn names() -> Names {
    Names {
        functions: set(&["touch", "first", "Odd", "area", "total"]),
        attributes: set(&["total"]),
        operators: set(&["###", "@@="]),
        types: set(&["email", "positive"]),
        event_triggers: false,
    }
}

fn context(names: &Names) -> Context<'_> {
    Context { names: Some(names), ..Context::bare(Dialect::Postgres, 18) }
}

fn judge(text: &str) -> Verdict {
    let names = names();
    judge_uncached(text.as_bytes(), &context(&names))
}

fn effect_word(effect: &Effect) -> String {
    match effect {
        Effect::None => "none".into(),
        Effect::Changes(_) => "changes".into(),
        Effect::Pins(reason, Certainty::Known) => reason.word().into(),
        Effect::Pins(reason, Certainty::Possible) => format!("{}?", reason.word()),
    }
}
