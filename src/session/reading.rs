//! How a session's texts are read: the settings that decide it, and which statements change them.

use crate::sql::{Change, Dialect, Lexing, Value, Verdict};
use std::hash::BuildHasher;

/// The settings by which texts are read: which names mean what, and where a string ends.
pub(super) const READ_BY: [&str; 5] =
    ["search_path", "role", "session_authorization", "standard_conforming_strings", "client_encoding"];

/// How a session's texts are read.
pub(super) struct Reading {
    /// The effective search path, with the role's name for `"$user"`.
    pub(super) path: Box<str>,
    /// A hash of it.
    pub(super) path_key: u64,
    /// The servers' major version.
    pub(super) server_major: u16,
    pub(super) lexing: Lexing,
}

impl Reading {
    /// Before anything is known.
    pub(super) fn unknown(dialect: Dialect) -> Self {
        Self { path: "".into(), path_key: 0, server_major: 0, lexing: Lexing::new(dialect) }
    }

    /// As these settings have it; `path` is the session's own search path, `user` who it acts as.
    pub(super) fn new(
        (dialect, server_major): (Dialect, u16),
        path: Option<&str>,
        user: &str,
        (conforming, encoding): (Option<&str>, Option<&str>),
    ) -> Self {
        let mut lexing = Lexing::new(dialect);
        lexing.standard_conforming_strings = conforming != Some("off");
        lexing.ambiguous_bytes = encoding.is_some_and(is_ambiguous);
        let path = path.unwrap_or("\"$user\", public");
        let path = path.replace("\"$user\"", &format!("\"{}\"", user.replace('"', "\"\"")));
        let path_key = foldhash::quality::FixedState::default().hash_one(&path);
        Self { path: path.into(), path_key, server_major, lexing }
    }
}

// Encodings in which a later byte of a character may look like a quote or a backslash.
fn is_ambiguous(encoding: &str) -> bool {
    let encoding = encoding.trim_matches('\'').to_ascii_uppercase().replace(['-', '_'], "");
    ["SJIS", "SHIFTJIS2004", "BIG5", "GBK", "UHC", "GB18030", "JOHAB"].contains(&&*encoding)
}

/// How a unit changes, on its way, how what follows in it is to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rereads {
    /// What its names mean.
    pub(super) path: bool,
    /// Where its strings end.
    pub(super) text: bool,
}

impl Rereads {
    /// Adds what a text with this verdict does where it runs, when texts are read by `lexing` now.
    pub(super) fn note(&mut self, runs: bool, verdict: &Verdict, lexing: Lexing) {
        for change in verdict.effect.changes().iter().filter(|_| runs) {
            match change {
                Change::Set { name, value } | Change::SetLocal { name, value: Some(value) } => {
                    self.name(name, Some(value), lexing);
                }
                Change::SetLocal { name, value: None } | Change::Touch(name) => self.name(name, None, lexing),
                Change::Reset(name) => {
                    self.path |= is_path(name);
                    // The session's own start-up value, or the server's: either is what texts are read by at first.
                    self.text |= is_lexing(name) && lexing != Lexing::new(lexing.dialect);
                }
                Change::ResetAll | Change::DiscardAll => {
                    self.path = true;
                    self.text |= lexing != Lexing::new(lexing.dialect);
                }
                _ => {}
            }
        }
    }

    fn name(&mut self, name: &str, value: Option<&Value>, lexing: Lexing) {
        self.path |= is_path(name);
        let value = match value {
            Some(Value::Constant(value) | Value::List(value)) => Some(&**value),
            _ => None,
        };
        self.text |= is_lexing(name)
            && value.is_none_or(|value| match name {
                "client_encoding" => is_ambiguous(value) || lexing.ambiguous_bytes,
                _ => {
                    let on = ["on", "true", "yes", "1"].iter().any(|on| value.eq_ignore_ascii_case(on));
                    on != lexing.standard_conforming_strings
                }
            });
    }

    /// Adds what a later part of the same unit does.
    pub(super) fn merge(&mut self, next: Self) {
        self.path |= next.path;
        self.text |= next.text;
    }
}

fn is_path(name: &str) -> bool {
    matches!(name, "search_path" | "role" | "session_authorization")
}

fn is_lexing(name: &str) -> bool {
    matches!(name, "standard_conforming_strings" | "client_encoding")
}
