//! Backend connections: who has one, who waits for one, when one is closed. Nothing here does I/O: the caller connects, the
//! pool counts places and hands backends over. Why not a pool from the shelf: `docs/adr/0001-own-pool-for-client-traffic.md`.

mod budget;
mod core;
mod lease;
mod limits;
mod pins;
#[expect(clippy::module_inception, reason = "the pool is what this module is about")]
mod pool;
mod pools;
mod upkeep;
mod waiter;

#[cfg(test)]
mod tests;

pub use budget::NodeBudget;
pub use lease::{Lease, Permit, Taken};
pub use limits::Limits;
pub use pins::{PinEntry, PinRow, PinTable};
pub use pool::{Pool, PoolStats};
pub use pools::{PoolKey, Pools};
pub use waiter::Slot;

pub use crate::engine::pooled::Pooled;
use crate::engine::tracked::Customs;

/// What a backend is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A read.
    Read,
    /// A write, or what may be one.
    Write,
}

/// What a session asks a pool for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The session state that it needs, as [`Pooled::state_key`] says it.
    pub state_key: u64,
    /// The custom settings that it has ever set: a backend on which others were set is not lent to it.
    pub customs: Customs,
    /// What for.
    pub purpose: Purpose,
}

/// Why a pool hands out nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// The pool was closed: its database, user or node left the configuration, or the process ends.
    #[error("the pool is closed")]
    Closed,
}

/// Why a backend cannot be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// `pool.pinned` backends of this node are pinned.
    #[error("the limit of {limit} pinned connections to this node is reached")]
    Full {
        /// The limit.
        limit: u32,
    },
}
