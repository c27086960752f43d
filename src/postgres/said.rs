//! What single messages of a server say: errors, and the tags of completed statements.

use super::names::PREFIX;
use crate::engine::TxState;
use crate::engine::seam::Refusal;

/// Reads SQLSTATE and text of an ErrorResponse's body; what is missing stays empty.
pub(super) fn refusal(body: &[u8]) -> Refusal {
    let mut sqlstate = *b"XX000";
    let mut message = String::new();
    let mut revalidates = false;
    for field in body.split(|b| *b == 0) {
        match field.split_first() {
            Some((b'C', code)) => {
                if let Ok(code) = code.try_into() {
                    sqlstate = code;
                }
            }
            Some((b'M', text)) => message = String::from_utf8_lossy(text).into_owned(),
            // Texts are translated, names of routines are not.
            Some((b'R', routine)) => revalidates = routine == b"RevalidateCachedQuery",
            _ => {}
        }
    }
    // A shared statement's name is its number; the names that no statement has begin otherwise.
    let gone = || {
        let name = message.split_once(PREFIX).map_or("", |(_, name)| name);
        name.starts_with(|digit: char| digit.is_ascii_hexdigit())
    };
    let stale = match &sqlstate {
        b"0A000" => revalidates,
        b"26000" => gone(),
        _ => false,
    };
    Refusal { sqlstate, message, stale }
}

/// Whether the server could not read the text that it was sent, so that nothing of it ran: an error of its scanner (the routine's name is never
/// translated) that no statement of a function (`W`, `q`: "Error and Notice Message Fields") caused.
pub(super) fn is_unread(body: &[u8]) -> bool {
    let mut fields = body.split(|b| *b == 0);
    let inside = |field: &[u8]| matches!(field.first(), Some(b'W' | b'q'));
    fields.clone().any(|field| field == b"Rscanner_yyerror") && !fields.any(inside)
}

/// The SQLSTATE of a notice by which a server says that it ends the connection: it is shut down at once, or another of its processes has crashed.
pub(super) fn goodbye(body: &[u8]) -> Option<[u8; 5]> {
    let code = body.split(|b| *b == 0).find_map(|field| field.strip_prefix(b"C"))?;
    code.try_into().ok().filter(|code| matches!(code, b"57P01" | b"57P02"))
}

/// Whether the server ends the connection with this error.
pub(super) fn is_fatal(body: &[u8]) -> bool {
    // `V` is the severity that is never translated (since 9.6).
    body.split(|b| *b == 0).any(|field| matches!(field, b"VFATAL" | b"VPANIC"))
}

/// The transaction's state in a ReadyForQuery's body; `None` when it has none.
pub(super) fn state(body: &[u8]) -> Option<TxState> {
    match body {
        b"I" => Some(TxState::Idle),
        b"T" => Some(TxState::Open),
        b"E" => Some(TxState::Failed),
        _ => None,
    }
}

/// The first word of a completed statement's tag.
pub(super) fn verb(tag: &[u8]) -> &[u8] {
    tag.split(|b| *b == b' ').next().unwrap_or_default()
}

/// Whether a statement with this tag may have changed the catalog.
pub(super) fn changes_catalog(tag: &[u8]) -> bool {
    matches!(
        verb(tag),
        b"CREATE"
            | b"ALTER"
            | b"DROP"
            | b"GRANT"
            | b"REVOKE"
            | b"TRUNCATE"
            | b"REFRESH"
            | b"DO"
            | b"CALL"
            | b"REASSIGN"
            | b"IMPORT"
            | b"SECURITY"
            | b"REINDEX"
            | b"CLUSTER"
    ) || tag.starts_with(b"SELECT INTO")
}
