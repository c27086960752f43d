//! From the client's segment to the bytes that one backend gets: names of prepared statements are replaced by shared ones, and what the
//! backend lacks is prepared in the same write.

use super::names::{Name, PREFIX, UNKNOWN};
use super::reply::{CloseReply, MARKER, PRIVATE, ParseReply, Reply};
use super::request::{End, Message, Request};
use super::shelf::Statements;
use crate::engine::seam::{Edited, Form, Prepared, Resolution};
use crate::error::ClientError;
use crate::net::buffer::Buffer;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

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
    let coming = reply.parses.iter().filter_map(|(_, parse)| match parse {
        ParseReply::Client { statement: id, .. } | ParseReply::Ours(id) => Some(*id),
        ParseReply::Anonymous { .. }
        | ParseReply::Private(_)
        | ParseReply::OursAnonymous(_)
        | ParseReply::Refused => None,
    });
    let coming = coming.collect();
    // What cannot be run again must not meet a statement that is outdated there: the client's own Parse is a real one then.
    let again = reply.treatment.hold_back && !matches!(request.end, Some(End::Flush | End::Streaming(_)));
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
        again,
        bound: None,
    };
    for (index, message) in request.messages.iter().enumerate() {
        let resolution = resolutions.get(index).unwrap_or(&Resolution::AsIs);
        match message.tag {
            b'P' => composer.parse(index, message, resolution),
            b'B' => composer.bind(index, message, resolution),
            b'D' => composer.describe(index, message, resolution),
            b'C' => composer.close(index, message, resolution),
            b'Q' => composer.query(message, resolution),
            b'E' => {
                composer.again = false;
                composer.reply.sent += 1;
                let portal = message.span.start + 5..message.span.end.saturating_sub(5);
                composer.reply.tags.execute(segment.get(portal).unwrap_or_default());
                composer.verbatim(message);
            }
            b'F' => {
                composer.reply.uncountable = true;
                composer.verbatim(message);
            }
            _ => composer.verbatim(message),
        }
    }
    composer.flush();
}

// What the name in a Bind or Describe stands for.
#[derive(Clone, Copy)]
enum Used<'r> {
    Shared(&'r Arc<Prepared>),
    Outdated,
    Unknown,
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
    // Whether what follows can be run again if a statement turns out to be outdated.
    again: bool,
    // The portal that was bound last, and to what.
    bound: Option<(Range<usize>, Arc<Prepared>)>,
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

    fn part(&self, index: usize) -> u32 {
        u32::try_from(self.base + index).unwrap_or(u32::MAX)
    }

    fn parse(&mut self, index: usize, message: &Message, resolution: &Resolution) {
        let part = self.part(index);
        match resolution {
            Resolution::Statement(statement) => self.parse_shared(part, message, statement),
            Resolution::Edited(edited) => {
                self.rename(edited);
                if let Some(statement) = &edited.statement {
                    self.parse_shared(part, message, statement);
                }
            }
            // The server reads the text before it says that there is one of that name: it finds the one that the client has.
            Resolution::Duplicate(existing) => {
                self.skip(message);
                self.bring(existing);
                if !self.has(existing.id) {
                    let name = String::from_utf8_lossy(self.get(message.name.clone())).into_owned();
                    return self.refuse(duplicate_error(&name));
                }
                self.reply.name(existing.id, self.segment.get(message.name.clone()).unwrap_or_default());
                let body = self.segment.get(message.rest.clone()).unwrap_or_default();
                self.send_parse(Name::of(existing.id).as_bytes(), body, ParseReply::Refused);
            }
            _ => {
                // Before it is confirmed, for what follows it may leave before that.
                *self.anonymous_there = Some(PRIVATE);
                self.anonymous = Some(PRIVATE);
                self.reply.expect_parse(ParseReply::Private(part));
                self.verbatim(message);
            }
        }
    }

    fn parse_shared(&mut self, part: u32, message: &Message, statement: &Arc<Prepared>) {
        if message.name.is_empty() {
            self.unsettle_anonymous();
            self.anonymous = Some(statement.id);
            let reply = ParseReply::Anonymous { part, id: statement.id };
            if self.segment.get(message.rest.clone()) == Some(&*statement.body) {
                self.reply.expect_parse(reply);
                return self.verbatim(message);
            }
            self.skip(message);
            return self.send_parse(b"", &statement.body, reply);
        }
        self.skip(message);
        let there = self.has(statement.id);
        if there && (self.again || self.coming.contains(&statement.id)) {
            return self.send_close(MARKER.as_bytes(), CloseReply::BecomesParse(part));
        }
        self.make_way(statement.id);
        let reply = ParseReply::Client { part, statement: statement.id };
        self.send_parse(Name::of(statement.id).as_bytes(), &statement.body, reply);
        self.coming.push(statement.id);
        if there && statement.columns.are_known() {
            // Others were told what it was: whether it still is that must be known.
            write_message(self.out, b'D', &[b"S", Name::of(statement.id).as_bytes(), &[0]]);
            self.reply.expect_description(Some(Arc::clone(statement)), true);
        }
    }

    fn query(&mut self, message: &Message, resolution: &Resolution) {
        self.unsettle_anonymous();
        self.reply.uncountable = true;
        let Resolution::Edited(edited) = resolution else { return self.verbatim(message) };
        self.rename(edited);
        self.reply.tags.query(&edited.tags);
        self.skip(message);
        write_message(self.out, b'Q', &[&edited.text, &[0]]);
    }

    // Notes what an edited text does to names.
    fn rename(&mut self, edited: &Edited) {
        for (id, name) in &edited.names {
            self.reply.name(*id, name);
        }
        self.reply.shifts.clone_from(&edited.shifts);
        edited.drops.iter().for_each(|id| self.statements.doubt(*id));
    }

    fn bind(&mut self, index: usize, message: &Message, resolution: &Resolution) {
        self.bound = None;
        let used = self.used(resolution);
        self.with_name(index, message, used);
        let portal = message.span.start + 5..message.name.start.saturating_sub(1);
        let tag = match resolution {
            Resolution::Edited(edited) => edited.tags.first().and_then(|(_, tag)| *tag),
            _ => None,
        };
        self.reply.tags.bind(self.segment.get(portal.clone()).unwrap_or_default(), tag);
        if let Used::Shared(statement) = used {
            self.bound = Some((portal, Arc::clone(statement)));
        }
    }

    fn describe(&mut self, index: usize, message: &Message, resolution: &Resolution) {
        if message.kind(self.segment) != b'S' {
            let portal = self.get(message.name.clone());
            let bound = self.bound.as_ref().filter(|(name, _)| self.get(name.clone()) == portal);
            let statement = bound.map(|(_, statement)| Arc::clone(statement));
            self.reply.expect_description(statement, false);
            return self.verbatim(message);
        }
        let used = self.used(resolution);
        if self.reply.treatment.remember {
            match used {
                Used::Shared(statement) => self.reply.told.asked(statement, message.name.is_empty()),
                _ => self.reply.told.give_up(),
            }
        }
        self.with_name(index, message, used);
        if let Used::Shared(statement) = used {
            self.reply.described_last(statement);
        }
    }

    // What is bound or described.
    fn used<'r>(&mut self, resolution: &'r Resolution) -> Used<'r> {
        match resolution {
            Resolution::Statement(statement) => Used::Shared(statement),
            Resolution::Outdated => Used::Outdated,
            Resolution::Edited(edited) => {
                self.rename(edited);
                edited.statement.as_ref().map_or(Used::Unknown, Used::Shared)
            }
            _ => Used::Unknown,
        }
    }

    fn with_name(&mut self, index: usize, message: &Message, used: Used<'_>) {
        match used {
            Used::Shared(statement) if message.name.is_empty() => {
                self.bring_anonymous(message, statement);
                self.expect_used(message);
                self.verbatim(message);
            }
            Used::Shared(statement) => {
                self.flush();
                self.bring(statement);
                self.reply.name(statement.id, self.segment.get(message.name.clone()).unwrap_or_default());
                self.expect_used(message);
                self.renamed(index, message, Name::of(statement.id).as_bytes());
            }
            Used::Outdated => {
                self.skip(message);
                self.refuse(outdated_error());
            }
            Used::Unknown => {
                if message.name.is_empty() && self.anonymous.or(*self.anonymous_there) != Some(PRIVATE) {
                    self.drop_anonymous(message);
                }
                self.expect_used(message);
                if is_ours(self.get(message.name.clone())) {
                    return self.renamed(index, message, UNKNOWN.as_bytes());
                }
                self.verbatim(message);
            }
        }
    }

    // A Bind has one answer, a Describe a description.
    fn expect_used(&mut self, message: &Message) {
        if message.tag == b'D' {
            self.reply.expect_description(None, false);
        } else {
            self.reply.sent += 1;
        }
    }

    // The server refuses what stands for a mistake that only we know of; it is told in these words. The first is the one that is told: behind it all is
    // skipped.
    fn refuse(&mut self, instead: Box<[u8]>) {
        write_message(self.out, b'D', &[b"S", MARKER.as_bytes(), &[0]]);
        self.reply.expect_description(None, false);
        self.reply.instead.get_or_insert(instead);
    }

    fn send_parse(&mut self, name: &[u8], body: &[u8], reply: ParseReply) {
        write_message(self.out, b'P', &[name, &[0], body]);
        self.reply.expect_parse(reply);
    }

    fn send_close(&mut self, name: &[u8], reply: CloseReply) {
        write_message(self.out, b'C', &[b"S", name, &[0]]);
        self.reply.expect_close(reply);
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
        let reply = CloseReply::Client(self.part(index));
        let anonymous = message.name.is_empty() && message.kind(self.segment) == b'S';
        if anonymous && self.anonymous.or(*self.anonymous_there) != Some(PRIVATE) {
            self.unsettle_anonymous();
            self.anonymous = Some(0);
        }
        let theirs = matches!(resolution, Resolution::AsIs) && !is_ours(self.get(message.name.clone()));
        if message.name.is_empty() || theirs {
            self.reply.expect_close(reply);
            return self.verbatim(message);
        }
        self.skip(message);
        self.send_close(MARKER.as_bytes(), reply);
    }

    // What is sent now replaces or ends the anonymous statement, or fails, or is skipped: none that is there or on its way is known to stay.
    fn unsettle_anonymous(&mut self) {
        *self.anonymous_there = None;
        for (_, parse) in &mut self.reply.parses {
            if let ParseReply::OursAnonymous(id) | ParseReply::Anonymous { id, .. } = parse {
                *id = 0;
            }
        }
    }

    fn has(&mut self, id: u64) -> bool {
        self.coming.contains(&id) || self.statements.touch(id)
    }

    // What SQL's own PREPARE prepares was brought before, in a unit of its own.
    fn bring(&mut self, statement: &Prepared) {
        if !self.has(statement.id) && statement.form == Form::Protocol {
            self.make_way(statement.id);
            let name = Name::of(statement.id);
            self.send_parse(name.as_bytes(), &statement.body, ParseReply::Ours(statement.id));
            self.coming.push(statement.id);
        }
    }

    fn bring_anonymous(&mut self, message: &Message, statement: &Prepared) {
        if self.anonymous.or(*self.anonymous_there) != Some(statement.id) {
            self.flush();
            self.plain = message.span.start..message.span.start;
            self.unsettle_anonymous();
            self.send_parse(b"", &statement.body, ParseReply::OursAnonymous(statement.id));
        }
        self.anonymous = Some(statement.id);
    }

    // The client has no anonymous statement: the backend's, if it has one, is somebody else's.
    fn drop_anonymous(&mut self, message: &Message) {
        self.flush();
        self.plain = message.span.start..message.span.start;
        self.send_close(b"", CloseReply::Ours);
        self.unsettle_anonymous();
        self.anonymous = Some(0);
    }

    // Before the statement `id` is prepared: what stands under its name goes, or the one that was used longest ago.
    fn make_way(&mut self, id: u64) {
        let goes = match self.statements.remove(id) {
            Some(sure) => Some((id, sure)),
            None => self.statements.overflow(self.coming.len()),
        };
        if let Some((id, sure)) = goes {
            let reply = if sure { CloseReply::Evicted(id) } else { CloseReply::Doubtful(id) };
            self.send_close(Name::of(id).as_bytes(), reply);
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

fn duplicate_error(name: &str) -> Box<[u8]> {
    let mut bytes = Vec::new();
    let text = format!("prepared statement \"{name}\" already exists");
    super::wire::error(&mut bytes, &ClientError::new("42P05", 1243, text));
    bytes.into()
}

// Drivers know it by the name of the server's routine, and prepare their statement anew.
fn outdated_error() -> Box<[u8]> {
    let mut bytes = Vec::new();
    super::wire::message(&mut bytes, b'E', |out| {
        let fields = [
            "SERROR",
            "VERROR",
            "C0A000",
            "Mcached plan must not change result type",
            "Fplancache.c",
            "RRevalidateCachedQuery",
            "",
        ];
        fields.iter().for_each(|field| super::wire::cstr(out, field));
    });
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
