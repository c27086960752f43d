//! The commands of a client: where they begin and end, which are passed on, and what answer each has. Pure.

use super::wire::{self, HEADER};
use crate::engine::seam::Kill;
use crate::error::ClientError;

/// Commands of at most this size are held whole, so that they can be sent again.
pub const WHOLE_MAX: usize = 16 * 1024;

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

/// Reads `KILL [HARD | SOFT] [CONNECTION | QUERY] number`, as drivers and the command line send it.
#[must_use]
pub fn kill(text: &[u8]) -> Option<Kill> {
    let text = text.trim_ascii();
    // Nearly every text is told by its first word.
    if !text.get(..4)?.eq_ignore_ascii_case(b"kill") {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?.trim_end_matches(';');
    let mut words = text.split_ascii_whitespace().map(|word| (word, word.to_ascii_uppercase()));
    if words.next()?.1 != "KILL" {
        return None;
    }
    let mut word = words.next()?;
    if matches!(&*word.1, "HARD" | "SOFT") {
        word = words.next()?;
    }
    let connection = word.1 != "QUERY";
    if matches!(&*word.1, "CONNECTION" | "QUERY") {
        word = words.next()?;
    }
    let id = word.0.parse().ok()?;
    words.next().is_none().then_some(Kill { id, connection })
}

/// What of a command is still to come. `FULL` is [`wire::FULL`] but in tests, which cannot have packets of 16 MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Framing<const FULL: usize = { wire::FULL }> {
    // Bytes of its present packet that have not been framed.
    bytes: usize,
    // Whether another packet of it follows.
    continues: bool,
    /// Number of the packet that follows the last one seen: the answer's first.
    pub next: u8,
}

impl<const FULL: usize> Framing<FULL> {
    /// Of a command that is over; its answer begins with the number `next`.
    #[must_use]
    pub fn over(next: u8) -> Self {
        Self { next, ..Self::default() }
    }

    /// Whether nothing of it is still to come.
    #[must_use]
    pub fn is_over(self) -> bool {
        self.bytes == 0 && !self.continues
    }

    /// Begins with the command that stands at the front of `bytes`: what it is, and how many of them belong to it. `None` while it is shorter than [`WHOLE_MAX`] and not whole.
    pub fn begin(&mut self, bytes: &[u8]) -> Option<(Command, usize)> {
        let head = wire::head(bytes)?;
        if bytes.len() < (HEADER + head.length).min(WHOLE_MAX) {
            return None;
        }
        let byte = if head.length == 0 { None } else { bytes.get(HEADER).copied() };
        *self = Self { continues: true, ..Self::default() };
        Some((Command::of(byte), self.take(bytes)))
    }

    /// How many of `bytes` belong to what is still to come: it is less by so many.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            let n = self.bytes.min(bytes.len() - taken);
            self.bytes -= n;
            taken += n;
            if self.bytes > 0 || !self.continues {
                return taken;
            }
            let Some(head) = wire::head(bytes.get(taken..).unwrap_or_default()) else { return taken };
            self.bytes = HEADER + head.length;
            self.continues = head.length == FULL;
            self.next = head.sequence.wrapping_add(1);
        }
    }
}
