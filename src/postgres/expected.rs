//! What the answers mean to the messages that were sent for a client, or for ourselves among its own.

use super::wire::Fields;
use crate::engine::seam::Prepared;
use foldhash::quality::FixedState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

/// What the reply to one Parse that we sent means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseReply {
    /// The client's own, of the part with that index; the statement (if shared) is now on the backend.
    Client {
        /// Index of the part.
        part: u32,
        /// Shared statement.
        statement: u64,
    },
    /// The client's own anonymous one, of the part with that index.
    Anonymous {
        /// Index of the part.
        part: u32,
        /// Which shared statement it is; 0 = what follows it ends or replaces it.
        id: u64,
    },
    /// The client's own anonymous one, which is shared with nobody: that of the part with that index.
    Private(u32),
    /// Ours: swallowed; the statement is now on the backend.
    Ours(u64),
    /// The client's own, of a name that it has already: the server refuses it.
    Refused,
    /// Ours, for the anonymous statement: swallowed. It is that shared one from then on; 0 = what follows it ends or replaces it.
    OursAnonymous(u64),
}

/// What the reply to one Close that we sent means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReply {
    /// The client's own, of the part with that index.
    Client(u32),
    /// Ours: swallowed.
    Ours,
    /// Ours, of that shared statement, to make room or to prepare it anew: swallowed.
    Evicted(u64),
    /// Ours, of that shared statement, of which nobody knew whether it was there: swallowed.
    Doubtful(u64),
    /// Stands for the ParseComplete of the part with that index: the statement was on the backend already.
    BecomesParse(u32),
}

/// A description that was asked for and has not come yet.
#[derive(Debug)]
pub struct Described {
    /// Of which shared statement; `None` = of something else.
    pub statement: Option<Arc<Prepared>>,
    /// Ours: swallowed.
    pub ours: bool,
}

/// A hash, never 0, of what a RowDescription (the whole message) says of the columns' names and types, or of a NoData. In which tables and formats they
/// are does not matter: the server lets a statement whose result keeps names and types run on.
pub(super) fn columns(message: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(0x7072_696d_6163_7932).build_hasher();
    if let Some((b'T', rest)) = message.split_first() {
        let mut fields = Fields(rest.get(4..).unwrap_or_default());
        let count = fields.i16().unwrap_or(0);
        for _ in 0..count {
            let (name, _table) = (fields.cstr(), fields.bytes(6));
            let (kind, _size, modifier, _format) = (fields.u32(), fields.i16(), fields.u32(), fields.i16());
            (name, kind, modifier).hash(&mut hasher);
        }
    }
    hasher.finish() | 1
}
