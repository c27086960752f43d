//! What a TLS connection is bound to: `tls-server-end-point`, the hash of the server's certificate (RFC 5929 §4).

use aws_lc_rs::digest::{self, Algorithm, SHA224, SHA256, SHA384, SHA512};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// The first, optional field of RSASSA-PSS-params: the hash.
const PSS_HASH: u8 = 0xa0;

// RFC 8017 A.2, RFC 5758, RFC 5754: an arc of algorithms, the last number names one of them.
const PKCS_1: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
const ECDSA_SHA_1: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const ECDSA_SHA_2: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
const HASHES: [u8; 8] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];

/// The hash of a certificate by the hash function of its own signature, SHA-256 instead of MD5 and SHA-1. `None` when its
/// signature names no hash function (Ed25519): then nothing is defined, and PostgreSQL's own client finds nothing either.
pub(super) fn of(certificate: &[u8]) -> Option<Box<[u8]>> {
    let algorithm = signature_hash(certificate)?;
    Some(digest::digest(algorithm, certificate).as_ref().into())
}

fn signature_hash(certificate: &[u8]) -> Option<&'static Algorithm> {
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (_signed, rest) = element(fields, SEQUENCE)?;
    let (identifier, _) = element(rest, SEQUENCE)?;
    let (oid, parameters) = element(identifier, OBJECT_IDENTIFIER)?;
    if oid == ECDSA_SHA_1 {
        return Some(&SHA256);
    }
    let (&last, arc) = oid.split_last()?;
    match last {
        4 | 5 if arc == PKCS_1 => Some(&SHA256),
        10 if arc == PKCS_1 => pss_hash(parameters),
        11 if arc == PKCS_1 => Some(&SHA256),
        12 if arc == PKCS_1 => Some(&SHA384),
        13 if arc == PKCS_1 => Some(&SHA512),
        14 if arc == PKCS_1 => Some(&SHA224),
        1 if arc == ECDSA_SHA_2 => Some(&SHA224),
        2 if arc == ECDSA_SHA_2 => Some(&SHA256),
        3 if arc == ECDSA_SHA_2 => Some(&SHA384),
        4 if arc == ECDSA_SHA_2 => Some(&SHA512),
        _ => None,
    }
}

fn pss_hash(parameters: &[u8]) -> Option<&'static Algorithm> {
    let (parameters, _) = element(parameters, SEQUENCE)?;
    // Left out: SHA-1.
    let Some((hash, _)) = element(parameters, PSS_HASH) else { return Some(&SHA256) };
    let (identifier, _) = element(hash, SEQUENCE)?;
    let (oid, _) = element(identifier, OBJECT_IDENTIFIER)?;
    let (&last, arc) = oid.split_last()?;
    match last {
        1 if arc == HASHES => Some(&SHA256),
        2 if arc == HASHES => Some(&SHA384),
        3 if arc == HASHES => Some(&SHA512),
        4 if arc == HASHES => Some(&SHA224),
        _ => None,
    }
}

/// The contents of the DER element that `der` begins with, if it has that tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (_, rest) = der.split_first().filter(|(first, _)| **first == tag)?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests;
