//! The door of the seam: how a client comes in, before it is a session.

use super::identity::Credentials;
use super::seam::{Backend, CancelTarget, Engine, Identity};
use super::table::Reply;
use crate::config::settings::{Cluster, Node};
use crate::error::{ClientError, Fault, Retry};
use crate::net::stream::Stream;
use futures_util::future::BoxFuture;
use std::future::Future;
use std::io;
use std::sync::Arc;

/// The servers that may be asked about users and catalogs, best first: the current primary, then the others.
pub type Nodes = Arc<dyn Fn() -> Vec<Arc<Node>> + Send + Sync>;

/// What a client is greeted with by engines whose servers speak first.
pub struct Caller<'a> {
    /// The id that its session will have.
    pub id: u32,
    /// The version of the cluster's servers, where one of them has said it.
    pub version: &'a (dyn Fn() -> Option<Arc<str>> + Send + Sync),
    /// The names of databases that may be the console's: what the servers' rules say of databases is not meant for it.
    pub consoles: [&'a str; 2],
}

/// A client that has proved who it is (or given its password) and waits to be told.
#[derive(Debug)]
pub struct Guest {
    /// Its connection.
    pub client: Stream,
    /// Who it is.
    pub user: Arc<str>,
    /// The database that it asked for.
    pub database: Arc<str>,
    /// Session settings to start with.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// Its words, if it wants to be a replication connection.
    pub replication: Option<Box<str>>,
    /// With what backends are opened in its name.
    pub credentials: Arc<Credentials>,
    /// Whether only a login to a server proves its password.
    pub unproven: bool,
    /// Whether the servers' limits do not bind it.
    pub superuser: bool,
    /// See [`Identity::terms`](super::seam::Identity::terms).
    pub terms: u64,
    /// How many bytes the secret of its cancel requests has.
    pub cancel_key: usize,
    /// Where its handshake stands, for the engine's own last word of it (MySQL: the next packet's number).
    pub step: u8,
}

/// Who knocks.
#[derive(Debug)]
pub enum Knock {
    /// Somebody wants a statement cancelled.
    Cancel {
        /// The id that we gave to the session.
        id: u32,
        /// The secret that we gave with it.
        secret: Vec<u8>,
    },
    /// A client.
    Guest(Box<Guest>),
}

/// Why nobody came in; whoever it was has been told.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct TurnedAway {
    /// For the log.
    pub why: String,
    /// Whether it may have been guessing a password.
    pub guess: bool,
    /// Whose fault.
    pub fault: Fault,
}

/// A server connection that a client has for itself, to be passed through byte for byte.
#[derive(Debug)]
pub struct Through {
    /// It.
    pub server: Stream,
    /// What the server said of its settings.
    pub settings: Vec<(Box<str>, Box<str>)>,
    /// How what runs on it is cancelled.
    pub target: Arc<CancelTarget>,
}

/// The servers' own limits of a user and a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the user, over all databases.
    pub user: Option<u32>,
    /// Of the database, over all users.
    pub database: Option<u32>,
}

/// An engine's door.
pub trait Front: Engine {
    /// What listeners know of who may come in. Replaced whole on reload.
    type Door: Send + Sync + 'static;

    /// Builds the door and the loader of catalogs. `secret` is random, one per process.
    ///
    /// # Errors
    /// Certificates or listed users' verifiers that cannot be read.
    fn door(settings: &Cluster, nodes: Nodes, secret: [u8; 32])
    -> Result<(Self::Door, Self::Loader), String>;

    /// Takes a new connection through its login, up to the proof.
    fn knock(
        client: Stream,
        door: &Self::Door,
        caller: &Caller<'_>,
    ) -> impl Future<Output = Result<Knock, TurnedAway>> + Send;

    /// Whether `user` may enter `database` (its name on the servers), in the servers' own order and words.
    fn access(
        door: &Self::Door,
        user: &str,
        database: &str,
    ) -> impl Future<Output = Result<Limits, ClientError>> + Send;

    /// Opens a connection to `node` for one client alone, with its own start-up `parameters`; `kind`: [`Guest::replication`]. The error is what
    /// the client is told, and whether another try may do.
    fn through(
        connector: &<Self::Backend as Backend>::Connector,
        node: &Node,
        identity: &Identity,
        kind: &str,
        parameters: &[(Box<str>, Box<str>)],
    ) -> impl Future<Output = Result<Through, (Retry, ClientError)>> + Send;

    /// Tells the client that it is in: its settings, its id and secret. `step`: [`Guest::step`].
    fn welcome(
        client: &mut Stream,
        step: u8,
        settings: &[(Box<str>, Box<str>)],
        id: u32,
        secret: &[u8],
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Serves the client a console instead of a database: greets it with `version`, and answers each of its texts by `execute` until it leaves.
    fn console(
        client: Stream,
        step: u8,
        version: &str,
        execute: impl Fn(String) -> BoxFuture<'static, Reply> + Send + Sync,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// How many bytes the message of a server has that begins with `head`; `None`: that takes more of it.
    fn message_length(head: &[u8]) -> Option<usize>;

    /// Tells a client that it cannot come in, or not stay. `step`: [`Guest::step`].
    fn turn_away(
        client: &mut Stream,
        step: u8,
        error: &ClientError,
    ) -> impl Future<Output = io::Result<()>> + Send;
}
