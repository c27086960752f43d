//! What a unit came to, in neutral words.

use super::words::TxState;

/// A server's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE.
    pub sqlstate: [u8; 5],
    /// The server's text.
    pub message: String,
    /// Whether it refuses a prepared statement that was right once: prepared anew it may run.
    pub stale: bool,
}

/// How far a unit had come when the server's side broke.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// Whether any byte of the unit had been handed to the kernel.
    pub sent: bool,
    /// Whether any byte of its reply had left to the client.
    pub answered: bool,
    /// Whether the server announced the end itself, and with which SQLSTATE.
    pub sqlstate: Option<[u8; 5]>,
    /// What happened, for the log and the client.
    pub reason: String,
}

/// What a unit did, read from the reply and never from the statements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The transaction's state after it.
    pub tx: TxState,
    /// Whether any statement failed, and with which SQLSTATE.
    pub failed: Option<[u8; 5]>,
    /// Whether the server could not even read what it was sent: of a single text nothing has run then.
    pub unread: bool,
    /// Whether a completed statement changed the catalog.
    pub ddl: bool,
    /// Transactions that ended in it, and savepoints that were returned to.
    pub transactions: u16,
    /// Statements that were completed in it; counted up to the type's end.
    pub completed: u16,
    /// Whether a transaction of several statements was committed in it, or prepared to be.
    pub committed: bool,
    /// Whether somebody's notification was delivered in it.
    pub notified: bool,
    /// Whether a statement was refused that was right once; see [`Refusal::stale`].
    pub stale: bool,
}
