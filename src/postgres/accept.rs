//! Lets a client in, or not: first packet, TLS, the proof of who it is. What follows the proof (AuthenticationOk,
//! parameters, key, ReadyForQuery, or a refusal) is the caller's to send.

use super::auth::server::{self, Failure, Proof};
use super::auth::{self, ITERATIONS, Key, Verifier, verifier};
use super::handshake::{First, Startup, Step};
use super::wire::{self, Fields, HEADER};
use crate::config::settings::{ClientTlsMode, Passthrough, UserSecret, Users};
use crate::config::units::Secret;
use crate::engine::identity::{Credentials, LookupError, UserRecord, UserSource};
use crate::error::{ClientError, Fault};
use crate::net::Stream;
use crate::net::tls::Acceptor;
use std::collections::HashMap;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

/// The longest password in clear, as in the server (`PG_MAX_AUTH_TOKEN_LENGTH`).
const PASSWORD_MAX: usize = 65_535;

/// What a cluster's listeners know of who may come in. Replaced whole on reload.
#[derive(Debug)]
pub struct Door<S> {
    tls: Option<Acceptor>,
    tls_required: bool,
    passthrough: Passthrough,
    listed: HashMap<Arc<str>, Listed>,
    source: Arc<S>,
    secret: Key,
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
        })
    }
}

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

/// Takes a new connection through its login. The caller bounds the time; dropping the future closes the connection.
///
/// # Errors
/// When the client goes away or is refused; a refused client has been told.
pub async fn accept<S: UserSource>(stream: Stream, door: &Door<S>) -> Result<Knock, AcceptError> {
    let (mut stream, startup) = match greet(stream, door.tls.as_ref()).await? {
        Greeted::Cancel(knock) => return Ok(knock),
        Greeted::Startup(stream, startup) => (stream, startup),
    };
    match examine(&mut stream, door, &startup).await {
        Ok(outcome) => Ok(Knock::Login(Box::new(Login {
            stream,
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

enum Greeted {
    Cancel(Knock),
    Startup(Stream, Box<Startup>),
}

async fn greet(mut stream: Stream, tls: Option<&Acceptor>) -> Result<Greeted, AcceptError> {
    let mut state = First::new();
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
                        acceptor.accept(stream).await.map_err(AcceptError::Tls)?
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
            Step::Startup(startup) => return Ok(Greeted::Startup(stream, startup)),
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

struct Outcome {
    credentials: Credentials,
    listed: bool,
    proven: bool,
    record: Option<Arc<UserRecord>>,
}

async fn examine<S: UserSource>(
    stream: &mut Stream,
    door: &Door<S>,
    startup: &Startup,
) -> Result<Outcome, AcceptError> {
    let user = &*startup.user;
    if door.tls_required && !stream.is_tls() && !stream.is_unix() {
        let told =
            ClientError::new("28000", 0, format!("this listener accepts user \"{user}\" inside TLS only"))
                .hint("Connect with sslmode=require.");
        return Err(AcceptError::refused(told, "tls.mode is require"));
    }
    let mut out = Vec::new();
    if startup.negotiate {
        wire::negotiate_protocol_version(&mut out, wire::PROTOCOL_3_0, &startup.protocol_options);
    }
    let outcome = if door.passthrough == Passthrough::Password && !door.listed.contains_key(user) {
        ask_password(stream, out, user).await?
    } else {
        ask_proof(stream, out, door.examination(user).await?, user).await?
    };
    match &startup.bad_options {
        Some(error) => Err(AcceptError::refused(error.clone(), "in its start-up options")),
        None => Ok(outcome),
    }
}

/// What a user is examined with.
struct Examination {
    verifier: Verifier,
    /// Why nothing that the client says can be right.
    hopeless: Option<String>,
    /// The listed password: better than keys, for it logs in to servers with any verifier.
    password: Option<Secret>,
    listed: bool,
    record: Option<Arc<UserRecord>>,
}

impl<S: UserSource> Door<S> {
    async fn examination(&self, user: &str) -> Result<Examination, AcceptError> {
        let listed = |verifier, password| Examination {
            verifier,
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
            None => self.examination_by_verifier(user).await,
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

    async fn examination_by_verifier(&self, user: &str) -> Result<Examination, AcceptError> {
        let record = match self.passthrough {
            Passthrough::Off | Passthrough::Password => None,
            Passthrough::Verifier => self.source.user(user).await.map_err(|error| unknowable(&error))?,
        };
        let (verifier, hopeless) = match self.usable(record.as_deref()) {
            Ok(verifier) => (verifier, None),
            Err(why) => (Verifier::mock(&self.secret, user), Some(why)),
        };
        Ok(Examination { verifier, hopeless, password: None, listed: false, record })
    }

    fn usable(&self, record: Option<&UserRecord>) -> Result<Verifier, String> {
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
        Verifier::parse(verifier.expose()).map_err(|error| error.to_string())
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

fn wrong_password(user: &str, why: impl Into<String>) -> AcceptError {
    let told = ClientError::new("28P01", 1045, format!("password authentication failed for user \"{user}\""));
    AcceptError::Refused { told: Box::new(told.fatal()), why: why.into(), guess: true, fault: Fault::Client }
}

async fn ask_password(stream: &mut Stream, mut out: Vec<u8>, user: &str) -> Result<Outcome, AcceptError> {
    if !stream.is_tls() && !stream.is_unix() {
        let told = ClientError::new(
            "28000",
            0,
            format!("the password of user \"{user}\" is accepted inside TLS or a unix socket only"),
        )
        .hint("Connect with sslmode=require.");
        return Err(AcceptError::refused(told, "users.passthrough is password"));
    }
    wire::authentication_cleartext(&mut out);
    send(stream, &out).await?;
    let body = answer(stream, "password", PASSWORD_MAX).await?;
    let mut fields = Fields(&body);
    let password = fields.cstr().filter(|_| fields.0.is_empty());
    let password = password
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .ok_or_else(|| protocol_violation("invalid password packet size"))?;
    if password.is_empty() {
        let told = ClientError::new("28P01", 1045, "empty password returned by client");
        return Err(AcceptError::refused(told, "no password"));
    }
    let credentials = Credentials::Password(Secret::new(password.to_owned()));
    Ok(Outcome { credentials, listed: false, proven: false, record: None })
}

async fn ask_proof(
    stream: &mut Stream,
    mut out: Vec<u8>,
    examination: Examination,
    user: &str,
) -> Result<Outcome, AcceptError> {
    wire::authentication_sasl(&mut out);
    send(stream, &out).await?;
    let Examination { verifier, hopeless, password, listed, record } = examination;
    let proof = match exchange(stream, verifier).await {
        Err(Exchange::Wrong) => {
            return Err(wrong_password(user, hopeless.as_deref().unwrap_or("wrong password")));
        }
        Err(Exchange::Other(error)) => return Err(error),
        Ok(proof) => proof,
    };
    if let Some(why) = hopeless {
        return Err(wrong_password(user, why));
    }
    let mut out = Vec::new();
    wire::authentication_sasl_final(&mut out, proof.server_final.as_bytes());
    send(stream, &out).await?;
    if record.as_ref().is_some_and(|record| !record.can_login) {
        let told = ClientError::new("28000", 0, format!("role \"{user}\" is not permitted to log in"));
        return Err(AcceptError::refused(told, "NOLOGIN"));
    }
    let credentials = match password {
        Some(password) => Credentials::Password(password),
        None => Credentials::ScramKeys(Box::new(proof.keys)),
    };
    Ok(Outcome { credentials, listed, proven: true, record })
}

enum Exchange {
    Wrong,
    Other(AcceptError),
}

impl From<AcceptError> for Exchange {
    fn from(error: AcceptError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for Exchange {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::WrongPassword => Self::Wrong,
            Failure::Malformed(told) => Self::Other(AcceptError::refused(*told, "in the SCRAM exchange")),
        }
    }
}

async fn exchange(stream: &mut Stream, verifier: Verifier) -> Result<Proof, Exchange> {
    let body = answer(stream, "SASL", auth::MESSAGE_MAX).await?;
    let mut fields = Fields(&body);
    if fields.cstr() != Some(auth::MECHANISM.as_bytes()) {
        return Err(protocol_violation("client selected an invalid SASL authentication mechanism").into());
    }
    let mut first = match fields.i32().map(usize::try_from) {
        Some(Ok(length)) if length == fields.0.len() => fields.0.to_vec(),
        Some(Err(_)) if fields.0.is_empty() => Vec::new(), // -1: the client waits for a word of ours
        _ => return Err(protocol_violation("invalid message format").into()),
    };
    let mut out = Vec::new();
    if first.is_empty() {
        wire::authentication_sasl_continue(&mut out, &[]);
        send(stream, &out).await?;
        out.clear();
        first = answer(stream, "SASL", auth::MESSAGE_MAX).await?;
    }
    let nonce = auth::nonce().map_err(AcceptError::Io)?;
    let (challenged, server_first) = server::Start::new(verifier, nonce).next(&first)?;
    wire::authentication_sasl_continue(&mut out, server_first.as_bytes());
    send(stream, &out).await?;
    let last = answer(stream, "SASL", auth::MESSAGE_MAX).await?;
    Ok(challenged.next(&last)?)
}

fn protocol_violation(message: &str) -> AcceptError {
    AcceptError::refused(ClientError::new("08P01", 0, message), "in its answer to the authentication request")
}

async fn send(stream: &mut Stream, out: &[u8]) -> Result<(), AcceptError> {
    stream.write_all(out).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads one `p` message, exactly.
async fn answer(stream: &mut Stream, kind: &str, max: usize) -> Result<Vec<u8>, AcceptError> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    if header[0] != b'p' {
        return Err(protocol_violation(&format!("expected {kind} response, got message type {}", header[0])));
    }
    let Ok(Some(head)) = wire::head(&header, max + HEADER) else {
        return Err(protocol_violation(&format!("the {kind} response is longer than {max} bytes")));
    };
    let mut body = vec![0; head.length - HEADER];
    stream.read_exact(&mut body).await?;
    Ok(body)
}
