//! From the client's segment to the bytes that one backend gets: names of prepared statements are replaced by shared ones, and what the
//! backend lacks is prepared in the same write.

use super::backend::Backend;
use super::reply::{CloseReply, MARKER, ParseReply, Reply};
use super::request::Request;
use crate::engine::seam::{Prepared, Resolution};
use crate::net::buffer::Buffer;
use std::ops::Range;

/// The name under which a shared statement stands on a backend.
fn name_of(id: u64) -> String {
    format!("__primacy_{id:x}")
}

/// Writes the segment (its bytes, framed by `request`, with what the session decided about each part) for `backend` into `out`, and tells
/// `reply` what answers to expect.
pub(super) fn compose(
    segment: &[u8],
    request: &Request,
    resolutions: &[Resolution],
    base: usize,
    backend: &mut Backend,
    reply: &mut Reply,
    out: &mut Buffer,
) {
    let mut composer =
        Composer { segment, request, base, backend, reply, out, anonymous: None, coming: Vec::new() };
    let mut plain = 0..0;
    for (index, message) in request.messages.iter().enumerate() {
        let resolution = resolutions.get(index).unwrap_or(&Resolution::AsIs);
        let rewritten = match message.tag {
            b'P' => composer.parse(index, resolution),
            b'B' => composer.with_name(index, resolution),
            b'D' if request.kind(message, segment) == b'S' => composer.with_name(index, resolution),
            b'C' => composer.close(index, resolution),
            b'd' | b'c' | b'f' => Some(Vec::new()),
            b'Q' => {
                composer.backend.anonymous = None;
                None
            }
            _ => None,
        };
        match rewritten {
            None if plain.end == message.span.start => plain.end = message.span.end,
            None => {
                composer.flush(&plain);
                plain = message.span.clone();
            }
            Some(bytes) => {
                composer.flush(&plain);
                plain = message.span.end..message.span.end;
                composer.out.extend(&bytes);
            }
        }
    }
    composer.flush(&plain);
}

struct Composer<'a> {
    segment: &'a [u8],
    request: &'a Request,
    base: usize,
    backend: &'a mut Backend,
    reply: &'a mut Reply,
    out: &'a mut Buffer,
    // What the anonymous statement will be by then, and which shared ones are on their way.
    anonymous: Option<u64>,
    coming: Vec<u64>,
}

impl Composer<'_> {
    fn flush(&mut self, plain: &Range<usize>) {
        self.out.extend(self.segment.get(plain.clone()).unwrap_or_default());
    }

    fn get(&self, range: &Range<usize>) -> &[u8] {
        self.segment.get(range.clone()).unwrap_or_default()
    }

    fn parse(&mut self, index: usize, resolution: &Resolution) -> Option<Vec<u8>> {
        let message = self.request.messages.get(index)?;
        let part = u16::try_from(self.base + index).unwrap_or(u16::MAX);
        let mut bytes = Vec::new();
        match resolution {
            Resolution::Statement(statement) if !message.name.is_empty() => {
                if self.has(statement.id) {
                    close_message(&mut bytes, MARKER.as_bytes());
                    self.reply.closes.push_back(CloseReply::BecomesParse(part));
                } else {
                    self.make_room(&mut bytes);
                    parse_message(&mut bytes, name_of(statement.id).as_bytes(), &statement.body);
                    let statement = Some(statement.id);
                    self.reply.parses.push_back(ParseReply::Client { part, statement });
                    self.coming.extend(statement);
                }
                Some(bytes)
            }
            Resolution::Duplicate => {
                describe_message(&mut bytes, MARKER.as_bytes());
                let name = String::from_utf8_lossy(self.get(&message.name)).into_owned();
                self.reply.duplicate = Some(duplicate_error(&name));
                Some(bytes)
            }
            Resolution::Statement(statement) => {
                self.anonymous = Some(statement.id);
                self.reply.parses.push_back(ParseReply::Client { part, statement: None });
                None
            }
            _ => {
                self.anonymous = Some(0);
                self.reply.parses.push_back(ParseReply::Client { part, statement: None });
                None
            }
        }
    }

    fn with_name(&mut self, index: usize, resolution: &Resolution) -> Option<Vec<u8>> {
        let message = self.request.messages.get(index)?;
        let Resolution::Statement(statement) = resolution else { return None };
        let mut bytes = Vec::new();
        if message.name.is_empty() {
            self.bring_anonymous(statement, &mut bytes);
            if bytes.is_empty() {
                return None;
            }
            bytes.extend_from_slice(self.get(&message.span));
            return Some(bytes);
        }
        self.bring(statement, &mut bytes);
        let name = name_of(statement.id);
        bytes.push(message.tag);
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.get(&(message.span.start + 5..message.name.start)));
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(self.get(&(message.name.end..message.span.end)));
        // A message that streams is longer than what is here of it.
        let missing = match self.request.end {
            Some(super::request::End::Streaming(left)) if index + 1 == self.request.messages.len() => left,
            _ => 0,
        };
        let length = u32::try_from(bytes.len() - start + missing).unwrap_or(u32::MAX);
        if let Some(field) = bytes.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        Some(bytes)
    }

    // The shared statement outlives a client's own: only the reply is asked for.
    fn close(&mut self, index: usize, resolution: &Resolution) -> Option<Vec<u8>> {
        self.reply.closes.push_back(CloseReply::Client);
        let message = self.request.messages.get(index)?;
        if message.name.is_empty() || matches!(resolution, Resolution::AsIs) {
            return None;
        }
        let mut bytes = Vec::new();
        close_message(&mut bytes, MARKER.as_bytes());
        Some(bytes)
    }

    fn has(&mut self, id: u64) -> bool {
        self.coming.contains(&id) || self.backend.statements.touch(id)
    }

    fn bring(&mut self, statement: &Prepared, bytes: &mut Vec<u8>) {
        if !self.has(statement.id) {
            self.make_room(bytes);
            parse_message(bytes, name_of(statement.id).as_bytes(), &statement.body);
            self.reply.parses.push_back(ParseReply::Ours(statement.id));
            self.coming.push(statement.id);
        }
    }

    fn bring_anonymous(&mut self, statement: &Prepared, bytes: &mut Vec<u8>) {
        if self.anonymous.or(self.backend.anonymous) != Some(statement.id) {
            parse_message(bytes, b"", &statement.body);
            self.reply.parses.push_back(ParseReply::OursAnonymous(statement.id));
        }
        self.anonymous = Some(statement.id);
    }

    fn make_room(&mut self, bytes: &mut Vec<u8>) {
        if let Some(oldest) = self.backend.statements.overflow(self.coming.len()) {
            close_message(bytes, name_of(oldest).as_bytes());
            self.reply.closes.push_back(CloseReply::Ours);
        }
    }
}

fn message(out: &mut Vec<u8>, tag: u8, fields: &[&[u8]]) {
    let length = 4 + fields.iter().map(|field| field.len()).sum::<usize>();
    out.push(tag);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    for field in fields {
        out.extend_from_slice(field);
    }
}

fn parse_message(out: &mut Vec<u8>, name: &[u8], body: &[u8]) {
    message(out, b'P', &[name, &[0], body]);
}

fn close_message(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'C', &[b"S", name, &[0]]);
}

fn describe_message(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'D', &[b"S", name, &[0]]);
}

fn duplicate_error(name: &str) -> Box<[u8]> {
    let text = format!("prepared statement \"{name}\" already exists");
    let mut bytes = Vec::new();
    message(&mut bytes, b'E', &[b"SERROR\0VERROR\0C42P05\0M", text.as_bytes(), b"\0\0"]);
    bytes.into()
}
