//! The server's side of the protocol: a header-only walk over a command's answer that decides what may leave to the client and what the
//! command came to. Pure.

use super::request::Shape;
use super::wire::{self, Fields, HEADER, ServerError, status};
use crate::engine::TxState;
use crate::engine::seam::Outcome;

/// An error packet has at most so many bytes.
pub(super) const ERROR_MAX: usize = 64 * 1024;
/// So much of an OK packet holds its status.
const OK_HEAD: usize = 21;
/// Bytes of an EOF packet.
const EOF_LENGTH: usize = 5;

/// What the walk came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All that is there has been seen.
    NeedBytes,
    /// A success stands at the door.
    Acknowledge,
    /// The answer is over.
    Ready,
    /// A packet that no server sends.
    Violation(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Await {
    #[default]
    Nothing,
    // OK, ERR, or a number of columns.
    First,
    Columns(u64),
    // Packets that are passed on unread.
    Count(u64),
    // The EOF after columns, where there is one.
    ColumnsEnd,
    Rows,
}

/// The walk's state over one command. `FULL` is [`wire::FULL`] but in tests, which cannot have packets of 16 MiB.
#[derive(Debug, Default)]
pub struct Reply<const FULL: usize = { wire::FULL }> {
    /// Bytes from the buffer's front that may leave.
    pub released: usize,
    scanned: usize,
    skip: usize,
    // The packet being skipped is full: the next one belongs to it.
    continues: bool,
    shape: Option<Shape>,
    awaits: Await,
    deprecates_eof: bool,
    /// Whether successes wait for the session's word.
    pub ask_gate: bool,
    acknowledged: bool,
    /// Whether anything of this answer has left.
    pub answered: bool,
    /// Number of the packet that follows the last one seen.
    pub sequence: u8,
    /// What came of it so far.
    pub outcome: Outcome,
}

impl<const FULL: usize> Reply<FULL> {
    /// Begins the answer to a command.
    pub fn begin(&mut self, shape: Shape, deprecates_eof: bool, tx: TxState) {
        *self = Self { outcome: Outcome { tx, ..Outcome::default() }, deprecates_eof, ..Self::default() };
        self.awaits = match shape {
            Shape::Silent => Await::Nothing,
            Shape::Rows => Await::Rows,
            Shape::One | Shape::Results | Shape::Prepared => Await::First,
        };
        self.shape = Some(shape);
    }

    /// `n` bytes left from the buffer's front.
    pub fn left(&mut self, n: usize) {
        self.answered |= n > 0;
        self.scanned = self.scanned.saturating_sub(n);
        self.released = self.released.saturating_sub(n);
    }

    /// `n` bytes of our own stand behind what may leave.
    pub fn own(&mut self, n: usize) {
        self.scanned += n;
        self.released = self.scanned;
    }

    /// The session has asked the gate.
    pub fn acknowledge(&mut self) {
        self.acknowledged = true;
    }

    /// Forgets what was not released; whether the client has whole packets only.
    pub fn cut_off(&mut self) -> bool {
        let whole = self.skip == 0 && !self.continues;
        self.scanned = self.released;
        (self.skip, self.continues, self.awaits) = (0, false, Await::Nothing);
        whole
    }

    /// Walks on.
    pub fn advance(&mut self, bytes: &[u8]) -> Step {
        loop {
            let n = self.skip.min(bytes.len().saturating_sub(self.scanned));
            self.skip -= n;
            self.scanned += n;
            self.released = self.scanned;
            if self.skip > 0 {
                return Step::NeedBytes;
            }
            if self.awaits == Await::Nothing && !self.continues {
                return Step::Ready;
            }
            let rest = bytes.get(self.scanned..).unwrap_or_default();
            let Some(head) = wire::head(rest) else { return Step::NeedBytes };
            let payload = rest.get(HEADER..).unwrap_or_default();
            let payload = payload.get(..head.length).unwrap_or(payload);
            if !self.continues {
                match self.packet(head.length, payload) {
                    Ok(()) => {}
                    Err(step) => return step,
                }
            }
            self.sequence = head.sequence.wrapping_add(1);
            self.acknowledged = false;
            self.continues = head.length == FULL;
            self.skip = HEADER + head.length;
        }
    }

    fn packet(&mut self, length: usize, payload: &[u8]) -> Result<(), Step> {
        let Some(first) = payload.first().copied() else {
            return Err(if length == 0 { Step::Violation("an empty packet") } else { Step::NeedBytes });
        };
        match self.awaits {
            Await::Nothing => Err(Step::Violation("a packet behind the answer's end")),
            Await::Count(left) => {
                self.awaits = if left > 1 { Await::Count(left - 1) } else { Await::Nothing };
                Ok(())
            }
            Await::Columns(left) => {
                self.awaits = match (left, self.deprecates_eof) {
                    (2.., _) => Await::Columns(left - 1),
                    (_, true) => Await::Rows,
                    (_, false) => Await::ColumnsEnd,
                };
                Ok(())
            }
            _ if first == 0xff => self.error(length, payload),
            Await::ColumnsEnd => {
                let status = eof(length, payload)?;
                let cursor = status & status::CURSOR_EXISTS != 0;
                if cursor { self.success(status) } else { self.rows() }
            }
            Await::Rows if first == 0xfe && self.deprecates_eof && length < FULL => self.ok(length, payload),
            Await::Rows if first == 0xfe && !self.deprecates_eof && length < 9 => {
                self.success(eof(length, payload)?)
            }
            Await::Rows => Ok(()),
            Await::First => self.first(first, length, payload),
        }
    }

    fn rows(&mut self) -> Result<(), Step> {
        self.awaits = Await::Rows;
        Ok(())
    }

    fn first(&mut self, first: u8, length: usize, payload: &[u8]) -> Result<(), Step> {
        match (self.shape, first) {
            (Some(Shape::Prepared), 0) => self.prepared(length, payload),
            (_, 0) => self.ok(length, payload),
            (Some(Shape::One), 0xfe) => self.success(eof(length, payload)?),
            (Some(Shape::Results), 0xfb) => {
                Err(Step::Violation("the server asks for a file, which was not agreed on"))
            }
            (Some(Shape::Results), _) => {
                if payload.len() < length.min(9) {
                    return Err(Step::NeedBytes);
                }
                let columns = Fields(payload).number().filter(|columns| *columns > 0);
                self.awaits = Await::Columns(columns.ok_or(Step::Violation("a result without columns"))?);
                Ok(())
            }
            _ => Err(Step::Violation("an unknown packet")),
        }
    }

    fn prepared(&mut self, length: usize, payload: &[u8]) -> Result<(), Step> {
        let mut fields = Fields(payload);
        let counts = fields.bytes(5).and_then(|_| Some((fields.u16()?, fields.u16()?)));
        let Some((columns, parameters)) = counts else {
            let short = Step::Violation("a prepared statement without numbers");
            return Err(if length < 9 { short } else { Step::NeedBytes });
        };
        let end = u64::from(!self.deprecates_eof);
        let packets = |count: u16| if count == 0 { 0 } else { u64::from(count) + end };
        let all = packets(columns) + packets(parameters);
        self.awaits = if all == 0 { Await::Nothing } else { Await::Count(all) };
        Ok(())
    }

    fn ok(&mut self, length: usize, payload: &[u8]) -> Result<(), Step> {
        if payload.len() < length.min(OK_HEAD) {
            return Err(Step::NeedBytes);
        }
        self.success(wire::status_of_ok(payload).ok_or(Step::Violation("an OK packet without a status"))?)
    }

    fn success(&mut self, status: u16) -> Result<(), Step> {
        if self.ask_gate && !self.acknowledged {
            return Err(Step::Acknowledge);
        }
        let open = status & status::IN_TRANSACTION != 0;
        self.outcome.tx = if open { TxState::Open } else { TxState::Idle };
        let more = status & status::MORE_RESULTS != 0 && self.shape == Some(Shape::Results);
        self.awaits = if more { Await::First } else { Await::Nothing };
        Ok(())
    }

    fn error(&mut self, length: usize, payload: &[u8]) -> Result<(), Step> {
        if length > ERROR_MAX {
            return Err(Step::Violation("an error of impossible length"));
        }
        if payload.len() < length {
            return Err(Step::NeedBytes);
        }
        self.outcome.failed = Some(ServerError::parse(payload).sqlstate);
        self.awaits = Await::Nothing;
        Ok(())
    }
}

// The status of an EOF packet.
fn eof(length: usize, payload: &[u8]) -> Result<u16, Step> {
    if payload.len() < length.min(EOF_LENGTH) {
        return Err(Step::NeedBytes);
    }
    let status = if payload.first() == Some(&0xfe) { wire::status_of_eof(payload) } else { None };
    status.ok_or(Step::Violation("an EOF packet without a status"))
}
