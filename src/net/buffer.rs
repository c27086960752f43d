//! A window of bytes that is received into and sent from in place.

use super::stream::Stream;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Bytes between `head` and `tail` are held; what lies behind `tail` is room to receive into. Its memory is kept between uses and
/// zeroed once when it grows.
#[derive(Debug, Default)]
pub struct Buffer {
    data: Vec<u8>,
    head: usize,
    tail: usize,
}

impl Buffer {
    /// The bytes held.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.get(self.head..self.tail).unwrap_or_default()
    }

    /// The same, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.data.get_mut(self.head..self.tail).unwrap_or_default()
    }

    /// How many bytes are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Takes `n` bytes (or all there are) off the front.
    pub fn consume(&mut self, n: usize) {
        self.head = (self.head + n).min(self.tail);
        if self.head == self.tail {
            self.head = 0;
            self.tail = 0;
        }
    }

    /// Keeps the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.tail = self.tail.min(self.head + n);
    }

    /// Takes everything off.
    pub fn clear(&mut self) {
        self.head = 0;
        self.tail = 0;
    }

    /// Gives memory beyond `limit` back; only when nothing is held.
    pub fn shrink(&mut self, limit: usize) {
        if self.is_empty() && self.data.len() > limit {
            self.data.truncate(limit);
            self.data.shrink_to_fit();
        }
    }

    /// Takes out `range` (relative to the front).
    pub fn remove(&mut self, range: std::ops::Range<usize>) {
        let (start, end) = ((self.head + range.start).min(self.tail), (self.head + range.end).min(self.tail));
        if start == self.head {
            self.consume(end - start);
            return;
        }
        self.data.copy_within(end..self.tail, start);
        self.tail -= end - start;
    }

    /// Puts `bytes` in at `at` (relative to the front).
    pub fn insert(&mut self, at: usize, bytes: &[u8]) {
        let at = (self.head + at).min(self.tail);
        self.reserve(bytes.len());
        let at = at.min(self.tail);
        self.data.copy_within(at..self.tail, at + bytes.len());
        if let Some(room) = self.data.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.tail += bytes.len();
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        if let Some(room) = self.data.get_mut(self.tail..self.tail + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.tail += bytes.len();
    }

    // Offsets relative to the front stay true: bytes are never moved to the front of the memory while somebody holds them.
    fn reserve(&mut self, n: usize) {
        if self.data.len() - self.tail < n {
            self.data.resize((self.tail + n).next_power_of_two(), 0);
        }
    }

    /// Moves what is held to the front of the memory, so that all the rest is room.
    pub fn compact(&mut self) {
        if self.head > 0 {
            self.data.copy_within(self.head..self.tail, 0);
            self.tail -= self.head;
            self.head = 0;
        }
    }

    /// Receives once, with room for at least `room` bytes. Ready with 0 at the end of the stream.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if self.data.len() - self.tail < room {
            self.compact();
            if self.data.len() - self.tail < room {
                self.data.resize(self.tail + room, 0);
            }
        }
        let mut into = ReadBuf::new(self.data.get_mut(self.tail..).unwrap_or_default());
        ready!(stream.poll_read(cx, &mut into))?;
        let n = into.filled().len();
        self.tail += n;
        Poll::Ready(Ok(n))
    }

    /// How much room a receive would have without growing.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.data.len()
    }
}
