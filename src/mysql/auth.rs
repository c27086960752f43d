//! Proofs of a password: made for servers, checked for clients. Pure.

use super::handshake::NONCE;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}

fn sha1(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// `caching_sha2_password`'s proof; empty for an empty password.
#[must_use]
pub fn caching_sha2(password: &str, nonce: &[u8; NONCE]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = sha256(&[password.as_bytes()]);
    let twice = sha256(&[once.as_ref()]);
    xor(once.as_ref(), sha256(&[twice.as_ref(), nonce]).as_ref())
}

/// `mysql_native_password`'s proof.
#[must_use]
pub fn native(password: &str, nonce: &[u8; NONCE]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = sha1(&[password.as_bytes()]);
    let twice = sha1(&[once.as_ref()]);
    xor(once.as_ref(), sha1(&[nonce, twice.as_ref()]).as_ref())
}

/// Whether `proof` is that of `password`.
#[must_use]
pub fn is_right(password: &str, nonce: &[u8; NONCE], proof: &[u8]) -> bool {
    !password.is_empty() && verify_slices_are_equal(&caching_sha2(password, nonce), proof).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_proof_fits_its_password_and_no_other(password in "[^\0]{1,40}", nonce: [u8; NONCE]) {
            prop_assert!(is_right(&password, &nonce, &caching_sha2(&password, &nonce)));
            prop_assert!(!is_right(&(password.clone() + "x"), &nonce, &caching_sha2(&password, &nonce)));
            prop_assert_eq!(native(&password, &nonce).len(), 20);
        }
    }
}
