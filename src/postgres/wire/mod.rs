//! The frames of protocol 3: a tag, a length, a body. Found without a copy; read field by field without trust.

mod build;
mod error;

pub use build::*;
pub use error::ServerError;

use std::ops::Range;

/// A frame's tag and length.
pub const HEADER: usize = 5;

/// The longest frame that either side may send, as in the server (`PQ_LARGE_MESSAGE_LIMIT`), its tag included.
pub const FRAME_MAX: usize = 0x3FFF_FFFF;

/// The code of a StartupMessage of protocol 3.0.
pub const PROTOCOL_3_0: u32 = 3 << 16;
/// The code of a StartupMessage of protocol 3.2 (PostgreSQL 18): the secrets of cancel requests may be long.
pub const PROTOCOL_3_2: u32 = 3 << 16 | 2;
/// The protocol's registered name for TLS clients that name what they speak.
pub const ALPN: &[u8] = b"postgresql";
/// The code of a CancelRequest (protocol "1234.5678").
pub const CANCEL_REQUEST: u32 = 80_877_102;
/// The code of an SSLRequest.
pub const SSL_REQUEST: u32 = 80_877_103;
/// The code of a GSSENCRequest.
pub const GSSENC_REQUEST: u32 = 80_877_104;

/// A frame's length field that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message type 0x{tag:02x} claims a length of {length} bytes")]
pub struct BadLength {
    /// The frame's tag.
    pub tag: u8,
    /// What the field says.
    pub length: i32,
}

/// A frame's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What kind of message it is.
    pub tag: u8,
    /// The whole frame's length in bytes, its tag and length field included: at least [`HEADER`].
    pub length: usize,
}

/// Reads the head of the frame that `bytes` begin with; `None` while there are fewer than [`HEADER`] bytes.
///
/// # Errors
/// When the length is below 4 or the frame would exceed `max`.
pub fn head(bytes: &[u8], max: usize) -> Result<Option<Head>, BadLength> {
    let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let field = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(field) {
        Ok(length) if (4..max).contains(&length) => Ok(Some(Head { tag, length: length + 1 })),
        _ => Err(BadLength { tag, length: field }),
    }
}

/// One frame inside a longer run of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What kind of message it is.
    pub tag: u8,
    /// Where it starts (its tag).
    pub start: usize,
    /// Its body, as far as it is there.
    pub body: Range<usize>,
    /// The whole frame's length, tag included, whether it is all there or not.
    pub length: usize,
    /// Whether it is all there.
    pub complete: bool,
}

impl Frame {
    /// Where the next frame starts.
    #[must_use]
    pub fn end(&self) -> usize {
        self.start.saturating_add(self.length)
    }
}

/// The frames in a run of bytes. The last may be incomplete; less than a header is not given at all.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    max: usize,
}

impl<'a> Frames<'a> {
    /// The frames of `bytes`, none longer than `max`.
    #[must_use]
    pub fn new(bytes: &'a [u8], max: usize) -> Self {
        Self { bytes, at: 0, max }
    }

    /// Where the first frame starts that was not given whole.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// What `frame` says, as far as it is there.
    #[must_use]
    pub fn body(&self, frame: &Frame) -> &'a [u8] {
        self.bytes.get(frame.body.clone()).unwrap_or_default()
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, BadLength>;

    /// After an incomplete frame or an error the same is given again and again: both end the caller's loop.
    fn next(&mut self) -> Option<Self::Item> {
        let head = match head(self.bytes.get(self.at..)?, self.max) {
            Ok(head) => head?,
            Err(error) => return Some(Err(error)),
        };
        let start = self.at;
        let end = start.saturating_add(head.length);
        let complete = end <= self.bytes.len();
        if complete {
            self.at = end;
        }
        let body = start + HEADER..end.min(self.bytes.len());
        Some(Ok(Frame { tag: head.tag, start, body, length: head.length, complete }))
    }
}

/// Reads the fields of a body one after the other; `None` as soon as there is too little.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Two bytes.
    pub fn i16(&mut self) -> Option<i16> {
        let (&field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i16::from_be_bytes(field))
    }

    /// Four bytes.
    pub fn i32(&mut self) -> Option<i32> {
        self.u32().map(u32::cast_signed)
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self) -> Option<u32> {
        let (&field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(field))
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(field)
    }

    /// Bytes up to a NUL, which is taken but not given.
    pub fn cstr(&mut self) -> Option<&'a [u8]> {
        let field = self.bytes(memchr::memchr(0, self.0)?)?;
        self.u8()?;
        Some(field)
    }

    /// The same as text; bytes that are not UTF-8 become replacement characters.
    pub fn text(&mut self) -> Option<std::borrow::Cow<'a, str>> {
        self.cstr().map(String::from_utf8_lossy)
    }
}

/// Takes any bytes through every decoder of this module: what fuzzing calls. Gives how many whole frames there are.
#[must_use]
pub fn decode_all(bytes: &[u8]) -> usize {
    let mut frames = Frames::new(bytes, FRAME_MAX);
    let mut whole = 0;
    while let Some(Ok(frame)) = frames.next() {
        drop(ServerError::parse(frames.body(&frame)));
        let mut fields = Fields(frames.body(&frame));
        while fields.u8().is_some() && fields.text().is_some() && fields.i16().is_some() {}
        if !frame.complete {
            break;
        }
        whole += 1;
    }
    whole
}

#[cfg(test)]
mod tests;
