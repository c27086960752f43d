//! What of the bytes that were walked over may leave to the client, and what is held back.

use super::{Reply, Step};
use crate::net::buffer::Buffer;

/// A held-back reply longer than this is released and cannot be repeated any more.
const HELD_MAX: usize = 64 * 1024;
/// A message up to this size leaves whole or not at all, so that a server that is lost in the middle of a result seldom costs the client its
/// connection; what has come of a longer one leaves at once.
const WHOLE_MAX: usize = 16 * 1024;

impl Reply {
    /// Forgets everything about bytes: the buffer was emptied.
    pub fn forget_bytes(&mut self) {
        self.scanned = 0;
        self.released = 0;
        self.skip = 0;
        self.success_at = None;
        self.news_at = None;
    }

    /// `n` bytes left from the buffer's front.
    pub fn left(&mut self, n: usize) {
        self.answered |= n > 0;
        self.scanned -= n;
        self.released -= n;
        self.success_at = self.success_at.map(|at| at.saturating_sub(n));
        self.news_at = self.news_at.map(|at| at.saturating_sub(n));
    }

    /// `n` bytes of our own were put behind everything that was seen: they may leave.
    pub fn own(&mut self, n: usize) {
        self.scanned += n;
        self.released = self.scanned;
    }

    /// The unit goes on with another segment: its successes are asked about anew.
    pub fn go_on(&mut self) {
        self.acknowledged = false;
    }

    /// Whether a success waits for the session's word.
    #[must_use]
    pub fn is_success_withheld(&self) -> bool {
        self.treatment.ask_gate && !self.acknowledged && self.success_at.is_some()
    }

    /// The session has asked the gate.
    pub fn acknowledge(&mut self) {
        self.acknowledged = true;
        self.noted();
    }

    /// The session has noted that somebody may come to know of a write.
    pub fn noted(&mut self) {
        self.news_at = None;
        self.release_scanned();
    }

    /// The session has said what it had to: the unit's end may follow.
    pub fn conclude(&mut self) {
        self.concluded = true;
    }

    /// Puts a message of our own in front of what stands at the door.
    pub fn put(&mut self, message: &[u8], down: &mut Buffer) {
        down.insert(self.scanned, message);
        self.scanned += message.len();
    }

    /// Nothing is held back from here on.
    pub fn let_go(&mut self) {
        self.treatment.hold_back = false;
    }

    pub(super) fn pause(&mut self, down: &Buffer) -> Step {
        if self.treatment.hold_back && down.len() > HELD_MAX {
            self.let_go();
        }
        self.release_scanned();
        if self.news_at.is_some() && !self.treatment.hold_back { Step::News } else { Step::NeedBytes }
    }

    /// Releases what may leave now.
    pub fn release_scanned(&mut self) {
        if self.treatment.hold_back || self.discard {
            return;
        }
        let success = if self.treatment.ask_gate && !self.acknowledged { self.success_at } else { None };
        let limit = success.into_iter().chain(self.news_at).min();
        let begun = if self.length <= WHOLE_MAX && self.skip > 0 { self.length - self.skip } else { 0 };
        let limit = limit.unwrap_or(self.scanned.saturating_sub(begun));
        if limit > self.released {
            self.released = limit;
            self.cut = limit == self.scanned && self.skip > 0;
        }
    }

    /// The answer breaks off behind what was released. True when that ends with a whole message.
    pub fn cut_off(&mut self) -> bool {
        self.scanned = self.released;
        self.skip = 0;
        self.success_at = None;
        self.news_at = None;
        self.treatment.hold_back = false;
        self.drop_expectations();
        !std::mem::take(&mut self.cut)
    }

    /// Whether everything that was walked over has been released.
    #[must_use]
    pub fn nothing_held(&self) -> bool {
        self.released == self.scanned
    }
}
