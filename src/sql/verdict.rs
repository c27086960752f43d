//! The verdict on a statement's text: what it does, and why we think so. Data, not text, so that metrics, logs and
//! `EXPLAIN ROUTE` can speak of it.

use crate::engine::{Certainty, Class, PinReason};

pub use crate::catalog::Relation;
pub use crate::engine::edit::ReturnForm;
use std::ops::Range;

/// What a text (of one statement or several) does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The strongest class of all its statements.
    pub class: Class,
    /// Why it has that class.
    pub reason: Reason,
    /// Statements in the text; 0 = empty (comments and semicolons only).
    pub statements: u16,
    /// The first statement's command, for statistics and tags: `SELECT`, `INSERT`, … in upper case.
    pub command: &'static str,
    /// What it does to transactions.
    pub transaction: Transaction,
    /// What it does to the session's state.
    pub effect: Effect,
    /// Relations that the text names and that may run what their owner hung on them (triggers, rules, policies, defaults, checks,
    /// views): the catalog must clear them, else the backend may be dirty. `schema` is empty when not given.
    pub relations: Box<[Relation]>,
    /// Names of prepared statements in it, where SQL's own PREPARE, EXECUTE and DEALLOCATE use them, in their order. A text with any never comes from
    /// the cache.
    pub names: Box<[NameUse]>,
    /// Where it returns settings to what they were at first, in their order. A text with any never comes from the cache.
    pub returns: Box<[Return]>,
    /// Whether it may end what pins its session: a lock, a channel, a cursor, a temporary object.
    pub ends: bool,
    /// Whether it asks for the session's own values of sequences: `currval`, `lastval`.
    pub own_values: bool,
    /// The database (by its name on the servers) that nobody may be connected to while the text runs, which is one statement: the one that it drops,
    /// renames, moves or copies.
    pub empties: Option<Box<str>>,
    /// Whether it asks which channels the session listens to, otherwise than by [`Change::Channels`].
    pub channels: bool,
    /// Whether what it answers, or leaves, belongs to the transaction that it runs in: when that began, its cursors, its modes. Dates and times that
    /// literals give are not looked at.
    pub bound: bool,
    /// Whether the text changes the catalog (any DDL).
    pub ddl: bool,
    /// Whether the text may be answered again on another node after a refusal: a single statement that is no transaction control.
    pub repeatable: bool,
}

/// A place in a text where a setting returns to what it was at the session's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The setting, in lower case; `None` = all.
    pub name: Option<Box<str>>,
    /// What says so, in bytes of the text: the statement, or a NULL in it.
    pub at: Range<usize>,
    /// Which of the text's statements it is, or is part of.
    pub statement: u16,
    /// How it is said.
    pub form: ReturnForm,
}

/// A name of a prepared statement in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameUse {
    /// What is done.
    pub verb: NameVerb,
    /// The name, unquoted; empty for all.
    pub name: Box<str>,
    /// Where it stands in the text, in bytes.
    pub at: Range<usize>,
    /// PREPARE: where what follows the name stands, to the statement's end; and in it, the statement that is prepared.
    pub rest: Range<usize>,
    /// See `rest`.
    pub inner: Range<usize>,
}

/// What SQL does with the name of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameVerb {
    /// `PREPARE name`.
    Prepare,
    /// `EXECUTE name`, alone or behind EXPLAIN or CREATE TABLE … AS.
    Execute,
    /// `DEALLOCATE name`.
    Deallocate,
    /// `DEALLOCATE ALL`.
    DeallocateAll,
}

/// What a text does to transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// Nothing.
    None,
    /// The text is one statement that opens a transaction.
    Begin {
        /// `READ ONLY` / `READ WRITE` when given.
        read_only: Option<bool>,
        /// `ISOLATION LEVEL` when given.
        isolation: Option<Isolation>,
        /// Whether `DEFERRABLE` or `NOT DEFERRABLE` is given.
        deferrable: bool,
    },
    /// The text is one `COMMIT` / `END`, without `AND CHAIN`.
    Commit,
    /// The text is one `ROLLBACK` / `ABORT`, without `AND CHAIN`.
    Rollback,
    /// Any other control (savepoints, chains, two-phase), or several statements with control among them.
    Other,
}

/// Isolation levels of the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// READ UNCOMMITTED.
    ReadUncommitted,
    /// READ COMMITTED.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

/// What a text does to the session's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, for sure (functions and relations that must be cleared are named beside it).
    None,
    /// Only these changes, in this order. A text with such an effect never comes from the cache.
    Changes(Box<[Change]>),
    /// It leaves state behind that lives in the backend.
    Pins(PinReason, Certainty),
    /// It leaves state behind, and makes these changes beside it. A text with such an effect never comes from the cache.
    Mixed(PinReason, Certainty, Box<[Change]>),
}

impl Effect {
    /// What it changes, in this order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Changes(changes) | Self::Mixed(_, _, changes) => changes,
            Self::None | Self::Pins(..) => &[],
        }
    }
}

/// One change of session state whose effect is known exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `SET [SESSION] name = value`, `SET TIME ZONE`, `SET NAMES`, `set_config(name, value, false)` with constants. Name in lower case.
    Set {
        /// The setting.
        name: Box<str>,
        /// Its value, as `set_config` takes it (unquoted).
        value: Value,
    },
    /// `SET LOCAL name = value`, `set_config(name, value, true)`: gone with the transaction; but a custom setting is known from then on.
    SetLocal {
        /// The setting.
        name: Box<str>,
        /// Its value as in `Set`; `None` when only the server knows it.
        value: Option<Value>,
    },
    /// This setting may have been given any value, for any time: only the server knows.
    Touch(Box<str>),
    /// `SET TRANSACTION`, `SET CONSTRAINTS`: gone with the transaction, and nothing else knows of it.
    Local,
    /// No change: a statement stands here, in a text that has reset something before it, that may see what it was reset to.
    Looks,
    /// `RESET name`, `SET name TO DEFAULT`.
    Reset(Box<str>),
    /// `RESET ALL`.
    ResetAll,
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD PLANS`: no visible effect.
    DiscardPlans,
    /// `DISCARD TEMP` / `TEMPORARY`.
    DiscardTemp,
    /// `DISCARD SEQUENCES`.
    DiscardSequences,
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// `DEALLOCATE name`.
    Deallocate(Box<str>),
    /// `CLOSE ALL`.
    CloseAll,
    /// `LISTEN channel`. The proxy listens for the session, if it can; else the session keeps its connection.
    Listen(Box<str>),
    /// `UNLISTEN channel`; `None`: `UNLISTEN *`.
    Unlisten(Option<Box<str>>),
    /// `SELECT pg_listening_channels()`, with the column's name: answered by the proxy when it listens for the session.
    Channels(Box<str>),
    /// `SELECT pg_advisory_unlock_all()`.
    AdvisoryUnlockAll,
    /// A setting of ours: `SET primacy.consistency = …`. Answered by the proxy.
    Primacy {
        /// What follows `primacy.`.
        name: Box<str>,
        /// The value; `None` = reset.
        value: Option<Box<str>>,
    },
    /// `SELECT pg_backend_pid()`, with the column's name: answered by the proxy, whose ids clients know.
    BackendId(Box<str>),
    /// `SELECT pg_cancel_backend(id)`, or `pg_terminate_backend(id)`: of a session of the proxy's.
    Signal {
        /// The id.
        id: u32,
        /// Its session is to end, not only its statement.
        terminate: bool,
        /// The column's name.
        column: Box<str>,
    },
    /// `SHOW primacy.node` and the like: answered by the proxy.
    ShowPrimacy(Box<str>),
}

/// The value that a setting is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A constant, as `set_config` takes it.
    Constant(Box<str>),
    /// A list of constants (`search_path = a, "B"`), as `set_config` takes it: each quoted as an identifier where needed, joined by `, `.
    List(Box<str>),
    /// The n-th parameter of the Bind message (0-based): `set_config('x', $1, false)`.
    Parameter(u16),
}

/// Why a text has its class. The word is stable: metrics and tests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Surely a read.
    Read,
    /// Nothing in it.
    Empty,
    /// Its command writes (named by `command`).
    Command,
    /// It takes row locks.
    Locking,
    /// It writes its result into a table or a file.
    Into,
    /// A common table expression modifies data.
    ModifyingCte,
    /// It calls this function, which is not known to be harmless.
    Function(Box<str>),
    /// It calls this function or names this relation, which describes the server.
    NodeLocal(Box<str>),
    /// Transaction control.
    TransactionControl,
    /// Session state.
    SessionState,
    /// A hint of the client, a setting or a rule said so.
    Hint,
    /// `EXPLAIN ANALYZE` of a write, or of what is not known.
    ExplainAnalyze,
    /// A user-defined operator, or another construct by which unknown code may run.
    Operator(Box<str>),
    /// The parser does not understand it.
    Unparsed,
    /// Longer than what is read, and not surely a read.
    LongText,
    /// A node refused it as a write before: learnt.
    Learnt,
}

impl Reason {
    /// Whether it is for want of knowledge: what draws from a sequence writes for sure.
    #[must_use]
    pub fn is_doubt(&self) -> bool {
        match self {
            Self::Unparsed | Self::Operator(_) => true,
            Self::Function(name) => !matches!(&**name, "nextval" | "setval"),
            _ => false,
        }
    }

    /// The stable word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Empty => "empty",
            Self::Command => "command",
            Self::Locking => "locking",
            Self::Into => "into",
            Self::ModifyingCte => "modifying_cte",
            Self::Function(_) => "function",
            Self::NodeLocal(_) => "node_local",
            Self::TransactionControl => "transaction_control",
            Self::SessionState => "session_state",
            Self::Hint => "hint",
            Self::ExplainAnalyze => "explain_analyze",
            Self::Operator(_) => "operator",
            Self::Unparsed => "unparsed",
            Self::LongText => "long_text",
            Self::Learnt => "learnt",
        }
    }
}
