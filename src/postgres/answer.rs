//! Answers that the proxy gives by itself, in the form that the client's own messages ask for.

use super::request::{End, Message, Request};
use super::table::Kind;
use super::wire;
use crate::engine::TxState;
use crate::engine::seam::{Answer, Scalar};
use crate::error::ClientError;

/// Answers a whole segment; each answer with the message that it belongs to, and `told` in front of the end.
pub(super) fn answer(
    segment: &[u8],
    request: &Request,
    answers: &[(usize, Answer<'_>)],
    (tx, told): (TxState, &[u8]),
    out: &mut Vec<u8>,
) {
    if request.end == Some(End::Query) {
        for (_, answer) in answers {
            describe(answer, false, out);
            complete(answer, false, out);
        }
        out.extend_from_slice(told);
        wire::ready_for_query(out, tx);
        return;
    }
    answer_each(segment, &request.messages, answers, (tx, told), out);
}

/// Answers messages of the extended protocol.
pub(super) fn answer_each(
    segment: &[u8],
    messages: &[Message],
    answers: &[(usize, Answer<'_>)],
    (tx, mut told): (TxState, &[u8]),
    out: &mut Vec<u8>,
) {
    // Portals and what follows a Parse are of the statement that was named last.
    let mut current = None;
    let mut binary = false;
    for (index, message) in messages.iter().enumerate() {
        current = answers.iter().find(|(part, _)| *part == index).map(|(_, answer)| answer).or(current);
        match message.tag {
            b'P' => wire::parse_complete(out),
            b'B' => {
                binary = is_binary(segment.get(message.rest.clone()).unwrap_or_default());
                wire::bind_complete(out);
            }
            b'D' => {
                let statement = message.kind(segment) == b'S';
                if message.kind(segment) == b'S' {
                    wire::parameter_description(out, &[]);
                }
                match current {
                    Some(answer @ (Answer::Row { .. } | Answer::Rows { .. } | Answer::Value { .. })) => {
                        describe(answer, binary && !statement, out);
                    }
                    _ => wire::no_data(out),
                }
            }
            b'E' => current.into_iter().for_each(|answer| complete(answer, binary, out)),
            b'C' => wire::close_complete(out),
            b'S' => {
                out.extend_from_slice(std::mem::take(&mut told));
                wire::ready_for_query(out, tx);
            }
            _ => {}
        }
    }
    out.extend_from_slice(told);
}

/// Refuses a segment. The ReadyForQuery comes with it where the segment ends its unit.
pub(super) fn refuse(end: Option<End>, error: &ClientError, tx: TxState, out: &mut Vec<u8>) {
    wire::error(out, error);
    if !error.fatal && matches!(end, Some(End::Query | End::Sync | End::Function)) {
        wire::ready_for_query(out, tx);
    }
}

// Whether a Bind (behind its statement's name) asks for results in the binary format.
fn is_binary(rest: &[u8]) -> bool {
    let mut fields = wire::Fields(rest);
    let mut asked = || {
        let formats = usize::try_from(fields.i16()?).ok()?;
        fields.bytes(formats * 2)?;
        for _ in 0..fields.i16()? {
            let length = usize::try_from(fields.i32()?).unwrap_or(0);
            fields.bytes(length)?;
        }
        let results = fields.i16()?;
        if results > 0 { fields.i16() } else { Some(0) }
    };
    asked() == Some(1)
}

fn describe(answer: &Answer<'_>, binary: bool, out: &mut Vec<u8>) {
    match answer {
        Answer::Row { column, .. } | Answer::Rows { column, .. } => wire::row_description(out, &[column]),
        Answer::Value { column, value } => {
            let kind = match value {
                Scalar::Int(_) => Kind::Int4,
                Scalar::Bool(_) => Kind::Bool,
            };
            super::table::column_description(out, column, kind, binary);
        }
        Answer::Done(_) | Answer::Empty => {}
    }
}

fn complete(answer: &Answer<'_>, binary: bool, out: &mut Vec<u8>) {
    let row = |value: &[u8], out: &mut Vec<u8>| wire::data_row(out, [Some(value)].into_iter());
    match answer {
        Answer::Done(tag) => wire::command_complete(out, tag),
        Answer::Empty => wire::empty_query_response(out),
        Answer::Row { value, .. } => {
            row(value.as_bytes(), out);
            wire::command_complete(out, "SHOW");
        }
        Answer::Rows { values, tag, .. } => {
            values.iter().for_each(|value| row(value.as_bytes(), out));
            wire::command_complete(out, tag);
        }
        Answer::Value { value, .. } => {
            match value {
                Scalar::Int(number) if binary => row(&number.to_be_bytes(), out),
                Scalar::Int(number) => row(number.to_string().as_bytes(), out),
                Scalar::Bool(value) if binary => row(&[u8::from(*value)], out),
                Scalar::Bool(value) => row(if *value { b"t" } else { b"f" }, out),
            }
            wire::command_complete(out, "SELECT 1");
        }
    }
}
