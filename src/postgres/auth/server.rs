//! SCRAM-SHA-256 as the server: `Start` → client-first → `Challenged` → client-final → `Proof`.

use super::verifier::Verifier;
use super::{Key, attribute, decode_key, encode, hmac, is_nonce, same, sha256, xor};
use crate::engine::identity::ScramKeys;
use crate::error::ClientError;

/// Before the client's first message.
#[derive(Debug)]
pub struct Start {
    verifier: Verifier,
    nonce: String,
}

/// The client has our nonce, salt and rounds.
#[derive(Debug)]
pub struct Challenged {
    verifier: Verifier,
    nonce: String,
    /// Everything that both sides sign up to now: client-first-bare `,` server-first.
    signed: String,
    /// What the client must repeat of its own first message.
    binding: &'static str,
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
    pub fn new(verifier: Verifier, nonce: String) -> Self {
        Self { verifier, nonce }
    }

    /// Takes the client's first message; gives ours (server-first).
    ///
    /// # Errors
    /// When it is malformed or asks for channel binding, an authorization identity or an extension.
    pub fn next(self, client_first: &[u8]) -> Result<(Challenged, String), Failure> {
        let text =
            std::str::from_utf8(client_first).map_err(|_| malformed("The message is not valid UTF-8."))?;
        let mut characters = text.chars();
        let binding = match characters.next() {
            Some('n') => "biws",
            Some('y') => "eSws",
            Some('p') => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
                ));
            }
            other => {
                let flag = other.map_or_else(String::new, shown);
                return Err(malformed(&format!("Unexpected channel-binding flag \"{flag}\".")));
            }
        };
        let rest = characters.as_str().strip_prefix(',').ok_or_else(|| malformed("Comma expected."))?;
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
        Ok((Challenged { verifier: self.verifier, nonce, signed, binding }, first))
    }
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
    let start = Start::new(Verifier::mock(&[0; 32], ""), "nonce".to_owned());
    let (challenged, _) = start.next(messages.next().unwrap_or_default())?;
    challenged.next(messages.next().unwrap_or_default())
}
