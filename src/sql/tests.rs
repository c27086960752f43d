//! Tests of the verdicts: the tables of statements, what drivers send, and that garbage is never a read.

use super::*;
use crate::catalog::names::NewRoutine;
use crate::catalog::{Does, Names};
use crate::engine::{Certainty, Class};

mod cache;
mod lexing;
mod property;
mod tables;
mod values;

/// The database of the tables.
fn names() -> Names {
    let mut names = Names::default();
    let routine = |name, does| NewRoutine { schema: "public", name, arguments: (0, u16::MAX), does };
    let unknown = ["touch", "first", "Odd", "area", "total"].map(|name| routine(name, Does::UNKNOWN));
    names.add_routines(unknown);
    names.add_routines([
        routine("pure", Does::NOTHING),
        routine("logs", Does::WRITES),
        routine("whereami", Does::LOCAL),
        routine("native", Does::OUTSIDE),
        NewRoutine { arguments: (1, 2), ..routine("narrow", Does::NOTHING) },
        NewRoutine { schema: "other", ..routine("hidden", Does::UNKNOWN) },
        routine("hidden", Does::NOTHING),
    ]);
    names.add_attribute("total", Does::UNKNOWN);
    names.add_attribute("pure", Does::NOTHING);
    for (name, does) in [("###", Does::UNKNOWN), ("@@=", Does::UNKNOWN), ("<=>", Does::NOTHING)] {
        names.add_operator(name, does);
    }
    for name in ["email", "positive"] {
        names.add_type(name, Does::UNKNOWN);
    }
    names
}

fn context(names: &Names) -> Context<'_> {
    Context { names: Some(names), search_path: "public", ..Context::bare(Dialect::Postgres, 18) }
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
        Effect::Mixed(reason, certainty, _) => {
            format!("{}+changes", effect_word(&Effect::Pins(*reason, *certainty)))
        }
    }
}
