//! Whose fault an error is, and whether what failed may be tried again: shared by both protocols.

/// Who caused an error. It decides how loudly it is logged and what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The program that is connected to us did something that the protocol or its rights forbid.
    Client,
    /// A database server refused or answered something that it should not have.
    Server,
    /// Primacy itself: a limit was reached, or a bug.
    Proxy,
    /// The other end of a connection went away.
    Peer,
}

/// Whether what failed may be tried again, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Never: it may have happened, or it would fail again.
    Never,
    /// On a new connection to the same node: it never left us, or this connection was stale.
    FreshConnection,
    /// On another node.
    AnotherNode,
}

/// An error as a client is told it: an engine renders it in its own protocol's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// The five characters of the SQL standard's SQLSTATE.
    pub sqlstate: SqlState,
    /// MySQL's error number for the same thing.
    pub errno: u16,
    /// What happened and to what, without a trailing full stop.
    pub message: String,
    /// Further detail, where there is some.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the connection ends with it.
    pub fatal: bool,
}

impl ClientError {
    /// An error after which the connection goes on.
    pub fn new(sqlstate: &'static str, errno: u16, message: impl Into<String>) -> Self {
        Self {
            sqlstate: SqlState::of(sqlstate),
            errno,
            message: message.into(),
            detail: None,
            hint: None,
            fatal: false,
        }
    }

    /// The same, but the connection ends with it.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl ClientError {
    /// What a server said, to be passed on with its own SQLSTATE and (0 = it has none) error number.
    pub fn server(sqlstate: [u8; 5], errno: u16, message: impl Into<String>) -> Self {
        let errno = if errno == 0 { 1105 } else { errno };
        Self { sqlstate: SqlState(sqlstate), ..Self::new("XX000", errno, message) }
    }
}

/// Five characters of the SQL standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    fn of(text: &str) -> Self {
        Self(text.as_bytes().try_into().unwrap_or(*b"XX000"))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl PartialEq<&str> for SqlState {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl std::fmt::Display for SqlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

impl std::error::Error for ClientError {}
