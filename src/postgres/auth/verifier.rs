//! What a server stores of a password: enough to check a proof, not enough to make one.

use super::{ITERATIONS, ITERATIONS_MAX, Key, decode, decode_key, encode, hmac, sha256};
use aws_lc_rs::pbkdf2;
use std::borrow::Cow;
use std::num::NonZeroU32;
use zeroize::Zeroize;

/// A stored `SCRAM-SHA-256$…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// PBKDF2 rounds.
    pub iterations: u32,
    /// What the password was salted with.
    pub salt: Box<[u8]>,
    /// SHA-256 of the client's key.
    pub stored_key: Key,
    /// What the server signs with.
    pub server_key: Key,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({} iterations, …)", self.iterations)
    }
}

/// Why a stored verifier is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// An MD5 hash ([`super::md5::Hash`]).
    #[error("it is an md5 hash, not a SCRAM verifier")]
    Md5,
    /// Something else.
    #[error("the verifier is not of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")]
    Form,
    /// Too many rounds, or none.
    #[error("the verifier has {0} iterations; 1 to {ITERATIONS_MAX} are allowed")]
    Iterations(u32),
}

impl Verifier {
    /// Reads the text that PostgreSQL stores.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn parse(text: &str) -> Result<Self, VerifierError> {
        if text.len() == 35 && text.starts_with("md5") {
            return Err(VerifierError::Md5);
        }
        let form = || VerifierError::Form;
        let rest = text.strip_prefix("SCRAM-SHA-256$").ok_or_else(form)?;
        let (cost, keys) = rest.split_once('$').ok_or_else(form)?;
        let (iterations, salt) = cost.split_once(':').ok_or_else(form)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or_else(form)?;
        let iterations = iterations.parse().map_err(|_| VerifierError::Form)?;
        if !(1..=ITERATIONS_MAX).contains(&iterations) {
            return Err(VerifierError::Iterations(iterations));
        }
        Ok(Self {
            iterations,
            salt: decode(salt).filter(|salt| !salt.is_empty()).ok_or_else(form)?.into(),
            stored_key: decode_key(stored_key).ok_or_else(form)?,
            server_key: decode_key(server_key).ok_or_else(form)?,
        })
    }

    /// Makes one from a password: half a millisecond of computing for 4,096 rounds, so never on an I/O thread.
    #[must_use]
    pub fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let keys = derive(password, salt, iterations);
        Self {
            iterations: iterations.get(),
            salt: salt.into(),
            stored_key: sha256(&keys.client_key),
            server_key: keys.server_key,
        }
    }

    /// What an unknown user is examined with: nothing proves it, and its salt is the same at every try, so that
    /// the exchange does not tell who exists. `secret` lives as long as the process.
    #[must_use]
    pub fn mock(secret: &Key, user: &str) -> Self {
        Self {
            iterations: ITERATIONS,
            salt: mock_salt(secret, user).into(),
            stored_key: hmac(secret, &[b"stored", user.as_bytes()]),
            server_key: hmac(secret, &[b"server", user.as_bytes()]),
        }
    }
}

impl std::fmt::Display for Verifier {
    /// The form that PostgreSQL stores. It is a secret: for tools that write it into a server, never for a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (salt, stored, server) = (encode(&self.salt), encode(&self.stored_key), encode(&self.server_key));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// The salt of [`Verifier::mock`]; 16 bytes, as the server's.
#[must_use]
pub fn mock_salt(secret: &Key, user: &str) -> [u8; 16] {
    let mut salt = [0; 16];
    salt.iter_mut().zip(hmac(secret, &[b"salt", user.as_bytes()])).for_each(|(to, from)| *to = from);
    salt
}

/// The two keys that a password gives.
#[derive(Clone)]
pub(super) struct Derived {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
}

impl Drop for Derived {
    fn drop(&mut self) {
        self.client_key.zeroize();
        self.server_key.zeroize();
    }
}

/// RFC 5802's `SaltedPassword` and what follows from it.
pub(super) fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Derived {
    let mut salted: Key = [0; 32];
    let password = prepared(password);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
    let keys =
        Derived { client_key: hmac(&salted, &[b"Client Key"]), server_key: hmac(&salted, &[b"Server Key"]) };
    salted.zeroize();
    keys
}

/// SASLprep; as in PostgreSQL, a password that it forbids is used as it is.
fn prepared(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).ok().filter(|text| !text.is_empty()).unwrap_or(Cow::Borrowed(password))
}
