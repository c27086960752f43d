//! How a running statement is reached from outside.

use super::seam::Identity;
use std::sync::atomic::{AtomicBool, AtomicU32};
use tokio::sync::Notify;

/// How to reach a running backend from outside, for cancel requests; shared with whoever sends one.
#[derive(Debug)]
pub struct CancelTarget {
    /// The server's process or connection id.
    pub pid: u32,
    /// The secret.
    pub key: Box<[u8]>,
    /// Whether the connection is encrypted: the cancel request is then, too.
    pub tls: bool,
    /// In whose name it was opened: MySQL's cancel request is a login of its own.
    pub identity: Identity,
    /// Cancel requests on their way: while there is one, the backend must not serve anybody else.
    pub coming: AtomicU32,
    /// A unit of our own is under way that must not be cancelled: requests wait until it is over.
    pub deaf: AtomicBool,
    /// Notified when one has arrived, and when it hears again.
    pub arrived: Notify,
}

/// MySQL's cancel request, which is a statement like others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Whose.
    pub id: u32,
    /// Its connection, not only its statement.
    pub connection: bool,
}
