//! The server's side of the protocol: a header-only walk over a unit's reply that decides what may leave to the client, what is
//! swallowed because we asked for it, and what the unit came to. Pure: it sees a buffer and what was sent, no socket.
//!
//! Invariant: nothing of a held-back reply is released before a row, a completion, a notice, 64 KiB or the session's word.

mod expect;
mod release;
mod tags;

use super::expected::columns;
pub use super::expected::{CloseReply, Described, ParseReply};
use super::names::Names;
use super::said::{changes_catalog, goodbye, is_fatal, is_unread, refusal, state, verb};
use super::told::Told;
use crate::engine::TxState;
use crate::engine::seam::{self, Outcome, Refusal, Treatment};
use crate::net::buffer::Buffer;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
pub use tags::Tags;

/// Messages whose body is read whole (errors, tags, settings, notifications) may have this many bytes.
const SMALL_MAX: usize = 1024 * 1024;
/// What is read of an error that is longer than that: its SQLSTATE stands at its beginning.
const ERROR_HEAD: usize = 8 * 1024;

/// What the walk came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// All that is there has been seen.
    NeedBytes,
    /// A success stands at the door.
    Acknowledge,
    /// An error or a notification stands at the door that may tell of a write.
    News,
    /// The unit's end stands at the door, outside a transaction.
    End,
    /// An error came before anything was released.
    Refused(Refusal),
    /// The server says goodbye (FATAL), with this.
    Fatal(Refusal),
    /// The unit is over.
    Ready,
    /// The server wants COPY data.
    CopyIn,
    /// A message that no server sends.
    Violation(String),
}

/// Changes of what the backend holds, as the server confirmed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// A shared statement is there.
    Statement(u64),
    /// The anonymous statement is this one (0 = one that nobody else has).
    Anonymous(u64),
    /// Nobody knows whether a shared statement is there.
    Doubt(u64),
}

/// The walk's state over one unit.
#[derive(Debug, Default)]
pub struct Reply {
    /// Bytes from the buffer's front that may leave.
    pub released: usize,
    scanned: usize,
    skip: usize,
    // Length of the message that is walked over.
    length: usize,
    success_at: Option<usize>,
    acknowledged: bool,
    // Where what may tell of a write stands: an error in a unit that writes (a procedure may have committed before it failed), a notification.
    news_at: Option<usize>,
    // Whether what was released ends within a message.
    cut: bool,
    /// Whether anything of this unit's reply was ever released.
    pub answered: bool,
    /// How the reply is treated.
    pub treatment: Treatment,
    /// Parse messages sent and not answered yet, in order, each with the number of answers that come before its own.
    pub parses: VecDeque<(u32, ParseReply)>,
    /// Close messages sent and not answered yet, in order.
    pub closes: VecDeque<CloseReply>,
    /// Descriptions asked for and not there yet, in order.
    pub described: VecDeque<Described>,
    /// How many answers are awaited in this unit, those that came included; and how many came.
    pub sent: u32,
    seen: u32,
    /// Whether more is answered than was counted.
    pub uncountable: bool,
    /// The error text that stands for the marker statement's absence: a mistake that only we know of.
    pub instead: Option<Box<[u8]>>,
    /// Where names in the text are not the client's own; see [`crate::engine::seam::Edited`].
    pub shifts: Vec<(usize, isize)>,
    /// Completions that the client is told otherwise.
    pub tags: Tags,
    /// What came of it so far.
    pub outcome: Outcome,
    /// What was confirmed of names.
    pub confirmed: seam::Confirmed,
    /// Changes of the backend.
    pub changes: Vec<Confirmed>,
    /// Settings that were reported.
    pub settings: Vec<(Box<str>, Box<str>)>,
    /// The same as the server has them, to be noted by its connection.
    pub heard: Vec<(Box<str>, Box<str>)>,
    /// Settings to be told before the unit ends.
    pub tell: Vec<u8>,
    /// Settings whose reports are not passed on as they are, and the values that are passed on instead; `None`: nothing.
    pub withheld: Vec<(Box<str>, Option<Box<str>>)>,
    /// Our id for the client and the backend's own, for notifications.
    pub alias: (u32, u32),
    /// Whether this answer is dropped instead of passed on.
    pub discard: bool,
    /// Whether the unit's end is ours, and swallowed.
    pub own_end: bool,
    /// What the client was told of statements, where the unit may go on elsewhere.
    pub told: Told,
    /// The SQLSTATE of the notice by which the server said that it ends the connection.
    pub goodbye: Option<[u8; 5]>,
    /// Whether an error was seen since this was last asked.
    pub erred: bool,
    // Whether a success of this unit has been seen: its end must not pass unasked.
    succeeded: bool,
    // Whether the session has put in front of the unit's end what it had to say.
    concluded: bool,
    /// Channels of which the server's notifications are dropped.
    pub muted: Option<Arc<BTreeSet<Arc<str>>>>,
    // Names that the client gave to shared statements of this unit, for the texts of errors.
    names: Names,
}

/// Stands for an anonymous statement that only the session which keeps the backend knows.
pub const PRIVATE: u64 = u64::MAX;

/// Name of a statement that no backend ever has.
pub const MARKER: &str = "__primacy_none";

impl Reply {
    /// Begins a unit.
    pub fn begin(&mut self) {
        debug_assert_eq!(self.scanned, self.released, "a unit begins with nothing unread of the last one");
        self.answered = false;
        self.acknowledged = false;
        self.succeeded = false;
        self.own_end = false;
        self.concluded = false;
        self.goodbye = None;
        self.erred = false;
        self.success_at = None;
        self.news_at = None;
        self.discard = false;
        self.names.clear();
        self.shifts.clear();
        self.tags.clear();
        (self.sent, self.seen, self.uncountable) = (0, 0, false);
        self.told.clear();
        self.outcome = Outcome::default();
        self.confirmed.parts.clear();
        (self.confirmed.failed, self.confirmed.tags) = (None, 0);
        self.tell.clear();
        self.withheld.clear();
        self.drop_expectations();
    }

    /// Notes that the client calls the shared statement `id` by `name` in this unit.
    pub fn name(&mut self, id: u64, name: &[u8]) {
        self.names.add(id, name);
    }

    /// Walks on.
    pub fn advance(&mut self, down: &mut Buffer) -> Step {
        loop {
            let bytes = down.bytes();
            if self.skip > 0 {
                let n = self.skip.min(bytes.len() - self.scanned);
                self.skip -= n;
                self.scanned += n;
            }
            if self.skip > 0 {
                return self.pause(down);
            }
            let Some(&[tag, a, b, c, d]) = bytes.get(self.scanned..self.scanned + 5) else {
                return self.pause(down);
            };
            let length = match usize::try_from(i32::from_be_bytes([a, b, c, d])) {
                Ok(length) if length >= 4 => length + 1,
                _ => return Step::Violation(format!("a message of type {tag:#04x} with an invalid length")),
            };
            if self.success_at.is_some() && !self.pass_success(tag) {
                return Step::Acknowledge;
            }
            if matches!(tag, b'D' | b'd') {
                self.let_go();
                (self.skip, self.length) = (length, length);
                continue;
            }
            if !self.is_small(tag, length) {
                if !self.whole(tag) {
                    return Step::Violation(format!("a message of unknown type {tag:#04x}"));
                }
                (self.skip, self.length) = (length, length);
                if tag == b'G' {
                    let n = length.min(bytes.len() - self.scanned);
                    self.scanned += n;
                    self.skip -= n;
                    self.let_go();
                    self.release_scanned();
                    return Step::CopyIn;
                }
                continue;
            }
            if length > SMALL_MAX && tag == b'E' {
                if bytes.len() - self.scanned < ERROR_HEAD {
                    return self.pause(down);
                }
                if let Some(fatal) = self.long_error(length, down) {
                    return fatal;
                }
                continue;
            }
            if length > SMALL_MAX {
                return Step::Violation(format!("a message of type {tag:#04x} with {length} bytes"));
            }
            if bytes.len() - self.scanned < length {
                return self.pause(down);
            }
            if let Some(step) = self.small(tag, length, down) {
                return step;
            }
        }
    }

    // A success stands before a message of that type. It may be a COMMIT's, so each is asked about, and the last one again at the unit's end: what the
    // server says by itself (settings, notifications, notices) stands between the two. False: it has not been asked yet.
    fn pass_success(&mut self, tag: u8) -> bool {
        if matches!(tag, b'S' | b'A' | b'N' | b'Z') {
            return true;
        }
        if self.is_success_withheld() {
            return false;
        }
        self.success_at = None;
        self.acknowledged = false;
        true
    }

    // Whether a message is read whole.
    fn is_small(&mut self, tag: u8, length: usize) -> bool {
        match tag {
            b'E' | b'C' | b'S' | b'A' | b'Z' | b'K' | b'R' | b'v' | b'1' | b'3' => true,
            // One by which the server ends the connection is short.
            b'N' => length <= SMALL_MAX,
            b't' | b'T' | b'n' if !self.described.is_empty() || self.told.listens() => {
                if length > SMALL_MAX {
                    self.told.give_up();
                    self.described.pop_front();
                }
                length <= SMALL_MAX
            }
            _ => false,
        }
    }

    // Messages that are passed on by their header alone.
    fn whole(&mut self, tag: u8) -> bool {
        match tag {
            b'I' | b's' | b'V' => {
                self.let_go();
                if matches!(tag, b'I' | b'V') {
                    self.success_at = Some(self.scanned);
                    self.acknowledged = false;
                }
            }
            b'T' | b't' | b'n' | b'2' | b'H' | b'c' | b'W' | b'G' => {}
            b'N' => self.let_go(),
            _ => return false,
        }
        self.seen += u32::from(matches!(tag, b'2' | b'I' | b's' | b'T' | b'n'));
        if matches!(tag, b'I' | b's') {
            self.tags.ended();
        }
        true
    }

    fn small(&mut self, tag: u8, length: usize, down: &mut Buffer) -> Option<Step> {
        let at = self.scanned;
        let body = at + 5..at + length;
        self.seen += u32::from(matches!(tag, b'1' | b'3' | b'C' | b'T' | b'n'));
        match tag {
            b'1' => self.parse_complete(length, down),
            b'3' => self.close_complete(length, down),
            b'C' => return self.completed(length, down),
            b'A' if self.is_muted(body.clone(), down) => self.drop_message(length, down),
            b'A' => {
                self.let_go();
                self.outcome.notified = true;
                self.news_at.get_or_insert(at);
                self.alias_pid(body, down);
                self.scanned += length;
            }
            b'S' => self.setting(length, down),
            b't' | b'T' | b'n' => self.description(tag, length, down),
            b'E' => return self.error(length, down),
            b'N' => self.notice(length, down),
            b'Z' => return self.ready(length, down),
            _ => self.drop_message(length, down),
        }
        None
    }

    fn completed(&mut self, mut length: usize, down: &mut Buffer) -> Option<Step> {
        let at = self.scanned;
        match self.tags.ended() {
            // A statement of ours, beside the client's.
            Some(None) => {
                self.drop_message(length, down);
                return None;
            }
            Some(Some(own)) => {
                self.drop_message(length, down);
                let mut message = Vec::new();
                super::wire::command_complete(&mut message, own);
                down.insert(at, &message);
                length = message.len();
            }
            None => {}
        }
        self.let_go();
        self.success_at = Some(at);
        self.acknowledged = false;
        self.succeeded = true;
        self.tag(down.bytes().get(at + 5..at + length).unwrap_or_default());
        self.scanned += length;
        None
    }

    // What a server says of its own end is ours to deal with.
    fn notice(&mut self, length: usize, down: &mut Buffer) {
        let body = down.bytes().get(self.scanned + 5..self.scanned + length).unwrap_or_default();
        self.goodbye = goodbye(body);
        if self.goodbye.is_some() {
            return self.drop_message(length, down);
        }
        self.let_go();
        self.scanned += length;
    }

    fn drop_message(&mut self, length: usize, down: &mut Buffer) {
        down.remove(self.scanned..self.scanned + length);
    }

    fn tag(&mut self, tag: &[u8]) {
        let tag = tag.strip_suffix(&[0]).unwrap_or(tag);
        let verb = verb(tag);
        self.outcome.ddl |= changes_catalog(tag);
        self.outcome.completed = self.outcome.completed.saturating_add(1);
        self.confirmed.tags += u32::from(matches!(tag, b"PREPARE" | b"DEALLOCATE" | b"DEALLOCATE ALL"));
        if matches!(verb, b"COMMIT" | b"ROLLBACK") {
            self.outcome.transactions = self.outcome.transactions.saturating_add(1);
        }
        // A `COMMIT` of a failed transaction says ROLLBACK. Those of prepared transactions are somebody else's.
        self.outcome.committed |= matches!(tag, b"COMMIT" | b"PREPARE TRANSACTION");
    }

    fn is_muted(&self, body: Range<usize>, down: &Buffer) -> bool {
        let Some(muted) = &self.muted else { return false };
        let text = down.bytes().get(body).and_then(|body| body.get(4..)).unwrap_or_default();
        let channel = text.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(channel).is_ok_and(|channel| muted.contains(channel))
    }

    fn alias_pid(&self, body: Range<usize>, down: &mut Buffer) {
        let (client, server) = self.alias;
        if let Some(pid) = down.bytes_mut().get_mut(body).and_then(|body| body.get_mut(..4))
            && *pid == server.to_be_bytes()
        {
            pid.copy_from_slice(&client.to_be_bytes());
        }
    }

    // A setting that the server reports is the client's business only when its own statement changed it on the primary. What a server says
    // of itself (`in_hot_standby`) never is: the greeting told the truth of the cluster.
    fn setting(&mut self, length: usize, down: &mut Buffer) {
        let body = down.bytes().get(self.scanned + 5..self.scanned + length).unwrap_or_default();
        let mut fields = body.split(|b| *b == 0);
        let text = |field: Option<&[u8]>| {
            String::from_utf8_lossy(field.unwrap_or_default()).into_owned().into_boxed_str()
        };
        let (name, value) = (text(fields.next()), text(fields.next()));
        self.heard.push((name.clone(), value.clone()));
        let withheld = self.withheld.iter().find(|(withheld, _)| *withheld == name);
        let instead = withheld.and_then(|(_, instead)| instead.clone());
        if self.treatment.report_settings && &*name != "in_hot_standby" && withheld.is_none() {
            self.scanned += length;
            return self.settings.push((name, value));
        }
        self.drop_message(length, down);
        if let Some(instead) = &instead {
            let mut message = Vec::new();
            super::wire::parameter_status(&mut message, &name, instead);
            down.insert(self.scanned, &message);
            self.scanned += message.len();
        }
        self.settings.push((name, instead.unwrap_or(value)));
    }

    fn error(&mut self, length: usize, down: &mut Buffer) -> Option<Step> {
        let at = self.scanned;
        let body = down.bytes().get(at + 5..at + length).unwrap_or_default();
        let refusal = refusal(body);
        if is_fatal(body) {
            if self.news_at.is_some() {
                return Some(Step::News); // What came before it may leave first.
            }
            self.drop_message(length, down);
            self.release_scanned();
            return Some(Step::Fatal(refusal));
        }
        self.outcome.unread = is_unread(body);
        self.failed(&refusal);
        self.news(at);
        let marked = &refusal.sqlstate == b"26000" && refusal.message.contains(MARKER);
        let said = down.bytes().get(at..at + length).unwrap_or_default();
        let instead = match self.instead.take().filter(|_| marked) {
            Some(instead) => Some(instead),
            None => self.names.restore(said, &self.shifts),
        };
        match instead {
            Some(instead) => {
                down.remove(at..at + length);
                down.insert(at, &instead);
                self.scanned += instead.len();
            }
            None => self.scanned += length,
        }
        self.skipped();
        if self.treatment.hold_back && !self.answered && !self.discard {
            return Some(Step::Refused(refusal));
        }
        None
    }

    fn news(&mut self, at: usize) {
        if self.treatment.ask_gate {
            self.news_at.get_or_insert(at);
        }
    }

    fn failed(&mut self, refusal: &Refusal) {
        self.outcome.failed = Some(refusal.sqlstate);
        self.outcome.stale = refusal.stale;
        if refusal.stale {
            // It may be the anonymous one: it is prepared anew.
            self.changes.push(Confirmed::Anonymous(0));
        }
        self.confirmed.failed = self.failed_parse();
        self.tell.clear();
        self.erred = true;
    }

    // Passed on as it comes, and so never run again elsewhere.
    fn long_error(&mut self, length: usize, down: &Buffer) -> Option<Step> {
        let head = down.bytes().get(self.scanned + 5..self.scanned + ERROR_HEAD).unwrap_or_default();
        let refusal = refusal(head);
        if is_fatal(head) {
            return Some(Step::Fatal(refusal));
        }
        self.failed(&refusal);
        self.news(self.scanned);
        self.skipped();
        self.let_go();
        (self.skip, self.length) = (length, length);
        None
    }

    fn ready(&mut self, length: usize, down: &mut Buffer) -> Option<Step> {
        let at = self.scanned;
        let Some(tx) = down.bytes().get(at + 5..at + length).and_then(state) else {
            return Some(Step::Violation("a unit's end without a state".to_owned()));
        };
        self.outcome.tx = tx;
        if self.treatment.ask_gate && (self.success_at.is_some() || self.succeeded) && !self.acknowledged {
            return Some(Step::Acknowledge);
        }
        if self.news_at.is_some() {
            return Some(Step::News);
        }
        self.let_go();
        if self.treatment.ask_end && tx == TxState::Idle && !self.concluded && !self.own_end && !self.discard
        {
            self.release_scanned();
            return Some(Step::End);
        }
        if let Some(byte) = down.bytes_mut().get_mut(at + 5).filter(|_| self.treatment.within) {
            *byte = if self.outcome.failed.is_some() { b'E' } else { b'T' };
        }
        if !self.tell.is_empty() {
            down.insert(at, &self.tell);
            self.scanned += self.tell.len();
            self.tell.clear();
        }
        if self.own_end {
            self.drop_message(length, down);
        } else {
            self.scanned += length;
        }
        self.success_at = None;
        self.skipped();
        self.release_scanned();
        Some(Step::Ready)
    }
}

#[cfg(test)]
mod tests;
