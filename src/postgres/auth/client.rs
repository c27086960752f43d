//! SCRAM-SHA-256 as the client: `Start` → server-first → `Challenge` (keys are needed now) → `Answered` → server-final.

use super::{ITERATIONS_MAX, Key, attribute, decode, decode_key, encode, hmac, is_nonce, same, sha256, xor};

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The message is not SCRAM.
    #[error("the server's SCRAM message is malformed: {0}")]
    Malformed(&'static str),
    /// It asks for too much work.
    #[error("the server asks for {0} SCRAM iterations; 1 to {ITERATIONS_MAX} are allowed")]
    Iterations(u32),
    /// The server knows the client's proof, but not the password's verifier: an impostor in between.
    #[error("the server's SCRAM signature is wrong: it does not know the password")]
    WrongSignature,
}

/// Before our first message.
#[derive(Debug)]
pub struct Start {
    nonce: String,
}

/// The server has told salt and rounds.
#[derive(Debug)]
pub struct Challenge {
    /// What the password is salted with.
    pub salt: Vec<u8>,
    /// PBKDF2 rounds.
    pub iterations: u32,
    nonce: String,
    /// client-first-bare `,` server-first.
    signed: String,
}

/// Our proof is on its way.
#[derive(Debug)]
pub struct Answered {
    signature: Key,
}

impl Start {
    /// `nonce` is fresh randomness: [`super::nonce`].
    #[must_use]
    pub fn new(nonce: String) -> Self {
        Self { nonce }
    }

    /// Our first message. No channel binding; the user's name is in the start-up message.
    #[must_use]
    pub fn client_first(&self) -> String {
        format!("n,,n=,r={}", self.nonce)
    }

    /// Takes the server's first message.
    ///
    /// # Errors
    /// When it is malformed, does not continue our nonce, or asks for too many rounds.
    pub fn next(self, server_first: &[u8]) -> Result<Challenge, Failure> {
        let malformed = || Failure::Malformed("server-first");
        let text = std::str::from_utf8(server_first).map_err(|_| malformed())?;
        let (nonce, rest) = attribute(text, 'r').ok_or_else(malformed)?;
        let ours =
            nonce.strip_prefix(&*self.nonce).ok_or(Failure::Malformed("it does not continue our nonce"))?;
        if !is_nonce(ours) {
            return Err(Failure::Malformed("its nonce is empty or not printable"));
        }
        let (salt, rest) = attribute(rest, 's').ok_or_else(malformed)?;
        let (iterations, _) = attribute(rest, 'i').ok_or_else(malformed)?;
        let salt = decode(salt).filter(|salt| !salt.is_empty()).ok_or(Failure::Malformed("its salt"))?;
        let iterations = iterations.parse().map_err(|_| Failure::Malformed("its iteration count"))?;
        if !(1..=ITERATIONS_MAX).contains(&iterations) {
            return Err(Failure::Iterations(iterations));
        }
        let signed = format!("n=,r={},{text}", self.nonce);
        Ok(Challenge { salt, iterations, nonce: nonce.to_owned(), signed })
    }
}

impl Challenge {
    /// Proves that we have the client's key; gives our last message.
    #[must_use]
    pub fn answer(self, client_key: &Key, server_key: &Key) -> (Answered, String) {
        let unproved = format!("c=biws,r={}", self.nonce);
        let signed: [&[u8]; 3] = [self.signed.as_bytes(), b",", unproved.as_bytes()];
        let proof = xor(*client_key, &hmac(&sha256(client_key), &signed));
        let last = format!("{unproved},p={}", encode(&proof));
        (Answered { signature: hmac(server_key, &signed) }, last)
    }
}

impl Answered {
    /// Takes the server's last message.
    ///
    /// # Errors
    /// When the server does not prove that it has the verifier.
    pub fn next(self, server_final: &[u8]) -> Result<(), Failure> {
        let text = std::str::from_utf8(server_final).map_err(|_| Failure::Malformed("server-final"))?;
        let (signature, _) = attribute(text, 'v').ok_or(Failure::Malformed("server-final"))?;
        let signature = decode_key(signature).ok_or(Failure::Malformed("its signature"))?;
        if same(&signature, &self.signature) { Ok(()) } else { Err(Failure::WrongSignature) }
    }
}

/// Takes any bytes through this module, as a server's first message and, after a NUL, its last: what fuzzing calls.
/// No server knows the keys that are used here.
///
/// # Errors
/// Always.
pub fn decode_all(bytes: &[u8]) -> Result<(), Failure> {
    let mut messages = bytes.splitn(2, |byte| *byte == 0);
    let challenge = Start::new("nonce".to_owned()).next(messages.next().unwrap_or_default())?;
    let (answered, _) = challenge.answer(&[0; 32], &[0; 32]);
    answered.next(messages.next().unwrap_or_default())
}
