//! What the answers mean to the messages that were sent for a client, or for ourselves among its own.

/// What the reply to one Parse that we sent means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseReply {
    /// The client's own, of the part with that index; the statement (if shared) is now on the backend.
    Client {
        /// Index of the part.
        part: u16,
        /// Shared statement; `None` for the anonymous one.
        statement: Option<u64>,
    },
    /// The client's own anonymous one, which is shared with nobody: that of the part with that index.
    Private(u16),
    /// Ours: swallowed; the statement is now on the backend.
    Ours(u64),
    /// Ours, for the anonymous statement: swallowed. It is that shared one from then on; 0 = what follows it ends or replaces it.
    OursAnonymous(u64),
}

/// What the reply to one Close that we sent means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReply {
    /// The client's own, of the part with that index.
    Client(u16),
    /// Ours: swallowed.
    Ours,
    /// Ours, of that shared statement, to make room: swallowed.
    Evicted(u64),
    /// Stands for the ParseComplete of the part with that index: the statement was on the backend already.
    BecomesParse(u16),
}
