//! The decoders of both sides over bytes that come in pieces, as sockets give them: what fuzzing and property tests call.

use super::handshake::{Greeting, Response, Said, Terms, asks_for_tls};
use super::reply::{ERROR_MAX, Reply, Step};
use super::request::{Command, Framing, Shape};
use super::wire::{self, Fields, HEADER, ServerError, capability as cap};
use crate::engine::TxState;
use crate::engine::seam::Outcome;
use crate::net::buffer::Buffer;

/// The full packet of tests.
pub const SMALL: usize = 24;

/// What a walk over an answer came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// What left to the client.
    pub left: Vec<u8>,
    /// How much had left each time that the gate was asked.
    pub asked: Vec<usize>,
    /// How it ended; `None` while the answer is not over.
    pub end: Option<Step>,
    /// What it did.
    pub outcome: Outcome,
    /// The number that an answer of our own would have behind what left.
    pub sequence: u8,
    /// Whether the client has whole packets only.
    pub whole: bool,
}

/// Cuts `bytes`, as a client sends them in pieces of `piece` bytes, into its commands: each with its length and the number of its answer.
#[must_use]
pub fn request<const FULL: usize>(bytes: &[u8], piece: usize) -> Vec<(Command, usize, u8)> {
    let (mut framing, mut seen, mut start, mut end) = (Framing::<FULL>::default(), Vec::new(), 0, 0);
    let mut command = None;
    while end < bytes.len() {
        end = end.saturating_add(piece.max(1)).min(bytes.len());
        loop {
            let there = bytes.get(start..end).unwrap_or_default();
            let taken = match &mut command {
                Some((_, length)) => {
                    let n = framing.take(there);
                    *length += n;
                    n
                }
                None => {
                    let Some((begun, n)) = framing.begin(there) else { break };
                    command = Some((begun, n));
                    n
                }
            };
            start += taken;
            if !framing.is_over() {
                break;
            }
            seen.extend(command.take().map(|(command, length)| (command, length, framing.next)));
        }
    }
    seen
}

/// Walks over `bytes`, as a server's answer to a command of that shape, as they come in pieces of `piece` bytes.
///
/// # Panics
/// When more is kept back than ever must be.
#[must_use]
pub fn reply<const FULL: usize>(
    bytes: &[u8],
    piece: usize,
    shape: Shape,
    (deprecates_eof, ask_gate): (bool, bool),
) -> Walked {
    let (mut reply, mut down, mut walked) = (Reply::<FULL>::default(), Buffer::default(), Walked::default());
    reply.begin(shape, deprecates_eof, TxState::Idle);
    reply.ask_gate = ask_gate;
    let mut pieces = bytes.chunks(piece.max(1));
    while walked.end.is_none() {
        let step = reply.advance(down.bytes());
        walked.left.extend(down.bytes().get(..reply.released).unwrap_or_default());
        down.consume(reply.released);
        reply.left(reply.released);
        match step {
            Step::NeedBytes => {
                assert!(down.len() < HEADER + ERROR_MAX, "{} bytes are kept back", down.len());
                let Some(piece) = pieces.next() else { break };
                down.extend(piece);
            }
            Step::Acknowledge => {
                walked.asked.push(walked.left.len());
                reply.acknowledge();
            }
            over => walked.end = Some(over),
        }
    }
    walked.outcome = reply.outcome;
    walked.sequence = reply.sequence;
    walked.whole = reply.cut_off();
    walked
}

// Whether `bytes` are whole messages, and the number after the last.
fn whole<const FULL: usize>(mut bytes: &[u8]) -> (bool, u8) {
    let (mut next, mut continues) = (0, false);
    while let Some(head) = wire::head(bytes) {
        next = head.sequence.wrapping_add(1);
        let Some(rest) = bytes.get(HEADER + head.length..) else { break };
        bytes = rest;
        continues = head.length == FULL;
    }
    (bytes.is_empty() && !continues, next)
}

/// A client's bytes do the same in pieces as at once; the first two say how long a full packet and the pieces are.
///
/// # Panics
/// When they do not.
pub fn check_request(bytes: &[u8]) {
    let [how, piece, bytes @ ..] = bytes else { return };
    let run = if how & 1 > 0 { request::<SMALL> } else { request::<{ wire::FULL }> };
    let (all, in_pieces) = (run(bytes, usize::MAX), run(bytes, usize::from(*piece)));
    assert!(all == in_pieces, "{all:?} in pieces: {in_pieces:?}");
    assert!(all.iter().map(|(_, length, _)| length).sum::<usize>() <= bytes.len());
}

/// A server's bytes do the same in pieces as at once; the first two say what they answer, how long a full packet is, and how long the pieces are.
///
/// # Panics
/// When they do not.
pub fn check_reply(bytes: &[u8]) {
    let [how, piece, bytes @ ..] = bytes else { return };
    let shapes = [Shape::Silent, Shape::One, Shape::Results, Shape::Prepared, Shape::Rows];
    let shape = shapes.get(usize::from(how & 7)).copied().unwrap_or(Shape::Results);
    let is = |bit: u8| how & bit > 0;
    let treatment = (is(8), is(16));
    let (run, split): (fn(_, _, _, _) -> _, fn(_) -> _) = if is(32) {
        (reply::<SMALL>, whole::<SMALL>)
    } else {
        (reply::<{ wire::FULL }>, whole::<{ wire::FULL }>)
    };
    let (all, in_pieces) =
        (run(bytes, usize::MAX, shape, treatment), run(bytes, usize::from(*piece), shape, treatment));
    assert!(all == in_pieces, "{all:?} in pieces: {in_pieces:?}");
    assert!(bytes.starts_with(&all.left), "{all:?}");
    assert_eq!((all.whole, all.sequence), split(&all.left), "{all:?}");
}

// The payloads of whole packets.
fn payloads(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head = wire::head(bytes)?;
        let payload = bytes.get(HEADER..HEADER + head.length)?;
        bytes = bytes.get(HEADER + head.length..)?;
        Some(payload)
    })
}

/// A client's packets at its login are read; what was understood says the same when it is written again.
///
/// # Panics
/// When it does not.
pub fn check_client(bytes: &[u8]) {
    for payload in payloads(bytes) {
        let _any = asks_for_tls(payload);
        let Some(response) = Response::parse(payload) else { continue };
        let terms = response.terms();
        assert_eq!(Terms::of(terms.number()), terms);
        if response.proof.len() < 256 {
            let capabilities = response.capabilities & !cap::LENENC_AUTH;
            let response = Response { capabilities, ..response };
            assert_eq!(Response::parse(&response.bytes()), Some(response));
        }
    }
}

/// A server's packets at a login are read; the greeting says the same when it is written again.
///
/// # Panics
/// When it does not.
pub fn check_server(bytes: &[u8]) {
    for payload in payloads(bytes) {
        let _any = Said::parse(payload);
        if let Some(greeting) = Greeting::parse(payload) {
            assert_eq!(Greeting::parse(&greeting.bytes()), Some(greeting));
        }
    }
}

/// A server's packets are read as all that they could be.
///
/// # Panics
/// When a field reaches beyond its packet.
pub fn check_fields(bytes: &[u8]) {
    for payload in payloads(bytes) {
        let _any = (wire::status_of_ok(payload), wire::status_of_eof(payload));
        // Each byte that is no UTF-8 becomes three.
        assert!(ServerError::parse(payload).message.len() <= 3 * payload.len());
        let row = super::login::row(payload, 100);
        assert!(row.iter().flatten().map(String::len).sum::<usize>() <= 3 * payload.len());
        let mut fields = Fields(payload);
        while let Some(part) = fields.counted().or_else(|| fields.zero_ended()) {
            assert!(part.len() <= payload.len());
        }
    }
}

#[cfg(test)]
mod tests;
