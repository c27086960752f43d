//! Answers that the proxy gives by itself.

use super::wire::{self, status};
use crate::engine::TxState;
use crate::engine::seam::{Answer, Scalar};

/// The answers to one command, in packets numbered from `sequence` on.
pub(super) fn answers(
    answers: &[(usize, Answer<'_>)],
    mut sequence: u8,
    deprecates_eof: bool,
    tx: TxState,
) -> Vec<u8> {
    let mut out = Vec::new();
    let open = if tx == TxState::Idle { 0 } else { status::IN_TRANSACTION };
    for (index, (_, answer)) in answers.iter().enumerate() {
        let more = if index + 1 < answers.len() { status::MORE_RESULTS } else { 0 };
        let status = status::AUTOCOMMIT | open | more;
        sequence = match answer {
            Answer::Done(_) | Answer::Empty => wire::packets(&mut out, sequence, &wire::ok(0, status)),
            Answer::Row { column, value } => {
                rows(&mut out, sequence, column, [*value].into_iter(), (deprecates_eof, status))
            }
            Answer::Value { column, value } => {
                let value = match value {
                    Scalar::Int(number) => number.to_string(),
                    Scalar::Bool(value) => u8::from(*value).to_string(),
                };
                rows(&mut out, sequence, column, [value.as_str()].into_iter(), (deprecates_eof, status))
            }
            Answer::Rows { column, values, .. } => {
                let values = values.iter().map(String::as_str);
                rows(&mut out, sequence, column, values, (deprecates_eof, status))
            }
        };
    }
    out
}

fn rows<'a>(
    out: &mut Vec<u8>,
    sequence: u8,
    column: &str,
    values: impl Iterator<Item = &'a str>,
    (deprecates_eof, status): (bool, u16),
) -> u8 {
    let [low, high] = status.to_le_bytes();
    let eof = [0xfe, 0, 0, low, high];
    let mut sequence = wire::packets(out, sequence, &[1]);
    sequence = wire::packets(out, sequence, &definition(column));
    if !deprecates_eof {
        sequence = wire::packets(out, sequence, &eof);
    }
    for value in values {
        let mut row = Vec::with_capacity(value.len() + 9);
        wire::counted(&mut row, value.as_bytes());
        sequence = wire::packets(out, sequence, &row);
    }
    if deprecates_eof {
        wire::packets(out, sequence, &wire::ok(0xfe, status))
    } else {
        wire::packets(out, sequence, &eof)
    }
}

// A column of utf8mb4 text.
fn definition(column: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    for text in ["def", "", "", "", column, ""] {
        wire::counted(&mut out, text.as_bytes());
    }
    // Length of what follows, collation 255, length, VAR_STRING, flags, decimals, filler.
    out.extend([12, 255, 0, 0, 4, 0, 0, 253, 0, 0, 0, 0, 0]);
    out
}
