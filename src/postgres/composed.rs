//! What is composed for one backend that several clients share, against a model of a server: each client must see, and have run, what it would with a server to
//! itself. What fuzzing and property tests call.

use super::compose::compose;
use super::names::PREFIX;
use super::reply::{Confirmed, Reply, Step};
use super::request::{End, Message, Request, SEGMENT_MAX};
use super::shelf::Statements;
use super::wire;
use crate::engine::seam::{Form, Prepared, Resolution};
use crate::error::ClientError;
use crate::net::buffer::Buffer;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A text that begins with it is refused by the model's servers.
pub const BAD: u8 = b'!';
/// What one of our own messages has beside a body.
const OWN_MAX: usize = 64;

/// A server that knows prepared statements and nothing else.
#[derive(Debug, Default, Clone)]
struct Server {
    named: HashMap<Vec<u8>, Vec<u8>>,
    anonymous: Option<Vec<u8>>,
    failed: bool,
    // What it ran: a message's type, the statement's text and types, the rest of the message.
    log: Vec<(u8, Vec<u8>, Vec<u8>)>,
    said: Vec<u8>,
}

impl Server {
    fn find(&self, name: &[u8]) -> Option<&Vec<u8>> {
        if name.is_empty() { self.anonymous.as_ref() } else { self.named.get(name) }
    }

    fn say(&mut self, tag: u8, body: &[u8]) {
        wire::message(&mut self.said, tag, |out| out.extend_from_slice(body));
    }

    fn fail(&mut self, code: &'static str, text: String) {
        self.failed = true;
        wire::error(&mut self.said, &ClientError::new(code, 0, text));
    }

    fn parse(&mut self, name: &[u8], body: &[u8]) {
        let text = String::from_utf8_lossy(name);
        if name.is_empty() {
            self.anonymous = None;
        }
        if body.first() == Some(&BAD) {
            self.fail("42601", "syntax error".to_owned());
        } else if self.find(name).is_some() {
            self.fail("42P05", format!("prepared statement \"{text}\" already exists"));
        } else {
            if name.is_empty() {
                self.anonymous = Some(body.to_vec());
            } else {
                self.named.insert(name.to_vec(), body.to_vec());
            }
            self.say(b'1', b"");
        }
    }

    fn run(&mut self, message: &Message, bytes: &[u8]) {
        let get = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        let (name, statement) = (get(&message.name), message.kind(bytes) == b'S');
        match message.tag {
            b'S' => {
                self.failed = false;
                self.say(b'Z', b"I");
            }
            _ if self.failed => {}
            b'P' => self.parse(name, get(&message.rest)),
            b'C' if statement && name.is_empty() => {
                self.anonymous = None;
                self.say(b'3', b"");
            }
            b'C' => {
                if statement {
                    self.named.remove(name);
                }
                self.say(b'3', b"");
            }
            b'B' | b'D' if message.tag == b'B' || statement => {
                let Some(body) = self.find(name).cloned() else {
                    let name = String::from_utf8_lossy(name);
                    return self.fail("26000", format!("prepared statement \"{name}\" does not exist"));
                };
                let before = message.span.start + 5..message.name.start;
                let around = [get(&before), get(&(message.name.end..message.span.end))].concat();
                self.log.push((message.tag, body, around));
                self.say(if message.tag == b'B' { b'2' } else { b'n' }, b"");
            }
            b'Q' | b'F' => {
                self.anonymous = if message.tag == b'Q' { None } else { self.anonymous.take() };
                self.log.push((message.tag, Vec::new(), get(&message.span).to_vec()));
                self.say(b'C', b"SELECT 1\0");
                self.say(b'Z', b"I");
            }
            tag => {
                self.log.push((tag, Vec::new(), get(&message.span).to_vec()));
                match tag {
                    b'E' => self.say(b'C', b"SELECT 1\0"),
                    b'D' => self.say(b'n', b""),
                    _ => {}
                }
            }
        }
    }

    fn run_all(&mut self, request: &Request, bytes: &[u8]) {
        request.messages.iter().for_each(|message| self.run(message, bytes));
    }
}

/// One backend, the server that it leads to, and those who take turns on it, each with a server as if it were alone.
#[derive(Default)]
struct Bed {
    store: HashMap<Vec<u8>, Arc<Prepared>>,
    statements: Statements,
    anonymous: Option<u64>,
    server: Server,
    reply: Reply,
    base: usize,
    // What the client at work has prepared when all goes well.
    hoped: Server,
    // Whether answers are held back, so that a unit could run again.
    holds: bool,
}

impl Bed {
    fn shared(&mut self, body: &[u8]) -> Arc<Prepared> {
        let id = self.store.len() as u64 + 1;
        let made = || Arc::new(Prepared::new(id, body, 0..0, Form::Protocol));
        Arc::clone(self.store.entry(body.to_vec()).or_insert_with(made))
    }

    // As sessions do it.
    fn resolve(&mut self, message: &Message, bytes: &[u8]) -> Resolution {
        let get = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        let (name, statement) = (get(&message.name), message.kind(bytes) == b'S');
        let found = self.hoped.find(name).cloned();
        match message.tag {
            b'P' if found.is_some() && !name.is_empty() => {
                Resolution::Duplicate(self.shared(&found.unwrap_or_default()))
            }
            b'P' => {
                let body = get(&message.rest);
                if name.is_empty() {
                    self.hoped.anonymous = Some(body.to_vec());
                } else {
                    self.hoped.named.insert(name.to_vec(), body.to_vec());
                }
                Resolution::Statement(self.shared(body))
            }
            b'B' | b'D' if message.tag == b'B' || statement => {
                found.map_or(Resolution::Missing, |body| Resolution::Statement(self.shared(&body)))
            }
            b'C' if statement && name.is_empty() => {
                self.hoped.anonymous = None;
                Resolution::AsIs
            }
            b'C' if statement => {
                self.hoped.named.remove(name);
                found.map_or(Resolution::AsIs, |body| Resolution::Statement(self.shared(&body)))
            }
            b'Q' => {
                self.hoped.anonymous = None;
                Resolution::AsIs
            }
            _ => Resolution::AsIs,
        }
    }

    // One segment of a client. What it sees of the answer.
    fn segment(&mut self, request: &Request, bytes: &[u8]) -> Vec<u8> {
        let resolutions: Vec<_> =
            request.messages.iter().map(|message| self.resolve(message, bytes)).collect();
        let mut out = Buffer::default();
        self.reply.treatment.hold_back = self.holds && self.base == 0;
        let there = (&mut self.statements, &mut self.anonymous);
        compose(bytes, request, &resolutions, self.base, there, &mut self.reply, &mut out);
        let longest = self.store.keys().map(Vec::len).max().unwrap_or(0);
        assert!(out.len() <= bytes.len() + request.messages.len() * (longest + 2 * OWN_MAX));
        self.base += request.messages.len();
        if request.end == Some(End::Flush) {
            self.reply.let_go();
        }
        self.deliver(out.bytes());
        let (mut down, mut seen) = (Buffer::default(), Vec::new());
        down.extend(&std::mem::take(&mut self.server.said));
        loop {
            let step = self.reply.advance(&mut down);
            seen.extend_from_slice(down.bytes().get(..self.reply.released).unwrap_or_default());
            down.consume(self.reply.released);
            self.reply.left(self.reply.released);
            for change in self.reply.changes.drain(..) {
                match change {
                    Confirmed::Statement(id) => self.statements.insert(id),
                    Confirmed::Anonymous(id) => self.anonymous = Some(id),
                    Confirmed::Doubt(id) => self.statements.doubt(id),
                }
            }
            match step {
                Step::NeedBytes => break,
                Step::Ready => {}
                Step::Refused(_) => {
                    self.reply.let_go();
                    self.reply.release_scanned();
                }
                other => unreachable!("{other:?}"),
            }
        }
        assert!(down.is_empty(), "something is kept");
        seen
    }

    // The server reads what was composed, message after message; as many answers are expected as it gives.
    fn deliver(&mut self, bytes: &[u8]) {
        let (mut request, mut start) = (Request::default(), 0);
        let (mut parses, mut closes) = (0, 0);
        while start < bytes.len() {
            let rest = bytes.get(start..).unwrap_or_default();
            // A Flush makes the last ones a segment.
            let flushed = [rest, b"H\0\0\0\x04"].concat();
            assert!(matches!(request.frame(&flushed), Ok(true)), "half a message");
            if request.length > rest.len() {
                request.messages.pop();
            }
            parses += request.messages.iter().filter(|message| message.tag == b'P').count();
            closes += request.messages.iter().filter(|message| message.tag == b'C').count();
            self.server.run_all(&request, rest);
            start += request.length;
            request.restart(true);
        }
        assert!(self.reply.parses.len() >= parses && self.reply.closes.len() >= closes, "answers unheard");
    }
}

// Errors may differ in their texts where the client uses a name that is ours.
fn without_texts(said: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (said, Vec::new());
    while let Some(&[tag, a, b, c, d]) = rest.first_chunk::<5>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize + 1;
        let Some((message, after)) = rest.split_at_checked(length) else { break };
        let codes = if tag == b'E' { message.get(5..30).unwrap_or_default() } else { message };
        out.extend_from_slice(codes);
        rest = after;
    }
    out
}

/// Several clients' units in turn on one backend come to what they would come to on servers of their own. The first byte says how many statements
/// the backend holds, the second how many clients there are; the rest is what they send, unit by unit.
///
/// # Panics
/// When they do not.
pub fn check_compose(bytes: &[u8]) {
    let [limit, clients, bytes @ ..] = bytes else { return };
    if bytes.len() >= SEGMENT_MAX {
        return;
    }
    let statements = Statements::new(1 + usize::from(limit % 5));
    let mut bed = Bed { statements, holds: limit & 0x80 != 0, ..Bed::default() };
    let mut alone = vec![Server::default(); 1 + usize::from(clients % 3)];
    let (mut request, mut start, mut turn, mut mid_unit) = (Request::default(), 0, 0, false);
    while let Some(rest) = bytes.get(start..)
        && matches!(request.frame(rest), Ok(true))
        && request.end != Some(End::Terminate)
    {
        let Some(direct) = alone.get_mut(turn) else { return };
        let segment = rest.get(..request.length).unwrap_or_default();
        if !mid_unit {
            bed.reply.begin();
            bed.base = 0;
            bed.hoped = direct.clone();
        } else {
            bed.reply.go_on();
        }
        if mid_unit || !request.is_bare_flush() {
            let seen = bed.segment(&request, segment);
            direct.run_all(&request, segment);
            let said = std::mem::take(&mut direct.said);
            let ours = memchr::memmem::find(bytes, PREFIX.as_bytes()).is_some();
            let (seen, said) = if ours { (without_texts(&seen), without_texts(&said)) } else { (seen, said) };
            assert!(seen == said, "{} for {}", seen.escape_ascii(), said.escape_ascii());
            let (mut ran, mut should) =
                (std::mem::take(&mut bed.server.log), std::mem::take(&mut direct.log));
            // What a statement gives is asked beside what clients ask; what they are told was compared above.
            ran.retain(|(tag, statement, _)| *tag != b'D' || statement.is_empty());
            should.retain(|(tag, statement, _)| *tag != b'D' || statement.is_empty());
            assert_eq!(ran, should);
            assert_eq!(bed.server.failed, direct.failed);
            mid_unit = request.end == Some(End::Flush) || direct.failed;
        }
        start += request.length;
        request.restart(mid_unit);
        if !mid_unit {
            turn = (turn + 1) % alone.len();
        }
    }
}

#[cfg(test)]
mod tests;
