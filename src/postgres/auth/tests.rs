//! SCRAM against RFC 7677, against `postgres-protocol`, and against itself.

use super::server::Binding;
use super::*;
use crate::config::units::Secret;
use crate::engine::identity::ScramKeys;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::prelude::*;
use std::num::NonZeroU32;

const USER_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

fn rounds(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn verifier(password: &str) -> Verifier {
    Verifier::derive(password, b"sixteen bytes...", rounds(3))
}

/// RFC 7677 §3, seen from both sides.
#[test]
fn the_rfcs_example() {
    let salt = decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let stored = Verifier::derive("pencil", &salt, rounds(4096));
    let start = server::Start::new(stored, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned(), Binding::None);
    let (challenged, server_first) = start.next(format!("n,,n=user,r={USER_NONCE}").as_bytes()).unwrap();
    assert_eq!(
        server_first,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let client_final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let proof = challenged.next(client_final.as_bytes()).unwrap();
    assert_eq!(proof.server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/// Our client against our server; what its proof revealed is given back.
fn exchange(
    stored: &Verifier,
    keys: impl FnOnce(&client::Challenge) -> (Key, Key),
) -> Result<ScramKeys, server::Failure> {
    let start = client::Start::new("ours".to_owned());
    let (challenged, first) = server::Start::new(stored.clone(), "theirs".to_owned(), Binding::None)
        .next(start.client_first().as_bytes())?;
    let challenge = start.next(first.as_bytes()).unwrap();
    let (client_key, server_key) = keys(&challenge);
    let (answered, last) = challenge.answer(&client_key, &server_key);
    let proof = challenged.next(last.as_bytes())?;
    answered.next(proof.server_final.as_bytes()).unwrap();
    Ok(proof.keys)
}

fn by_password(password: &str) -> impl FnOnce(&client::Challenge) -> (Key, Key) {
    |challenge| {
        let keys = verifier::derive(password, &challenge.salt, rounds(challenge.iterations));
        (keys.client_key, keys.server_key)
    }
}

#[test]
fn a_proofs_keys_log_in_again_wherever_the_verifier_is_the_same() {
    let stored = verifier("secret");
    let keys = exchange(&stored, by_password("secret")).unwrap();
    let again = exchange(&stored, |_| (keys.client_key, keys.server_key)).unwrap();
    assert_eq!(again, keys);
    let salted_anew = Verifier::derive("secret", b"another salt", rounds(3));
    let dead = exchange(&salted_anew, |_| (keys.client_key, keys.server_key));
    assert_eq!(dead, Err(server::Failure::WrongPassword));
}

#[test]
fn nobody_proves_an_unknown_user_and_its_salt_stays() {
    let mock = Verifier::mock(&[1; 32], "ghost");
    assert_eq!(mock, Verifier::mock(&[1; 32], "ghost"));
    assert_eq!((mock.iterations, mock.salt.len()), (4096, 16));
    assert_ne!(mock.salt, Verifier::mock(&[1; 32], "other").salt);
    assert_ne!(mock.salt, Verifier::mock(&[2; 32], "ghost").salt);
    assert_eq!(exchange(&mock, by_password("")), Err(server::Failure::WrongPassword));
    assert_eq!(exchange(&mock, |_| (mock.stored_key, mock.server_key)), Err(server::Failure::WrongPassword));
}

#[test]
fn an_impostor_server_is_found_out() {
    let start = client::Start::new("ours".to_owned());
    let challenge = start.next(b"r=oursX,s=c2FsdA==,i=1").unwrap();
    let (answered, _) = challenge.answer(&[1; 32], &[2; 32]);
    let forged = format!("v={}", encode(&[9; 32]));
    assert_eq!(answered.next(forged.as_bytes()), Err(client::Failure::WrongSignature));
}

#[test]
fn a_client_refuses_too_much_work_and_a_strangers_nonce() {
    let first = |text: &str| client::Start::new("ours".to_owned()).next(text.as_bytes()).map(|_| ());
    assert_eq!(first("r=oursX,s=c2FsdA==,i=4096"), Ok(()));
    assert_eq!(first("r=oursX,s=c2FsdA==,i=1000001"), Err(client::Failure::Iterations(1_000_001)));
    assert_eq!(first("r=oursX,s=c2FsdA==,i=0"), Err(client::Failure::Iterations(0)));
    for bad in [
        "r=ours,s=c2FsdA==,i=1",
        "r=other,s=c2FsdA==,i=1",
        "r=oursX,s=,i=1",
        "r=oursX,s=c2FsdA==,i=99999999999",
        "e=no",
        "",
    ] {
        assert!(matches!(first(bad), Err(client::Failure::Malformed(_))), "{bad}");
    }
}

#[test]
fn a_server_refuses_what_it_did_not_offer() {
    let first =
        |text: &str| server::Start::new(verifier("x"), "n".to_owned(), Binding::None).next(text.as_bytes());
    assert!(first("y,,n=,r=abc").is_ok());
    for (bad, sqlstate) in [
        ("p=tls-server-end-point,,n=,r=abc", "08P01"),
        ("n,a=me,n=,r=abc", "0A000"),
        ("n,,m=x,n=,r=abc", "0A000"),
        ("n,,n=,r=", "08P01"),
        ("n,,r=abc", "08P01"),
        ("n", "08P01"),
        ("", "08P01"),
    ] {
        let Err(server::Failure::Malformed(told)) = first(bad) else { panic!("{bad}") };
        assert_eq!(told.sqlstate, sqlstate, "{bad}");
    }
    for bad in ["c=eSws,r=abcn,p=AAAA", "c=biws,r=abcX,p=AAAA", "c=biws,r=abcn,p=AAAA", "c=biws,r=abcn", ""] {
        let (challenged, _) = first("n,,n=,r=abc").unwrap();
        assert!(matches!(challenged.next(bad.as_bytes()), Err(server::Failure::Malformed(_))), "{bad}");
    }
}

fn to(end_point: &[u8]) -> Binding {
    Binding::To(end_point.into())
}

/// What a client of `postgres-protocol` that saw a certificate of this hash gets.
fn bound(seen: &[u8], ours: Binding) -> Result<ScramKeys, server::Failure> {
    let channel = ChannelBinding::tls_server_end_point(seen.to_vec());
    let mut client = ScramSha256::new(b"secret", channel);
    let start = server::Start::new(verifier("secret"), "n".to_owned(), ours);
    let (challenged, first) = start.next(client.message())?;
    client.update(first.as_bytes()).unwrap();
    let proof = challenged.next(client.message())?;
    client.finish(proof.server_final.as_bytes()).unwrap();
    Ok(proof.keys)
}

#[test]
fn a_bound_proof_holds_for_one_certificate_and_reveals_the_same_keys() {
    let keys = bound(b"hash", to(b"hash")).unwrap();
    assert_eq!(exchange(&verifier("secret"), by_password("secret")).unwrap(), keys);
    let Err(server::Failure::Malformed(told)) = bound(b"other", to(b"hash")) else { panic!() };
    assert_eq!((told.sqlstate.as_str(), &*told.message), ("28000", "SCRAM channel binding check failed"));
    for unbound in [Binding::Offered, Binding::None] {
        let Err(server::Failure::Malformed(told)) = bound(b"hash", unbound) else { panic!() };
        assert_eq!(told.sqlstate, "08P01");
    }
}

/// Whoever stands between us and the client takes -PLUS off the list, and the client says that it saw none.
#[test]
fn a_client_that_was_not_told_of_channel_binding_is_refused() {
    let first = |text: &str, binding| {
        server::Start::new(verifier("x"), "n".to_owned(), binding).next(text.as_bytes()).map(drop)
    };
    let told = |text: &str, binding| match first(text, binding) {
        Err(server::Failure::Malformed(told)) => told,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(first("n,,n=,r=abc", Binding::Offered), Ok(()));
    let negotiation = told("y,,n=,r=abc", Binding::Offered);
    assert_eq!(negotiation.sqlstate, "28000");
    assert_eq!(negotiation.message, "SCRAM channel binding negotiation error");
    for flag in ["n", "y"] {
        assert_eq!(told(&format!("{flag},,n=,r=abc"), to(b"hash")).sqlstate, "08P01");
    }
    let unknown = told("p=tls-unique,,n=,r=abc", to(b"hash"));
    assert_eq!(unknown.message, "unsupported SCRAM channel-binding type \"tls-unique\"");
    assert_eq!(told("p,,n=,r=abc", to(b"hash")).sqlstate, "08P01");
}

#[test]
fn verifiers_are_read_as_the_server_writes_them() {
    let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let parsed = Verifier::parse(text).unwrap();
    assert_eq!(parsed.to_string(), text);
    assert_eq!(
        parsed,
        Verifier::derive("pencil", &decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), rounds(4096))
    );
    assert_eq!(Verifier::parse("md5c8ad6ce2cf8a1e0e6a5ed2f0d7d1dcbd"), Err(verifier::VerifierError::Md5));
    assert_eq!(Verifier::parse(&text.replace("4096", "0")), Err(verifier::VerifierError::Iterations(0)));
    for bad in [
        "",
        "secret",
        "SCRAM-SHA-256$x",
        &text.replace('$', ":"),
        &text.replace("wfPL", "w"),
        &text.replace("4096", "-1"),
    ] {
        assert_eq!(Verifier::parse(bad), Err(verifier::VerifierError::Form), "{bad}");
    }
}

#[tokio::test]
async fn kept_keys_are_those_of_their_password_salt_and_rounds() {
    let cache = KeyCache::new([1; 32]);
    let (one, two) = (Secret::new("one".to_owned()), Secret::new("two".to_owned()));
    for (password, salt, number) in
        [(&one, "a", 2), (&one, "b", 2), (&two, "a", 2), (&one, "a", 3), (&one, "a", 2)]
    {
        let derived = verifier::derive(password.expose(), salt.as_bytes(), rounds(number));
        let kept = cache.keys(password, salt.as_bytes(), number).await.unwrap();
        assert_eq!(kept, (derived.client_key, derived.server_key));
    }
    assert!(cache.keys(&one, b"a", 0).await.is_err());
    assert!(cache.keys(&one, b"a", ITERATIONS_MAX + 1).await.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_right_password_proves_and_no_other(password in "\\PC{0,20}", other in "\\PC{0,20}") {
        let stored = verifier(&password);
        prop_assert!(exchange(&stored, by_password(&password)).is_ok());
        let is_same = verifier(&other) == stored;
        prop_assert_eq!(exchange(&stored, by_password(&other)).is_ok(), is_same);
    }

    #[test]
    fn the_oracles_client_logs_in_here(password in "\\PC{1,20}") {
        let mut oracle = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let start = server::Start::new(verifier(&password), nonce().unwrap(), Binding::None);
        let (challenged, first) = start.next(oracle.message()).unwrap();
        oracle.update(first.as_bytes()).unwrap();
        let proof = challenged.next(oracle.message()).unwrap();
        oracle.finish(proof.server_final.as_bytes()).unwrap();
    }

    #[test]
    fn the_oracles_verifiers_are_read_here(password in "[ -~]{1,20}") {
        let text = postgres_protocol::password::scram_sha_256(password.as_bytes());
        let stored = Verifier::parse(&text).unwrap();
        prop_assert_eq!(&stored, &Verifier::derive(&password, &stored.salt, rounds(stored.iterations)));
    }

    #[test]
    fn nothing_panics_on_noise(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "[nyprscvia=,]{0,30}") {
        for noise in [&bytes, text.as_bytes()] {
            prop_assert!(server::decode_all(noise).is_err());
            prop_assert!(client::decode_all(noise).is_err());
        }
    }
}
