//! The decoders of the data path over bytes that come in pieces, as sockets give them: what fuzzing and property tests call.

use super::reply::{Reply, Step};
use super::request::{End, Request, SEGMENT_MAX, bound_text};
use crate::engine::seam::{Outcome, Treatment};
use crate::error::ClientError;
use crate::net::buffer::Buffer;
use std::ops::Range;

/// What of one message is seen when its text is not too long: its tag, its length, and its name and text.
pub type Seen = (u8, usize, Vec<u8>, Vec<u8>);

/// Frames `bytes`, as a client sends them in pieces of `piece` bytes, segment after segment up to an unfinished one: its messages, whatever the segments
/// are.
///
/// # Errors
/// As [`Request::frame`].
pub fn request(bytes: &[u8], piece: usize) -> Result<Vec<Seen>, ClientError> {
    let (mut request, mut seen, mut start, mut end) = (Request::default(), Vec::new(), 0, 0);
    while end < bytes.len() {
        end = end.saturating_add(piece.max(1)).min(bytes.len());
        while let Some(segment) = bytes.get(start..end)
            && request.frame(segment)?
        {
            let get = |range: &Range<usize>| segment.get(range.clone()).unwrap_or_default().to_vec();
            let streams = if let Some(End::Streaming(left)) = request.end { left } else { 0 };
            for (index, message) in request.messages.iter().enumerate() {
                let _any = request.part(index, segment);
                let _any = bound_text(segment.get(message.rest.clone()).unwrap_or_default(), 0);
                let last = index + 1 == request.messages.len();
                let length = message.span.len() + if last { streams } else { 0 };
                let text = if length < SEGMENT_MAX { get(&message.text) } else { Vec::new() };
                seen.push((message.tag, length, get(&message.name), text));
            }
            if request.end == Some(End::Terminate) {
                return Ok(seen);
            }
            start += request.length + streams;
            request.restart(matches!(request.end, Some(End::Flush | End::Streaming(_))));
        }
    }
    Ok(seen)
}

/// Walks over `bytes`, as a server's reply to a unit that is treated like `treatment`, as they come in pieces of `piece` bytes: what left to the client, how each step but a wait ended, and what it came to.
#[must_use]
pub fn reply(bytes: &[u8], piece: usize, treatment: Treatment) -> (Vec<u8>, Vec<Step>, Outcome) {
    let (mut reply, mut down) = (Reply::default(), Buffer::default());
    reply.treatment = treatment;
    let (mut left, mut steps) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        down.extend(piece);
        loop {
            let step = reply.advance(&mut down);
            let over = matches!(step, Step::Fatal(_) | Step::Violation(_));
            if over || matches!(step, Step::Refused(_)) {
                reply.let_go();
                reply.noted();
            }
            left.extend(down.bytes().get(..reply.released).unwrap_or_default());
            down.consume(reply.released);
            reply.left(reply.released);
            match step {
                Step::NeedBytes => break,
                // How often depends on the pieces.
                Step::News => {
                    reply.noted();
                    continue;
                }
                Step::Acknowledge => reply.acknowledge(),
                Step::End => reply.conclude(),
                _ => {}
            }
            steps.push(step);
            if over {
                return (left, steps, reply.outcome);
            }
        }
    }
    (left, steps, reply.outcome)
}

/// A client's bytes do the same in pieces as at once; the first says how long the pieces are.
///
/// # Panics
/// When they do not.
pub fn check_request(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let piece = request(bytes, usize::from(*piece));
    // Longer ones may be streamed, or not, depending on how they come.
    if bytes.len() < SEGMENT_MAX {
        let (whole, piece) = (request(bytes, usize::MAX).ok(), piece.ok());
        assert!(whole == piece, "{whole:?} in pieces: {piece:?}");
    }
}

/// A server's bytes do the same in pieces as at once; the first two say how they are treated and how long the pieces are.
///
/// # Panics
/// When they do not.
pub fn check_reply(bytes: &[u8]) {
    let [how, piece, bytes @ ..] = bytes else { return };
    let is = |bit: u8| how & bit > 0;
    let treatment = Treatment {
        hold_back: is(1),
        ask_gate: is(2),
        report_settings: is(4),
        within: is(8),
        ..Treatment::default()
    };
    let piece = reply(bytes, usize::from(*piece), treatment);
    // A reply that is held back is let go when it is long.
    if bytes.len() < SEGMENT_MAX {
        let whole = reply(bytes, usize::MAX, treatment);
        assert!(whole == piece, "{whole:?} in pieces: {piece:?}");
    }
}
