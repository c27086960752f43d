//! The beginning of a client's connection, without I/O: what its first packet asks for, and what is answered.
//!
//! A first packet has no tag. [`First::next`] takes one and says what comes next; a state that a step does not
//! return cannot be reached.

pub mod options;

use super::wire::{self, CANCEL_REQUEST, Fields, GSSENC_REQUEST, PROTOCOL_3_2, SSL_REQUEST};
use crate::error::ClientError;
use std::sync::Arc;

/// The longest first packet, as in the server (`MAX_STARTUP_PACKET_LENGTH`), its length field not counted.
pub const PACKET_MAX: usize = 10_000;
/// The longest cancel key that protocol 3.2 allows.
pub const CANCEL_KEY_MAX: usize = 256;

/// Waiting for a first packet. A client asks for encryption at most once of each kind.
#[derive(Debug, Clone, Copy)]
pub struct First {
    newest: u32,
    ssl_asked: bool,
    gss_asked: bool,
}

/// What comes after a first packet.
#[derive(Debug)]
pub enum Step {
    /// It asks for TLS: answer `S` and shake hands, or `N`; then the next packet goes to the state in it.
    Tls(First),
    /// It asks for GSSAPI encryption: answer `N`; then the next packet goes to the state in it.
    Gss(First),
    /// It asks for a statement to be cancelled. Nothing is ever answered.
    Cancel {
        /// The number that we gave to the session.
        pid: u32,
        /// The secret that we gave with it.
        key: Vec<u8>,
    },
    /// It wants to log in.
    Startup(Box<Startup>),
    /// It is told why not, in the form that it understands, and closed.
    Refuse(Refusal),
}

/// Why a first packet is refused.
#[derive(Debug)]
pub struct Refusal {
    /// What the client is told; `None`: these bytes are no PostgreSQL client's, or hopeless, and are closed without a text, as the server does.
    pub error: Option<ClientError>,
    /// Whether it speaks protocol 2, whose errors have no length and no fields.
    pub protocol_2: bool,
}

/// What a StartupMessage says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Who it wants to be.
    pub user: Arc<str>,
    /// Where to; the user's name when it says nothing.
    pub database: Arc<str>,
    /// Session settings to start with, those inside `options` included, each name once.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// Its words, if it wants to be a replication connection.
    pub replication: Option<Box<str>>,
    /// The version that the connection speaks from here on: what was asked for, or the newest that there is.
    pub version: u32,
    /// It must be told which version that is (`NegotiateProtocolVersion`).
    pub negotiate: bool,
    /// Protocol options (`_pq_.…`) that it named: we know none.
    pub protocol_options: Vec<Box<str>>,
    /// What is wrong with `options`: told after the password was proved, as the server does.
    pub bad_options: Option<ClientError>,
}

impl Startup {
    /// How many bytes the secret of its cancel requests has, as the server's: long ones came with 3.2.
    #[must_use]
    pub fn cancel_key(&self) -> usize {
        if self.version >= PROTOCOL_3_2 { 32 } else { 4 }
    }
}

impl First {
    /// A new connection; `newest` is the newest version that the cluster's servers speak.
    #[must_use]
    pub fn new(newest: u32) -> Self {
        Self { newest: newest.min(PROTOCOL_3_2), ssl_asked: false, gss_asked: false }
    }

    /// How many bytes follow the length field of a first packet.
    ///
    /// # Errors
    /// When no first packet has that length (HTTP, TLS without asking, noise): it is closed without a text.
    pub fn body_length(prefix: [u8; 4]) -> Result<usize, Refusal> {
        match usize::try_from(u32::from_be_bytes(prefix)) {
            Ok(length) if (8..=PACKET_MAX + 4).contains(&length) => Ok(length - 4),
            _ => Err(Refusal { error: None, protocol_2: false }),
        }
    }

    /// Takes the packet after its length field.
    #[must_use]
    pub fn next(self, body: &[u8]) -> Step {
        let mut fields = Fields(body);
        match fields.u32() {
            Some(SSL_REQUEST) if !self.ssl_asked => Step::Tls(Self { ssl_asked: true, ..self }),
            Some(GSSENC_REQUEST) if !self.gss_asked => Step::Gss(Self { gss_asked: true, ..self }),
            Some(CANCEL_REQUEST) => match (fields.u32(), fields.0) {
                (Some(pid), key) if (1..=CANCEL_KEY_MAX).contains(&key.len()) => {
                    Step::Cancel { pid, key: key.to_vec() }
                }
                _ => Step::Refuse(Refusal { error: None, protocol_2: false }),
            },
            Some(version) => match startup(version, self.newest, fields) {
                Ok(startup) => Step::Startup(Box::new(startup)),
                Err(error) => Step::Refuse(Refusal { error: Some(*error), protocol_2: version >> 16 < 3 }),
            },
            None => Step::Refuse(Refusal { error: None, protocol_2: false }),
        }
    }
}

impl Refusal {
    /// The bytes to send before closing; empty when nothing is said.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.error {
            Some(error) if self.protocol_2 => {
                out.push(b'E');
                wire::cstr(&mut out, &format!("FATAL:  {}\n", error.message));
            }
            Some(error) => wire::error(&mut out, error),
            None => {}
        }
        out
    }
}

fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Box<ClientError> {
    Box::new(ClientError::new(sqlstate, 0, message).fatal())
}

fn startup(version: u32, newest: u32, mut fields: Fields<'_>) -> Result<Startup, Box<ClientError>> {
    let (major, minor) = (version >> 16, version & 0xFFFF);
    if major != 3 {
        return Err(fatal(
            "0A000",
            format!(
                "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{}",
                newest & 0xFFFF
            ),
        ));
    }
    let (mut user, mut database, mut options, mut replication) = (None, None, None, None);
    let mut plain = Vec::new();
    let mut protocol_options = Vec::new();
    loop {
        let name = text(fields.cstr())?;
        if name.is_empty() {
            break;
        }
        let value = text(fields.cstr())?;
        match name {
            "user" => user = Some(value),
            "database" => database = Some(value),
            "options" => options = Some(value),
            "replication" => replication = walsender(value)?,
            _ if name.starts_with("_pq_.") => protocol_options.push(name.into()),
            _ => plain.push((name.into(), value.into())),
        }
    }
    if !fields.0.is_empty() {
        return Err(bad_layout());
    }
    let user = user
        .filter(|user| !user.is_empty())
        .ok_or_else(|| fatal("28000", "no PostgreSQL user name specified in startup packet"))?;
    let (mut parameters, bad_options) = match options.map(options::parse) {
        Some(Ok(settings)) => (settings, None),
        Some(Err(error)) => (Vec::new(), Some(error.fatal())),
        None => (Vec::new(), None),
    };
    parameters.append(&mut plain);
    Ok(Startup {
        user: user.into(),
        database: database.filter(|name| !name.is_empty()).unwrap_or(user).into(),
        parameters: last_of_each(parameters),
        replication,
        version: version.min(newest),
        negotiate: version > newest || !protocol_options.is_empty(),
        protocol_options,
        bad_options,
    })
}

fn bad_layout() -> Box<ClientError> {
    fatal("08P01", "invalid startup packet layout: expected terminator as last byte")
}

fn text(field: Option<&[u8]>) -> Result<&str, Box<ClientError>> {
    let field = field.ok_or_else(bad_layout)?;
    std::str::from_utf8(field)
        .map_err(|_| fatal("22021", "invalid byte sequence for encoding \"UTF8\" in startup packet"))
}

/// `database`, or the server's boolean words in any unambiguous abbreviation.
fn walsender(value: &str) -> Result<Option<Box<str>>, Box<ClientError>> {
    let word = value.to_ascii_lowercase();
    let short_for = |long: &str, least: usize| word.len() >= least && long.starts_with(&word);
    if value == "database" || short_for("true", 1) || short_for("yes", 1) || word == "on" || word == "1" {
        Ok(Some(value.into()))
    } else if short_for("false", 1) || short_for("no", 1) || short_for("off", 2) || word == "0" {
        Ok(None)
    } else {
        Err(Box::new(
            (*fatal("22023", format!("invalid value for parameter \"replication\": \"{value}\"")))
                .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."),
        ))
    }
}

/// The server applies them in order, so the last of a name wins; names do not care for case.
fn last_of_each(all: Vec<(Box<str>, Box<str>)>) -> Vec<(Box<str>, Box<str>)> {
    let mut kept: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(all.len());
    for (name, value) in all {
        kept.retain(|(earlier, _)| !earlier.eq_ignore_ascii_case(&name));
        kept.push((name, value));
    }
    kept
}

/// Takes any bytes through this module, as a client's first packets one after the other: what fuzzing calls.
pub fn decode_all(bytes: &[u8]) {
    let mut state = First::new(PROTOCOL_3_2);
    let mut fields = Fields(bytes);
    while let Some(prefix) = fields.u32() {
        let Ok(length) = First::body_length(prefix.to_be_bytes()) else { return };
        let Some(body) = fields.bytes(length) else { return };
        state = match state.next(body) {
            Step::Tls(next) | Step::Gss(next) => next,
            Step::Refuse(refusal) => return drop(refusal.bytes()),
            Step::Cancel { .. } | Step::Startup(_) => return,
        };
    }
}

#[cfg(test)]
mod tests;
