//! The questions that a user is asked, and what its answers prove.

use super::AcceptError;
use super::door::{Examination, Question};
use crate::config::units::Secret;
use crate::engine::identity::{Credentials, UserRecord};
use crate::error::{ClientError, Fault};
use crate::net::Stream;
use crate::postgres::auth::md5::{self, Hash};
use crate::postgres::auth::server::{self, Binding, Failure, Proof};
use crate::postgres::auth::{self, Verifier};
use crate::postgres::wire::{self, Fields, HEADER};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest password in clear, as in the server (`PG_MAX_AUTH_TOKEN_LENGTH`).
const PASSWORD_MAX: usize = 65_535;

/// Who it is, as far as that is known.
pub(super) struct Outcome {
    pub(super) credentials: Credentials,
    pub(super) listed: bool,
    pub(super) proven: bool,
    pub(super) record: Option<Arc<UserRecord>>,
}

fn wrong_password(user: &str, why: impl Into<String>) -> AcceptError {
    let told = ClientError::new("28P01", 1045, format!("password authentication failed for user \"{user}\""));
    AcceptError::Refused { told: Box::new(told.fatal()), why: why.into(), guess: true, fault: Fault::Client }
}

/// Asks for the password in clear, where nobody can listen.
pub(super) async fn ask_password(stream: &mut Stream, user: &str) -> Result<Outcome, AcceptError> {
    let mut out = Vec::new();
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
    let password = std::str::from_utf8(password_packet(&body)?)
        .map_err(|_| protocol_violation("invalid password packet size"))?;
    let credentials = Credentials::Password(Secret::new(password.to_owned()));
    Ok(Outcome { credentials, listed: false, proven: false, record: None })
}

/// Asks for a proof of the password; `end_point` is what it can be bound to.
pub(super) async fn ask_proof(
    stream: &mut Stream,
    examination: Examination,
    user: &str,
    end_point: Option<Arc<[u8]>>,
) -> Result<Outcome, AcceptError> {
    let Examination { question, hopeless, password, listed, record } = examination;
    let proof = match question {
        Question::Scram(verifier) => ask_scram(stream, verifier, end_point).await,
        Question::Md5(hash) => ask_md5(stream, &hash).await,
    };
    let proof = match proof {
        Err(Exchange::Wrong) => {
            return Err(wrong_password(user, hopeless.as_deref().unwrap_or("wrong password")));
        }
        Err(Exchange::Other(error)) => return Err(error),
        Ok(proof) => proof,
    };
    if let Some(why) = hopeless {
        return Err(wrong_password(user, why));
    }
    let revealed = match proof {
        Proved::Scram(proof) => {
            let mut out = Vec::new();
            wire::authentication_sasl_final(&mut out, proof.server_final.as_bytes());
            send(stream, &out).await?;
            Credentials::ScramKeys(Box::new(proof.keys))
        }
        Proved::Md5(hash) => Credentials::Md5(hash),
    };
    if record.as_ref().is_some_and(|record| !record.can_login) {
        let told = ClientError::new("28000", 0, format!("role \"{user}\" is not permitted to log in"));
        return Err(AcceptError::refused(told, "NOLOGIN"));
    }
    let credentials = password.map_or(revealed, Credentials::Password);
    Ok(Outcome { credentials, listed, proven: true, record })
}

enum Proved {
    Scram(Proof),
    Md5(Secret),
}

async fn ask_md5(stream: &mut Stream, hash: &Hash) -> Result<Proved, Exchange> {
    let mut out = Vec::new();
    let salt = md5::salt().map_err(AcceptError::Io)?;
    wire::authentication_md5(&mut out, salt);
    send(stream, &out).await?;
    let body = answer(stream, "password", PASSWORD_MAX).await?;
    let answer = password_packet(&body)?;
    if hash.is_proved(salt, answer) { Ok(Proved::Md5(hash.stored())) } else { Err(Exchange::Wrong) }
}

/// The one field of a PasswordMessage.
fn password_packet(body: &[u8]) -> Result<&[u8], AcceptError> {
    let mut fields = Fields(body);
    let password = fields.cstr().filter(|_| fields.0.is_empty());
    let password = password.ok_or_else(|| protocol_violation("invalid password packet size"))?;
    if password.is_empty() {
        let told = ClientError::new("28P01", 1045, "empty password returned by client");
        return Err(AcceptError::refused(told, "no password"));
    }
    Ok(password)
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

async fn ask_scram(
    stream: &mut Stream,
    verifier: Verifier,
    end_point: Option<Arc<[u8]>>,
) -> Result<Proved, Exchange> {
    let mut out = Vec::new();
    wire::authentication_sasl(&mut out, end_point.is_some());
    send(stream, &out).await?;
    out.clear();
    let body = answer(stream, "SASL", auth::MESSAGE_MAX).await?;
    let mut fields = Fields(&body);
    let mechanism = fields.cstr();
    let binding = match end_point {
        Some(end_point) if mechanism == Some(auth::MECHANISM_PLUS.as_bytes()) => Binding::To(end_point),
        Some(_) if mechanism == Some(auth::MECHANISM.as_bytes()) => Binding::Offered,
        None if mechanism == Some(auth::MECHANISM.as_bytes()) => Binding::None,
        _ => {
            return Err(protocol_violation("client selected an invalid SASL authentication mechanism").into());
        }
    };
    let mut first = match fields.i32().map(usize::try_from) {
        Some(Ok(length)) if length == fields.0.len() => fields.0.to_vec(),
        Some(Err(_)) if fields.0.is_empty() => Vec::new(), // -1: the client waits for a word of ours
        _ => return Err(protocol_violation("invalid message format").into()),
    };
    if first.is_empty() {
        wire::authentication_sasl_continue(&mut out, &[]);
        send(stream, &out).await?;
        out.clear();
        first = answer(stream, "SASL", auth::MESSAGE_MAX).await?;
    }
    let nonce = auth::nonce().map_err(AcceptError::Io)?;
    let (challenged, server_first) = server::Start::new(verifier, nonce, binding).next(&first)?;
    wire::authentication_sasl_continue(&mut out, server_first.as_bytes());
    send(stream, &out).await?;
    let last = answer(stream, "SASL", auth::MESSAGE_MAX).await?;
    Ok(Proved::Scram(challenged.next(&last)?))
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
