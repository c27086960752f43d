//! Reads the body of a function in SQL or PL/pgSQL: what it does by itself, and the names by which it may reach other code. Whatever is
//! not surely harmless for the session counts against it.

use super::context::{Dialect, Lexing};
use super::functions::{self, Deed};
use super::lexer::Kind;
use super::tokens::{self, Tok, chain};
use crate::catalog::Does;
use crate::catalog::source::Language;
use std::collections::{BTreeMap, BTreeSet};

/// What a body says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Body {
    /// What it does by itself.
    pub(super) does: Does,
    /// Names that stand before a bracket.
    pub(super) calls: BTreeSet<Box<str>>,
    /// Names that follow a dot.
    pub(super) attributes: BTreeSet<Box<str>>,
    /// Operators.
    pub(super) operators: BTreeSet<Box<str>>,
    /// Every name in it, and whether a relation of that name is written.
    pub(super) names: BTreeMap<Box<str>, bool>,
}

/// Words that a statement may begin with and that leave nothing in the session by themselves.
const STATEMENTS: [&str; 13] = [
    "select", "insert", "update", "delete", "merge", "with", "values", "table", "notify", "lock", "truncate",
    "call", "return",
];

/// The same of PL/pgSQL's own statements. What else begins a statement there is an assignment, or refused.
const PLPGSQL: [&str; 27] = [
    "declare",
    "begin",
    "if",
    "elsif",
    "elseif",
    "else",
    "case",
    "when",
    "loop",
    "while",
    "for",
    "foreach",
    "exit",
    "continue",
    "raise",
    "assert",
    "perform",
    "null",
    "end",
    "exception",
    "get",
    "open",
    "fetch",
    "move",
    "close",
    "commit",
    "rollback",
];

/// Words behind which a statement begins, beside semicolons and labels.
const BEFORE_STATEMENT: [&str; 6] = ["begin", "then", "else", "loop", "atomic", "declare"];

/// Reads `text`, the body of a function in `language`.
pub(super) fn read(text: &str, language: Language) -> Body {
    let mut reader = Reader::new(language);
    reader.text(text, true);
    reader.body
}

/// Adds the text of a function's arguments, with their defaults.
pub(super) fn add_defaults(body: &mut Body, text: &str) {
    let mut reader = Reader { body: std::mem::take(body), ..Reader::new(Language::Sql) };
    reader.text(text, false);
    *body = reader.body;
}

struct Reader {
    body: Body,
    language: Language,
    /// In the declarations of a block: names stand where statements stand elsewhere.
    declares: bool,
    /// The CASE expressions around, each with whether its WHEN has come: THEN and ELSE in them begin no statement.
    cases: Vec<bool>,
}

impl Reader {
    fn new(language: Language) -> Self {
        Self { body: Body::default(), language, declares: false, cases: Vec::new() }
    }

    fn pins(&mut self) {
        self.add(Does::PINS.with(Does::WRITES));
    }

    fn add(&mut self, does: Does) {
        self.body.does = self.body.does.with(does);
    }

    fn text(&mut self, text: &str, statements: bool) {
        let folded = text.to_ascii_lowercase();
        let toks = tokens::read(text.as_bytes(), folded.as_bytes(), Lexing::new(Dialect::Postgres));
        let first = directives(&toks);
        let mut at = first;
        let mut depth = 0_usize;
        while let Some(tok) = toks.get(at) {
            match tok.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                Kind::Literal => self.literal(tok),
                Kind::Operator => self.operator(&toks, at),
                Kind::Escaped | Kind::Variable | Kind::Executable | Kind::Broken => return self.pins(),
                _ => {}
            }
            if statements && depth == 0 {
                let starts = at == first || begins(&toks, at) && self.cases.is_empty();
                if starts {
                    self.statement(&toks, at);
                } else {
                    self.case(&toks, at);
                }
            }
            at = self.name(&toks, at);
        }
    }

    /// With a backslash a string may end elsewhere in a session of another `standard_conforming_strings`.
    fn literal(&mut self, tok: &Tok<'_>) {
        if functions::speaks_of_now(tok.raw) {
            self.add(Does::BOUND);
        }
        let plain = tok.raw.first() == Some(&b'\'');
        if plain && tok.raw.contains(&b'\\') {
            self.pins();
        }
    }

    fn operator(&mut self, toks: &[Tok<'_>], at: usize) {
        let Some(tok) = toks.get(at) else { return };
        self.body.operators.insert(tok.word.into());
        // `:=` is one token to the server; what follows it is another.
        let assigned = at.checked_sub(1).and_then(|at| toks.get(at)).is_some_and(|tok| tok.word == ":");
        if let Some(rest) = tok.word.strip_prefix('=').filter(|_| assigned) {
            self.body.operators.insert(rest.into());
        }
    }

    /// A name: what it may be is noted; returns where to go on.
    fn name(&mut self, toks: &[Tok<'_>], at: usize) -> usize {
        let Some(tok) = toks.get(at) else { return at + 1 };
        let row_lock = tok.is("for")
            && toks.get(at + 1).is_some_and(|tok| tok.is_any(&["update", "share", "no", "key"]));
        if row_lock {
            self.add(Does::WRITES);
        }
        if tok.is("execute") {
            // Text run as SQL, wherever it stands (`FOR … IN EXECUTE`, `RETURN QUERY EXECUTE`).
            self.pins();
        }
        self.targets(toks, at);
        let Some(chain) = chain(toks, at) else { return at + 1 };
        for part in &chain.parts {
            if part == "pg_temp" {
                self.pins();
            }
            if functions::local_view(part) {
                self.add(Does::LOCAL);
            }
            self.body.names.entry(part.as_ref().into()).or_insert(false);
        }
        if chain.next == at + 1 && tok.kind == Kind::Word && functions::is_bound_word(tok.word) {
            self.add(Does::BOUND);
        }
        if chain.parts.len() > 1 {
            self.body.attributes.insert(chain.name().into());
        }
        if toks.get(chain.next).is_some_and(|tok| tok.kind == Kind::Open) {
            let arguments = toks.get(chain.next + 1..).unwrap_or_default();
            if matches!(chain.schema(), "" | "pg_catalog") {
                self.builtin(chain.name(), arguments);
            }
            self.body.calls.insert(chain.name().into());
        }
        chain.next
    }

    fn builtin(&mut self, name: &str, arguments: &[Tok<'_>]) {
        if functions::is_bound(name) {
            self.add(Does::BOUND);
        }
        // The newest version: a name that an older server does not have cannot be called there.
        match functions::postgres(name, u16::MAX) {
            Some(Deed::Harmless | Deed::Keyword) | None => {}
            Some(Deed::Local) => self.add(Does::LOCAL),
            Some(Deed::Write) => self.add(Does::WRITES),
            Some(Deed::Setting) => {
                if !super::postgres::asks_session_setting(arguments, Lexing::new(Dialect::Postgres)) {
                    self.add(Does::LOCAL);
                }
            }
            Some(Deed::Sequence | Deed::Connection | Deed::Advisory | Deed::Seed | Deed::Config) => {
                self.pins();
            }
        }
    }

    /// Follows CASE expressions. `case` and `end` may also be a column's label: whatever does not fit ends them all, so that rather too much
    /// is looked at as a statement than too little.
    fn case(&mut self, toks: &[Tok<'_>], at: usize) {
        let Some(tok) = toks.get(at) else { return };
        let previous = at.checked_sub(1).and_then(|at| toks.get(at));
        if tok.kind == Kind::Semicolon {
            self.cases.clear();
        }
        match tok.word {
            _ if tok.kind != Kind::Word => {}
            "case" if !previous.is_some_and(|tok| tok.is_any(&["end", "as"])) => self.cases.push(false),
            "when" => {
                if let Some(seen) = self.cases.last_mut() {
                    *seen = true;
                }
            }
            "then" | "else" if self.cases.last() == Some(&false) => self.cases.clear(),
            "loop" => self.cases.clear(),
            "end" => drop(self.cases.pop()),
            _ => {}
        }
    }

    /// The first token of a statement.
    fn statement(&mut self, toks: &[Tok<'_>], at: usize) {
        let Some(tok) = toks.get(at) else { return };
        if tok.kind == Kind::Semicolon {
            return;
        }
        let was = self.declares;
        if tok.is("begin") {
            self.declares = false;
        } else if tok.is("declare") {
            self.declares = self.language == Language::Plpgsql;
        }
        if was && self.declares {
            return;
        }
        let next = toks.get(at + 1);
        let known = match self.language {
            Language::Plpgsql => {
                tok.is_any(&STATEMENTS) && !tok.is("table")
                    || tok.is_any(&PLPGSQL)
                    || assigns(next)
                    || tok.is_operator("<<")
                    // MERGE's.
                    || tok.is("do") && next.is_some_and(|next| next.is("nothing"))
            }
            _ => {
                tok.is_any(&STATEMENTS)
                    || tok.kind == Kind::Open
                    || tok.is_any(&["begin", "atomic", "end"])
                    || tok.is("do") && next.is_some_and(|next| next.is("nothing"))
            }
        };
        // `CALL` of an unknown procedure is found by its name; `LOCK`, `NOTIFY` and `TRUNCATE` end with the transaction or write.
        if !known {
            return self.pins();
        }
        if tok.is_any(&["notify", "lock", "truncate", "insert", "update", "delete", "merge"]) {
            self.add(Does::WRITES);
        }
    }

    /// Notes which relations are written.
    fn targets(&mut self, toks: &[Tok<'_>], at: usize) {
        let Some(tok) = toks.get(at) else { return };
        let previous = at.checked_sub(1).and_then(|at| toks.get(at));
        let mut target = at + 1;
        let writes = match tok.word {
            _ if tok.kind != Kind::Word => false,
            "into" => {
                let modifies = previous.is_some_and(|tok| tok.is_any(&["insert", "merge"]));
                if !modifies && self.language == Language::Sql {
                    // SELECT INTO makes a table.
                    self.pins();
                }
                modifies
            }
            "from" => previous.is_some_and(|tok| tok.is("delete")),
            "update" => {
                !previous.is_some_and(|tok| tok.is_any(&["for", "do", "then", "key"]))
                    || previous.is_some_and(|tok| tok.is("then"))
                        && !toks.get(at + 1).is_some_and(|tok| tok.is("set"))
            }
            "truncate" => {
                // Several tables, and with CASCADE others that the text does not name.
                if toks.iter().skip(at).any(|tok| tok.is("cascade")) {
                    self.pins();
                }
                let end = toks.iter().skip(at).position(|tok| tok.kind == Kind::Semicolon);
                self.written(toks, at + 1, end.map_or(toks.len(), |end| at + end));
                return;
            }
            _ => false,
        };
        if !writes {
            return;
        }
        while toks.get(target).is_some_and(|tok| tok.is("only") || tok.kind == Kind::Open) {
            target += 1;
        }
        if let Some(chain) = chain(toks, target) {
            self.written(toks, target, chain.next);
        }
    }

    fn written(&mut self, toks: &[Tok<'_>], from: usize, to: usize) {
        for name in toks.get(from..to).unwrap_or_default().iter().filter_map(Tok::name) {
            self.body.names.insert(name.as_ref().into(), true);
        }
    }
}

/// Whether a statement begins at `at`.
fn begins(toks: &[Tok<'_>], at: usize) -> bool {
    let Some(previous) = at.checked_sub(1).and_then(|at| toks.get(at)) else { return true };
    match previous.kind {
        Kind::Semicolon => true,
        // `END LOOP label` is over.
        Kind::Word if previous.is("loop") => {
            !at.checked_sub(2).and_then(|at| toks.get(at)).is_some_and(|tok| tok.is("end"))
        }
        Kind::Word => previous.is_any(&BEFORE_STATEMENT),
        // A label.
        Kind::Operator => previous.word == ">>",
        _ => false,
    }
}

/// How many tokens the directives at the head of a body take (`#variable_conflict use_column`).
fn directives(toks: &[Tok<'_>]) -> usize {
    let mut at = 0;
    while toks.get(at).is_some_and(|tok| tok.is_operator("#")) {
        at += 3;
    }
    at
}

/// Whether `next`, behind the first name of a statement, makes it an assignment.
fn assigns(next: Option<&Tok<'_>>) -> bool {
    next.is_some_and(|tok| {
        tok.kind == Kind::Dot
            || matches!(tok.word, "[" | ":")
            || tok.is_operator("=")
            || tok.is_operator(":=")
    })
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
