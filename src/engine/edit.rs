//! Texts of a client's that are sent otherwise than they came: with the names that prepared statements have on backends, and with the client's own
//! start-up values where it returns to them.

use super::prepared::Prepared;
use std::ops::Range;
use std::sync::Arc;

/// How a text says that a setting returns to what it was at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnForm {
    /// `RESET`: the whole statement.
    Reset,
    /// `SET … TO DEFAULT` and its like: the whole statement.
    Default,
    /// The same with `LOCAL`.
    LocalDefault,
    /// A NULL as the value that a function is given.
    Null,
}

/// A place in a text, and what is to stand there.
#[derive(Debug)]
pub struct Replaced<'a> {
    /// Where it is, in bytes.
    pub at: Range<usize>,
    /// Which of the text's statements it is, or is part of.
    pub statement: u16,
    /// What is to stand there.
    pub by: By<'a>,
}

/// What is to stand in the place of a client's own words.
#[derive(Debug)]
pub enum By<'a> {
    /// The name of a shared statement.
    Name {
        /// Which; `None` = a name that no statement has.
        id: Option<u64>,
        /// The client's own name.
        name: Box<str>,
    },
    /// What gives these settings these values; all others return to the server's own with them, if `all`.
    Values {
        /// Names and values.
        values: Vec<(&'a str, &'a str)>,
        /// Whether it is a `RESET ALL`.
        all: bool,
        /// What it stands for.
        form: ReturnForm,
    },
}

/// A text in which the client's words were replaced.
#[derive(Debug, Default)]
pub struct Edited {
    /// The text as it is sent.
    pub text: Vec<u8>,
    /// Where in it, in characters from 1, what was replaced ends that is longer (or, below zero, shorter) than the client's own, and by how much.
    pub shifts: Vec<(usize, isize)>,
    /// What the client calls which statement.
    pub names: Vec<(u64, Box<[u8]>)>,
    /// Statements that it may drop from the backend.
    pub drops: Vec<u64>,
    /// The statement of that text, where it is prepared before it is run.
    pub statement: Option<Arc<Prepared>>,
    /// Completions that the client is told otherwise: of which statement of the text as it is sent, and its own tag; `None`: it is not told.
    pub tags: Vec<(u32, Option<&'static str>)>,
}
