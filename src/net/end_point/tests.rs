//! Certificates of every kind of signature, against what `openssl` and RFC 5929 say.

use super::*;

fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    parameters.self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn the_signatures_own_hash_is_taken() {
    for (algorithm, hash) in
        [(&rcgen::PKCS_ECDSA_P256_SHA256, &SHA256), (&rcgen::PKCS_ECDSA_P384_SHA384, &SHA384)]
    {
        let certificate = certificate(algorithm);
        assert_eq!(of(&certificate).unwrap(), digest::digest(hash, &certificate).as_ref().into());
    }
}

#[test]
fn a_signature_without_a_hash_binds_to_nothing() {
    assert_eq!(of(&certificate(&rcgen::PKCS_ED25519)), None);
}

fn sequence(contents: &[u8]) -> Vec<u8> {
    let mut out = vec![SEQUENCE, 0x81, u8::try_from(contents.len()).unwrap()];
    out.extend(contents);
    out
}

fn identifier(arc: &[u8], last: u8, parameters: &[u8]) -> Vec<u8> {
    let mut out = vec![OBJECT_IDENTIFIER, u8::try_from(arc.len() + 1).unwrap()];
    out.extend(arc);
    out.push(last);
    out.extend(parameters);
    sequence(&out)
}

fn signed_with(identifier: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(b"signed"), identifier, b"\x03\x01\0"].concat())
}

#[test]
fn every_algorithm_has_its_hash() {
    let pss = |hash: &[u8]| identifier(&PKCS_1, 10, &sequence(hash));
    let named = |last| {
        let hash = identifier(&HASHES, last, b"");
        [&[PSS_HASH, u8::try_from(hash.len()).unwrap()], &*hash].concat()
    };
    let cases = [
        (identifier(&PKCS_1, 4, b"\x05\0"), Some(&SHA256)),
        (identifier(&PKCS_1, 5, b"\x05\0"), Some(&SHA256)),
        (identifier(&PKCS_1, 11, b"\x05\0"), Some(&SHA256)),
        (identifier(&PKCS_1, 12, b"\x05\0"), Some(&SHA384)),
        (identifier(&PKCS_1, 13, b"\x05\0"), Some(&SHA512)),
        (identifier(&PKCS_1, 14, b"\x05\0"), Some(&SHA224)),
        (identifier(&ECDSA_SHA_1[..6], 1, b""), Some(&SHA256)),
        (identifier(&ECDSA_SHA_2, 4, b""), Some(&SHA512)),
        (pss(b""), Some(&SHA256)),
        (pss(&named(2)), Some(&SHA384)),
        (pss(&named(9)), None),
        (identifier(&PKCS_1, 99, b""), None),
    ];
    for (identifier, hash) in cases {
        assert_eq!(signature_hash(&signed_with(&identifier)), hash, "{identifier:02x?}");
    }
}

#[test]
fn what_is_no_certificate_binds_to_nothing() {
    let whole = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
    for end in 0..whole.len() {
        assert_eq!(of(&whole[..end]), None);
    }
    assert_eq!(of(&[SEQUENCE, 0x85, 1, 1, 1, 1, 1]), None);
    assert_eq!(of(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
}
