//! What a loader brings from a server: facts as the catalog has them, not judged yet.

use std::sync::Arc;

/// In what a function is written, as far as its body can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// SQL.
    Sql,
    /// PL/pgSQL.
    Plpgsql,
    /// No body of its own: an aggregate, or what the server makes for a range type. What it uses counts.
    None,
    /// C, or a language whose body is not read.
    Outside,
}

/// What a list of ours says of a function of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// It only computes.
    Harmless,
    /// It writes, and leaves nothing in the session.
    Writes,
    /// It describes the server.
    Local,
}

/// A function, procedure or aggregate of users.
#[derive(Debug, Clone)]
pub struct Function {
    /// The server's number.
    pub oid: u32,
    /// Where it lives.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Arguments that a call has at least and at most; `u16::MAX` = any number.
    pub arguments: (u16, u16),
    /// Whether it is declared volatile.
    pub volatile: bool,
    /// Whether it can be called as `t.f`.
    pub attribute: bool,
    /// How to read its body.
    pub language: Language,
    /// Its body; `None`: not brought (too long).
    pub body: Option<Box<str>>,
    /// The text of its arguments when any has a default.
    pub defaults: Option<Box<str>>,
    /// Settings that it changes while it runs.
    pub settings: Box<[Box<str>]>,
    /// Functions that it runs beside what its body calls.
    pub uses: Box<[u32]>,
    /// Types of its arguments and results, less the server's own.
    pub types: Box<[u32]>,
    /// What a list says.
    pub listed: Option<Listed>,
}

/// A type whose values come into being by running functions.
#[derive(Debug, Clone)]
pub struct Type {
    /// The server's number.
    pub oid: u32,
    /// Its name.
    pub name: Box<str>,
    /// One of the functions; 0: the server's own code that is not known to be harmless.
    pub function: u32,
}

/// All code that users gave to a database.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Functions.
    pub functions: Vec<Function>,
    /// Operators: name and function.
    pub operators: Vec<(Box<str>, u32)>,
    /// Types, a row for each function.
    pub types: Vec<Type>,
    /// Functions that run without being named: implicit casts, comparisons.
    pub everywhere: Vec<u32>,
    /// Functions of event triggers.
    pub events: Vec<u32>,
    /// Schemas that have a role's name.
    pub roles: Vec<Box<str>>,
    /// The names of the server's own functions.
    pub builtins: Vec<Box<str>>,
}

/// What the configuration says of a function, over what the catalog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrule {
    /// Its schema; `None` = any.
    pub schema: Option<Box<str>>,
    /// Its name, as the catalog stores it.
    pub name: Box<str>,
    /// Whether it writes; `None` = as the catalog says.
    pub writes: Option<bool>,
    /// Whether it may leave something in the session; `None` = as the catalog says.
    pub pins: Option<bool>,
}

/// The number of the server's own `now()`: it stands for whatever asks when its transaction began.
pub const NOW: u32 = 1299;

/// One thing that hangs on a relation, for one way of using it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hang {
    /// The function of users that it runs, or [`NOW`]; `None`: something that is not known to be harmless whatever it runs, or that only the primary has.
    pub function: Option<u32>,
    /// What it is, for people; `None`: only the primary can answer.
    pub why: Option<Box<str>>,
}

/// What hangs on a relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hangs {
    /// When it is only read.
    pub read: Vec<Hang>,
    /// When it is written.
    pub write: Vec<Hang>,
}

impl Hangs {
    /// What hangs on this use.
    #[must_use]
    pub fn of(&self, written: bool) -> &[Hang] {
        if written { &self.write } else { &self.read }
    }
}

/// Which uses of relations are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uses {
    /// Reading and writing.
    Both,
    /// Reading alone where a relation is not written.
    AsTheyAre,
}

/// Which server told something of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Teller {
    /// The primary.
    Primary,
    /// A replica, by its node's name: it may be behind.
    Replica(Arc<str>),
}

/// What tells that a catalog has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Rows of the catalogs that were ever written, by the server's statistics; `None`: it keeps none.
    pub writes: Option<i64>,
    /// A digest of what is loaded.
    pub digest: i64,
}
