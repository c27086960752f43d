//! The neutral words that cross the seam between the engines and everything else.

use std::fmt;

/// A node of a cluster: its index in the configuration's order, stable while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u8);

/// The most nodes that one cluster can have: node sets are bit masks.
pub const NODES_MAX: usize = 64;

/// A set of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeSet(pub u64);

impl NodeSet {
    /// No node.
    pub const EMPTY: Self = Self(0);

    /// This set and `node`.
    #[must_use]
    pub fn with(self, node: NodeId) -> Self {
        Self(self.0 | 1 << node.0)
    }

    /// This set without `node`.
    #[must_use]
    pub fn without(self, node: NodeId) -> Self {
        Self(self.0 & !(1 << node.0))
    }

    /// Whether `node` is in it.
    #[must_use]
    pub fn has(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }
}

/// Counts the changes of primary that this process has seen (and, later, that the cluster has recorded). 0 = no primary yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch(pub u64);

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    Mysql,
    /// MariaDB: MySQL with `/*M! … */` comments and a few commands of its own.
    Mariadb,
}

/// What a statement does, from the weakest to the strongest; of several statements the strongest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing but read: a replica may serve it.
    Read,
    /// Describes *the server*: the primary, but nothing is written.
    NodeLocal,
    /// May write, lock, or do what is not known: the primary, and it raises floors.
    Write,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::NodeLocal => "node-local",
            Self::Write => "write",
        })
    }
}

/// The state of a session's transaction, as the server's status byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TxState {
    /// Outside.
    #[default]
    Idle,
    /// Inside.
    Open,
    /// Inside, and failed: only its end is accepted.
    Failed,
}

/// Why a session keeps its backend beyond the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinReason {
    /// `pool.mode: session`.
    SessionMode,
    /// A temporary table, view, sequence, type or function.
    TempObject,
    /// A session-level advisory lock (`pg_advisory_lock`, `GET_LOCK`).
    AdvisoryLock,
    /// `LISTEN`.
    Listen,
    /// A cursor declared `WITH HOLD`.
    HoldCursor,
    /// `currval`, `lastval`, `nextval`: the session's own sequence values.
    Sequence,
    /// MySQL's `SET TRANSACTION`, which holds for the next one.
    SettingInTransaction,
    /// A setting whose name, or whose value, cannot be found out.
    SettingValue,
    /// `setseed`, `SET seed`.
    Seed,
    /// `LOAD`.
    Load,
    /// `PREPARE` in SQL.
    SqlPrepare,
    /// A function that could not be cleared of touching session state.
    UserFunction,
    /// A relation whose triggers, rules, policies, defaults or checks could not be cleared.
    Relation,
    /// A procedure or anonymous block.
    Procedure,
    /// A statement that was not understood.
    Unknown,
    /// A text too long to be read whole.
    LongText,
    /// User variables, temporary prepared statements and the like of MySQL.
    UserVariable,
    /// `LOCK TABLES`.
    LockTables,
    /// The engine relays one to one for now (MySQL's thin slice).
    OneToOne,
    /// A replication connection.
    Replication,
}

impl PinReason {
    /// The word for metrics, logs and `SHOW PINS`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SessionMode => "session_mode",
            Self::TempObject => "temp_object",
            Self::AdvisoryLock => "advisory_lock",
            Self::Listen => "listen",
            Self::HoldCursor => "hold_cursor",
            Self::Sequence => "sequence",
            Self::SettingInTransaction => "setting_in_transaction",
            Self::SettingValue => "setting_value",
            Self::Seed => "seed",
            Self::Load => "load",
            Self::SqlPrepare => "sql_prepare",
            Self::UserFunction => "user_function",
            Self::Relation => "relation",
            Self::Procedure => "procedure",
            Self::Unknown => "unknown",
            Self::LongText => "long_text",
            Self::UserVariable => "user_variable",
            Self::LockTables => "lock_tables",
            Self::OneToOne => "one_to_one",
            Self::Replication => "replication",
        }
    }

    /// Every reason, for metrics that must show zeros too.
    pub const ALL: [Self; 20] = [
        Self::SessionMode,
        Self::TempObject,
        Self::AdvisoryLock,
        Self::Listen,
        Self::HoldCursor,
        Self::Sequence,
        Self::SettingInTransaction,
        Self::SettingValue,
        Self::Seed,
        Self::Load,
        Self::SqlPrepare,
        Self::UserFunction,
        Self::Relation,
        Self::Procedure,
        Self::Unknown,
        Self::LongText,
        Self::UserVariable,
        Self::LockTables,
        Self::OneToOne,
        Self::Replication,
    ];
}

/// Whose values of sequences a backend remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drawn {
    /// Nobody's.
    #[default]
    Nobodys,
    /// Only this client's.
    By(u32),
    /// Several clients'.
    Several,
}

impl Drawn {
    /// After a statement of `client` may have drawn one.
    #[must_use]
    pub fn and(self, client: u32) -> Self {
        match self {
            Self::Nobodys => Self::By(client),
            Self::By(same) if same == client => self,
            Self::By(_) | Self::Several => Self::Several,
        }
    }

    /// Whether `client` could see somebody else's.
    #[must_use]
    pub fn is_strange_to(self, client: u32) -> bool {
        !matches!(self, Self::Nobodys) && self != Self::By(client)
    }
}

/// Kinds of state that a backend can be asked about: while nothing else pins, such a pin ends when the backend says that none is left.
pub const PROBED: [PinReason; 4] =
    [PinReason::TempObject, PinReason::AdvisoryLock, PinReason::Listen, PinReason::HoldCursor];

/// Whether the state that pins is there for sure, or only may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// It may be there: something that could not be cleared ran.
    Possible,
    /// It is there.
    Known,
}

/// Why a session keeps its backend, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin {
    /// The kind of state.
    pub reason: PinReason,
    /// How sure.
    pub certainty: Certainty,
}

/// What a backend must go through before anybody else may have it; of several the strongest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Dirt {
    /// Nothing but statements of known effect ran on it.
    #[default]
    Clean,
    /// Anything may be set: a full reset (`DISCARD ALL`, `COM_RESET_CONNECTION`).
    Unknown,
    /// Something that no reset undoes: it is closed.
    Incurable,
}

/// What came of a backend that speaks without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unasked {
    /// A notification stands at the door: the session notes the instant, then calls `Exchange::noted` and polls on.
    News,
    /// The client's side broke.
    ClientLost,
}
