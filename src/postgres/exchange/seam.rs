//! The exchange as the session sees it: the seam's words on top of the stepping.

use super::super::backend::Backend;
use super::super::compose::compose;
use super::super::edit;
use super::super::request::{End, bound_text};
use super::super::told::Description;
use super::{CLIENT_ROOM, Copy, Exchange, KEEP, Phase, Prelude};
use crate::engine::ear::Message;
use crate::engine::seam::{
    Answer, Confirmed, Edited, Exchange as Seam, Inbound, Lost, Part, Relay, Replaced, Resolution, Treatment,
};
use crate::engine::tracked::Tracked;
use crate::engine::{TxState, Unasked};
use crate::error::ClientError;
use crate::net::stream::Stream;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

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
        if self.phase != Phase::MidUnit || !self.reply.told.is_whole() {
            return false;
        }
        // The segment stays where it is, to be framed again.
        self.segment_held = false;
        self.request.restart(false);
        let mut sync = Vec::new();
        super::super::wire::sync(&mut sync);
        self.outbox.extend(&sync);
        self.reply.own_end = true;
        self.phase = Phase::Answering;
        true
    }

    fn is_moved(&self) -> bool {
        !self.told.is_empty()
    }

    async fn is_described_alike(&self, backend: &mut Backend) -> io::Result<bool> {
        // Of a unit that is here to its end it is known what it uses.
        let whole = self.request.end == Some(End::Sync);
        let used = |told: &&Description| {
            let is = |resolution: &Resolution| matches!(resolution, Resolution::Statement(statement) if statement.id == told.statement.id);
            !whole || self.resolutions.iter().any(is)
        };
        backend.describes_alike(self.told.iter().filter(used)).await
    }

    fn is_open(&self) -> bool {
        match self.request.end {
            Some(End::Flush) => true,
            Some(End::Streaming(_)) => {
                !self.request.messages.last().is_some_and(|m| matches!(m.tag, b'Q' | b'F'))
            }
            _ => false,
        }
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

    fn bytes(&self) -> &[u8] {
        self.segment()
    }

    fn is_self_contained(&self) -> bool {
        self.request.is_self_contained(self.segment())
    }

    fn first(&self) -> Option<usize> {
        self.request.first(self.segment()).filter(|_| !self.is_mid_unit())
    }

    fn answer_first(&mut self, parts: usize, answer: Answer<'_>) {
        let messages = self.request.messages.get(..parts).unwrap_or_default();
        let mut bytes = Vec::new();
        super::super::answer::answer_each(
            self.segment(),
            messages,
            &[(0, answer)],
            (TxState::Open, &[]),
            &mut bytes,
        );
        let length = messages.last().map_or(0, |last| last.span.end);
        self.say(&bytes);
        self.inbox.consume(length);
        self.segment_held = false;
        self.request.restart(false);
        self.resolutions.clear();
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

    fn precede(&mut self, backend: &mut Backend, wanted: &Arc<Tracked>) {
        let mut text = Vec::new();
        if backend.begin_carrying(wanted, &mut text) {
            self.outbox.extend(&text);
            self.prelude = Prelude::Awaited;
        }
    }

    fn compose(&mut self, backend: &mut Backend, treatment: Treatment) {
        let failed = self.is_skipping() && self.extended_unsynced;
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
            (&mut backend.statements, &mut backend.anonymous),
            &mut self.reply,
            &mut self.outbox,
        );
        self.copies_sent += self.request.messages.iter().filter(|m| matches!(m.tag, b'c' | b'f')).count();
        let extended = |tag| matches!(tag, b'P' | b'B' | b'E' | b'D' | b'C' | b'H');
        self.extended_unsynced |= self.request.messages.iter().any(|m| extended(m.tag));
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
                match self.request.end {
                    Some(End::Sync) => self.extended_unsynced = false,
                    Some(End::Query) if failed => self.expect_either(),
                    _ => {}
                }
            }
        }
    }

    fn edit(text: &[u8], replaced: &[Replaced<'_>], alone: bool) -> Edited {
        edit::edit(text, replaced, alone)
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

    fn noted(&mut self) {
        self.reply.noted();
    }

    fn conclude(&mut self) {
        self.reply.conclude();
    }

    fn notify(&mut self, pid: u32, message: &Message) {
        let mut bytes = Vec::new();
        super::super::wire::notification(&mut bytes, pid, &message.text);
        if self.phase == Phase::Idle {
            self.say(&bytes);
        } else {
            self.reply.put(&bytes, &mut self.down);
        }
    }

    fn mute(&mut self, channels: Option<&Arc<BTreeSet<Arc<str>>>>) {
        self.reply.muted = channels.cloned();
    }

    fn poll_repeat(&mut self, cx: &mut Context<'_>, backend: &mut Backend) -> Poll<io::Result<()>> {
        self.reply.discard = true;
        loop {
            match self.step(backend) {
                None if self.phase == Phase::Done => break,
                None | Some(Relay::Refused(_)) => {}
                // What stands behind it may be here already.
                Some(Relay::Acknowledge) => {
                    self.reply.acknowledge();
                    continue;
                }
                Some(Relay::News) => {
                    self.reply.noted();
                    continue;
                }
                Some(Relay::End(_)) => {
                    self.reply.conclude();
                    continue;
                }
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
        self.prelude = Prelude::None;
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
        self.prelude = Prelude::None;
        self.extended_unsynced = false;
        self.sent_any = false;
        whole
    }

    fn reported(&mut self) -> &mut Vec<(Box<str>, Box<str>)> {
        &mut self.reply.settings
    }

    fn confirmed(&self) -> &Confirmed {
        &self.reply.confirmed
    }

    fn answer(&mut self, answers: &[(usize, Answer<'_>)], tx: TxState) {
        self.told.clear();
        let told = std::mem::take(&mut self.reply.tell);
        let mut bytes = Vec::new();
        let segment = self.inbox.bytes().get(..self.request.length).unwrap_or_default();
        super::super::answer::answer(segment, &self.request, answers, (tx, &told), &mut bytes);
        self.say(&bytes);
        self.next_segment(false);
    }

    fn refuse(&mut self, error: &ClientError, tx: TxState) {
        self.told.clear();
        let mut bytes = Vec::new();
        super::super::answer::refuse(self.request.end, error, tx, &mut bytes);
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
        super::super::wire::parameter_status(&mut self.reply.tell, name, value);
    }

    fn withhold_setting(&mut self, name: &str, instead: Option<&str>) {
        self.reply.withheld.push((name.into(), instead.map(Into::into)));
    }

    fn warn(&mut self, notice: &ClientError) {
        super::super::wire::warning(&mut self.reply.tell, notice);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<()>> {
        self.poll_deliver(cx, client)
    }

    fn poll_unsolicited(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        backend: &mut Backend,
    ) -> Poll<Result<Unasked, Lost>> {
        let gone = |reason: String| Lost { reason, ..Lost::default() };
        loop {
            if ready!(self.poll_deliver(cx, client)).is_err() {
                return Poll::Ready(Ok(Unasked::ClientLost));
            }
            match ready!(self.poll_server(cx, backend)) {
                Ok(0) => return Poll::Ready(Err(gone("the server closed the connection".to_owned()))),
                Err(error) => return Poll::Ready(Err(gone(error.to_string()))),
                Ok(_) => {}
            }
            self.reply.treatment = Treatment { report_settings: false, ..Treatment::default() };
            self.reply.alias = (backend.alias, backend.cancel.pid);
            match self.step(backend) {
                None => {}
                Some(Relay::News) => return Poll::Ready(Ok(Unasked::News)),
                Some(Relay::BackendLost(lost)) => return Poll::Ready(Err(*lost)),
                Some(_) => {
                    return Poll::Ready(Err(gone("the server answered without being asked".to_owned())));
                }
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
