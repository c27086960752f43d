//! Lets a client in, or not: first packet, TLS, the proof of who it is. What follows the proof (AuthenticationOk,
//! parameters, key, ReadyForQuery, or a refusal) is the caller's to send.

mod door;
mod proof;

pub use door::{Door, DoorError};

use super::handshake::{First, Startup, Step};
use super::hba::reader::Admission;
use super::wire;
use crate::engine::identity::{Credentials, UserRecord, UserSource};
use crate::error::{ClientError, Fault};
use crate::net::Stream;
use crate::net::tls::Acceptor;
use proof::Outcome;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Who knocks.
#[derive(Debug)]
pub enum Knock {
    /// Somebody wants a statement cancelled; the connection is closed already.
    Cancel {
        /// The number that we gave to the session.
        pid: u32,
        /// The secret that we gave with it.
        key: Vec<u8>,
        /// Whether it came inside TLS.
        encrypted: bool,
    },
    /// A client that has proved who it is, or (see [`Login::proven`]) has given its password.
    Login(Box<Login>),
}

/// A client that waits for AuthenticationOk.
#[derive(Debug)]
pub struct Login {
    /// Its connection; nothing beyond the handshake was read from it.
    pub stream: Stream,
    /// Who it is.
    pub user: Arc<str>,
    /// The database that it asked for.
    pub database: Arc<str>,
    /// Session settings to start with, those inside `options` included; each name once, in the order to apply.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// How many bytes the secret of its cancel requests has.
    pub cancel_key: usize,
    /// Its words (`true`, `database`, …), if it wants to be a replication connection.
    pub replication: Option<Box<str>>,
    /// With what backends are opened in its name.
    pub credentials: Arc<Credentials>,
    /// Whether it is one of `users.list`.
    pub listed: bool,
    /// `false`: the password was not checked, only a login to a server with [`Self::credentials`] proves it.
    pub proven: bool,
    /// What the servers say of it, when they were asked.
    pub record: Option<Arc<UserRecord>>,
}

/// Why a client was not let in. It has been told already, if there was anybody to tell.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It went away (psql does, to ask for a password).
    #[error("the client closed the connection during its login")]
    Closed,
    /// The connection broke.
    #[error("the connection broke during the login: {0}")]
    Io(io::Error),
    /// The TLS handshake failed.
    #[error("the TLS handshake with the client failed: {0}")]
    Tls(io::Error),
    /// Its first bytes are not PostgreSQL's; closed without a word.
    #[error("the first bytes are not those of a PostgreSQL client")]
    NotPostgres,
    /// It was refused.
    #[error("{}: {why}", told.message)]
    Refused {
        /// What it was told.
        told: Box<ClientError>,
        /// What it was not told.
        why: String,
        /// Whether it may have been guessing: the firewall counts it.
        guess: bool,
        /// Who is to blame.
        fault: Fault,
    },
}

impl AcceptError {
    /// Whether the firewall counts it as a failed login.
    #[must_use]
    pub fn is_guess(&self) -> bool {
        matches!(self, Self::Refused { guess: true, .. })
    }

    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Closed | Self::Io(_) => Fault::Peer,
            Self::Tls(_) | Self::NotPostgres => Fault::Client,
            Self::Refused { fault, .. } => *fault,
        }
    }

    fn refused(told: ClientError, why: impl Into<String>) -> Self {
        Self::Refused { told: Box::new(told.fatal()), why: why.into(), guess: false, fault: Fault::Client }
    }
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::Closed
            }
            _ => Self::Io(error),
        }
    }
}

/// What is true where a client knocks.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The newest protocol version that the cluster's servers speak.
    pub newest: u32,
    /// Names of databases that may be the console's.
    pub consoles: [&'a str; 2],
}

/// Takes a new connection through its login. The caller bounds the time; dropping the future closes the connection.
///
/// # Errors
/// When the client goes away or is refused; a refused client has been told.
pub async fn accept<S: UserSource>(
    stream: Stream,
    door: &Door<S>,
    here: &Here<'_>,
) -> Result<Knock, AcceptError> {
    let (mut stream, end_point, startup) = match greet(stream, door.tls.as_ref(), here.newest).await? {
        Greeted::Cancel(knock) => return Ok(knock),
        Greeted::Startup(stream, end_point, startup) => (stream, end_point, startup),
    };
    match examine(&mut stream, door, here, &startup, end_point).await {
        Ok(outcome) => Ok(Knock::Login(Box::new(Login {
            stream,
            cancel_key: startup.cancel_key(),
            user: startup.user,
            database: startup.database,
            parameters: startup.parameters,
            replication: startup.replication,
            credentials: Arc::new(outcome.credentials),
            listed: outcome.listed,
            proven: outcome.proven,
            record: outcome.record,
        }))),
        Err(error) => {
            if let AcceptError::Refused { told, .. } = &error {
                let mut out = Vec::new();
                wire::error(&mut out, told);
                farewell(&mut stream, &out).await;
            }
            Err(error)
        }
    }
}

/// Says a last word. That the client may be gone by now changes nothing.
async fn farewell(stream: &mut Stream, out: &[u8]) {
    let said = async {
        stream.write_all(out).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a refused client did not hear why");
    }
}

/// What a TLS client says first: no first packet of PostgreSQL's is so long.
const TLS_HANDSHAKE: u8 = 0x16;

enum Greeted {
    Cancel(Knock),
    /// Also what a proof can be bound to.
    Startup(Stream, Option<Arc<[u8]>>, Box<Startup>),
}

async fn greet(mut stream: Stream, tls: Option<&Acceptor>, newest: u32) -> Result<Greeted, AcceptError> {
    let mut state = First::new(newest);
    let mut end_point = None;
    if let Some(acceptor) = tls
        && stream.peek().await? == Some(TLS_HANDSHAKE)
    {
        let accepted = acceptor.accept(stream).await.map_err(AcceptError::Tls)?;
        if !accepted.named {
            return Err(AcceptError::Tls(io::Error::other("direct TLS, and no protocol was named (ALPN)")));
        }
        (stream, end_point) = (accepted.stream, accepted.end_point);
    }
    loop {
        let refusal = match first_packet(&mut stream, state).await? {
            Step::Gss(next) => {
                stream.write_all(b"N").await?;
                state = next;
                continue;
            }
            Step::Tls(next) => {
                state = next;
                stream = match tls.filter(|_| matches!(stream, Stream::Tcp(_))) {
                    Some(acceptor) => {
                        stream.write_all(b"S").await?;
                        let accepted = acceptor.accept(stream).await.map_err(AcceptError::Tls)?;
                        end_point = accepted.end_point;
                        accepted.stream
                    }
                    None => {
                        stream.write_all(b"N").await?;
                        stream
                    }
                };
                continue;
            }
            Step::Cancel { pid, key } => {
                let encrypted = stream.is_tls();
                return Ok(Greeted::Cancel(Knock::Cancel { pid, key, encrypted }));
            }
            Step::Startup(startup) => return Ok(Greeted::Startup(stream, end_point, startup)),
            Step::Refuse(refusal) => refusal,
        };
        let bytes = refusal.bytes();
        let Some(error) = refusal.error else { return Err(AcceptError::NotPostgres) };
        farewell(&mut stream, &bytes).await;
        return Err(AcceptError::refused(error, "its first packet was refused"));
    }
}

async fn first_packet(stream: &mut Stream, state: First) -> Result<Step, AcceptError> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await?;
    match First::body_length(prefix) {
        Ok(length) => {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            Ok(state.next(&body))
        }
        Err(refusal) => Ok(Step::Refuse(refusal)),
    }
}

async fn examine<S: UserSource>(
    stream: &mut Stream,
    door: &Door<S>,
    here: &Here<'_>,
    startup: &Startup,
    end_point: Option<Arc<[u8]>>,
) -> Result<Outcome, AcceptError> {
    let user = &*startup.user;
    if startup.negotiate {
        let mut out = Vec::new();
        wire::negotiate_protocol_version(&mut out, startup.version, &startup.protocol_options);
        stream.write_all(&out).await?;
    }
    if door.tls_required && !stream.is_tls() && !stream.is_unix() {
        let told =
            ClientError::new("28000", 0, format!("this listener accepts user \"{user}\" inside TLS only"))
                .hint("Connect with sslmode=require.");
        return Err(AcceptError::refused(told, "tls.mode is require"));
    }
    let admission = door.admission(stream, startup, here).await?;
    let (trusted, scram) = match admission {
        Admission::Refused { told, foreign } if !(foreign && door.lists(user)) => {
            return Err(AcceptError::refused(*told, "the server's pg_hba.conf"));
        }
        Admission::Trusted => (door.trusted(user).await?, false),
        Admission::Prove { scram } => (None, scram),
        Admission::Unknown | Admission::Refused { .. } => (None, false),
    };
    let outcome = match trusted {
        Some(outcome) => outcome,
        None if door.asks_password(user) => proof::ask_password(stream, user).await?,
        None => proof::ask_proof(stream, door.examination(user, scram).await?, user, end_point).await?,
    };
    match &startup.bad_options {
        Some(error) => Err(AcceptError::refused(error.clone(), "in its start-up options")),
        None => Ok(outcome),
    }
}

#[cfg(test)]
mod tests;
