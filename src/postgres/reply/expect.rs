//! What answers are awaited, and what they say of the statements on the backend.

use super::{CloseReply, Confirmed, Described, PRIVATE, ParseReply, Reply, columns};
use crate::engine::seam::Prepared;
use crate::net::buffer::Buffer;
use std::sync::Arc;

impl Reply {
    /// A Parse was sent.
    pub fn expect_parse(&mut self, reply: ParseReply) {
        self.parses.push_back((self.sent, reply));
        self.sent += 1;
    }

    /// A Close was sent.
    pub fn expect_close(&mut self, reply: CloseReply) {
        self.closes.push_back(reply);
        self.sent += 1;
    }

    /// A Describe was sent.
    pub fn expect_description(&mut self, statement: Option<Arc<Prepared>>, ours: bool) {
        self.described.push_back(Described { statement, ours });
        self.sent += 1;
    }

    /// The Describe that was sent last is of this statement.
    pub fn described_last(&mut self, statement: &Arc<Prepared>) {
        if let Some(last) = self.described.back_mut() {
            last.statement = Some(Arc::clone(statement));
        }
    }

    pub(super) fn drop_expectations(&mut self) {
        self.parses.clear();
        self.closes.clear();
        self.described.clear();
        self.instead = None;
    }

    // The part whose anonymous Parse it is that the server refuses now. What stands behind it is skipped, and leaves what was there.
    pub(super) fn failed_parse(&self) -> Option<u32> {
        match self.parses.front() {
            Some((at, ParseReply::Anonymous { part, .. } | ParseReply::Private(part)))
                if *at == self.seen && !self.uncountable =>
            {
                Some(*part)
            }
            _ => None,
        }
    }

    // What was sent behind an error is not answered, and does not happen: statements that were to make room are still there.
    pub(super) fn skipped(&mut self) {
        let kept = self.closes.iter().filter_map(|close| match close {
            CloseReply::Evicted(id) => Some(Confirmed::Statement(*id)),
            CloseReply::Doubtful(id) => Some(Confirmed::Doubt(*id)),
            _ => None,
        });
        self.changes.extend(kept);
        self.drop_expectations();
    }

    // A ParameterDescription, a RowDescription or a NoData.
    pub(super) fn description(&mut self, tag: u8, length: usize, down: &mut Buffer) {
        let message = down.bytes().get(self.scanned..self.scanned + length).unwrap_or_default();
        let ours = self.described.front().is_some_and(|awaited| awaited.ours);
        if !ours && self.told.listens() {
            self.told.heard(message);
        }
        if tag != b't'
            && let Some(Described { statement: Some(statement), .. }) = self.described.pop_front()
        {
            // Whoever is told otherwise than others were learns of it from the statement.
            statement.columns.learn(columns(message));
        }
        if ours { self.drop_message(length, down) } else { self.scanned += length }
    }

    pub(super) fn parse_complete(&mut self, length: usize, down: &mut Buffer) {
        match self.parses.pop_front().map(|(_, parse)| parse) {
            Some(ParseReply::Ours(id)) => {
                self.changes.push(Confirmed::Statement(id));
                self.drop_message(length, down);
            }
            Some(ParseReply::OursAnonymous(id)) => {
                self.changes.push(Confirmed::Anonymous(id));
                self.drop_message(length, down);
            }
            Some(ParseReply::Private(part)) => {
                self.changes.push(Confirmed::Anonymous(PRIVATE));
                self.confirmed.parts.push(part);
                self.scanned += length;
            }
            Some(ParseReply::Anonymous { part, id }) => {
                self.changes.push(Confirmed::Anonymous(id));
                self.confirmed.parts.push(part);
                self.scanned += length;
            }
            Some(ParseReply::Client { part, statement }) => {
                self.changes.push(Confirmed::Statement(statement));
                self.confirmed.parts.push(part);
                self.scanned += length;
            }
            Some(ParseReply::Refused) | None => self.scanned += length,
        }
    }

    pub(super) fn close_complete(&mut self, length: usize, down: &mut Buffer) {
        match self.closes.pop_front() {
            Some(CloseReply::Ours | CloseReply::Evicted(_) | CloseReply::Doubtful(_)) => {
                return self.drop_message(length, down);
            }
            Some(CloseReply::BecomesParse(part)) => {
                self.confirmed.parts.push(part);
                if let Some(tag) = down.bytes_mut().get_mut(self.scanned) {
                    *tag = b'1';
                }
            }
            Some(CloseReply::Client(part)) => self.confirmed.parts.push(part),
            None => {}
        }
        self.scanned += length;
    }
}
