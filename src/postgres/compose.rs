//! From the client's segment to the bytes that one backend gets: names of prepared statements are replaced by shared ones, and what the
//! backend lacks is prepared in the same write.

use super::backend::Statements;
use super::names::{Name, PREFIX};
use super::reply::{CloseReply, MARKER, PRIVATE, ParseReply, Reply, UNKNOWN};
use super::request::{End, Message, Request};
use crate::engine::seam::{Prepared, Resolution};
use crate::error::ClientError;
use crate::net::buffer::Buffer;
use smallvec::SmallVec;
use std::ops::Range;

/// Writes the segment (its bytes, framed by `request`, with what the session decided about each part) into `out`, for a backend with these shared
/// statements and this anonymous one, and tells `reply` what answers to expect. `base` is the number of its first part within the unit.
pub(super) fn compose(
    segment: &[u8],
    request: &Request,
    resolutions: &[Resolution],
    base: usize,
    (statements, anonymous_there): (&mut Statements, &mut Option<u64>),
    reply: &mut Reply,
    out: &mut Buffer,
) {
    // What earlier segments of the unit prepare is on its way, too.
    let coming = reply.parses.iter().filter_map(|parse| match parse {
        ParseReply::Client { statement, .. } => *statement,
        ParseReply::Ours(id) => Some(*id),
        ParseReply::Private(_) | ParseReply::OursAnonymous(_) => None,
    });
    let coming = coming.collect();
    let mut composer = Composer {
        segment,
        request,
        base,
        statements,
        anonymous_there,
        reply,
        out,
        plain: 0..0,
        anonymous: None,
        coming,
    };
    for (index, message) in request.messages.iter().enumerate() {
        let resolution = resolutions.get(index).unwrap_or(&Resolution::AsIs);
        match message.tag {
            b'P' => composer.parse(index, message, resolution),
            b'B' => composer.with_name(index, message, resolution),
            b'D' if request.kind(message, segment) == b'S' => {
                if composer.reply.treatment.remember {
                    composer.remember(message, resolution);
                }
                composer.with_name(index, message, resolution);
            }
            b'C' => composer.close(index, message, resolution),
            b'Q' => {
                composer.unsettle_anonymous();
                composer.verbatim(message);
            }
            _ => composer.verbatim(message),
        }
    }
    composer.flush();
}

struct Composer<'a> {
    segment: &'a [u8],
    request: &'a Request,
    base: usize,
    statements: &'a mut Statements,
    // The anonymous statement that is there.
    anonymous_there: &'a mut Option<u64>,
    reply: &'a mut Reply,
    out: &'a mut Buffer,
    // Messages that go as they are and have not been written yet.
    plain: Range<usize>,
    // What the anonymous statement will be by then, and which shared ones are on their way.
    anonymous: Option<u64>,
    coming: SmallVec<[u64; 8]>,
}

impl Composer<'_> {
    fn flush(&mut self) {
        self.out.extend(self.segment.get(self.plain.clone()).unwrap_or_default());
        self.plain = self.plain.end..self.plain.end;
    }

    fn verbatim(&mut self, message: &Message) {
        if self.plain.end != message.span.start {
            self.flush();
            self.plain.start = message.span.start;
        }
        self.plain.end = message.span.end;
    }

    fn skip(&mut self, message: &Message) {
        self.flush();
        self.plain = message.span.end..message.span.end;
    }

    fn get(&self, range: Range<usize>) -> &[u8] {
        self.segment.get(range).unwrap_or_default()
    }

    fn parse(&mut self, index: usize, message: &Message, resolution: &Resolution) {
        let part = u16::try_from(self.base + index).unwrap_or(u16::MAX);
        match resolution {
            Resolution::Statement(statement) if !message.name.is_empty() => {
                self.skip(message);
                if self.has(statement.id) {
                    close_message(self.out, MARKER.as_bytes());
                    self.reply.closes.push_back(CloseReply::BecomesParse(part));
                } else {
                    self.make_room();
                    parse_message(self.out, Name::of(statement.id).as_bytes(), &statement.body);
                    let statement = Some(statement.id);
                    self.reply.parses.push_back(ParseReply::Client { part, statement });
                    self.coming.extend(statement);
                }
            }
            Resolution::Duplicate => {
                self.skip(message);
                write_message(self.out, b'D', &[b"S", MARKER.as_bytes(), &[0]]);
                let name = String::from_utf8_lossy(self.get(message.name.clone())).into_owned();
                // The first is the one that is told: behind it all is skipped.
                self.reply.duplicate.get_or_insert_with(|| duplicate_error(&name));
            }
            Resolution::Statement(statement) => {
                self.unsettle_anonymous();
                self.anonymous = Some(statement.id);
                self.reply.parses.push_back(ParseReply::Client { part, statement: None });
                self.verbatim(message);
            }
            _ => {
                // Before it is confirmed, for what follows it may leave before that.
                *self.anonymous_there = Some(PRIVATE);
                self.anonymous = Some(PRIVATE);
                self.reply.parses.push_back(ParseReply::Private(part));
                self.verbatim(message);
            }
        }
    }

    fn remember(&mut self, message: &Message, resolution: &Resolution) {
        match resolution {
            Resolution::Statement(statement) => self.reply.told.asked(statement, message.name.is_empty()),
            _ => self.reply.told.give_up(),
        }
    }

    fn with_name(&mut self, index: usize, message: &Message, resolution: &Resolution) {
        let Resolution::Statement(statement) = resolution else {
            if message.name.is_empty() && self.anonymous.or(*self.anonymous_there) != Some(PRIVATE) {
                self.drop_anonymous(message);
            }
            if is_ours(self.get(message.name.clone())) {
                return self.renamed(index, message, UNKNOWN.as_bytes());
            }
            return self.verbatim(message);
        };
        if message.name.is_empty() {
            self.bring_anonymous(message, statement);
            return self.verbatim(message);
        }
        self.flush();
        self.bring(statement);
        self.reply.name(statement.id, self.segment.get(message.name.clone()).unwrap_or_default());
        self.renamed(index, message, Name::of(statement.id).as_bytes());
    }

    fn renamed(&mut self, index: usize, message: &Message, name: &[u8]) {
        self.skip(message);
        // A message that streams is longer than what is here of it.
        let missing = match self.request.end {
            Some(End::Streaming(left)) if index + 1 == self.request.messages.len() => left,
            _ => 0,
        };
        let before = self.segment.get(message.span.start + 5..message.name.start).unwrap_or_default();
        let after = self.segment.get(message.name.end..message.span.end).unwrap_or_default();
        let length = 4 + before.len() + name.len() + after.len() + missing;
        self.out.extend(&[message.tag]);
        self.out.extend(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        self.out.extend(before);
        self.out.extend(name);
        self.out.extend(after);
    }

    // The shared statement outlives a client's own: only the reply is asked for.
    fn close(&mut self, index: usize, message: &Message, resolution: &Resolution) {
        let part = u16::try_from(self.base + index).unwrap_or(u16::MAX);
        self.reply.closes.push_back(CloseReply::Client(part));
        let anonymous = message.name.is_empty() && self.request.kind(message, self.segment) == b'S';
        if anonymous && self.anonymous.or(*self.anonymous_there) != Some(PRIVATE) {
            self.unsettle_anonymous();
            self.anonymous = Some(0);
        }
        let theirs = matches!(resolution, Resolution::AsIs) && !is_ours(self.get(message.name.clone()));
        if message.name.is_empty() || theirs {
            return self.verbatim(message);
        }
        self.skip(message);
        close_message(self.out, MARKER.as_bytes());
    }

    // What is sent now replaces or ends the anonymous statement, or fails, or is skipped: none that is there or on its way is known to stay.
    fn unsettle_anonymous(&mut self) {
        *self.anonymous_there = None;
        for parse in &mut self.reply.parses {
            if let ParseReply::OursAnonymous(id) = parse {
                *id = 0;
            }
        }
    }

    fn has(&mut self, id: u64) -> bool {
        self.coming.contains(&id) || self.statements.touch(id)
    }

    fn bring(&mut self, statement: &Prepared) {
        if !self.has(statement.id) {
            self.make_room();
            parse_message(self.out, Name::of(statement.id).as_bytes(), &statement.body);
            self.reply.parses.push_back(ParseReply::Ours(statement.id));
            self.coming.push(statement.id);
        }
    }

    fn bring_anonymous(&mut self, message: &Message, statement: &Prepared) {
        if self.anonymous.or(*self.anonymous_there) != Some(statement.id) {
            self.flush();
            self.plain = message.span.start..message.span.start;
            parse_message(self.out, b"", &statement.body);
            self.unsettle_anonymous();
            self.reply.parses.push_back(ParseReply::OursAnonymous(statement.id));
        }
        self.anonymous = Some(statement.id);
    }

    // The client has no anonymous statement: the backend's, if it has one, is somebody else's.
    fn drop_anonymous(&mut self, message: &Message) {
        self.flush();
        self.plain = message.span.start..message.span.start;
        close_message(self.out, b"");
        self.reply.closes.push_back(CloseReply::Ours);
        self.unsettle_anonymous();
        self.anonymous = Some(0);
    }

    fn make_room(&mut self) {
        if let Some(oldest) = self.statements.overflow(self.coming.len()) {
            close_message(self.out, Name::of(oldest).as_bytes());
            self.reply.closes.push_back(CloseReply::Evicted(oldest));
        }
    }
}

// A client that has no statement of a shared one's name must not find a stranger's.
fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

fn write_message(out: &mut Buffer, tag: u8, fields: &[&[u8]]) {
    let length = 4 + fields.iter().map(|field| field.len()).sum::<usize>();
    out.extend(&[tag]);
    out.extend(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    fields.iter().for_each(|field| out.extend(field));
}

fn parse_message(out: &mut Buffer, name: &[u8], body: &[u8]) {
    write_message(out, b'P', &[name, &[0], body]);
}

fn close_message(out: &mut Buffer, name: &[u8]) {
    write_message(out, b'C', &[b"S", name, &[0]]);
}

fn duplicate_error(name: &str) -> Box<[u8]> {
    let mut bytes = Vec::new();
    let text = format!("prepared statement \"{name}\" already exists");
    super::wire::error(&mut bytes, &ClientError::new("42P05", 1243, text));
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_id_in_hexadecimal() {
        for id in [0, 1, 15, 16, 0xabc, u64::MAX] {
            assert_eq!(Name::of(id).as_bytes(), format!("__primacy_{id:x}").as_bytes());
        }
    }
}
