//! The client's side of the protocol: where messages, segments and units begin and end, and what each part of a segment is.
//! Pure: bytes in, parts out ("Message Flow" and "Message Formats" of the protocol's documentation).

use crate::engine::seam::Part;
use crate::engine::{Class, PinReason};
use crate::error::ClientError;
use std::ops::Range;

/// Bytes of an unfinished segment that are kept before it streams.
pub const SEGMENT_MAX: usize = 64 * 1024;

/// Bytes that a message may have: the server's own limit (`PQ_LARGE_MESSAGE_LIMIT`).
pub const MESSAGE_MAX: usize = 0x3fff_ffff;

/// Bytes that a message without a text or values may have (`PQ_SMALL_MESSAGE_LIMIT`).
const SMALL_MAX: usize = 10_000;

/// One message of a segment: its tag, and where it and its fields lie, relative to the segment's first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message's type byte.
    pub tag: u8,
    /// The whole of it (as far as it is there), header included.
    pub span: Range<usize>,
    /// The statement's name, where it has one.
    pub name: Range<usize>,
    /// The text of a Query or Parse.
    pub text: Range<usize>,
    /// What follows the name (and, for Bind, the portal and the name).
    pub rest: Range<usize>,
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A Query: one ReadyForQuery follows.
    Query,
    /// A Sync: one ReadyForQuery follows.
    Sync,
    /// A FunctionCall: one ReadyForQuery follows.
    Function,
    /// A Flush: the unit goes on.
    Flush,
    /// One message whose last `0` bytes are still to come: they stream, and the unit goes on behind them.
    Streaming(usize),
    /// Terminate; or a message that is longer than its type may be, at which a server hangs up without a word.
    Terminate,
}

/// The framing of one segment, kept between polls.
#[derive(Debug, Default)]
pub struct Request {
    /// The messages of the framed segment.
    pub messages: Vec<Message>,
    /// How it ends, once it is framed.
    pub end: Option<End>,
    /// Length of the segment's bytes that are there.
    pub length: usize,
    /// Whether a unit has begun in an earlier segment and goes on in this one.
    pub continues: bool,
    scanned: usize,
}

impl Request {
    /// Starts over with the next segment; `continues`: the unit is not at its end.
    pub fn restart(&mut self, continues: bool) {
        self.messages.clear();
        self.end = None;
        self.length = 0;
        self.scanned = 0;
        self.continues = continues;
    }

    /// Frames as far as `bytes` (from the segment's first byte on) go. `Ok(true)`: the segment is framed.
    ///
    /// # Errors
    /// A length or type that the protocol does not have: the connection cannot go on.
    pub fn frame(&mut self, bytes: &[u8]) -> Result<bool, ClientError> {
        while self.end.is_none() {
            let Some(header) = bytes.get(self.scanned..self.scanned + 5) else {
                return Ok(self.cut(bytes));
            };
            let [tag, a, b, c, d] = *header else { return Ok(false) };
            let length = i32::from_be_bytes([a, b, c, d]);
            let Some(length) =
                usize::try_from(length).ok().filter(|length| (4..=MESSAGE_MAX).contains(length))
            else {
                return Err(violation(format!("invalid message length {length} of message type {tag:#04x}")));
            };
            if length > SMALL_MAX && matches!(tag, b'S' | b'H' | b'E' | b'D' | b'C' | b'c' | b'f' | b'X') {
                self.end = Some(End::Terminate);
                // Nothing behind it is looked at any more.
                self.length = bytes.len();
                return Ok(true);
            }
            let span = self.scanned..self.scanned + 1 + length;
            let complete = span.end <= bytes.len();
            if !complete && (bytes.len() < SEGMENT_MAX || self.cut(bytes)) {
                return Ok(self.end.is_some());
            }
            self.end = self.push(tag, span, bytes, complete)?;
            self.length = self.scanned.min(bytes.len());
        }
        Ok(true)
    }

    // A segment that is as long as one may be ends in front of the message of which only a part is here: that begins the next one.
    fn cut(&mut self, bytes: &[u8]) -> bool {
        let cut = bytes.len() >= SEGMENT_MAX && !self.messages.is_empty();
        if cut {
            self.end = Some(End::Flush);
            self.length = self.scanned;
        }
        cut
    }

    fn push(
        &mut self,
        tag: u8,
        span: Range<usize>,
        bytes: &[u8],
        complete: bool,
    ) -> Result<Option<End>, ClientError> {
        let here = span.start..span.end.min(bytes.len());
        let body = here.start + 5..here.end;
        let (mut name, mut text, mut rest) = (0..0, 0..0, 0..0);
        match tag {
            b'Q' => text = until_zero(bytes, &body).unwrap_or(body.clone()),
            b'P' => {
                name = field(bytes, &body, complete)?;
                rest = (name.end + 1).min(body.end)..body.end;
                text = until_zero(bytes, &rest).unwrap_or(rest.clone());
            }
            b'B' => {
                let portal = field(bytes, &body, complete)?;
                name = field(bytes, &((portal.end + 1).min(body.end)..body.end), complete)?;
                rest = (name.end + 1).min(body.end)..body.end;
            }
            b'D' | b'C' => {
                let kind = body.start.min(body.end)..(body.start + 1).min(body.end);
                name = field(bytes, &(kind.end..body.end), complete)?;
            }
            b'E' | b'S' | b'H' | b'F' | b'X' | b'd' | b'c' | b'f' => {}
            _ => return Err(violation(format!("invalid frontend message type {tag}"))),
        }
        self.messages.push(Message { tag, span: here, name, text, rest });
        self.scanned = span.end;
        if !complete {
            return Ok(Some(End::Streaming(span.end - bytes.len())));
        }
        Ok(match tag {
            b'Q' => Some(End::Query),
            b'S' => Some(End::Sync),
            b'F' => Some(End::Function),
            b'H' => Some(End::Flush),
            b'X' => Some(End::Terminate),
            // A segment that grows without an end leaves in pieces, like one with a long message.
            _ if self.scanned >= SEGMENT_MAX => Some(End::Flush),
            _ => None,
        })
    }

    /// Whether the segment is a well-formed Flush and nothing else.
    #[must_use]
    pub fn is_bare_flush(&self) -> bool {
        matches!(self.messages.as_slice(), [only] if only.tag == b'H' && only.span.len() == 5)
    }

    /// The `index`-th message in neutral words.
    #[must_use]
    pub fn part<'a>(&self, index: usize, bytes: &'a [u8]) -> Part<'a> {
        let Some(message) = self.messages.get(index) else { return Part::Neutral };
        let get = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        let long = matches!(self.end, Some(End::Streaming(_))) && index + 1 == self.messages.len();
        match message.tag {
            b'Q' | b'P' if long => Part::Long(get(&message.text)),
            b'Q' => Part::Text(get(&message.text)),
            b'P' => {
                Part::Prepare { name: get(&message.name), text: get(&message.text), body: get(&message.rest) }
            }
            b'B' => Part::Use { name: get(&message.name), runs: true },
            b'D' if message.kind(bytes) == b'S' => Part::Use { name: get(&message.name), runs: false },
            b'D' => Part::Portal,
            b'C' if message.kind(bytes) == b'S' => Part::Forget { name: get(&message.name) },
            b'F' => Part::Opaque(Class::Write, PinReason::Procedure),
            _ => Part::Neutral,
        }
    }

    /// See [`crate::engine::seam::Exchange::is_self_contained`]: a portal with a name, or one that is bound and not run, is there until the transaction
    /// ends; what is behind a Query may be in a transaction of the server's own making.
    #[must_use]
    pub fn is_self_contained(&self, bytes: &[u8]) -> bool {
        let mut bound = false;
        for message in &self.messages {
            match message.tag {
                b'B' if bound || !message.is_anonymous_portal(bytes) => return false,
                b'B' => bound = true,
                b'E' if !bound || !message.is_anonymous_portal(bytes) => return false,
                b'E' => bound = false,
                b'Q' if self.messages.len() > 1 => return false,
                b'F' => return false,
                _ => {}
            }
        }
        !bound
    }

    /// See [`crate::engine::seam::Exchange::first`].
    #[must_use]
    pub fn first(&self, bytes: &[u8]) -> Option<usize> {
        let run = self.messages.iter().position(|message| message.tag == b'E')?;
        let front = self.messages.get(..=run)?;
        let times = |tag| front.iter().filter(|message| message.tag == tag).count();
        let one = times(b'B') == 1
            && times(b'P') < 2
            && front.iter().all(|message| matches!(message.tag, b'P' | b'B' | b'D' | b'E'))
            && front.iter().all(|message| {
                message.tag == b'P' || message.tag == b'D' || message.is_anonymous_portal(bytes)
            });
        let more = self.messages.get(run + 1..)?.iter().any(|message| message.tag != b'S');
        (one && more).then_some(run + 1)
    }
}

impl Message {
    /// `S` or `P` of a Describe or Close.
    #[must_use]
    pub fn kind(&self, bytes: &[u8]) -> u8 {
        bytes.get(self.span.start + 5).copied().unwrap_or_default()
    }

    // Whether the portal of a Bind or Execute has no name.
    fn is_anonymous_portal(&self, bytes: &[u8]) -> bool {
        self.kind(bytes) == 0
    }
}

fn violation(message: String) -> ClientError {
    ClientError::new("08P01", 1835, message).fatal()
}

fn until_zero(bytes: &[u8], range: &Range<usize>) -> Option<Range<usize>> {
    let at = memchr::memchr(0, bytes.get(range.clone())?)?;
    Some(range.start..range.start + at)
}

// A name that is cut off can only belong to a message that streams; a whole message without the zero is malformed.
fn field(bytes: &[u8], range: &Range<usize>, complete: bool) -> Result<Range<usize>, ClientError> {
    match until_zero(bytes, range) {
        Some(field) => Ok(field),
        None if complete => Err(violation("invalid string in message: no terminating zero".to_owned())),
        None => Err(violation("a name of more than 64 KiB in a message".to_owned())),
    }
}

/// The text value of a Bind message's `parameter`-th parameter. `rest` is what follows the statement's name.
#[must_use]
pub fn bound_text(rest: &[u8], parameter: u16) -> Option<&[u8]> {
    let mut reader = Reader(rest);
    let formats = reader.u16()?;
    let codes = reader.take(usize::from(formats) * 2)?;
    let count = reader.u16()?;
    if parameter >= count {
        return None;
    }
    let code = match formats {
        0 => 0,
        1 => Reader(codes).u16()?,
        _ => Reader(codes.get(usize::from(parameter) * 2..)?).u16()?,
    };
    for _ in 0..parameter {
        let length = reader.i32()?;
        reader.take(usize::try_from(length).unwrap_or(0))?;
    }
    let length = usize::try_from(reader.i32()?).ok()?;
    // Text in the binary format is the same bytes as in the text format.
    let _ = code;
    reader.take(length)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests;
