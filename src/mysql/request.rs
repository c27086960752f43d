//! The commands of a client: which are passed on, and what answer each has.

use crate::error::ClientError;

/// A text to run.
pub const QUERY: u8 = 0x03;
/// Another database.
pub const INIT_DB: u8 = 0x02;
/// Begins the session anew.
pub const RESET_CONNECTION: u8 = 0x1f;
const QUIT: u8 = 0x01;
const PING: u8 = 0x0e;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;
const LONG_DATA: u8 = 0x18;
const CLOSE: u8 = 0x19;
const RESET: u8 = 0x1a;
const FETCH: u8 = 0x1c;

/// What a server answers to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing at all.
    Silent,
    /// One packet.
    One,
    /// Results.
    Results,
    /// The numbers of a prepared statement, and its parameters and columns.
    Prepared,
    /// Rows of a cursor.
    Rows,
}

/// What to do with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Passed on.
    Pass(Shape),
    /// The client leaves.
    Quit,
    /// Refused.
    Refuse(ClientError),
}

impl Command {
    /// Of the packet's first byte.
    #[must_use]
    pub fn of(byte: Option<u8>) -> Self {
        match byte {
            Some(QUERY | EXECUTE) => Self::Pass(Shape::Results),
            Some(PREPARE) => Self::Pass(Shape::Prepared),
            Some(FETCH) => Self::Pass(Shape::Rows),
            Some(LONG_DATA | CLOSE) => Self::Pass(Shape::Silent),
            Some(PING | INIT_DB | RESET | RESET_CONNECTION) => Self::Pass(Shape::One),
            Some(QUIT) => Self::Quit,
            Some(byte @ (0x04..=0x0d | 0x11..=0x15 | 0x1b | 0x1e | 0x20)) => Self::Refuse(
                ClientError::new(
                    "42000",
                    1235,
                    format!("the proxy does not pass on command {byte:#04x} yet"),
                )
                .hint("connect to the server itself for it"),
            ),
            _ => Self::Refuse(ClientError::new("08S01", 1047, "Unknown command")),
        }
    }
}
