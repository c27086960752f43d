//! SCRAM-SHA-256 (RFC 5802, 7677) in both roles, without I/O: as the server from a verifier alone, as the client from
//! a password or from the keys that a client's proof revealed. And `md5`, for the roles that still have it.

pub mod client;
pub mod keys;
pub mod md5;
pub mod server;
pub mod verifier;

pub use keys::KeyCache;
pub use verifier::Verifier;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The same, with a proof that is bound to the TLS connection by the certificate that the client saw.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// A nonce's random bytes, as in the server.
pub const NONCE_BYTES: usize = 18;
/// The server's default of `scram_iterations`, also that of its mock exchange.
pub const ITERATIONS: u32 = 4096;
/// More rounds than this are refused: they would keep a thread busy for minutes on a stranger's word.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// The longest SASL message, as in the server.
pub const MESSAGE_MAX: usize = 1024;

/// A SCRAM key, signature or proof.
pub type Key = [u8; 32];

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    key_of(context.sign().as_ref())
}

fn sha256(bytes: &[u8]) -> Key {
    key_of(digest::digest(&digest::SHA256, bytes).as_ref())
}

// SHA-256 gives 32 bytes, always.
fn key_of(bytes: &[u8]) -> Key {
    let mut key = [0; 32];
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    key
}

fn xor(mut left: Key, right: &Key) -> Key {
    left.iter_mut().zip(right).for_each(|(to, from)| *to ^= from);
    left
}

fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn decode_key(text: &str) -> Option<Key> {
    decode(text)?.try_into().ok()
}

/// A fresh nonce's text.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn nonce() -> std::io::Result<String> {
    let mut bytes = [0; NONCE_BYTES];
    crate::clock::random(&mut bytes)?;
    Ok(encode(&bytes))
}

/// The value of the attribute `name=…` that `text` begins with, and what follows the comma.
fn attribute(text: &str, name: char) -> Option<(&str, &str)> {
    let text = text.strip_prefix(name)?.strip_prefix('=')?;
    Some(text.split_once(',').unwrap_or((text, "")))
}

/// What RFC 5802 calls a printable value: a nonce.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

#[cfg(test)]
mod tests;
