//! The session side of the seam: what an engine must be able to do with the bytes of one client and one backend, so that the session loop
//! is written once. Everything is polled: no future of an engine is embedded in the session's.

pub use super::cancel::{CancelTarget, Kill};
use super::carrier::Carrier;
use super::identity::Credentials;
use super::pooled::Pooled;
use super::tracked::Tracked;
use super::words::{Class, Dialect, Dirt, Drawn, PinReason, TxState, Unasked};
use crate::clock::Tick;
use crate::config::settings::{Cluster, Node};
use crate::error::{ClientError, Fault, Retry};
use crate::net::stream::Stream;
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use super::answer::{Answer, Scalar};
pub use super::edit::{By, Edited, Replaced, ReturnForm};
pub use super::outcome::{Lost, Outcome, Refusal};
pub use super::prepared::{Confirmed, Form, PREFIX, Prepared, Resolution};

/// One database protocol, seen from a session.
pub trait Engine: Sized + Send + Sync + 'static {
    /// The buffers and protocol state of one exchange; taken from a free list when bytes arrive, returned at idle.
    type Exchange: Exchange<Backend = Self::Backend>;
    /// A connection to a server.
    type Backend: Backend;
    /// How databases are asked about themselves.
    type Loader: crate::engine::CatalogLoader;
    /// What listens for all sessions of a database.
    type Ear: super::ear::Ear<Connector = <Self::Backend as Backend>::Connector>;
    /// Whose SQL it is.
    const DIALECT: Dialect;
}

/// What the client sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// A segment is framed: its parts can be judged.
    Segment,
    /// The client says goodbye, or its connection is at its end.
    Goodbye,
}

/// One step of a unit, in neutral words; borrowed from the exchange's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A text that is run at once.
    Text(&'a [u8]),
    /// A statement is prepared under `name` (empty = the anonymous one). `body` is what the server needs to prepare it again.
    Prepare {
        /// The client's name for it.
        name: &'a [u8],
        /// Its text.
        text: &'a [u8],
        /// Text and parameter types in the engine's own form.
        body: &'a [u8],
    },
    /// A prepared statement is bound, run or described.
    Use {
        /// The client's name for it.
        name: &'a [u8],
        /// Whether it is run (else only described).
        runs: bool,
    },
    /// A prepared statement is given up.
    Forget {
        /// The client's name for it.
        name: &'a [u8],
    },
    /// What was bound is described before it runs.
    Portal,
    /// Belongs to what came before it, or does nothing by itself.
    Neutral,
    /// Something whose text is not judged: its class is known by its kind alone, and it may leave what this reason names on the backend.
    Opaque(Class, PinReason),
    /// The beginning of a text (or statement) that is too long to be kept: it streams.
    Long(&'a [u8]),
}

/// How a reply is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Treatment {
    /// Nothing leaves before the first row, completion or notice: until then the unit can be run again elsewhere.
    pub hold_back: bool,
    /// The success is not passed on before the session has asked the gate.
    pub ask_gate: bool,
    /// Changes of reported settings are the client's own (a primary's); else they are swallowed.
    pub report_settings: bool,
    /// The client is told of statements that may yet be run elsewhere: what it is told is remembered.
    pub remember: bool,
    /// Before the unit's end is passed on, outside a transaction, the session is asked: it may have notifications to put in front.
    pub ask_end: bool,
    /// The client is in a transaction of which the server knows nothing: it is told of it at the unit's end.
    pub within: bool,
}

/// What a relay came to.
#[derive(Debug)]
pub enum Relay {
    /// A success stands at the door: the session asks the gate, then calls `release` (or refuses).
    Acknowledge,
    /// An error or a notification stands at the door, and may tell of a write: the session notes the instant, then calls `noted`.
    News,
    /// The unit's end stands at the door, outside a transaction: the session may `notify`, then calls `conclude`.
    End(Outcome),
    /// The server refused before anything left: the session decides; `repeat` drops the answer, `release` passes it on.
    Refused(Box<Refusal>),
    /// The client sent more of the same unit.
    More,
    /// The unit is answered, and the answer is with the client.
    Settled(Outcome),
    /// The server's side broke.
    BackendLost(Box<Lost>),
    /// The client's side broke, or left.
    ClientLost,
}

/// The buffers and protocol state of one client's exchange with one backend: a sans-I/O object, stepped by poll.
pub trait Exchange: Default + Send + Sync + 'static {
    /// The server side it talks to.
    type Backend: Backend;

    /// Reads until a segment of a unit is framed. `Pending` while nothing is there: [`Exchange::is_idle`] tells whether the session may sleep.
    ///
    /// # Errors
    /// A protocol violation by the client: it is told, and the connection ends.
    fn poll_segment(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
    ) -> Poll<Result<Inbound, ClientError>>;

    /// It serves a client of these terms now; see [`Identity::terms`].
    fn agree(&mut self, terms: u64);

    /// Takes bytes that were read before the exchange began.
    fn feed(&mut self, bytes: &[u8]);

    /// Whether it holds nothing of the client: it may go back to the free list.
    fn is_idle(&self) -> bool;

    /// Whether a unit has begun and its end has not been framed yet: the next segment belongs to it.
    fn is_mid_unit(&self) -> bool;

    /// Ends the unit under way, of which nothing has run, in front of the framed segment: that begins a unit of its own, or is ignored if what came
    /// before it fails. False: it cannot be parted from it.
    fn end_early(&mut self) -> bool {
        false
    }

    /// Whether the framed segment goes on with a unit that another server described statements for: see [`Exchange::is_described_alike`].
    fn is_moved(&self) -> bool {
        false
    }

    /// Whether `backend` describes those statements as the client was told, byte for byte; they are prepared there anew.
    fn is_described_alike(
        &self,
        _backend: &mut Self::Backend,
    ) -> impl Future<Output = io::Result<bool>> + Send {
        std::future::ready(Ok(true))
    }

    /// Whether the framed segment does not end its unit.
    fn is_open(&self) -> bool {
        false
    }

    /// Whether the unit under way has failed: whatever the client still sends of it is ignored by the server.
    fn is_skipping(&self) -> bool {
        false
    }

    /// Number of parts of the framed segment.
    fn parts(&self) -> usize;

    /// Parts of the unit's earlier segments: part numbers of a unit go on over its segments.
    fn base(&self) -> usize;

    /// Bytes of the client that it holds.
    fn held(&self) -> usize;

    /// The `index`-th part.
    fn part(&self, index: usize) -> Part<'_>;

    /// The bytes of the framed segment.
    fn bytes(&self) -> &[u8] {
        &[]
    }

    /// Whether what the framed segment binds runs within it, and none of it may be run on later in its transaction.
    fn is_self_contained(&self) -> bool {
        false
    }

    /// The number of parts in front that bind and run one statement to its end, if more follows.
    fn first(&self) -> Option<usize> {
        None
    }

    /// Answers so many parts in front by ourselves; what follows them is framed anew, as a unit of its own.
    fn answer_first(&mut self, _parts: usize, _answer: Answer<'_>) {}

    /// Whether the framed unit is a [`Kill`] and nothing else.
    fn kill(&self) -> Option<Kill> {
        None
    }

    /// What the name of the `index`-th part stands for.
    fn resolve(&mut self, index: usize, resolution: Resolution);

    /// The text value of the `parameter`-th parameter (0-based) that the first run of the `index`-th part's statement binds.
    fn parameter(&self, index: usize, parameter: u16) -> Option<&[u8]>;

    /// Puts the unit of our own that brings `backend` to these settings in front of what `compose` makes ready, to leave in the same write. Only for
    /// what [`Carrier::may_carry_ahead`]: a refusal counts as the loss of the backend.
    fn precede(&mut self, _backend: &mut Self::Backend, _wanted: &Arc<Tracked>) {}

    /// Makes the framed segment ready to be sent to `backend`, preparing there what it needs.
    fn compose(&mut self, backend: &mut Self::Backend, treatment: Treatment);

    /// The text with other words in their places; `alone`: it must stay one statement.
    fn edit(_text: &[u8], _replaced: &[Replaced<'_>], _alone: bool) -> Edited {
        Edited::default()
    }

    /// Sends, receives and passes on.
    fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        backend: &mut Self::Backend,
    ) -> Poll<Relay>;

    /// The session has taken over what a settled unit did: its last segment is let go.
    fn finish(&mut self);

    /// Lets what is held back go; nothing of this unit can be run again.
    fn release(&mut self);

    /// Lets go what told of a write, or may have.
    fn noted(&mut self) {}

    /// Lets the unit's end go.
    fn conclude(&mut self) {}

    /// Passes a notification on, as one of the server's process `pid`: where the client stands between units, or in front of the end that stands at the
    /// door.
    fn notify(&mut self, _pid: u32, _message: &super::ear::Message) {}

    /// What a backend says of these channels is dropped: the client is notified otherwise.
    fn mute(&mut self, _channels: Option<&Arc<BTreeSet<Arc<str>>>>) {}

    /// Drops the held-back answer and drains the rest of it, so that `compose` can follow with another backend.
    fn poll_repeat(&mut self, cx: &mut Context<'_>, backend: &mut Self::Backend) -> Poll<io::Result<()>>;

    /// Forgets what was sent and answered of this unit, so that `compose` can follow with another backend after this one was lost.
    fn rewind(&mut self);

    /// Whether the framed segment is still whole here: `rewind` and `compose` can send it again.
    fn can_rewind(&self) -> bool;

    /// Drops what the client has not had yet of an answer that breaks off. False when the client has had half of a message: nothing can
    /// follow then.
    fn abandon_reply(&mut self) -> bool;

    /// Settings that the server reported in this unit and that the client was told of, to be taken over by the session.
    fn reported(&mut self) -> &mut Vec<(Box<str>, Box<str>)>;

    /// What the server confirmed of names in this unit.
    fn confirmed(&self) -> &Confirmed;

    /// Answers the framed unit by ourselves: for each text, and for each statement that is prepared, described or run in it, the part and the answer.
    fn answer(&mut self, answers: &[(usize, Answer<'_>)], tx: TxState);

    /// Answers the framed unit (or what is left of it) with an error; skips to where the protocol goes on.
    fn refuse(&mut self, error: &ClientError, tx: TxState);

    /// A setting that the client is to be told of before the unit ends.
    fn tell_setting(&mut self, name: &str, value: &str);

    /// What the server reports of that setting in this unit is not the client's business; `instead` it is told another value.
    fn withhold_setting(&mut self, _name: &str, _instead: Option<&str>) {}

    /// A warning that the client is to be given before the unit ends.
    fn warn(&mut self, _notice: &ClientError) {}

    /// Writes what `answer`, `refuse` or a notice left to be written.
    fn poll_flush(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<()>>;

    /// Passes on what a backend that the session holds said by itself (notifications, notices).
    fn poll_unsolicited(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        backend: &mut Self::Backend,
    ) -> Poll<Result<Unasked, Lost>>;

    /// Gives memory beyond the usual back; called when it is idle.
    fn shrink(&mut self);

    /// Bytes received from and sent to the client since the last call.
    fn traffic(&mut self) -> (u64, u64);
}

/// Settings that a server reported, by name in its own spelling.
pub type Reported = Vec<(Box<str>, Box<str>)>;

/// What a new backend said of the server it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// Which system; see `NodeView::identity`.
    pub identity: u64,
    /// Which start of it; see `NodeView::start`.
    pub start: u64,
    /// Whether it takes writes.
    pub writable: bool,
}

/// Why a backend could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct OpenError {
    /// Whose fault.
    pub fault: Fault,
    /// Whether and where to try again.
    pub retry: Retry,
    /// The server's own SQLSTATE, when it answered.
    pub sqlstate: Option<[u8; 5]>,
    /// The server's own error number, where its protocol has them; 0 = none.
    pub errno: u16,
    /// What happened, naming the node.
    pub message: String,
}

/// In whose name, and where to, a backend is opened.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Login name.
    pub user: Arc<str>,
    /// The database's name on the servers.
    pub database: Arc<str>,
    /// What proves it.
    pub credentials: Arc<Credentials>,
    /// What the handshake agreed on for the connection's whole life, in the engine's own form (MySQL: capabilities and collation): a client's
    /// backends have the same. 0 where the protocol has nothing of the kind.
    pub terms: u64,
    /// Start-up settings. A pool's backends have none: what is given at the start is what a server's RESET returns to.
    pub first: Arc<Tracked>,
}

/// A connection to a server.
pub trait Backend: Pooled + Carrier + Sync + Sized {
    /// What an engine needs to open backends: TLS towards the servers and the like.
    type Connector: Send + Sync + 'static;

    /// Makes the connector of a cluster.
    ///
    /// # Errors
    /// A certificate authority that cannot be read.
    fn connector(settings: &Cluster) -> Result<Self::Connector, String>;

    /// Connects and logs in, and asks the server which system it is.
    fn open(
        connector: &Self::Connector,
        node: &Node,
        identity: &Identity,
    ) -> impl Future<Output = Result<(Self, Birth), OpenError>> + Send;

    /// All settings that the server has reported to this backend, by name in the server's own spelling.
    fn parameters(&self) -> &[(Box<str>, Box<str>)];

    /// What the server reported of a setting, by its name in lower case, before anybody had set it.
    fn own_parameter(&self, _name: &str) -> Option<&str> {
        None
    }

    /// The narrowest reset that covers `dirt`.
    ///
    /// # Errors
    /// The backend cannot be cleaned and must be closed.
    fn reset(&mut self, dirt: Dirt) -> impl Future<Output = io::Result<()>> + Send;

    /// Which kinds of [`super::words::PROBED`] state are left on it, in that order; asked as a unit of its own, outside a transaction.
    ///
    /// # Errors
    /// The backend is lost.
    fn left(&mut self) -> impl Future<Output = io::Result<[bool; 4]>> + Send {
        std::future::ready(Ok([true; 4]))
    }

    /// Forgets values of sequences, so that the next session cannot see them.
    ///
    /// # Errors
    /// The backend must be closed.
    fn discard_sequences(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Begins a transaction by this text, as a unit of its own; [`Backend::tx`] tells what came of it.
    ///
    /// # Errors
    /// The backend is lost.
    fn begin(&mut self, _text: &str) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// What it must go through before anybody else may have it.
    fn dirt(&self) -> Dirt;

    /// Something ran on it that leaves `dirt`.
    fn soil(&mut self, dirt: Dirt);

    /// Whose values of sequences it remembers; [`Backend::discard_sequences`] clears it.
    fn drawn(&self) -> Drawn;

    /// A statement may have changed that.
    fn set_drawn(&mut self, drawn: Drawn);

    /// Every prepared statement on it is gone: the client's own `DISCARD ALL` ran there.
    fn forget_statements(&mut self);

    /// Whether the shared statement of that id is there for sure, or may be; `None` = it is not there.
    fn standing(&self, _id: u64) -> Option<bool> {
        None
    }

    /// The shared statement of that id was prepared there by a client's own text.
    fn gained(&mut self, _id: u64) {}

    /// Whether the shared statement of that id is there is not known any more.
    fn doubt(&mut self, _id: u64) {}

    /// Prepares statements anew, whatever stands there under their names, as units of their own, and learns their columns. What a server
    /// refused first.
    fn prepare(
        &mut self,
        _statements: &[Arc<Prepared>],
    ) -> impl Future<Output = io::Result<Option<ClientError>>> + Send {
        std::future::ready(Ok(None))
    }

    /// Drops shared statements, as a unit of its own.
    fn drop_statements(&mut self, _ids: &[u64]) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// It serves the client of that id now.
    fn lend_to(&mut self, client: u32);

    /// The transaction's state as the server last said.
    fn tx(&self) -> TxState;

    /// For cancel requests.
    fn cancel_target(&self) -> &Arc<CancelTarget>;

    /// Cancels what runs at `target` on `node`, and waits until the server has taken it.
    fn cancel(
        connector: &Self::Connector,
        node: &Node,
        target: &CancelTarget,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Ready when the server has said something by itself, or has gone.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// When it was opened.
    fn opened_at(&self) -> Tick;
}
