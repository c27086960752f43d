//! A client that is written by hand, on a socket pair.

use super::*;
use crate::config::settings::{ClientTlsMode, Passthrough, PgHba, Users};
use crate::config::units::Secret;
use crate::engine::identity::LookupError;
use crate::postgres::auth::{KeyCache, Verifier, client};
use crate::postgres::wire::{Frames, ServerError};
use std::future::Future;
use std::num::NonZeroU32;
use tokio::net::UnixStream;

struct Known(Result<Option<Arc<UserRecord>>, LookupError>);

impl UserSource for Known {
    async fn user(&self, _name: &str) -> Result<Option<Arc<UserRecord>>, LookupError> {
        self.0.clone()
    }
}

fn rounds() -> NonZeroU32 {
    NonZeroU32::new(2).unwrap()
}

const HERE: Here<'_> = Here { newest: wire::PROTOCOL_3_2, consoles: ["primacy", "pgbouncer"] };

/// The password is "secret".
fn door(answer: Result<Option<Arc<UserRecord>>, LookupError>) -> Door<Known> {
    let users = Users { passthrough: Passthrough::Verifier, pg_hba: PgHba::Off, list: Vec::new() };
    Door::new(&users, ClientTlsMode::Prefer, None, Arc::new(Known(answer)), [5; 32]).unwrap()
}

fn record() -> Arc<UserRecord> {
    let verifier = Verifier::derive("secret", b"salt", rounds()).to_string();
    Arc::new(UserRecord {
        verifier: Some(Secret::new(verifier)),
        valid_until: None,
        can_login: true,
        superuser: false,
        connection_limit: None,
    })
}

/// The client's end: writes a byte at a time, as the worst network does.
struct Hand(UnixStream);

impl Hand {
    async fn write(&mut self, build: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        build(&mut out);
        for byte in out {
            self.0.write_all(&[byte]).await.unwrap();
        }
    }

    /// One message: its tag and body.
    async fn read(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; wire::HEADER];
        self.0.read_exact(&mut header).await.unwrap();
        let head = wire::head(&header, wire::FRAME_MAX).unwrap().unwrap();
        let mut body = vec![0; head.length - wire::HEADER];
        self.0.read_exact(&mut body).await.unwrap();
        (head.tag, body)
    }

    /// The data of the next authentication request, which is of that kind.
    async fn request(&mut self, kind: u8) -> Vec<u8> {
        let (tag, body) = self.read().await;
        assert_eq!((tag, &body[..4]), (b'R', &[0, 0, 0, kind][..]), "{}", String::from_utf8_lossy(&body));
        body[4..].to_vec()
    }

    async fn error(&mut self) -> ServerError {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        let mut frames = Frames::new(&rest, wire::FRAME_MAX);
        let frame = frames.next().unwrap().unwrap();
        assert_eq!((frame.tag, frame.end()), (b'E', rest.len()), "one error, and nothing after it");
        ServerError::parse(frames.body(&frame))
    }

    /// The whole SCRAM exchange; `more` is sent right behind the proof, `by_steps` lets the server speak first.
    async fn prove(&mut self, password: &str, by_steps: bool, more: &[u8]) {
        assert_eq!(self.request(10).await, b"SCRAM-SHA-256\0\0");
        let start = client::Start::new("mine".to_owned());
        if by_steps {
            self.write(|out| wire::message(out, b'p', |out| out.extend(b"SCRAM-SHA-256\0\xff\xff\xff\xff")))
                .await;
            assert!(self.request(11).await.is_empty());
            self.write(|out| wire::sasl_response(out, start.client_first().as_bytes())).await;
        } else {
            self.write(|out| wire::sasl_initial(out, start.client_first().as_bytes())).await;
        }
        let challenge = start.next(&self.request(11).await).unwrap();
        let cache = KeyCache::new([0; 32]);
        let password = Secret::new(password.to_owned());
        let (client_key, server_key) =
            cache.keys(&password, &challenge.salt, challenge.iterations).await.unwrap();
        let (_, last) = challenge.answer(&client_key, &server_key);
        self.write(|out| {
            wire::sasl_response(out, last.as_bytes());
            out.extend(more);
        })
        .await;
    }
}

async fn meet<F: Future>(
    door: &Door<Known>,
    play: impl FnOnce(Hand) -> F,
) -> (Result<Knock, AcceptError>, F::Output) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::join!(accept(Stream::Unix(ours), door, &HERE), play(Hand(theirs)))
}

fn startup(options: &'static str) -> impl FnOnce(&mut Vec<u8>) {
    move |out| wire::startup(out, [("user", "ann"), ("options", options), ("TimeZone", "CET")])
}

#[tokio::test]
async fn a_login_reads_nothing_that_is_not_its_own() {
    for by_steps in [false, true] {
        let (knock, _hand) = meet(&door(Ok(Some(record()))), async |mut hand| {
            hand.write(startup("-c work_mem=1MB")).await;
            hand.prove("secret", by_steps, b"X\0\0\0\x04").await;
            assert!(hand.request(12).await.starts_with(b"v="));
            hand
        })
        .await;
        let Knock::Login(mut login) = knock.unwrap() else { panic!() };
        assert_eq!((&*login.user, &*login.database, login.proven, login.listed), ("ann", "ann", true, false));
        assert_eq!(login.parameters, [("work_mem".into(), "1MB".into()), ("TimeZone".into(), "CET".into())]);
        assert!(matches!(&*login.credentials, Credentials::ScramKeys(_)));
        let mut next = [0; 5];
        login.stream.read_exact(&mut next).await.unwrap();
        assert_eq!(&next, b"X\0\0\0\x04");
    }
}

#[tokio::test]
async fn bad_options_are_told_after_the_proof() {
    let (knock, told) = meet(&door(Ok(Some(record()))), async |mut hand| {
        hand.write(startup("-x")).await;
        hand.prove("secret", false, b"").await;
        hand.request(12).await;
        hand.error().await
    })
    .await;
    assert_eq!((&*told.severity, &*told.sqlstate), ("FATAL", "42601"));
    assert!(!knock.unwrap_err().is_guess());
}

#[tokio::test]
async fn unknown_users_are_examined_like_all_others() {
    for answer in [Ok(None), Ok(Some(record()))] {
        let (knock, told) = meet(&door(answer), async |mut hand| {
            hand.write(startup("-x")).await;
            hand.prove("wrong", false, b"").await;
            hand.error().await
        })
        .await;
        assert_eq!(&*told.message, "password authentication failed for user \"ann\"");
        assert!(knock.unwrap_err().is_guess());
    }
}

#[tokio::test]
async fn a_failed_look_up_says_what_to_do_and_is_no_guess() {
    for (error, sqlstate, fault) in [
        (LookupError::Unreachable("gone".into()), "57P03", Fault::Server),
        (LookupError::NotAllowed("no grant".into()), "28000", Fault::Proxy),
    ] {
        let (knock, told) = meet(&door(Err(error)), async |mut hand| {
            hand.write(startup("")).await;
            hand.error().await
        })
        .await;
        assert_eq!(&*told.sqlstate, sqlstate);
        assert!(told.hint.is_some());
        let error = knock.unwrap_err();
        assert!(!error.is_guess());
        assert_eq!(error.fault(), fault);
    }
}

#[tokio::test]
async fn long_answers_are_refused_before_they_are_read() {
    let (knock, told) = meet(&door(Ok(None)), async |mut hand| {
        hand.write(startup("")).await;
        hand.request(10).await;
        hand.write(|out| out.extend(b"p\x3f\xff\xff\xff")).await;
        hand.error().await
    })
    .await;
    assert_eq!(&*told.sqlstate, "08P01");
    assert!(matches!(knock, Err(AcceptError::Refused { .. })));
}

#[tokio::test]
async fn a_client_that_leaves_is_nobodys_fault() {
    let (knock, ()) =
        meet(&door(Ok(None)), async |mut hand| hand.write(|out| out.extend(b"\0\0\0")).await).await;
    assert!(matches!(knock, Err(AcceptError::Closed)));
    let (knock, ()) = meet(&door(Ok(None)), async |mut hand| {
        hand.write(startup("")).await;
        hand.request(10).await;
    })
    .await;
    assert!(matches!(knock, Err(AcceptError::Closed)));
}

#[tokio::test]
async fn cancel_keys_come_whole() {
    let (knock, ()) = meet(&door(Ok(None)), async |mut hand| {
        hand.write(|out| wire::cancel_request(out, 0xFFFF_FFFE, &[7; 32])).await;
    })
    .await;
    let Knock::Cancel { pid, key, encrypted } = knock.unwrap() else { panic!() };
    assert_eq!((pid, key, encrypted), (0xFFFF_FFFE, vec![7; 32], false));
}
