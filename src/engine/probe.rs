//! What an engine can tell about one of its servers, and how it is asked.

use super::Position;
use crate::config::settings::{Monitor, Node};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// What one probe of one server brought back.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Which server this is, as a new data connection can prove it (PostgreSQL: the system identifier; MySQL: a hash of its `server_uuid`).
    pub identity: u64,
    /// What all nodes of one cluster have in common (PostgreSQL: the system identifier); 0 = the engine has nothing of the kind.
    pub system: u64,
    /// Which start of the server this is (PostgreSQL: microseconds since 1970); changes with each restart.
    pub start: u64,
    /// The server's version as it says itself.
    pub version: Arc<str>,
    /// Counts the forks of the history before this point (PostgreSQL's timeline): the higher one descends from the lower. 0 where the engine
    /// has none.
    pub timeline: u32,
    /// What the server is, and how far it has come.
    pub part: Part,
    /// Connections that the server gives to ordinary users in all; 0 = not known.
    pub slots: u32,
}

/// What a server is, and how far it has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// It takes writes.
    Writable {
        /// Everything that was ever acknowledged lies at or before it, with acknowledgement before the write was durable too.
        written: Position,
        /// Everything that was acknowledged as durable lies at or before it.
        durable: Position,
        /// Some role, database or the server's default acknowledges before a write is durable: `durable` is not enough.
        early_acknowledgement: bool,
        /// Commits wait for followers that are not there: what is written now nobody receives.
        quorum_lost: bool,
        /// Servers that stream from it; `None` = not asked this time, or not allowed to see.
        followers: Option<u32>,
    },
    /// It follows another server.
    Follows {
        /// What it has received.
        received: Position,
        /// What its readers see.
        replayed: Position,
        /// Whether it is connected to a server that feeds it, as far as the account may see.
        streaming: bool,
        /// Who feeds it, as `host:port`; for people.
        upstream: Option<Arc<str>>,
        /// The age of the last write that it has replayed; `None` when it has replayed none since its start.
        replay_age: Option<Duration>,
    },
}

/// Why a probe brought nothing back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nothing listens there, or what listens says that it is starting up or shutting down: no client can be served there now.
    #[error("refused: {0}")]
    Refused(Arc<str>),
    /// No answer in time: it may be alive, and others may reach it.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(Arc<str>),
    /// The monitor's account is not let in.
    #[error("the monitor's login failed: {0}")]
    Login(Arc<str>),
    /// It answered something that is not understood.
    #[error("{0}")]
    Answer(Arc<str>),
}

/// An engine's way to ask a server about itself. One link per node stays open; a link that failed is dropped, which closes it at once.
pub trait Probe: Send + Sync + 'static {
    /// An open connection of the monitor's account.
    type Link: Send + 'static;

    /// Connects and logs in. Cancel safe: what was begun is closed.
    ///
    /// # Errors
    /// When the server cannot be reached or does not let the account in.
    fn connect(
        &self,
        node: &Node,
        monitor: &Monitor,
    ) -> impl Future<Output = Result<Self::Link, ProbeError>> + Send;

    /// Asks once, with one query (rarer facts may cost a second one now and then). Not cancel safe: drop the link then.
    ///
    /// # Errors
    /// When the answer does not come or is not understood; drop the link then.
    fn observe(&self, link: &mut Self::Link) -> impl Future<Output = Result<Observation, ProbeError>> + Send;

    /// Makes a primary's `written` position durable without waiting for any replica, so that replicas can reach it. Not cancel safe: drop the
    /// link then.
    ///
    /// # Errors
    /// When it cannot be done; drop the link then.
    fn nudge(&self, link: &mut Self::Link) -> impl Future<Output = Result<(), ProbeError>> + Send;
}
