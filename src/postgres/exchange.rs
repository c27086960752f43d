//! One client's exchange with one backend: the buffers, and the stepping of request and reply over two sockets.

mod prelude;
mod seam;

use super::backend::Backend;
use super::reply::{Confirmed, Reply, Step};
use super::request::{End, Request};
use super::told::Description;
use crate::engine::TxState;
use crate::engine::seam::{Lost, Outcome, Refusal, Relay, Resolution};
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
    prelude: Prelude,
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
    // What the client was told in the unit's first part, which ran elsewhere.
    told: Vec<Description>,
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

/// A unit of our own in front of the client's, sent in the same write: the session's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Prelude {
    /// There is none, or it is answered.
    #[default]
    None,
    /// Its answer is awaited.
    Awaited,
    /// It was refused: what follows has run under other settings, and nobody is to see it.
    Refused,
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
        for (name, value) in self.reply.heard.drain(..) {
            backend.heard(&name, &value);
        }
        for change in self.reply.changes.drain(..) {
            match change {
                Confirmed::Statement(id) => backend.statements.insert(id),
                Confirmed::Anonymous(id) => backend.anonymous = Some(id),
                Confirmed::Doubt(id) => backend.statements.doubt(id),
            }
        }
    }

    fn lost(&self, reason: String, refusal: Option<&Refusal>) -> Relay {
        Relay::BackendLost(Box::new(Lost {
            sent: self.sent_any,
            answered: self.reply.answered,
            sqlstate: refusal.map(|refusal| refusal.sqlstate).or(self.reply.goodbye),
            reason: refusal.map_or(reason, |refusal| refusal.message.clone()),
        }))
    }

    fn step(&mut self, backend: &mut Backend) -> Option<Relay> {
        if self.prelude != Prelude::None {
            match self.pass_prelude(backend) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(reason) => return Some(self.lost(reason, None)),
            }
        }
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
                Step::News => Some(Relay::News),
                Step::End => Some(Relay::End(self.reply.outcome)),
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
            self.expect_either();
        }
    }

    // The server skips a Query behind an extended error: only a Sync is answered.
    fn expect_either(&mut self) {
        self.phase = Phase::Either;
        self.next_segment(true);
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
        self.told.clear();
        if self.reply.own_end {
            self.told = self.reply.told.take();
            // The client's Sync is still to come, and ends what failed.
            let tx = if self.reply.treatment.within { TxState::Failed } else { outcome.tx };
            self.skip_to_sync = outcome.failed.map(|_| tx);
        }
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
