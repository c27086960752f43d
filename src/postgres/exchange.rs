//! One client's exchange with one backend: the buffers, and the stepping of request and reply over two sockets.

use super::backend::Backend;
use super::compose::compose;
use super::reply::{Confirmed, Reply, Step};
use super::request::{End, Request, bound_text};
use crate::engine::TxState;
use crate::engine::seam::{
    Answer, Exchange as Seam, Inbound, Lost, Outcome, Part, Refusal, Relay, Resolution, Treatment,
};
use crate::error::ClientError;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use std::io;
use std::task::{Context, Poll, ready};

/// Room for one receive from a client.
const CLIENT_ROOM: usize = 4 * 1024;
/// Room for one receive from a server; grows to `SERVER_ROOM_MAX` while replies fill it.
const SERVER_ROOM: usize = 8 * 1024;
const SERVER_ROOM_MAX: usize = 128 * 1024;
/// Bytes of later units that are taken in while one is running.
const AHEAD_MAX: usize = 64 * 1024;
/// Memory that a buffer keeps when it goes back to the free list.
const KEEP: usize = 16 * 1024;

/// See [`crate::engine::seam::Exchange`].
#[derive(Debug, Default)]
pub struct Exchange {
    inbox: Buffer,
    outbox: Buffer,
    down: Buffer,
    request: Request,
    resolutions: Vec<Resolution>,
    // Parts of the unit's earlier segments.
    base: usize,
    reply: Reply,
    phase: Phase,
    // Bytes of a message that streams from the inbox to the server.
    stream_left: usize,
    copy: Copy,
    // COPY data that was framed with its statement and sent to its end, so many times.
    copies_sent: usize,
    // Whether the segment's bytes still stand at the front of the inbox.
    segment_held: bool,
    // After a refusal: messages up to the Sync are ignored, and so many bytes of a message that streams.
    skip_to_sync: Option<TxState>,
    drop_left: usize,
    sent_any: bool,
    extended_unsynced: bool,
    server_room: usize,
    received: u64,
    sent: u64,
}

/// Where the unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// No unit is under way.
    #[default]
    Idle,
    /// A ReadyForQuery is awaited.
    Answering,
    /// The unit goes on with the client's next segment; answers stream meanwhile.
    MidUnit,
    /// After an error in front of an unsynced Query: either the server is ready or the client goes on.
    Either,
    /// The ReadyForQuery was seen.
    Done,
}

/// COPY from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Copy {
    #[default]
    No,
    /// So many bytes of the current message are still to pass.
    Data(usize),
}

impl Exchange {
    fn segment(&self) -> &[u8] {
        self.inbox.bytes().get(..self.request.length).unwrap_or_default()
    }

    fn take_segment(&mut self) {
        if self.segment_held {
            self.inbox.consume(self.request.length);
            self.segment_held = false;
        }
    }

    fn next_segment(&mut self, continues: bool) {
        self.take_segment();
        self.base = if continues { self.base + self.request.messages.len() } else { 0 };
        self.request.restart(continues);
        self.resolutions.clear();
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, backend: &mut Backend) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let n = ready!(backend.stream.poll_write(cx, self.outbox.bytes()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent_any = true;
            self.outbox.consume(n);
        }
        backend.stream.poll_flush(cx)
    }

    // Moves what streams (the rest of a long message, COPY data) from the inbox to the outbox. True when it moved something.
    fn pump(&mut self) -> bool {
        let before = self.inbox.len();
        if self.outbox.len() >= AHEAD_MAX || self.segment_held {
            return false;
        }
        if self.stream_left > 0 {
            let n = self.stream_left.min(self.inbox.len());
            self.outbox.extend(self.inbox.bytes().get(..n).unwrap_or_default());
            self.inbox.consume(n);
            self.stream_left -= n;
        }
        while self.stream_left == 0
            && let Copy::Data(left) = self.copy
        {
            if !self.pump_copy(left) {
                break;
            }
        }
        self.inbox.len() != before
    }

    fn pump_copy(&mut self, left: usize) -> bool {
        if left > 0 {
            let n = left.min(self.inbox.len());
            self.outbox.extend(self.inbox.bytes().get(..n).unwrap_or_default());
            self.inbox.consume(n);
            self.copy = Copy::Data(left - n);
            return n > 0;
        }
        let Some(&[tag, a, b, c, d]) = self.inbox.bytes().get(..5) else { return false };
        // A length that cannot be is passed on as it is: the server says what it thinks of it, and ends the connection.
        let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or(4).max(4) + 1;
        match tag {
            b'd' | b'S' | b'H' => self.copy = Copy::Data(length),
            _ => {
                self.copy = Copy::No;
                self.stream_left = length;
                let n = length.min(self.inbox.len());
                self.outbox.extend(self.inbox.bytes().get(..n).unwrap_or_default());
                self.inbox.consume(n);
                self.stream_left -= n;
            }
        }
        true
    }

    fn apply_changes(&mut self, backend: &mut Backend) {
        for change in self.reply.changes.drain(..) {
            match change {
                Confirmed::Statement(id) => backend.statements.insert(id),
                Confirmed::Anonymous(id) => backend.anonymous = Some(id),
            }
        }
    }

    fn lost(&self, reason: String, refusal: Option<&Refusal>) -> Relay {
        Relay::BackendLost(Box::new(Lost {
            sent: self.sent_any,
            answered: self.reply.answered,
            sqlstate: refusal.map(|refusal| refusal.sqlstate),
            reason: refusal.map_or(reason, |refusal| refusal.message.clone()),
        }))
    }

    fn step(&mut self, backend: &mut Backend) -> Option<Relay> {
        loop {
            let step = self.reply.advance(&mut self.down);
            self.apply_changes(backend);
            if std::mem::take(&mut self.reply.erred) {
                self.after_error();
            }
            return match step {
                Step::CopyIn => {
                    self.copy_in();
                    continue;
                }
                // The client waits for what has been done so far before it goes on.
                Step::NeedBytes if self.phase == Phase::MidUnit && self.reply.is_success_withheld() => {
                    Some(Relay::Acknowledge)
                }
                Step::NeedBytes => None,
                Step::Acknowledge => Some(Relay::Acknowledge),
                Step::Refused(refusal) => Some(Relay::Refused(Box::new(refusal))),
                Step::Fatal(refusal) => Some(self.lost(String::new(), Some(&refusal))),
                Step::Violation(text) => Some(self.lost(text, None)),
                Step::Ready => {
                    backend.tx = self.reply.outcome.tx;
                    self.phase = Phase::Done;
                    None
                }
            };
        }
    }

    fn copy_in(&mut self) {
        if self.copies_sent > 0 {
            // Its data came with it.
            self.copies_sent -= 1;
            return;
        }
        self.take_segment();
        self.copy = Copy::Data(0);
        if self.request.end != Some(End::Query) {
            // The server ignores a Sync that came before the data: the client sends another behind it.
            self.phase = Phase::MidUnit;
            self.next_segment(true);
        }
    }

    fn after_error(&mut self) {
        if let Copy::Data(left) = std::mem::take(&mut self.copy) {
            // A message that has begun must end, also when nobody wants it any more.
            self.stream_left += left;
        }
        if self.phase == Phase::Answering && self.extended_unsynced && self.request.end == Some(End::Query) {
            self.phase = Phase::Either;
            self.next_segment(true);
        }
    }

    // Sends what is released. Ready(Err) when the client is gone.
    fn poll_deliver(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<()>> {
        while self.reply.released > 0 {
            let bytes = self.down.bytes().get(..self.reply.released).unwrap_or_default();
            let n = ready!(client.poll_write(cx, bytes))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.down.consume(n);
            self.reply.left(n);
            self.sent += n as u64;
        }
        client.poll_flush(cx)
    }

    // Takes in more of the client: COPY data, the rest of a long message, the next segment, or units to come.
    fn poll_client(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<usize>> {
        if self.inbox.len() >= AHEAD_MAX + self.request.length || self.outbox.len() >= AHEAD_MAX {
            return Poll::Pending;
        }
        let streaming = self.stream_left > 0 || self.copy != Copy::No;
        // A segment that must stay where it is may not be moved: `poll_fill` compacts, which keeps offsets relative to the front.
        let n = ready!(self.inbox.poll_fill(cx, client, if streaming { AHEAD_MAX } else { CLIENT_ROOM }))?;
        self.received += n as u64;
        Poll::Ready(Ok(n))
    }

    fn poll_server(&mut self, cx: &mut Context<'_>, backend: &mut Backend) -> Poll<io::Result<usize>> {
        if !backend.unread.is_empty() {
            let unread = std::mem::take(&mut backend.unread);
            self.down.extend(&unread);
            return Poll::Ready(Ok(unread.len()));
        }
        let room = self.server_room.max(SERVER_ROOM);
        let n = ready!(self.down.poll_fill(cx, &mut backend.stream, room))?;
        if n >= room {
            self.server_room = (room * 2).min(SERVER_ROOM_MAX);
        }
        Poll::Ready(Ok(n))
    }

    // One round over both sockets; `Some` when the session must decide something.
    fn round(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        backend: &mut Backend,
    ) -> (bool, Option<Relay>) {
        let mut progress = self.pump();
        match self.poll_send(cx, backend) {
            Poll::Ready(Err(error)) if self.down.is_empty() => {
                return (true, Some(self.lost(error.to_string(), None)));
            }
            // The server may have said why before it went: what it sent is read first.
            Poll::Ready(Err(_)) => self.outbox.clear(),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if let Some(event) = self.step(backend) {
            return (true, Some(event));
        }
        // What the client sent along with the message that streams, or before the server asked for data, is here already.
        progress |= self.pump();
        if let Some(event) = self.more() {
            return (true, Some(event));
        }
        match self.poll_deliver(cx, client) {
            Poll::Ready(Err(_)) => return (true, Some(Relay::ClientLost)),
            Poll::Ready(Ok(())) if self.phase == Phase::Done && self.reply.nothing_held() => {
                if self.stream_left == 0 && self.outbox.is_empty() {
                    return (true, Some(self.settle(backend)));
                }
            }
            Poll::Ready(Ok(())) if self.phase != Phase::Done => match self.poll_server(cx, backend) {
                Poll::Ready(Ok(0)) => {
                    return (true, Some(self.lost("the server closed the connection".to_owned(), None)));
                }
                Poll::Ready(Err(error)) => return (true, Some(self.lost(error.to_string(), None))),
                Poll::Ready(Ok(_)) => progress = true,
                Poll::Pending => {}
            },
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if progress || (self.phase == Phase::Done && self.stream_left == 0) {
            return (progress, None);
        }
        match self.poll_client(cx, client) {
            Poll::Ready(Ok(0) | Err(_)) => (true, Some(Relay::ClientLost)),
            Poll::Ready(Ok(_)) => (true, self.more()),
            Poll::Pending => (false, None),
        }
    }

    fn more(&mut self) -> Option<Relay> {
        if !matches!(self.phase, Phase::MidUnit | Phase::Either)
            || self.copy != Copy::No
            || self.stream_left > 0
        {
            return None;
        }
        // The session frames it again, and tells the client what was wrong with it.
        match self.request.frame(self.inbox.bytes()) {
            Ok(false) => None,
            Ok(true) | Err(_) => Some(Relay::More),
        }
    }

    fn settle(&mut self, backend: &mut Backend) -> Relay {
        // A goodbye or a notification may follow the end closely. The next unit may be another server's.
        backend.unread.extend_from_slice(self.down.bytes());
        self.down.clear();
        self.reply.forget_bytes();
        let outcome: Outcome = self.reply.outcome;
        self.phase = Phase::Idle;
        self.extended_unsynced = false;
        self.copy = Copy::No;
        self.sent_any = false;
        Relay::Settled(outcome)
    }
}

impl Exchange {
    // What we say ourselves may leave at once: no server's answer is under way.
    fn say(&mut self, bytes: &[u8]) {
        self.down.extend(bytes);
        self.reply.own(bytes.len());
    }

    fn say_ready(&mut self, tx: TxState) {
        let mut bytes = Vec::new();
        super::wire::ready_for_query(&mut bytes, tx);
        self.say(&bytes);
    }

    // After a refusal in the middle of a unit the client's messages are ignored up to its Sync, as a server does. True when
    // what is framed was ignored.
    fn skip(&mut self) -> bool {
        let Some(tx) = self.skip_to_sync else { return false };
        match self.request.end {
            Some(End::Terminate) => return false,
            Some(End::Sync) => {
                self.skip_to_sync = None;
                self.say_ready(tx);
            }
            Some(End::Streaming(left)) => self.drop_left = left,
            _ => {}
        }
        self.segment_held = true;
        self.next_segment(self.skip_to_sync.is_some());
        true
    }
}

impl Seam for Exchange {
    type Backend = Backend;

    fn poll_segment(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
    ) -> Poll<Result<Inbound, ClientError>> {
        loop {
            if ready!(self.poll_deliver(cx, client)).is_err() {
                return Poll::Ready(Ok(Inbound::Goodbye));
            }
            let dropped = self.drop_left.min(self.inbox.len());
            self.inbox.consume(dropped);
            self.drop_left -= dropped;
            if self.drop_left == 0 && self.request.frame(self.inbox.bytes())? {
                if self.skip() {
                    continue;
                }
                self.segment_held = true;
                if self.request.is_bare_flush() && !self.is_mid_unit() {
                    // There is nothing to flush, and no unit begins with it.
                    self.next_segment(false);
                    continue;
                }
                self.resolutions.clear();
                self.resolutions.resize(self.request.messages.len(), Resolution::AsIs);
                return Poll::Ready(Ok(match self.request.end {
                    Some(End::Terminate) => Inbound::Goodbye,
                    _ => Inbound::Segment,
                }));
            }
            match ready!(self.inbox.poll_fill(cx, client, CLIENT_ROOM)) {
                Ok(0) | Err(_) => return Poll::Ready(Ok(Inbound::Goodbye)),
                Ok(n) => self.received += n as u64,
            }
        }
    }

    fn agree(&mut self, _terms: u64) {}

    fn feed(&mut self, bytes: &[u8]) {
        self.inbox.extend(bytes);
    }

    fn is_idle(&self) -> bool {
        self.skip_to_sync.is_none()
            && self.drop_left == 0
            && self.inbox.is_empty()
            && self.outbox.is_empty()
            && self.down.is_empty()
            && self.phase == Phase::Idle
    }

    fn is_mid_unit(&self) -> bool {
        matches!(self.phase, Phase::MidUnit | Phase::Either)
    }

    fn end_early(&mut self) -> bool {
        let alone = matches!(self.request.messages.as_slice(), [only] if only.tag == b'Q');
        if self.phase != Phase::MidUnit || self.request.end != Some(End::Query) || !alone {
            return false;
        }
        // The Query stays where it is, to be framed again.
        self.segment_held = false;
        self.request.restart(false);
        let mut sync = Vec::new();
        super::wire::sync(&mut sync);
        self.outbox.extend(&sync);
        self.reply.own_end = true;
        self.phase = Phase::Answering;
        true
    }

    fn is_skipping(&self) -> bool {
        self.is_mid_unit() && self.reply.outcome.failed.is_some()
    }

    fn parts(&self) -> usize {
        self.request.messages.len()
    }

    fn base(&self) -> usize {
        self.base
    }

    fn held(&self) -> usize {
        self.inbox.len() + self.outbox.len()
    }

    fn part(&self, index: usize) -> Part<'_> {
        self.request.part(index, self.segment())
    }

    fn resolve(&mut self, index: usize, resolution: Resolution) {
        if let Some(slot) = self.resolutions.get_mut(index) {
            *slot = resolution;
        }
    }

    fn finish(&mut self) {
        self.next_segment(false);
    }

    fn parameter(&self, index: usize, parameter: u16) -> Option<&[u8]> {
        if self.base > 0 || !self.segment_held {
            // The segment that it was in is gone.
            return None;
        }
        let name = match self.part(index) {
            Part::Prepare { name, .. } | Part::Use { name, .. } => name,
            _ => return None,
        };
        let bind =
            self.request.messages.iter().skip(index).find(|message| {
                message.tag == b'B' && self.segment().get(message.name.clone()) == Some(name)
            })?;
        bound_text(self.segment().get(bind.rest.clone())?, parameter)
    }

    fn compose(&mut self, backend: &mut Backend, treatment: Treatment) {
        if !self.is_mid_unit() {
            self.reply.begin();
            self.reply.settings.clear();
            self.copies_sent = 0;
        } else {
            self.reply.go_on();
        }
        self.reply.treatment = treatment;
        self.reply.alias = (backend.alias, backend.cancel.pid);
        let segment = self.inbox.bytes().get(..self.request.length).unwrap_or_default();
        compose(
            segment,
            &self.request,
            &self.resolutions,
            self.base,
            backend,
            &mut self.reply,
            &mut self.outbox,
        );
        self.copies_sent += self.request.messages.iter().filter(|m| matches!(m.tag, b'c' | b'f')).count();
        self.extended_unsynced |= self.request.messages.iter().any(|m| matches!(m.tag, b'P' | b'B' | b'E'));
        if self.extended_unsynced && self.request.end == Some(End::Query) {
            // After an error the server answers nothing before the Sync: there is no end to wait for and then to repeat.
            self.reply.let_go();
        }
        match self.request.end {
            Some(End::Flush) => {
                self.phase = Phase::MidUnit;
                self.reply.let_go();
                self.next_segment(true);
            }
            Some(End::Streaming(left)) => {
                self.stream_left = left;
                let query = self.request.messages.last().is_some_and(|m| m.tag == b'Q' || m.tag == b'F');
                self.phase = if query { Phase::Answering } else { Phase::MidUnit };
                self.reply.let_go();
                if query {
                    self.take_segment();
                    self.request.end = Some(End::Query);
                    self.request.length = 0;
                } else {
                    self.next_segment(true);
                }
            }
            _ => {
                self.phase = Phase::Answering;
                if self.request.end == Some(End::Sync) {
                    self.extended_unsynced = false;
                }
            }
        }
    }

    fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        backend: &mut Backend,
    ) -> Poll<Relay> {
        if let Some(event) = self.more() {
            return Poll::Ready(event);
        }
        loop {
            match self.round(cx, client, backend) {
                (_, Some(event)) => return Poll::Ready(event),
                (true, None) => {}
                (false, None) => return Poll::Pending,
            }
        }
    }

    fn release(&mut self) {
        self.reply.acknowledge();
        self.reply.let_go();
        self.reply.release_scanned();
    }

    fn poll_repeat(&mut self, cx: &mut Context<'_>, backend: &mut Backend) -> Poll<io::Result<()>> {
        self.reply.discard = true;
        loop {
            match self.step(backend) {
                None if self.phase == Phase::Done => break,
                None | Some(Relay::Refused(_)) => {}
                Some(Relay::Acknowledge) => self.reply.acknowledge(),
                Some(_) => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            }
            if self.phase != Phase::Done && ready!(self.poll_server(cx, backend))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.rewind();
        Poll::Ready(Ok(()))
    }

    fn rewind(&mut self) {
        self.down.clear();
        self.outbox.clear();
        self.reply.forget_bytes();
        self.phase = Phase::Idle;
        self.extended_unsynced = false;
        self.copy = Copy::No;
        self.stream_left = 0;
        self.sent_any = false;
    }

    fn can_rewind(&self) -> bool {
        self.segment_held && self.stream_left == 0
    }

    fn abandon_reply(&mut self) -> bool {
        self.down.truncate(self.reply.released);
        let whole = self.reply.cut_off();
        self.outbox.clear();
        self.copy = Copy::No;
        self.drop_left += std::mem::take(&mut self.stream_left);
        self.extended_unsynced = false;
        self.sent_any = false;
        whole
    }

    fn reported(&mut self) -> &mut Vec<(Box<str>, Box<str>)> {
        &mut self.reply.settings
    }

    fn confirmed(&self) -> &[u16] {
        &self.reply.confirmed
    }

    fn answer(&mut self, answers: &[Answer<'_>], tx: TxState) {
        let mut bytes = std::mem::take(&mut self.reply.tell);
        let segment = self.inbox.bytes().get(..self.request.length).unwrap_or_default();
        super::answer::answer(segment, &self.request, answers, tx, &mut bytes);
        self.say(&bytes);
        self.next_segment(false);
    }

    fn refuse(&mut self, error: &ClientError, tx: TxState) {
        let mut bytes = Vec::new();
        super::answer::refuse(self.request.end, error, tx, &mut bytes);
        self.say(&bytes);
        let mid_unit = self.is_mid_unit();
        self.phase = Phase::Idle;
        match self.request.end {
            Some(End::Streaming(left)) if self.request.messages.last().is_some_and(|m| m.tag == b'Q') => {
                self.say_ready(tx);
                self.drop_left = left;
            }
            Some(End::Streaming(left)) => {
                self.skip_to_sync = Some(tx);
                self.drop_left = left;
            }
            Some(End::Flush) => self.skip_to_sync = Some(tx),
            // The rest of the unit is still to come.
            None if mid_unit => self.skip_to_sync = Some(tx),
            _ => {}
        }
        self.next_segment(self.skip_to_sync.is_some());
    }

    fn tell_setting(&mut self, name: &str, value: &str) {
        super::wire::parameter_status(&mut self.reply.tell, name, value);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<()>> {
        self.poll_deliver(cx, client)
    }

    fn poll_unsolicited(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        backend: &mut Backend,
    ) -> Poll<Result<bool, Lost>> {
        let gone = |reason: String| Lost { reason, ..Lost::default() };
        loop {
            match ready!(self.poll_server(cx, backend)) {
                Ok(0) => return Poll::Ready(Err(gone("the server closed the connection".to_owned()))),
                Err(error) => return Poll::Ready(Err(gone(error.to_string()))),
                Ok(_) => {}
            }
            self.reply.treatment = Treatment { report_settings: false, ..Treatment::default() };
            self.reply.alias = (backend.alias, backend.cancel.pid);
            match self.step(backend) {
                None => {}
                Some(Relay::BackendLost(lost)) => return Poll::Ready(Err(*lost)),
                Some(_) => {
                    return Poll::Ready(Err(gone("the server answered without being asked".to_owned())));
                }
            }
            if ready!(self.poll_deliver(cx, client)).is_err() {
                return Poll::Ready(Ok(true));
            }
        }
    }

    fn shrink(&mut self) {
        self.server_room = 0;
        for buffer in [&mut self.inbox, &mut self.outbox, &mut self.down] {
            buffer.shrink(KEEP);
        }
    }

    fn traffic(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.received), std::mem::take(&mut self.sent))
    }
}
