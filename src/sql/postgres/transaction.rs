//! Transaction control.

use crate::sql::outcome::Outcome;
use crate::sql::tokens::Reader;
use crate::sql::verdict::{Isolation, Transaction};

/// The modes of `BEGIN`, `START TRANSACTION`, `SET TRANSACTION`.
#[derive(Debug, Default)]
pub(super) struct Modes {
    pub(super) read_only: Option<bool>,
    pub(super) isolation: Option<Isolation>,
    pub(super) deferrable: Option<bool>,
}

/// Reads modes to the end; `None` when something else stands there.
pub(super) fn modes(reader: &mut Reader<'_, '_>) -> Option<Modes> {
    let mut modes = Modes::default();
    while !reader.done() {
        if reader.eat_all(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if reader.eat_all(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if reader.eat("deferrable") {
            modes.deferrable = Some(true);
        } else if reader.eat_all(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else if reader.eat_all(&["isolation", "level"]) {
            modes.isolation = Some(isolation(reader)?);
        } else if !reader.eat_kind(crate::sql::lexer::Kind::Comma) {
            return None;
        }
    }
    Some(modes)
}

fn isolation(reader: &mut Reader<'_, '_>) -> Option<Isolation> {
    if reader.eat("serializable") {
        Some(Isolation::Serializable)
    } else if reader.eat_all(&["repeatable", "read"]) {
        Some(Isolation::RepeatableRead)
    } else if reader.eat_all(&["read", "committed"]) {
        Some(Isolation::ReadCommitted)
    } else if reader.eat_all(&["read", "uncommitted"]) {
        Some(Isolation::ReadUncommitted)
    } else {
        None
    }
}

/// `BEGIN` and `START TRANSACTION`; the reader is behind the first word.
pub(super) fn begin(mut reader: Reader<'_, '_>, start: bool) -> Outcome {
    let command = if start { "START TRANSACTION" } else { "BEGIN" };
    if start && !reader.eat("transaction") {
        return Outcome::unknown(command);
    }
    if !start {
        reader.eat_any(&["work", "transaction"]);
    }
    match modes(&mut reader) {
        Some(Modes { read_only, isolation, deferrable }) => {
            let deferrable = deferrable.is_some();
            Outcome::control(command, Transaction::Begin { read_only, isolation, deferrable })
        }
        None => Outcome::unknown(command),
    }
}

/// `COMMIT`, `END`, `ROLLBACK`, `ABORT`; the reader is behind the first word.
pub(super) fn end(mut reader: Reader<'_, '_>, command: &'static str) -> Outcome {
    let commit = matches!(command, "COMMIT" | "END");
    if reader.eat("prepared") {
        let mut outcome = Outcome::command(if commit { "COMMIT PREPARED" } else { "ROLLBACK PREPARED" });
        outcome.transaction = Transaction::Other;
        return outcome;
    }
    reader.eat_any(&["work", "transaction"]);
    let chained =
        if reader.eat_all(&["and", "no", "chain"]) { false } else { reader.eat_all(&["and", "chain"]) };
    if !commit && !chained && reader.eat("to") {
        return Outcome::control("ROLLBACK TO", Transaction::Other);
    }
    if !reader.done() {
        return Outcome { transaction: Transaction::Other, ..Outcome::unknown(command) };
    }
    let transaction = match (chained, commit) {
        (true, _) => Transaction::Other,
        (false, true) => Transaction::Commit,
        (false, false) => Transaction::Rollback,
    };
    Outcome::control(command, transaction)
}
