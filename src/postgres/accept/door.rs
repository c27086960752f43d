//! What a cluster's listeners know of who may come in, and what each user is examined with.

use super::proof::Outcome;
use super::{AcceptError, Here};
use crate::config::settings::{ClientTlsMode, Passthrough, UserSecret, Users};
use crate::config::units::Secret;
use crate::engine::identity::{Credentials, LookupError, UserRecord, UserSource};
use crate::error::{ClientError, Fault};
use crate::net::Stream;
use crate::net::tls::Acceptor;
use crate::postgres::auth::md5::Hash;
use crate::postgres::auth::{ITERATIONS, Key, Verifier, verifier};
use crate::postgres::handshake::Startup;
use crate::postgres::hba::reader::{Admission, Knocking, Reader};
use std::collections::HashMap;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// What a cluster's listeners know of who may come in. Replaced whole on reload.
#[derive(Debug)]
pub struct Door<S> {
    pub(super) tls: Option<Acceptor>,
    pub(super) tls_required: bool,
    passthrough: Passthrough,
    listed: HashMap<Arc<str>, Listed>,
    source: Arc<S>,
    secret: Key,
    hba: Option<Arc<Reader>>,
}

#[derive(Debug)]
enum Listed {
    Password(Secret, OnceCell<Verifier>),
    Verifier(Verifier),
}

/// A listed user whose secret is of no use.
#[derive(Debug, thiserror::Error)]
#[error("user \"{user}\": {reason}")]
pub struct DoorError {
    /// Who.
    pub user: Arc<str>,
    /// What is wrong.
    pub reason: verifier::VerifierError,
}

impl<S: UserSource> Door<S> {
    /// `tls` is the acceptor of the cluster's certificate, if it has one; `secret` is random, one per process.
    ///
    /// # Errors
    /// When a listed user's `scram_verifier` cannot be read.
    pub fn new(
        users: &Users,
        mode: ClientTlsMode,
        tls: Option<Acceptor>,
        source: Arc<S>,
        secret: Key,
    ) -> Result<Self, DoorError> {
        let mut listed = HashMap::new();
        for user in &users.list {
            let secret = match &user.secret {
                UserSecret::Password(password) => Listed::Password(password.clone(), OnceCell::new()),
                UserSecret::ScramVerifier(text) => Listed::Verifier(
                    Verifier::parse(text.expose())
                        .map_err(|reason| DoorError { user: user.name.clone(), reason })?,
                ),
            };
            listed.insert(user.name.clone(), secret);
        }
        Ok(Self {
            tls: tls.filter(|_| mode != ClientTlsMode::Disable),
            tls_required: mode == ClientTlsMode::Require,
            passthrough: users.passthrough,
            listed,
            source,
            secret,
            hba: None,
        })
    }

    /// The same, and clients are held against the servers' pg_hba.conf by their own addresses.
    #[must_use]
    pub fn with_hba(self, hba: Option<Arc<Reader>>) -> Self {
        Self { hba, ..self }
    }
}

/// By which question a user is examined.
pub(super) enum Question {
    Scram(Verifier),
    Md5(Hash),
}

/// What a user is examined with.
pub(super) struct Examination {
    pub(super) question: Question,
    /// Why nothing that the client says can be right.
    pub(super) hopeless: Option<String>,
    /// The listed password: better than keys, for it logs in to servers with any verifier.
    pub(super) password: Option<Secret>,
    pub(super) listed: bool,
    pub(super) record: Option<Arc<UserRecord>>,
}

impl<S: UserSource> Door<S> {
    /// Whether the user is asked for its password, which only a server can check.
    pub(super) fn asks_password(&self, user: &str) -> bool {
        self.passthrough == Passthrough::Password && !self.listed.contains_key(user)
    }

    /// Whether the user is one of `users.list`.
    pub(super) fn lists(&self, user: &str) -> bool {
        self.listed.contains_key(user)
    }

    /// What the servers' pg_hba.conf says. A unix socket's client has no address that means anything to a server: it always proves itself.
    pub(super) async fn admission(
        &self,
        stream: &Stream,
        startup: &Startup,
        here: &Here<'_>,
    ) -> Result<Admission, AcceptError> {
        let (Some(hba), Some(peer)) = (&self.hba, stream.peer()) else { return Ok(Admission::Unknown) };
        let database = &*startup.database;
        if here.consoles.contains(&database)
            && !hba.has_database(database).await.map_err(|error| unknowable(&error))?
        {
            return Ok(Admission::Unknown);
        }
        let knocking = Knocking {
            user: &startup.user,
            database,
            walsender: startup.replication.as_deref().is_some_and(|kind| kind != "database"),
            address: peer.ip(),
            encrypted: stream.is_tls(),
        };
        hba.admission(&knocking).await.map_err(|error| unknowable(&error))
    }

    /// What a client gets that the servers ask for no proof; `None`: it must prove itself all the same, for it could not be let in otherwise.
    pub(super) async fn trusted(&self, user: &str) -> Result<Option<Outcome>, AcceptError> {
        let (credentials, listed) = match self.listed.get(user) {
            Some(Listed::Password(password, _)) => (Credentials::Password(password.clone()), true),
            Some(Listed::Verifier(_)) => return Ok(None),
            None if self.passthrough == Passthrough::Off => return Ok(None),
            None => (Credentials::Trusted, false),
        };
        let record = match self.passthrough {
            Passthrough::Verifier if !listed => {
                self.source.user(user).await.map_err(|error| unknowable(&error))?
            }
            _ => None,
        };
        // The servers have the last word: a backend is opened for this very login.
        Ok(Some(Outcome { credentials, listed, proven: false, record }))
    }

    /// `scram`: pg_hba.conf asks for SCRAM, whatever the password is stored as.
    pub(super) async fn examination(&self, user: &str, scram: bool) -> Result<Examination, AcceptError> {
        let listed = |verifier, password| Examination {
            question: Question::Scram(verifier),
            hopeless: None,
            password,
            listed: true,
            record: None,
        };
        match self.listed.get(user) {
            Some(Listed::Verifier(verifier)) => Ok(listed(verifier.clone(), None)),
            Some(Listed::Password(password, derived)) => {
                let verifier = derived.get_or_try_init(|| self.derive(user, password)).await?;
                Ok(listed(verifier.clone(), Some(password.clone())))
            }
            None => self.examination_by_verifier(user, scram).await,
        }
    }

    /// The salt is the one that a stranger of that name would see: being listed does not show.
    async fn derive(&self, user: &str, password: &Secret) -> Result<Verifier, AcceptError> {
        let rounds = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        let (password, salt) = (password.clone(), verifier::mock_salt(&self.secret, user));
        crate::task::blocking(move || Verifier::derive(password.expose(), &salt, rounds))
            .await
            .map_err(|error| AcceptError::Io(io::Error::other(error)))
    }

    async fn examination_by_verifier(&self, user: &str, scram: bool) -> Result<Examination, AcceptError> {
        let record = match self.passthrough {
            Passthrough::Off | Passthrough::Password => None,
            Passthrough::Verifier => self.source.user(user).await.map_err(|error| unknowable(&error))?,
        };
        let (question, hopeless) = match self.usable(record.as_deref()) {
            Ok(Question::Md5(_)) if scram => {
                let why = "its password is stored as md5, and pg_hba.conf asks for scram-sha-256".to_owned();
                (Question::Scram(Verifier::mock(&self.secret, user)), Some(why))
            }
            Ok(question) => (question, None),
            // As the server does: most users have the kind of password that new ones get, and a stranger must look like most.
            Err(why) if !scram && self.source.stores_md5() => {
                (Question::Md5(Hash::mock(&self.secret, user)), Some(why))
            }
            Err(why) => (Question::Scram(Verifier::mock(&self.secret, user)), Some(why)),
        };
        Ok(Examination { question, hopeless, password: None, listed: false, record })
    }

    fn usable(&self, record: Option<&UserRecord>) -> Result<Question, String> {
        let Some(record) = record else {
            return Err(match self.passthrough {
                Passthrough::Verifier => "the servers have no such user".to_owned(),
                _ => "the user is not listed and users.passthrough is off".to_owned(),
            });
        };
        if record.valid_until.is_some_and(|until| until <= crate::clock::wall()) {
            return Err("its password has expired (VALID UNTIL)".to_owned());
        }
        let verifier = record.verifier.as_ref().ok_or("the user has no password")?;
        match Hash::parse(verifier.expose()) {
            Some(hash) => Ok(Question::Md5(hash)),
            None => {
                Verifier::parse(verifier.expose()).map(Question::Scram).map_err(|error| error.to_string())
            }
        }
    }
}

/// The user cannot be looked up: the same for every name, so that it tells nothing.
fn unknowable(error: &LookupError) -> AcceptError {
    let (told, fault) = match error {
        LookupError::Unreachable(_) => (
            ClientError::new("57P03", 0, "no server of the cluster can be asked for the user's password verifier")
                .hint("Try again when a server is reachable."),
            Fault::Server,
        ),
        LookupError::NotAllowed(_) => (
            ClientError::new("28000", 0, "the proxy may not read password verifiers from the servers")
                .hint("Grant the monitor's account the right to read them, or list the user in the proxy's configuration."),
            Fault::Proxy,
        ),
    };
    AcceptError::Refused { told: Box::new(told.fatal()), why: error.to_string(), guess: false, fault }
}
