//! A small result of our own (the console's answers, `EXPLAIN ROUTE`), before an engine gives it its protocol's form.

use crate::error::ClientError;
use std::borrow::Cow;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A signed integer of 64 bits.
    Int,
}

/// A column's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub kind: Kind,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// SQL's NULL.
    Null,
    /// Text.
    Text(String),
    /// An integer.
    Int(i64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<u16> for Cell {
    fn from(number: u16) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<bool> for Cell {
    fn from(yes: bool) -> Self {
        Self::Int(i64::from(yes))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A result: every row has a cell for each column, in the columns' order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The heads.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// What the console answers to one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Rows; the command tag is `SHOW`.
    Table(Table),
    /// Done; the command tag.
    Done(&'static str),
    /// Nothing was asked.
    Empty,
    /// Not done.
    Error(ClientError),
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new(columns: &[(&'static str, Kind)]) -> Self {
        let columns =
            columns.iter().map(|&(name, kind)| Column { name: Cow::Borrowed(name), kind }).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; it is cut or filled with NULL to the number of columns.
    pub fn push(&mut self, mut row: Vec<Cell>) {
        row.resize(self.columns.len(), Cell::Null);
        self.rows.push(row);
    }
}
