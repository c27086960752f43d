//! Walks over queries and data-modifying statements: which relations they name, what they call, and whether they surely only read.

use super::Env;
use super::call;
use crate::catalog::Names;
use crate::engine::{Certainty, PinReason};
use crate::sql::functions;
use crate::sql::lexer::Kind;
use crate::sql::outcome::Outcome;
use crate::sql::tokens::{Tok, chain, closing};
use crate::sql::verdict::Reason;
use std::borrow::Cow;

/// Where in a FROM list (or its like) a bracket level is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Not in one.
    Outside,
    /// A relation comes next.
    Expect,
    /// Behind a relation: its alias, or what joins it to the next.
    After,
    /// In a join's condition.
    Condition,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) from: From,
    /// A query stands directly in these brackets; else a FROM in them is part of a call (`extract(day from d)`).
    pub(super) query: bool,
    /// In a WITH list.
    pub(super) with: bool,
    recursive: bool,
    /// The token directly behind a relation: only there an alias can stand, and only an alias is followed by columns.
    alias: usize,
}

impl Level {
    const fn new(from: From) -> Self {
        Self { from, query: false, with: false, recursive: false, alias: usize::MAX }
    }
}

/// A common table expression of the outermost query: from this token on, its bare name is not a relation's.
struct Cte<'a> {
    name: Cow<'a, str>,
    from: usize,
}

pub(super) struct Walker<'t, 'a, 'e, 'o> {
    pub(super) toks: &'t [Tok<'a>],
    pub(super) env: &'e Env<'e>,
    pub(super) out: &'o mut Outcome,
    levels: Vec<Level>,
    ctes: Vec<Cte<'a>>,
    /// Whether an operator of users is known by name, so that grammar which means an operator must be looked at.
    own_operators: bool,
}

/// Walks over `toks`, adding what it finds to `out`.
pub(super) fn walk(toks: &[Tok<'_>], env: &Env<'_>, out: &mut Outcome) {
    let own_operators = env.names().is_some_and(Names::has_operators);
    let mut walker =
        Walker { toks, env, out, levels: vec![Level::new(From::Outside)], ctes: Vec::new(), own_operators };
    walker.run();
    // Where rows are read, casts and comparisons may run that no text names.
    if let Some(names) = env.names().filter(|_| !out.relations.is_empty()) {
        call::does(names.everywhere(), || Reason::Operator("a cast or comparison".into()), "", out);
    }
}

impl<'t, 'a> Walker<'t, 'a, '_, '_> {
    fn run(&mut self) {
        let mut at = 0;
        while let Some(tok) = self.toks.get(at) {
            at = match tok.kind {
                Kind::Word | Kind::Quoted => self.name(at),
                Kind::Open => {
                    self.open();
                    at + 1
                }
                Kind::Close => {
                    if self.levels.len() < 2 {
                        self.unreadable();
                        return;
                    }
                    self.levels.pop();
                    self.level().alias = at + 1;
                    at + 1
                }
                Kind::Other => {
                    self.subscript(tok.word);
                    at + 1
                }
                Kind::Comma => {
                    let level = self.level();
                    if matches!(level.from, From::After | From::Condition) {
                        level.from = From::Expect;
                    }
                    at + 1
                }
                Kind::Operator => {
                    self.operator(at);
                    at + 1
                }
                Kind::Escaped | Kind::Variable | Kind::Executable | Kind::Broken => {
                    self.unreadable();
                    return;
                }
                _ => at + 1,
            };
        }
        if self.levels.len() != 1 {
            self.unreadable();
        }
    }

    pub(super) fn unreadable(&mut self) {
        self.out.write(Reason::Unparsed);
        self.out.pin(PinReason::Unknown, Certainty::Possible);
    }

    pub(super) fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::new(From::Outside));
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    pub(super) fn previous(&self, at: usize) -> Option<&'t Tok<'a>> {
        at.checked_sub(1).and_then(|at| self.toks.get(at))
    }

    pub(super) fn following(&self, at: usize) -> Option<&'t Tok<'a>> {
        self.toks.get(at + 1)
    }

    /// `[` and `]` are brackets too: a comma in them is none of a FROM list.
    fn subscript(&mut self, word: &str) {
        match word {
            "[" => self.levels.push(Level::new(From::Outside)),
            "]" if self.levels.len() > 1 => drop(self.levels.pop()),
            _ => {}
        }
    }

    fn open(&mut self) {
        let level = self.level();
        let mut inner = Level::new(From::Outside);
        if level.from == From::Expect {
            // A subquery, or a join in brackets.
            level.from = From::After;
            inner.from = From::Expect;
        }
        self.levels.push(inner);
    }

    fn operator(&mut self, at: usize) {
        let Some(tok) = self.toks.get(at) else { return };
        let name = tok.word;
        if matches!(name, "=>" | ":=") || (name == "*" && self.is_star(at)) {
            return;
        }
        if !self.own_operator(name) && !functions::operator(name) {
            self.out.user_code(Reason::Operator(name.into()));
        }
        if name == "!=" {
            self.own_operator("<>");
        }
    }

    /// Adds what users' operators of this name do; whether they have any.
    fn own_operator(&mut self, name: &str) -> bool {
        let Some(own) = self.env.names().and_then(|names| names.operator(name)) else { return false };
        call::does(own, || Reason::Operator(name.into()), name, self.out);
        true
    }

    /// `*` for all columns or rows, not the product.
    fn is_star(&self, at: usize) -> bool {
        self.previous(at).is_none_or(|tok| {
            matches!(tok.kind, Kind::Open | Kind::Dot | Kind::Comma)
                || tok.is_any(&["select", "distinct", "all", "returning"])
        })
    }

    /// A name or keyword at `at`; returns where to go on.
    fn name(&mut self, at: usize) -> usize {
        let Some(chain) = chain(self.toks, at) else { return at + 1 };
        let single = chain.next == at + 1;
        if single && let Some(tok) = self.toks.get(at).filter(|tok| tok.kind == Kind::Word) {
            self.out.bound |= functions::is_bound_word(tok.word);
            if let Some(next) = self.keyword(at) {
                return next;
            }
        }
        if single && self.level().with && self.cte(at, chain.name()) {
            return self.after_cte_columns(at);
        }
        let called = self.toks.get(chain.next).is_some_and(|tok| tok.kind == Kind::Open);
        let from = self.level().from;
        if called && from == From::After && self.is_alias(at) {
            // An alias with its columns: `AS t (a, b)`.
            self.types(&chain.parts);
            return chain.next;
        }
        if called {
            call::judge(self, &chain);
            self.types(&chain.parts);
            if from == From::Expect {
                self.level().from = From::After;
                self.levels.push(Level::new(From::Outside));
                return chain.next + 1;
            }
            return chain.next;
        }
        if from == From::Expect {
            self.relation(at, chain.schema(), chain.name(), false);
            self.after(chain.next);
            return chain.next;
        }
        if !single {
            self.attribute(chain.name());
        }
        self.types(&chain.parts);
        chain.next
    }

    /// Behind a relation that ends before `at`.
    pub(super) fn after(&mut self, at: usize) {
        let level = self.level();
        (level.from, level.alias) = (From::After, at);
    }

    fn is_alias(&mut self, at: usize) -> bool {
        let alias = self.level().alias;
        at == alias || (at == alias.saturating_add(1) && self.toks.get(alias).is_some_and(|tok| tok.is("as")))
    }

    /// `t.f` may call a function of a row.
    fn attribute(&mut self, name: &str) {
        if let Some(own) = self.env.names().and_then(|names| names.attribute(name)) {
            call::does(own, || Reason::Function(name.into()), name, self.out);
        }
    }

    /// A type's name, wherever it stands, may run its owner's code.
    fn types(&mut self, parts: &[Cow<'_, str>]) {
        let Some(names) = self.env.names().filter(|names| names.has_types()) else { return };
        let Some(name) = parts.last() else { return };
        let own = names.of_type(name).with(names.of_type(catalog_name(name)));
        call::does(own, || Reason::Operator(name.as_ref().into()), name, self.out);
    }

    pub(super) fn relation(&mut self, at: usize, schema: &str, name: &str, written: bool) {
        let system = schema == "pg_catalog" || schema.is_empty() && functions::system_relation(name);
        if system && functions::local_view(name) {
            self.out.local(name);
        }
        if (system || schema == "information_schema") && !written {
            return;
        }
        let cte = schema.is_empty() && self.ctes.iter().any(|cte| cte.name == name && cte.from <= at);
        if !cte || written {
            self.out.relation(schema, name, written);
        }
    }

    /// Whether the name at `at` is that of a common table expression; remembers it when the outermost query defines it.
    fn cte(&mut self, at: usize, name: &str) -> bool {
        let definition = self.cte_body(at);
        let Some(open) = definition else { return false };
        if self.levels.len() == 1 {
            let from =
                if self.level().recursive { 0 } else { closing(self.toks, open).unwrap_or(usize::MAX) };
            self.ctes.push(Cte { name: Cow::Owned(name.to_owned()), from });
        }
        true
    }

    /// `name [(columns)] AS [NOT] [MATERIALIZED] (`: the index of the last bracket.
    fn cte_body(&self, at: usize) -> Option<usize> {
        let mut next = self.after_cte_columns(at);
        if !self.toks.get(next)?.is("as") {
            return None;
        }
        next += 1;
        if self.toks.get(next)?.is("not") {
            next += 1;
        }
        if self.toks.get(next)?.is("materialized") {
            next += 1;
        }
        (self.toks.get(next)?.kind == Kind::Open).then_some(next)
    }

    fn after_cte_columns(&self, at: usize) -> usize {
        if self.following(at).is_some_and(|tok| tok.kind == Kind::Open) {
            closing(self.toks, at + 1).map_or(at + 1, |close| close + 1)
        } else {
            at + 1
        }
    }

    /// Handles the unquoted word at `at` when it is a keyword that matters; returns where to go on.
    fn keyword(&mut self, at: usize) -> Option<usize> {
        let word = self.toks.get(at)?.word;
        match word {
            "select" => {
                let level = self.level();
                (level.from, level.query, level.with) = (From::Outside, true, false);
            }
            "with" => self.with(at),
            "recursive" if self.level().with => self.level().recursive = true,
            "from" => self.from(at),
            "join" => self.level().from = From::Expect,
            "using" => self.using(at),
            "on" => {
                if self.level().from == From::After {
                    self.level().from = From::Condition;
                }
            }
            "table" => self.level().from = From::Expect,
            "ordinality" => self.level().alias = at + 1,
            "lateral" | "only" if self.level().from == From::Expect => {}
            "rows" if self.following(at).is_some_and(|tok| tok.is("from")) => {}
            // Words that may be a table's name where one is expected.
            "set" | "insert" | "update" | "delete" | "merge"
                if self.level().from == From::Expect
                    && self.previous(at).is_some_and(|tok| tok.kind != Kind::Open) =>
            {
                return None;
            }
            "where" | "group" | "having" | "order" | "limit" | "offset" | "window" | "union"
            | "intersect" | "except" | "fetch" | "returning" | "values" | "set" => {
                let level = self.level();
                level.query |= word == "values";
                (level.from, level.with) = (From::Outside, level.with && word == "set");
            }
            "first" | "next" if self.previous(at).is_some_and(|tok| tok.is("fetch")) => {}
            "for" => return Some(self.locking(at)),
            "into" => self.into(at),
            "tablesample" => return Some(self.sample(at)),
            "operator" if self.following(at).is_some_and(|tok| tok.kind == Kind::Open) => {
                return Some(self.qualified_operator(at));
            }
            "insert" | "update" | "delete" | "merge" => return self.modifying(at),
            "as" | "not" | "and" | "or" | "null" | "true" | "false" | "default" | "left" | "right"
            | "full" | "inner" | "cross" | "outer"
                if self.following(at).is_none_or(|tok| tok.kind != Kind::Open) => {}
            "in" | "between" | "like" | "ilike" | "similar" | "nullif" | "case" | "natural" | "distinct"
            | "any" | "some" | "all" => {
                self.implied(word);
                return (word != "nullif").then_some(at + 1);
            }
            _ => return None,
        }
        Some(at + 1)
    }

    /// Grammar that means an operator, looked up by name like any other.
    fn implied(&mut self, word: &str) {
        if !self.own_operators {
            return;
        }
        let operators: &[&str] = match word {
            "between" => &["<=", ">=", "<", ">"],
            "like" | "similar" => &["~~", "!~~", "~", "!~"],
            "ilike" => &["~~*", "!~~*"],
            _ => &["=", "<>"],
        };
        for operator in operators {
            self.own_operator(operator);
        }
    }

    fn with(&mut self, at: usize) {
        // `WITH ORDINALITY`, `WITH TIME ZONE`, `WITH TIES` and the like open no list.
        let list =
            self.following(at).is_some_and(|tok| tok.is("recursive") || self.cte_body(at + 1).is_some());
        let begins = self.previous(at).is_none_or(|tok| {
            matches!(tok.kind, Kind::Open | Kind::Close) || tok.kind == Kind::Word || tok.kind == Kind::Quoted
        });
        if list && begins {
            self.level().with = true;
            self.level().query = true;
        }
    }

    fn from(&mut self, at: usize) {
        if self.previous(at).is_some_and(|tok| tok.is("distinct")) {
            self.implied("distinct");
            return;
        }
        if self.level().query {
            self.level().from = From::Expect;
        } else if self.levels.len() == 1 {
            // UPDATE … FROM, DELETE FROM.
            self.level().from = From::Expect;
        }
    }

    fn using(&mut self, at: usize) {
        let query = self
            .toks
            .get(at + 2)
            .is_some_and(|tok| tok.is_any(&["select", "with", "values", "table"]) || tok.kind == Kind::Open);
        let columns = self.following(at).is_some_and(|tok| tok.kind == Kind::Open) && !query;
        if columns {
            self.implied("distinct");
        } else if self.level().from == From::After {
            self.level().from = From::Expect;
        }
    }

    /// `OPERATOR(schema.name)`.
    fn qualified_operator(&mut self, at: usize) -> usize {
        let Some(close) = closing(self.toks, at + 1) else { return at + 1 };
        let inside = self.toks.get(at + 2..close).unwrap_or_default();
        let builtin = inside.len() == 3
            && inside.first().is_some_and(|tok| tok.name().is_some_and(|name| name == "pg_catalog"));
        match inside.last().filter(|tok| tok.kind == Kind::Operator) {
            Some(tok) if builtin && functions::operator(tok.word) => {}
            Some(tok) => {
                if !self.own_operator(tok.word) {
                    self.out.user_code(Reason::Operator(tok.word.into()));
                }
            }
            None => self.unreadable(),
        }
        close + 1
    }

    fn sample(&mut self, at: usize) -> usize {
        if self.following(at).is_some_and(|tok| tok.is_any(&["bernoulli", "system"])) {
            return at + 2;
        }
        self.out.user_code(Reason::Function("tablesample".into()));
        at + 1
    }
}

/// A type's name in the catalog, for the names that grammar gives it.
fn catalog_name(name: &str) -> &str {
    match name {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "real" => "float4",
        "double" | "float" => "float8",
        "decimal" | "dec" => "numeric",
        "character" | "char" | "nchar" => "bpchar",
        _ => name,
    }
}
