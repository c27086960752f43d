//! One client's exchange with one backend, packet for packet: commands and answers pass as they are, so numbers of packets need no change.

use super::answer;
use super::backend::Backend;
use super::handshake::Terms;
use super::reply::{Reply, Step};
use super::request::{self, Command, Framing, Shape};
use super::wire::{self, HEADER};
use crate::engine::seam::{
    Answer, Confirmed, Exchange as Seam, Inbound, Kill, Lost, Outcome, Part, Relay, Resolution, Treatment,
};
use crate::engine::{Class, PinReason, TxState, Unasked};
use crate::error::ClientError;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use std::io;
use std::task::{Context, Poll, ready};

/// Room for one receive, and for what streams.
const ROOM: usize = 16 * 1024;
const KEEP: usize = 16 * 1024;

/// See [`crate::engine::seam::Exchange`].
#[derive(Debug, Default)]
pub struct Exchange {
    inbox: Buffer,
    outbox: Buffer,
    down: Buffer,
    reply: Reply,
    terms: Terms,
    // The framed command: what it is, and how much of it stands at the inbox's front.
    command: Option<Shape>,
    framed: usize,
    // What of it is still to come.
    pending: Framing,
    // An answer of our own that waits for the rest of the command to be dropped.
    refusal: Option<Vec<u8>>,
    running: bool,
    // The client has had half of a packet: nothing can follow.
    cut: bool,
    sent_any: bool,
    reported: Vec<(Box<str>, Box<str>)>,
    received: u64,
    sent: u64,
}

impl Exchange {
    fn say(&mut self, bytes: &[u8]) {
        self.down.extend(bytes);
        self.reply.own(bytes.len());
    }

    fn frame(&mut self) -> Option<Command> {
        let (command, framed) = self.pending.begin(self.inbox.bytes())?;
        self.framed = framed;
        Some(command)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, backend: &mut Backend) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let n = ready!(backend.stream().poll_write(cx, self.outbox.bytes()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent_any = true;
            self.outbox.consume(n);
        }
        backend.stream().poll_flush(cx)
    }

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

    fn poll_client(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<usize>> {
        let n = ready!(self.inbox.poll_fill(cx, client, ROOM))?;
        self.received += n as u64;
        Poll::Ready(Ok(n))
    }

    fn lost(&self, reason: String) -> Relay {
        Relay::BackendLost(Box::new(Lost {
            sent: self.sent_any,
            answered: self.reply.answered,
            sqlstate: None,
            reason,
        }))
    }

    fn settle(&mut self) -> Relay {
        let outcome: Outcome = self.reply.outcome;
        self.running = false;
        self.sent_any = false;
        Relay::Settled(outcome)
    }

    // The framed beginning has gone out: what follows of a long command streams behind it.
    fn pump(&mut self) -> bool {
        if self.pending.is_over() || self.outbox.len() >= ROOM {
            return false;
        }
        self.inbox.consume(std::mem::take(&mut self.framed));
        let n = self.pending.take(self.inbox.bytes());
        self.outbox.extend(self.inbox.bytes().get(..n).unwrap_or_default());
        self.inbox.consume(n);
        n > 0
    }

    fn round(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        backend: &mut Backend,
    ) -> (bool, Option<Relay>) {
        let mut progress = self.pump();
        match self.poll_send(cx, backend) {
            Poll::Ready(Err(error)) => return (true, Some(self.lost(error.to_string()))),
            // A silent command is over only when it is the kernel's.
            Poll::Pending if self.command == Some(Shape::Silent) => return (progress, None),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        let silent = self.command == Some(Shape::Silent) && !self.pending.is_over();
        let step = if silent { Step::NeedBytes } else { self.reply.advance(self.down.bytes()) };
        match step {
            Step::Acknowledge => return (true, Some(Relay::Acknowledge)),
            Step::Violation(what) => return (true, Some(self.lost(what.to_owned()))),
            Step::NeedBytes | Step::Ready => {}
        }
        let done = step == Step::Ready && self.pending.is_over() && self.outbox.is_empty();
        match self.poll_deliver(cx, client) {
            Poll::Ready(Err(_)) => return (true, Some(Relay::ClientLost)),
            Poll::Ready(Ok(())) if done => {
                backend.settle(self.reply.outcome.tx);
                return (true, Some(self.settle()));
            }
            Poll::Ready(Ok(())) if step == Step::NeedBytes => {
                match self.down.poll_fill(cx, backend.stream(), ROOM) {
                    Poll::Ready(Ok(0)) => {
                        return (true, Some(self.lost("the server closed the connection".to_owned())));
                    }
                    Poll::Ready(Err(error)) => return (true, Some(self.lost(error.to_string()))),
                    Poll::Ready(Ok(_)) => progress = true,
                    Poll::Pending => {}
                }
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if !progress && self.inbox.len() < self.framed + ROOM {
            return match self.poll_client(cx, client) {
                Poll::Ready(Ok(0) | Err(_)) => (true, Some(Relay::ClientLost)),
                Poll::Ready(Ok(_)) => (true, None),
                Poll::Pending => (false, None),
            };
        }
        (progress, None)
    }

    // Drops the framed command; what is left of it is dropped as it comes, and `payload` said then.
    fn drop_command(&mut self, payload: Option<Vec<u8>>) {
        self.inbox.consume(std::mem::take(&mut self.framed));
        self.outbox.clear();
        self.command = None;
        self.running = false;
        self.sent_any = false;
        self.refusal = payload;
        self.drop_rest();
    }

    fn drop_rest(&mut self) {
        if !self.pending.is_over() {
            let n = self.pending.take(self.inbox.bytes());
            self.inbox.consume(n);
        }
        if self.pending.is_over()
            && let Some(payload) = self.refusal.take()
        {
            let next = if self.reply.answered { self.reply.sequence } else { self.pending.next };
            let mut out = Vec::with_capacity(payload.len() + HEADER);
            wire::packets(&mut out, next, &payload);
            self.say(&out);
        }
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
            self.drop_rest();
            if ready!(self.poll_deliver(cx, client)).is_err() {
                return Poll::Ready(Ok(Inbound::Goodbye));
            }
            if self.pending.is_over() {
                match self.frame() {
                    Some(Command::Pass(shape)) => {
                        self.reply = Reply::default();
                        self.command = Some(shape);
                        return Poll::Ready(Ok(Inbound::Segment));
                    }
                    Some(Command::Quit) => return Poll::Ready(Ok(Inbound::Goodbye)),
                    Some(Command::Refuse(error)) => {
                        self.reply = Reply::default();
                        self.drop_command(Some(wire::error(&error)));
                        continue;
                    }
                    None => {}
                }
            }
            match ready!(self.poll_client(cx, client)) {
                Ok(0) | Err(_) => return Poll::Ready(Ok(Inbound::Goodbye)),
                Ok(_) => {}
            }
        }
    }

    fn agree(&mut self, terms: u64) {
        self.terms = Terms::of(terms);
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.inbox.extend(bytes);
    }

    fn is_idle(&self) -> bool {
        let buffers = self.inbox.is_empty() && self.outbox.is_empty() && self.down.is_empty();
        buffers && self.pending.is_over() && self.refusal.is_none() && !self.running
    }

    fn is_mid_unit(&self) -> bool {
        false
    }

    fn parts(&self) -> usize {
        usize::from(self.command.is_some())
    }

    fn base(&self) -> usize {
        0
    }

    fn held(&self) -> usize {
        self.inbox.len() + self.outbox.len()
    }

    fn part(&self, _index: usize) -> Part<'_> {
        Part::Opaque(Class::Write, PinReason::OneToOne)
    }

    fn kill(&self) -> Option<Kill> {
        let whole = self.inbox.bytes().get(HEADER..self.framed).filter(|_| self.pending.is_over())?;
        request::kill(whole.strip_prefix(&[request::QUERY])?)
    }

    fn resolve(&mut self, _index: usize, _resolution: Resolution) {}

    fn parameter(&self, _index: usize, _parameter: u16) -> Option<&[u8]> {
        None
    }

    fn compose(&mut self, backend: &mut Backend, treatment: Treatment) {
        let shape = self.command.unwrap_or(Shape::One);
        self.reply.begin(shape, self.terms.deprecates_eof(), crate::engine::seam::Backend::tx(backend));
        self.reply.ask_gate = treatment.ask_gate;
        self.outbox.extend(self.inbox.bytes().get(..self.framed).unwrap_or_default());
        self.running = true;
    }

    fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        backend: &mut Backend,
    ) -> Poll<Relay> {
        loop {
            match self.round(cx, client, backend) {
                (_, Some(event)) => return Poll::Ready(event),
                (true, None) => {}
                (false, None) => return Poll::Pending,
            }
        }
    }

    fn finish(&mut self) {
        self.inbox.consume(std::mem::take(&mut self.framed));
        self.command = None;
    }

    fn release(&mut self) {
        self.reply.acknowledge();
    }

    // Nothing is ever held back here: no unit of this engine runs on a replica yet.
    fn poll_repeat(&mut self, _: &mut Context<'_>, _: &mut Backend) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn rewind(&mut self) {
        self.down.clear();
        self.outbox.clear();
        self.reply = Reply::default();
        self.sent_any = false;
        self.running = false;
    }

    fn can_rewind(&self) -> bool {
        self.framed > 0 && self.pending.is_over()
    }

    fn abandon_reply(&mut self) -> bool {
        self.down.truncate(self.reply.released);
        self.outbox.clear();
        let whole = self.reply.cut_off();
        self.cut |= !whole;
        whole
    }

    fn reported(&mut self) -> &mut Vec<(Box<str>, Box<str>)> {
        &mut self.reported
    }

    fn confirmed(&self) -> &Confirmed {
        const NOTHING: &Confirmed = &Confirmed { parts: Vec::new(), failed: None, tags: 0 };
        NOTHING
    }

    fn answer(&mut self, answers: &[(usize, Answer<'_>)], tx: TxState) {
        let out = answer::answers(answers, self.pending.next, self.terms.deprecates_eof(), tx);
        self.drop_command(None);
        self.say(&out);
    }

    fn refuse(&mut self, error: &ClientError, _tx: TxState) {
        // Outside a command the client reads it as the answer to its next one.
        if self.command.is_none() {
            self.pending = Framing::over(1);
        }
        let silent = self.cut || self.command == Some(Shape::Silent) && !error.fatal;
        self.drop_command((!silent).then(|| wire::error(error)));
        if error.fatal && !self.pending.is_over() {
            // The rest will not be read any more.
            self.pending = Framing::over(self.pending.next);
            self.drop_rest();
        }
    }

    fn tell_setting(&mut self, _name: &str, _value: &str) {}

    fn poll_flush(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<()>> {
        self.poll_deliver(cx, client)
    }

    fn poll_unsolicited(
        &mut self,
        cx: &mut Context<'_>,
        _client: &mut Stream,
        backend: &mut Backend,
    ) -> Poll<Result<Unasked, Lost>> {
        // An idle server says one thing only: why it goes.
        let mut said = Buffer::default();
        let reason = match ready!(said.poll_fill(cx, backend.stream(), ROOM)) {
            Ok(0) => "the server closed the connection".to_owned(),
            Ok(_) => match said.bytes().get(HEADER..) {
                Some(payload) if payload.first() == Some(&0xff) => wire::ServerError::parse(payload).message,
                _ => "the server answered without being asked".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        Poll::Ready(Err(Lost { reason, ..Lost::default() }))
    }

    fn shrink(&mut self) {
        for buffer in [&mut self.inbox, &mut self.outbox, &mut self.down] {
            buffer.shrink(KEEP);
        }
    }

    fn traffic(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.received), std::mem::take(&mut self.sent))
    }
}
