//! What the proxy answers by itself, in neutral words.

/// An answer that the proxy gives by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A statement without rows.
    Done(&'a str),
    /// One row of one text column.
    Row {
        /// The column's name.
        column: &'a str,
        /// Its value.
        value: &'a str,
    },
    /// One row of one column, of a query.
    Value {
        /// The column's name.
        column: &'a str,
        /// Its value.
        value: Scalar,
    },
    /// Nothing but white space and comments.
    Empty,
    /// A column of text rows.
    Rows {
        /// The column's name.
        column: &'a str,
        /// The rows.
        values: &'a [String],
        /// The tag of their end.
        tag: &'a str,
    },
}

/// A value that is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// A number of 32 bits.
    Int(i32),
    /// True or false.
    Bool(bool),
}
