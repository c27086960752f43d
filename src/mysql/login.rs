//! Logs in to a server, and asks it simple questions: what backends, the monitor and cancel requests have in common.

use super::auth;
use super::handshake::{CACHING_SHA2, Greeting, NATIVE, NONCE, Response, Said, Terms, tls_request};
use super::wire::{self, Fields, HEADER, ServerError, capability as cap};
use crate::config::settings::{Node, ServerTlsMode};
use crate::net::Stream;
use crate::net::tls::{Connector, TlsError};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// No packet of a login, and no answer to one of our own questions, is longer.
const PACKET_MAX: usize = 1 << 20;
/// Rows of an answer to one of our own questions.
const ROWS_MAX: usize = 1000;

/// A server, as one connects to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name or address, resolved anew at each connect; a path is a unix socket.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// How much TLS is asked of it.
    pub tls: Arc<Connector>,
}

impl Target {
    /// The target that a node's settings describe.
    ///
    /// # Errors
    /// When its TLS cannot be set up.
    pub fn new(node: &Node) -> Result<Self, TlsError> {
        Ok(Self { host: node.host.clone(), port: node.port, tls: Arc::new(Connector::load(&node.tls)?) })
    }
}

/// Why a server did not let us in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The connection could not be made, or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server refused.
    #[error("{} (errno {})", .0.message, .0.errno)]
    Refused(ServerError),
    /// It asks for what we do not do.
    #[error("{0}")]
    Unsupported(String),
}

fn protocol(what: &str) -> LoginError {
    LoginError::Io(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the server's answer is not MySQL's: {what}"),
    ))
}

/// A logged-in connection.
#[derive(Debug)]
pub struct Opened {
    /// Its stream.
    pub stream: Stream,
    /// The server's number for it.
    pub id: u32,
    /// What results look like.
    pub terms: Terms,
}

/// Connects and logs in. The caller bounds the time; dropping the future closes the connection.
///
/// # Errors
/// When the server cannot be reached or does not let us in.
pub async fn open(
    target: &Target,
    user: &str,
    password: &str,
    database: &str,
    terms: Terms,
) -> Result<Opened, LoginError> {
    let mut stream = if target.host.starts_with('/') {
        Stream::Unix(UnixStream::connect(&*target.host).await?)
    } else {
        Stream::tcp(TcpStream::connect((&*target.host, target.port)).await?)?
    };
    let (_, first) = receive(&mut stream).await?;
    if first.first() == Some(&0xff) {
        return Err(LoginError::Refused(ServerError::parse(&first)));
    }
    let greeting = Greeting::parse(&first).ok_or_else(|| protocol("its greeting cannot be read"))?;
    let missing = terms.capabilities & !greeting.capabilities;
    if missing != 0 {
        let words = format!("the server lacks capabilities that the client uses (bits {missing:#x})");
        return Err(LoginError::Unsupported(words));
    }
    let (mut stream, mut sequence) = encrypt(stream, target, &greeting, (terms, database)).await?;
    let plugin = if greeting.plugin == NATIVE { NATIVE } else { CACHING_SHA2 };
    let response = Response {
        capabilities: Response::capabilities(terms, database, stream.is_tls()),
        collation: terms.collation,
        user: user.to_owned(),
        proof: proof(plugin, password, &greeting.nonce)?,
        database: database.to_owned(),
        plugin: plugin.to_owned(),
    };
    sequence = send(&mut stream, sequence, &response.bytes()).await?;
    prove(&mut stream, password, sequence).await?;
    Ok(Opened { stream, id: greeting.id, terms })
}

async fn encrypt(
    mut stream: Stream,
    target: &Target,
    greeting: &Greeting,
    (terms, database): (Terms, &str),
) -> Result<(Stream, u8), LoginError> {
    let mode = target.tls.mode();
    if mode == ServerTlsMode::Disable || stream.is_unix() {
        return Ok((stream, 1));
    }
    if greeting.capabilities & cap::SSL == 0 {
        if mode == ServerTlsMode::Prefer {
            return Ok((stream, 1));
        }
        return Err(LoginError::Unsupported("the server has no TLS, but tls.mode demands it".to_owned()));
    }
    let request = tls_request(Response::capabilities(terms, database, true), terms.collation);
    let sequence = send(&mut stream, 1, &request).await?;
    Ok((target.tls.connect(stream, &target.host).await?, sequence))
}

fn proof(plugin: &str, password: &str, nonce: &[u8; NONCE]) -> Result<Vec<u8>, LoginError> {
    match plugin {
        CACHING_SHA2 => Ok(auth::caching_sha2(password, nonce)),
        NATIVE => Ok(auth::native(password, nonce)),
        other => Err(LoginError::Unsupported(format!("the server asks for the plugin {other}"))),
    }
}

async fn prove(stream: &mut Stream, password: &str, mut sequence: u8) -> Result<(), LoginError> {
    // A server asks for another plugin once, and for the whole password once.
    for _ in 0..4 {
        let (number, packet) = receive(stream).await?;
        sequence = sequence.max(number).wrapping_add(1);
        match Said::parse(&packet).map_err(protocol)? {
            Said::Welcome => return Ok(()),
            Said::Refused(refusal) => return Err(LoginError::Refused(refusal)),
            Said::Switch(plugin, nonce) => {
                sequence = send(stream, sequence, &proof(&plugin, password, &nonce)?).await?;
            }
            Said::Known => {}
            Said::Whole if stream.is_tls() || stream.is_unix() => {
                let mut whole = zeroize::Zeroizing::new(password.as_bytes().to_vec());
                whole.push(0);
                sequence = send(stream, sequence, &whole).await?;
            }
            Said::Whole => {
                return Err(LoginError::Unsupported(
                    "the server wants the whole password, which is sent inside TLS only: set tls.mode of the node".to_owned(),
                ));
            }
        }
    }
    Err(protocol("the login does not end"))
}

/// Sends one message.
async fn send(stream: &mut Stream, sequence: u8, payload: &[u8]) -> io::Result<u8> {
    let mut out = Vec::with_capacity(payload.len() + HEADER);
    let next = wire::packets(&mut out, sequence, payload);
    stream.write_all(&out).await?;
    stream.flush().await?;
    Ok(next)
}

/// Receives one packet: its number and its payload.
///
/// # Errors
/// When the connection breaks, or the packet is too long for a login.
pub async fn receive(stream: &mut Stream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let head = wire::head(&header).filter(|head| head.length <= PACKET_MAX);
    let head =
        head.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a packet of invalid length"))?;
    let mut payload = vec![0; head.length];
    stream.read_exact(&mut payload).await?;
    Ok((head.sequence, payload))
}

/// Runs a command of our own and reads its answer whole: the rows, as text, and the status. Not cancel safe.
///
/// # Errors
/// What the server refused, or that it is gone.
pub async fn ask(opened: &mut Opened, command: u8, text: &str) -> Result<(Rows, u16), LoginError> {
    let stream = &mut opened.stream;
    let mut payload = vec![command];
    payload.extend_from_slice(text.as_bytes());
    send(stream, 0, &payload).await?;
    let (_, first) = receive(stream).await?;
    match first.first() {
        Some(0xff) => return Err(LoginError::Refused(ServerError::parse(&first))),
        Some(0) => return Ok((Vec::new(), wire::status_of_ok(&first).unwrap_or(0))),
        _ => {}
    }
    let columns =
        Fields(&first).number().filter(|n| *n <= 100).ok_or_else(|| protocol("a result without columns"))?;
    for _ in 0..columns + u64::from(!opened.terms.deprecates_eof()) {
        receive(stream).await?;
    }
    let mut rows = Vec::new();
    loop {
        let (_, packet) = receive(stream).await?;
        match packet.first() {
            Some(0xff) => return Err(LoginError::Refused(ServerError::parse(&packet))),
            Some(0xfe) if opened.terms.deprecates_eof() => {
                return Ok((rows, wire::status_of_ok(&packet).unwrap_or(0)));
            }
            Some(0xfe) if packet.len() < 9 => {
                return Ok((rows, wire::status_of_eof(&packet).unwrap_or(0)));
            }
            _ if rows.len() >= ROWS_MAX => return Err(protocol("more rows than were asked for")),
            _ => rows.push(row(&packet, columns)),
        }
    }
}

/// Rows of text.
pub type Rows = Vec<Vec<Option<String>>>;

/// Reads a row of text; what is missing is left out.
pub(super) fn row(packet: &[u8], columns: u64) -> Vec<Option<String>> {
    let mut fields = Fields(packet);
    let mut value = || {
        let mut ahead = fields;
        if ahead.nullable()?.is_none() {
            fields = ahead;
            return Some(None);
        }
        fields.counted().map(|bytes| Some(String::from_utf8_lossy(bytes).into_owned()))
    };
    (0..columns).map_while(|_| value()).collect()
}

/// What a server says of itself, in words that any user may ask. Its start is a whole second of its own clock that is the same as long as it
/// runs: uptime counts from it, and both are taken at the statement's beginning.
pub const WHO: &str = "SELECT @@server_uuid, @@GLOBAL.read_only OR @@GLOBAL.super_read_only, \
    UNIX_TIMESTAMP() - (SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Uptime'), \
    VERSION(), @@GLOBAL.max_connections, \
    CONCAT('SET NAMES ', @@character_set_client, ' COLLATE ', @@collation_connection)";

/// The answer to [`WHO`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// A hash of `server_uuid`.
    pub identity: u64,
    /// Second of its start.
    pub start: u64,
    /// Whether it takes writes.
    pub writable: bool,
    /// Its version.
    pub version: String,
    /// `max_connections`.
    pub slots: u32,
    /// Brings the connection's character set back to what it is now.
    pub names: String,
}

/// Asks a server who it is.
///
/// # Errors
/// As [`ask`].
pub async fn who(opened: &mut Opened) -> Result<Who, LoginError> {
    let (rows, _) = ask(opened, super::request::QUERY, WHO).await?;
    let field = |i: usize| rows.first().and_then(|row| row.get(i)).and_then(Option::as_deref);
    let uuid = field(0).ok_or_else(|| protocol("it has no server_uuid"))?;
    // Uptime is text to the server: the difference may come as a fraction.
    let start = field(2).and_then(|text| text.split('.').next()?.parse().ok());
    Ok(Who {
        identity: hash(uuid),
        start: start.ok_or_else(|| protocol("it does not say when it was started"))?,
        writable: field(1) == Some("0"),
        version: field(3).unwrap_or_default().to_owned(),
        slots: field(4).and_then(|text| text.parse().ok()).unwrap_or(0),
        names: field(5).unwrap_or_default().to_owned(),
    })
}

fn hash(uuid: &str) -> u64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, uuid.as_bytes());
    digest.as_ref().first_chunk().map_or(1, |first| u64::from_le_bytes(*first))
}
