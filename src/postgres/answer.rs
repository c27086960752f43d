//! Answers that the proxy gives by itself, in the form that the client's own messages ask for.

use super::request::{End, Request};
use super::wire;
use crate::engine::TxState;
use crate::engine::seam::Answer;
use crate::error::ClientError;

/// Answers a whole segment; each answer with the message that it belongs to.
pub(super) fn answer(
    segment: &[u8],
    request: &Request,
    answers: &[(usize, Answer<'_>)],
    tx: TxState,
    out: &mut Vec<u8>,
) {
    if request.end == Some(End::Query) {
        for (_, answer) in answers {
            describe(answer, out);
            complete(answer, out);
        }
        wire::ready_for_query(out, tx);
        return;
    }
    // Portals and what follows a Parse are of the statement that was named last.
    let mut current = None;
    for (index, message) in request.messages.iter().enumerate() {
        current = answers.iter().find(|(part, _)| *part == index).map(|(_, answer)| answer).or(current);
        match message.tag {
            b'P' => wire::parse_complete(out),
            b'B' => wire::bind_complete(out),
            b'D' => {
                if request.kind(message, segment) == b'S' {
                    wire::parameter_description(out, &[]);
                }
                match current {
                    Some(answer @ (Answer::Row { .. } | Answer::Rows { .. })) => describe(answer, out),
                    _ => wire::no_data(out),
                }
            }
            b'E' => current.into_iter().for_each(|answer| complete(answer, out)),
            b'C' => wire::close_complete(out),
            b'S' => wire::ready_for_query(out, tx),
            _ => {}
        }
    }
}

/// Refuses a segment. The ReadyForQuery comes with it where the segment ends its unit.
pub(super) fn refuse(end: Option<End>, error: &ClientError, tx: TxState, out: &mut Vec<u8>) {
    wire::error(out, error);
    if !error.fatal && matches!(end, Some(End::Query | End::Sync | End::Function)) {
        wire::ready_for_query(out, tx);
    }
}

fn describe(answer: &Answer<'_>, out: &mut Vec<u8>) {
    match answer {
        Answer::Row { column, .. } | Answer::Rows { column, .. } => wire::row_description(out, &[column]),
        Answer::Done(_) | Answer::Empty => {}
    }
}

fn complete(answer: &Answer<'_>, out: &mut Vec<u8>) {
    let row = |value: &str, out: &mut Vec<u8>| wire::data_row(out, [Some(value.as_bytes())].into_iter());
    match answer {
        Answer::Done(tag) => wire::command_complete(out, tag),
        Answer::Empty => wire::empty_query_response(out),
        Answer::Row { value, .. } => {
            row(value, out);
            wire::command_complete(out, "SHOW");
        }
        Answer::Rows { values, .. } => {
            values.iter().for_each(|value| row(value, out));
            wire::command_complete(out, "EXPLAIN");
        }
    }
}
