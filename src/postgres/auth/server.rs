//! SCRAM-SHA-256 as the server: `Start` → client-first → `Challenged` → client-final → `Proof`.

use super::verifier::Verifier;
use super::{Key, attribute, decode_key, encode, hmac, is_nonce, same, sha256, xor};
use crate::engine::identity::ScramKeys;
use crate::error::ClientError;
use std::borrow::Cow;
use std::sync::Arc;

/// The one type of channel binding, as in the server.
const END_POINT: &str = "tls-server-end-point";

/// Whether the proof is bound to the connection that it comes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// There is nothing to bind to, and none was offered.
    None,
    /// It was offered, and the client chose the mechanism without it.
    Offered,
    /// The client chose it: to the hash of our certificate (`tls-server-end-point`).
    To(Arc<[u8]>),
}

/// Before the client's first message.
#[derive(Debug)]
pub struct Start {
    verifier: Verifier,
    nonce: String,
    binding: Binding,
}

/// The client has our nonce, salt and rounds.
#[derive(Debug)]
pub struct Challenged {
    verifier: Verifier,
    nonce: String,
    /// Everything that both sides sign up to now: client-first-bare `,` server-first.
    signed: String,
    /// What the client must repeat of its own first message and, if it is bound, know of our certificate.
    binding: Cow<'static, str>,
    bound: bool,
}

/// The client knows the password.
#[derive(Debug, PartialEq, Eq)]
pub struct Proof {
    /// What its proof revealed.
    pub keys: ScramKeys,
    /// The server's last message: proves that we have the verifier.
    pub server_final: String,
}

/// Why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The password is wrong: the client is told nothing more than that.
    WrongPassword,
    /// The message is not SCRAM, or asks for what we do not have: told as the server tells it.
    Malformed(Box<ClientError>),
}

fn malformed(detail: &str) -> Failure {
    told("08P01", "malformed SCRAM message", detail)
}

fn told(sqlstate: &'static str, message: &str, detail: &str) -> Failure {
    Failure::Malformed(Box::new(ClientError::new(sqlstate, 0, message).detail(detail).fatal()))
}

fn unsupported(message: &str) -> Failure {
    Failure::Malformed(Box::new(ClientError::new("0A000", 0, message).fatal()))
}

/// A character of the client's as the server shows it.
fn shown(character: char) -> String {
    if character.is_ascii_graphic() {
        format!("'{character}'")
    } else {
        let mut bytes = [0; 4];
        format!("0x{:02x}", character.encode_utf8(&mut bytes).bytes().next().unwrap_or(0))
    }
}

impl Start {
    /// `nonce` is fresh randomness: [`super::nonce`].
    #[must_use]
    pub fn new(verifier: Verifier, nonce: String, binding: Binding) -> Self {
        Self { verifier, nonce, binding }
    }

    /// Takes the client's first message; gives ours (server-first).
    ///
    /// # Errors
    /// When it is malformed, asks for another channel binding than was agreed on, for an authorization identity or an extension.
    pub fn next(self, client_first: &[u8]) -> Result<(Challenged, String), Failure> {
        let text =
            std::str::from_utf8(client_first).map_err(|_| malformed("The message is not valid UTF-8."))?;
        let (binding, rest) = bound(&self.binding, text)?;
        let (identity, bare) = rest.split_once(',').ok_or_else(|| malformed("Comma expected."))?;
        if identity.starts_with("a=") {
            return Err(unsupported("client uses authorization identity, but it is not supported"));
        }
        if !identity.is_empty() {
            return Err(malformed("Unexpected attribute in client-first-message."));
        }
        if bare.starts_with("m=") {
            return Err(unsupported("client requires an unsupported SCRAM extension"));
        }
        // The name in it is ignored, as in the server: the start-up message has said who it is.
        let (_, rest) = attribute(bare, 'n').ok_or_else(|| malformed("Attribute \"n\" expected."))?;
        let (client_nonce, _) = attribute(rest, 'r').ok_or_else(|| malformed("Attribute \"r\" expected."))?;
        if !is_nonce(client_nonce) {
            let told = ClientError::new("08P01", 0, "non-printable characters in SCRAM nonce").fatal();
            return Err(Failure::Malformed(Box::new(told)));
        }
        let nonce = format!("{client_nonce}{}", self.nonce);
        let first = format!("r={nonce},s={},i={}", encode(&self.verifier.salt), self.verifier.iterations);
        let signed = format!("{bare},{first}");
        let bound = matches!(self.binding, Binding::To(_));
        Ok((Challenged { verifier: self.verifier, nonce, signed, binding, bound }, first))
    }
}

/// Reads the channel-binding flag: what the last message must repeat, and what follows the flag's comma.
fn bound<'a>(binding: &Binding, text: &'a str) -> Result<(Cow<'static, str>, &'a str), Failure> {
    let mut characters = text.chars();
    let flag = characters.next();
    let after_comma = || characters.as_str().strip_prefix(',').ok_or_else(|| malformed("Comma expected."));
    match (flag, binding) {
        (Some('n' | 'y'), Binding::To(_)) => Err(malformed(
            "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
        )),
        (Some('n'), _) => Ok((Cow::Borrowed("biws"), after_comma()?)),
        // It can bind, and was told that we cannot: somebody between us has changed what was offered.
        (Some('y'), Binding::Offered) => Err(told(
            "28000",
            "SCRAM channel binding negotiation error",
            "The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.",
        )),
        (Some('y'), Binding::None) => Ok((Cow::Borrowed("eSws"), after_comma()?)),
        (Some('p'), Binding::To(end_point)) => {
            let (kind, rest) = attribute(text, 'p')
                .ok_or_else(|| malformed("Expected character \"=\" for attribute \"p\"."))?;
            if kind != END_POINT {
                let message = format!("unsupported SCRAM channel-binding type \"{}\"", sanitized(kind));
                return Err(Failure::Malformed(Box::new(ClientError::new("08P01", 0, message).fatal())));
            }
            let said = [b"p=", END_POINT.as_bytes(), b",,", end_point].concat();
            Ok((Cow::Owned(encode(&said)), rest))
        }
        (Some('p'), _) => Err(malformed(
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
        )),
        (other, _) => {
            let flag = other.map_or_else(String::new, shown);
            Err(malformed(&format!("Unexpected channel-binding flag \"{flag}\".")))
        }
    }
}

/// The beginning of a client's word as the server shows it.
fn sanitized(word: &str) -> String {
    let letter = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { '?' };
    word.bytes().take(30).map(letter).collect()
}

impl Challenged {
    /// Takes the client's last message.
    ///
    /// # Errors
    /// When it is malformed, answers another challenge, or does not prove the password.
    pub fn next(self, client_final: &[u8]) -> Result<Proof, Failure> {
        let text =
            std::str::from_utf8(client_final).map_err(|_| malformed("The message is not valid UTF-8."))?;
        let (unproved, proof) =
            text.rsplit_once(",p=").ok_or_else(|| malformed("Attribute \"p\" expected."))?;
        let (binding, rest) =
            attribute(unproved, 'c').ok_or_else(|| malformed("Attribute \"c\" expected."))?;
        if self.bound && binding != self.binding {
            let told = ClientError::new("28000", 0, "SCRAM channel binding check failed").fatal();
            return Err(Failure::Malformed(Box::new(told)));
        }
        if binding != self.binding {
            return Err(told(
                "08P01",
                "unexpected SCRAM channel-binding attribute in client-final-message",
                "It is not what the first message announced.",
            ));
        }
        let (nonce, _) = attribute(rest, 'r').ok_or_else(|| malformed("Attribute \"r\" expected."))?;
        if !same(nonce.as_bytes(), self.nonce.as_bytes()) {
            return Err(told("08P01", "invalid SCRAM response", "Nonce does not match."));
        }
        let proof = decode_key(proof).ok_or_else(|| malformed("Malformed proof in client-final-message."))?;
        self.check(unproved, proof)
    }

    fn check(&self, unproved: &str, proof: Key) -> Result<Proof, Failure> {
        let signed: [&[u8]; 3] = [self.signed.as_bytes(), b",", unproved.as_bytes()];
        let client_key = xor(proof, &hmac(&self.verifier.stored_key, &signed));
        if !same(&sha256(&client_key), &self.verifier.stored_key) {
            return Err(Failure::WrongPassword);
        }
        let signature = hmac(&self.verifier.server_key, &signed);
        Ok(Proof {
            keys: ScramKeys {
                client_key,
                stored_key: self.verifier.stored_key,
                server_key: self.verifier.server_key,
            },
            server_final: format!("v={}", encode(&signature)),
        })
    }
}

/// Takes any bytes through this module, as a client's first message and, after a NUL, its last: what fuzzing calls.
/// No client proves the verifier that is used here.
///
/// # Errors
/// Always.
pub fn decode_all(bytes: &[u8]) -> Result<Proof, Failure> {
    let mut messages = bytes.splitn(2, |byte| *byte == 0);
    let first = messages.next().unwrap_or_default();
    // A client that asks for a binding has got one.
    let binding = if first.starts_with(b"p") { Binding::To(Arc::from([7; 32])) } else { Binding::None };
    let start = Start::new(Verifier::mock(&[0; 32], ""), "nonce".to_owned(), binding);
    let (challenged, _) = start.next(first)?;
    challenged.next(messages.next().unwrap_or_default())
}
