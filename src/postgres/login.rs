//! Logs in to a server: the other side of the handshake, and the cancel request.

use super::auth::client::{self, Answered, Start};
use super::auth::md5::Hash;
use super::auth::{self, KeyCache};
use super::wire::{self, Fields, Frames, ServerError};
use crate::config::settings::{Node, ServerTlsMode};
use crate::engine::identity::Credentials;
use crate::error::{Fault, Retry};
use crate::net::Stream;
use crate::net::tls::{Connector, TlsError};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// No message of a login is longer.
const MESSAGE_MAX: usize = 64 << 10;
/// So long a cancel request waits for the server to close its connection.
const CANCEL_WAIT: Duration = Duration::from_secs(10);

/// A server, as one connects to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name or address, resolved anew at each connect; a path is the directory of a unix socket.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// How much TLS is asked of it.
    pub tls: Arc<Connector>,
    /// Keys that passwords gave.
    pub keys: KeyCache,
}

impl Target {
    /// The target that a node's settings describe.
    ///
    /// # Errors
    /// When its TLS cannot be set up.
    pub fn new(node: &Node, keys: KeyCache) -> Result<Self, TlsError> {
        let tls = Arc::new(Connector::load(&node.tls)?);
        Ok(Self { host: node.host.clone(), port: node.port, tls, keys })
    }
}

/// A backend that waits for its first query.
#[derive(Debug)]
pub struct Opened {
    /// Its connection.
    pub stream: Stream,
    /// Its ParameterStatus messages, in its order.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// Its process number, for a cancel request.
    pub pid: u32,
    /// The secret for it.
    pub key: Vec<u8>,
}

/// Why a backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody is reached there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// TLS is demanded, and the server has none, or its certificate is not accepted.
    #[error("TLS with {address} failed: {source}")]
    Tls {
        /// `host:port`.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke during the login: {0}")]
    Io(#[from] io::Error),
    /// The server refused.
    #[error("{0}")]
    Refused(Box<ServerError>),
    /// The server asks for a proof that we do not have.
    #[error("{0}")]
    Unsupported(String),
    /// The server's SCRAM is not in order.
    #[error(transparent)]
    Scram(#[from] client::Failure),
    /// It does not speak PostgreSQL's protocol 3.
    #[error("the server's answer is not PostgreSQL's: {0}")]
    Protocol(String),
}

impl OpenError {
    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Connect { .. } | Self::Io(_) => Fault::Peer,
            Self::Refused(error) if matches!(error.sqlstate.get(..2), Some("28" | "3D" | "42")) => {
                Fault::Client
            }
            Self::Tls { .. }
            | Self::Refused(_)
            | Self::Unsupported(_)
            | Self::Scram(_)
            | Self::Protocol(_) => Fault::Server,
        }
    }

    /// Whether it may be tried again, and where. No statement was sent yet: what speaks against it is only that it
    /// would fail again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::Io(_) | Self::Protocol(_) => Retry::AnotherNode,
            Self::Refused(error) => match &*error.sqlstate {
                // Starting up or shutting down, full, terminated.
                "57P03" | "53300" | "57P01" => Retry::AnotherNode,
                _ => Retry::Never,
            },
            Self::Unsupported(_) | Self::Scram(_) => Retry::Never,
        }
    }

    /// The server's SQLSTATE, if it was the server that refused.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.refusal().map(|error| &*error.sqlstate)
    }

    /// The server's own words, if it was the server that refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&ServerError> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }
}

/// Opens a backend for `user` in `database`. It is started with no client's settings, for start-up values are what
/// RESET returns to. The caller bounds the time; dropping the future closes the connection.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn open(
    target: &Target,
    user: &str,
    database: &str,
    credentials: &Credentials,
) -> Result<Opened, OpenError> {
    start(target, &[("user", user), ("database", database)], credentials).await
}

/// The same with start-up parameters of the caller's choice: a replication connection, a probe's own settings.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn start(
    target: &Target,
    parameters: &[(&str, &str)],
    credentials: &Credentials,
) -> Result<Opened, OpenError> {
    let mut stream = encrypt(connect(target).await?, target, target.tls.mode()).await?;
    let mut out = Vec::new();
    wire::startup(&mut out, parameters.iter().copied());
    stream.write_all(&out).await?;
    stream.flush().await?;
    let mut incoming = Incoming { stream, buffer: Vec::with_capacity(4096), at: 0 };
    let user = parameters.iter().find(|(name, _)| *name == "user").map_or("", |(_, user)| user);
    prove(&mut incoming, target, user, credentials).await?;
    await_ready(incoming).await
}

fn address(target: &Target) -> String {
    format!("{}:{}", target.host, target.port)
}

async fn connect(target: &Target) -> Result<Stream, OpenError> {
    let connected = if target.host.starts_with('/') {
        UnixStream::connect(format!("{}/.s.PGSQL.{}", target.host, target.port)).await.map(Stream::Unix)
    } else {
        TcpStream::connect((&*target.host, target.port)).await.and_then(Stream::tcp)
    };
    connected.map_err(|source| OpenError::Connect { address: address(target), source })
}

async fn encrypt(mut stream: Stream, target: &Target, mode: ServerTlsMode) -> Result<Stream, OpenError> {
    if mode == ServerTlsMode::Disable || stream.is_unix() {
        return Ok(stream);
    }
    let failed = |source| OpenError::Tls { address: address(target), source };
    let mut out = Vec::new();
    wire::ssl_request(&mut out);
    stream.write_all(&out).await?;
    match stream.read_u8().await? {
        b'S' => target.tls.connect(stream, &target.host).await.map_err(failed),
        b'N' if mode == ServerTlsMode::Prefer => Ok(stream),
        b'N' => Err(failed(io::Error::new(
            io::ErrorKind::Unsupported,
            "the server has no TLS, but tls.mode demands it",
        ))),
        b'E' => {
            // A server that cannot even fork answers with an error message. In clear, so only a hint, never a fact.
            Err(OpenError::Protocol("an error instead of an answer to SSLRequest".to_owned()))
        }
        byte => Err(OpenError::Protocol(format!("byte 0x{byte:02x} in answer to SSLRequest"))),
    }
}

/// The server's messages, one after the other.
struct Incoming {
    stream: Stream,
    buffer: Vec<u8>,
    at: usize,
}

impl Incoming {
    /// The next message. An ErrorResponse is an error, notices are passed over.
    async fn next(&mut self) -> Result<(u8, Vec<u8>), OpenError> {
        loop {
            let mut frames = Frames::new(self.buffer.get(self.at..).unwrap_or_default(), MESSAGE_MAX);
            match frames.next() {
                Some(Err(error)) => return Err(OpenError::Protocol(error.to_string())),
                Some(Ok(frame)) if frame.complete => {
                    let body = frames.body(&frame).to_vec();
                    self.at += frame.length;
                    match frame.tag {
                        b'E' => return Err(OpenError::Refused(Box::new(ServerError::parse(&body)))),
                        b'N' => continue,
                        tag => return Ok((tag, body)),
                    }
                }
                Some(Ok(_)) | None => {}
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(OpenError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The next authentication request.
    async fn request(&mut self) -> Result<(u32, Vec<u8>), OpenError> {
        let (tag, body) = self.next().await?;
        let mut fields = Fields(&body);
        match fields.u32() {
            Some(kind) if tag == b'R' => Ok((kind, fields.0.to_vec())),
            _ => Err(unexpected(tag, "an authentication request")),
        }
    }

    async fn send(&mut self, out: &[u8]) -> Result<(), OpenError> {
        self.stream.write_all(out).await?;
        Ok(self.stream.flush().await?)
    }
}

fn unexpected(tag: u8, instead_of: &str) -> OpenError {
    OpenError::Protocol(format!("message '{}' instead of {instead_of}", char::from(tag).escape_default()))
}

/// From the start-up message to AuthenticationOk.
async fn prove(
    incoming: &mut Incoming,
    target: &Target,
    user: &str,
    credentials: &Credentials,
) -> Result<(), OpenError> {
    let (kind, body) = incoming.request().await?;
    match (kind, credentials) {
        (0, _) => return Ok(()),
        (3, Credentials::Password(password)) if incoming.stream.is_tls() || incoming.stream.is_unix() => {
            let mut out = Vec::new();
            wire::password(&mut out, password.expose());
            incoming.send(&out).await?;
        }
        (5, Credentials::Password(_) | Credentials::Md5(_)) => {
            md5(incoming, &body, user, credentials).await?
        }
        (10, credentials) if *credentials != Credentials::Trusted => {
            scram(incoming, &body, target, credentials).await?
        }
        (kind, Credentials::Trusted) => return Err(OpenError::Unsupported(not_trusted(kind))),
        (kind, _) => return Err(OpenError::Unsupported(cannot_answer(kind))),
    }
    match incoming.request().await? {
        (0, _) => Ok(()),
        (kind, _) => Err(OpenError::Protocol(format!("authentication request {kind} after the proof"))),
    }
}

async fn md5(
    incoming: &mut Incoming,
    salt: &[u8],
    user: &str,
    credentials: &Credentials,
) -> Result<(), OpenError> {
    let salt =
        salt.try_into().map_err(|_| OpenError::Protocol("an md5 salt of the wrong length".to_owned()))?;
    let hash = match credentials {
        Credentials::Password(password) => Some(Hash::of(password.expose(), user)),
        Credentials::Md5(stored) => Hash::parse(stored.expose()),
        Credentials::ScramKeys(_) | Credentials::Trusted => None,
    };
    let hash = hash.ok_or_else(|| OpenError::Unsupported(cannot_answer(5)))?;
    let mut out = Vec::new();
    wire::password(&mut out, &hash.answer(salt));
    incoming.send(&out).await
}

fn not_trusted(kind: u32) -> String {
    format!(
        "the server asks for a proof (authentication request {kind}), and the client was let in without one: pg_hba.conf trusts both its address and the proxy's, or did a moment ago"
    )
}

fn cannot_answer(kind: u32) -> String {
    match kind {
        3 => "the server asks for the password in clear, which is sent only if it is known, and inside TLS or a unix socket".to_owned(),
        5 => "the server asks for an md5 proof, and the client has given a SCRAM one: its password was changed".to_owned(),
        7..=9 => "the server asks for GSSAPI or SSPI, which is not supported: use scram-sha-256".to_owned(),
        kind => format!("the server asks for authentication method {kind}, which is not supported: use scram-sha-256"),
    }
}

async fn scram(
    incoming: &mut Incoming,
    mechanisms: &[u8],
    target: &Target,
    credentials: &Credentials,
) -> Result<(), OpenError> {
    if !mechanisms.split(|byte| *byte == 0).any(|name| name == auth::MECHANISM.as_bytes()) {
        return Err(OpenError::Unsupported(format!("the server does not offer {}", auth::MECHANISM)));
    }
    let start = Start::new(auth::nonce()?);
    let mut out = Vec::new();
    wire::sasl_initial(&mut out, start.client_first().as_bytes());
    incoming.send(&out).await?;
    let challenge = start.next(&sasl(incoming, 11).await?)?;
    let (client_key, server_key) = match credentials {
        Credentials::ScramKeys(keys) => (keys.client_key, keys.server_key),
        Credentials::Password(password) => {
            target.keys.keys(password, &challenge.salt, challenge.iterations).await?
        }
        // The role's password is stored as md5, and the server's pg_hba.conf wants SCRAM of it: nobody can prove that, and the server says so.
        Credentials::Md5(_) | Credentials::Trusted => ([0; 32], [0; 32]),
    };
    let (answered, client_final): (Answered, String) = challenge.answer(&client_key, &server_key);
    out.clear();
    wire::sasl_response(&mut out, client_final.as_bytes());
    incoming.send(&out).await?;
    Ok(answered.next(&sasl(incoming, 12).await?)?)
}

async fn sasl(incoming: &mut Incoming, expected: u32) -> Result<Vec<u8>, OpenError> {
    match incoming.request().await? {
        (kind, body) if kind == expected => Ok(body),
        (kind, _) => Err(OpenError::Protocol(format!("authentication request {kind} in a SCRAM exchange"))),
    }
}

/// From AuthenticationOk to ReadyForQuery.
async fn await_ready(mut incoming: Incoming) -> Result<Opened, OpenError> {
    let (mut parameters, mut pid, mut key) = (Vec::new(), 0, Vec::new());
    loop {
        let (tag, body) = incoming.next().await?;
        let mut fields = Fields(&body);
        match tag {
            b'S' => match (fields.text(), fields.text()) {
                (Some(name), Some(value)) => parameters.push((name.into(), value.into())),
                _ => return Err(OpenError::Protocol("a ParameterStatus without a value".to_owned())),
            },
            b'K' => {
                pid = fields.u32().ok_or_else(|| unexpected(tag, "a whole BackendKeyData"))?;
                key = fields.0.to_vec();
            }
            b'Z' if incoming.at == incoming.buffer.len() => {
                return Ok(Opened { stream: incoming.stream, parameters, pid, key });
            }
            b'Z' => return Err(OpenError::Io(io::Error::other("the server spoke on after its login"))),
            tag => return Err(unexpected(tag, "ReadyForQuery")),
        }
    }
}

/// Asks the server to cancel what backend `pid` does, and waits until it has closed the connection: only then can
/// the request no longer hit a later statement. `encrypted`: whether the backend's own connection is inside TLS.
///
/// # Errors
/// When the request could not be brought to the server, or the server did not close in time.
pub async fn cancel(target: &Target, encrypted: bool, pid: u32, key: &[u8]) -> io::Result<()> {
    let brought = async {
        let mode = if encrypted { target.tls.mode() } else { ServerTlsMode::Disable };
        let stream = connect(target).await.map_err(io::Error::other)?;
        let mut stream = encrypt(stream, target, mode).await.map_err(io::Error::other)?;
        let mut out = Vec::new();
        wire::cancel_request(&mut out, pid, key);
        stream.write_all(&out).await?;
        stream.flush().await?;
        match stream.read(&mut [0; 64]).await {
            // A server that closes a TLS connection without a word, or resets it, has closed it all the same.
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    };
    tokio::time::timeout(CANCEL_WAIT, brought).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests;
