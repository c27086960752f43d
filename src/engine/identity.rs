//! Who a client is, and what proves it: what a database server says of its users, and what a proof leaves behind.

use crate::config::units::Secret;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

/// What a server says of one of its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The stored verifier (`SCRAM-SHA-256$…`, `md5…`), if the user has a password at all.
    pub verifier: Option<Secret>,
    /// The password is no longer accepted from this instant on.
    pub valid_until: Option<SystemTime>,
    /// Whether the user may log in.
    pub can_login: bool,
    /// Whether the server's own limits and checks do not bind the user.
    pub superuser: bool,
    /// The user's connection limit; `None` = none.
    pub connection_limit: Option<u32>,
}

/// Why a user could not be looked up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookupError {
    /// No node answered.
    #[error("no node of the cluster can be asked for the user: {0}")]
    Unreachable(Arc<str>),
    /// The monitor's account may not read verifiers.
    #[error("the monitor's account may not read password verifiers: {0}")]
    NotAllowed(Arc<str>),
}

/// Where verifiers come from. Concurrent look-ups of one user share one query.
pub trait UserSource: Send + Sync + 'static {
    /// What the servers say of `name`; `Ok(None)` when there is no such user.
    fn user(&self, name: &str) -> impl Future<Output = Result<Option<Arc<UserRecord>>, LookupError>> + Send;

    /// Whether new passwords are stored as md5, as far as the last look-up has seen: the servers take a stranger for one who has such a password.
    fn stores_md5(&self) -> bool {
        false
    }
}

/// With what a backend can be opened in a user's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// The password.
    Password(Secret),
    /// What a SCRAM proof reveals: logs in to every server that holds the same verifier.
    ScramKeys(Box<ScramKeys>),
    /// The stored `md5…` of a PostgreSQL role: answers every md5 challenge.
    Md5(Secret),
    /// Nothing: the servers let the user in without a proof.
    Trusted,
}

/// The keys of a SCRAM-SHA-256 user (RFC 5802 §3).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Revealed by the client's own proof.
    pub client_key: [u8; 32],
    /// From the verifier.
    pub stored_key: [u8; 32],
    /// From the verifier; checks the server's signature.
    pub server_key: [u8; 32],
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramKeys(…)")
    }
}

impl Drop for ScramKeys {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.client_key.zeroize();
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}
