//! All that a verdict depends on beside the text.

use crate::catalog::Names;
pub use crate::engine::words::Dialect;

/// How the session's text is cut into tokens: settings that change what a quote or a backslash means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lexing {
    /// The dialect.
    pub dialect: Dialect,
    /// PostgreSQL: a backslash in `'…'` is an ordinary character.
    pub standard_conforming_strings: bool,
    /// MySQL's `ANSI_QUOTES`: `"…"` is an identifier.
    pub ansi_quotes: bool,
    /// MySQL's `NO_BACKSLASH_ESCAPES`.
    pub no_backslash_escapes: bool,
    /// The client's encoding has characters whose later bytes look like ASCII (SJIS, BIG5, GBK, UHC, GB18030, JOHAB): a text with
    /// a byte above 127 cannot be read surely.
    pub ambiguous_bytes: bool,
}

impl Lexing {
    /// The server's defaults.
    #[must_use]
    pub const fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            standard_conforming_strings: true,
            ansi_quotes: false,
            no_backslash_escapes: false,
            ambiguous_bytes: false,
        }
    }
}

/// The circumstances of a text. Everything here is part of the cache's key.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// How to read it.
    pub lexing: Lexing,
    /// The server's major version (`15`): which functions are built in.
    pub server_major: u16,
    /// The generation of the database's catalog that `names` belongs to; databases must not share generations.
    pub generation: u64,
    /// A hash of the effective search path.
    pub path: u64,
    /// The effective search path as `SHOW` prints it, which `path` is the hash of; empty: not known, every schema's functions count.
    pub search_path: &'a str,
    /// User-defined names; `None` = not loaded: functions and operators are judged by the built-in tables alone, and code behind
    /// casts and `t.f` cannot be seen. Whoever routes by a verdict loads the names first.
    pub names: Option<&'a Names>,
}

impl<'a> Context<'a> {
    /// A context without a catalog, as `primacy explain` uses it.
    #[must_use]
    pub const fn bare(dialect: Dialect, server_major: u16) -> Context<'a> {
        Context {
            lexing: Lexing::new(dialect),
            server_major,
            generation: 0,
            path: 0,
            search_path: "",
            names: None,
        }
    }
}
