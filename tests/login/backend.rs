//! Logging in to a real server.

use super::{password, target, target_with};
use crate::support::{Servers, eventually, own_cluster_with};
use primacy::config::settings::{ServerTls, ServerTlsMode};
use primacy::config::units::Secret;
use primacy::engine::embedded::{Options, TlsPem};
use primacy::engine::identity::Credentials;
use primacy::error::Retry;
use primacy::net::Stream;
use primacy::postgres::auth::md5::Hash;
use primacy::postgres::login::{self, OpenError, Target};
use primacy::postgres::wire::{self, Frames, ServerError};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends a simple query; gives the replies' tags and the first error.
async fn query(stream: &mut Stream, text: &str) -> (String, Option<ServerError>) {
    let mut out = Vec::new();
    wire::query(&mut out, text);
    stream.write_all(&out).await.unwrap();
    stream.flush().await.unwrap();
    let (mut received, mut tags, mut error) = (Vec::new(), String::new(), None);
    while !tags.ends_with('Z') {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "the server closed the connection");
        tags.clear();
        let mut frames = Frames::new(&received, wire::FRAME_MAX);
        while let Some(frame) = frames.next() {
            let frame = frame.unwrap();
            if !frame.complete {
                break;
            }
            if frame.tag == b'E' {
                error = Some(ServerError::parse(frames.body(&frame)));
            }
            tags.push(char::from(frame.tag));
        }
    }
    (tags, error)
}

#[tokio::test]
async fn a_password_opens_a_backend_that_answers_and_is_quiet() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let target = target(&servers.endpoints[0], ServerTlsMode::Prefer);
    for _ in 0..2 {
        let mut opened =
            login::open(&target, &database.user, &database.name, &password(&database)).await.unwrap();
        let value = |name: &str| {
            opened.parameters.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
        };
        assert_eq!(value("in_hot_standby"), Some("off"));
        assert_eq!(value("session_authorization"), Some(&*database.user));
        assert!(opened.pid != 0 && opened.key.len() >= 4);
        assert!(opened.stream.is_quiet());
        assert_eq!(query(&mut opened.stream, "SELECT 1").await.0, "TDCZ");
        assert!(opened.stream.is_quiet());
    }
}

#[tokio::test]
async fn a_terminated_backend_is_not_quiet() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let target = target(&servers.endpoints[0], ServerTlsMode::Disable);
    let mut opened =
        login::open(&target, &database.user, &database.name, &password(&database)).await.unwrap();
    let admin = servers.admin(0, "postgres").await;
    admin.execute("SELECT pg_terminate_backend($1)", &[&opened.pid.cast_signed()]).await.unwrap();
    eventually("the end is seen", || std::future::ready((!opened.stream.is_quiet()).then_some(()))).await;
}

#[tokio::test]
async fn a_cancel_hits_its_statement_and_nothing_later() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let target = Arc::new(target(&servers.endpoints[0], ServerTlsMode::Disable));
    let mut opened =
        login::open(&target, &database.user, &database.name, &password(&database)).await.unwrap();
    let admin = servers.admin(0, "postgres").await;
    let (pid, key) = (opened.pid, opened.key.clone());
    let canceller = primacy::task::spawn("cancel", async move {
        eventually("the statement runs", async || {
            let row = admin
                .query_one(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'",
                    &[&pid.cast_signed()],
                )
                .await
                .unwrap();
            (row.get::<_, i64>(0) == 1).then_some(())
        })
        .await;
        login::cancel(&target, false, pid, &key).await.unwrap();
        // With another backend's secret nothing happens, and nobody says so.
        login::cancel(&target, false, pid, &[0; 4]).await.unwrap();
    });
    let (_, error) = query(&mut opened.stream, "SELECT pg_sleep(600)").await;
    assert_eq!(&*error.unwrap().sqlstate, "57014");
    canceller.await.unwrap();
    assert_eq!(query(&mut opened.stream, "SELECT 1").await.0, "TDCZ");
}

async fn refused(target: &Target, user: &str, database: &str, password: &str) -> OpenError {
    let credentials = Credentials::Password(Secret::new(password.to_owned()));
    login::open(target, user, database, &credentials).await.unwrap_err()
}

#[tokio::test]
async fn refusals_carry_the_servers_words() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let here = target(&servers.endpoints[0], ServerTlsMode::Disable);

    let error = refused(&here, &database.user, &database.name, "wrong").await;
    assert_eq!(error.sqlstate(), Some("28P01"));
    assert_eq!(error.retry(), Retry::Never);
    let error = refused(&here, &database.user, "nosuch", &database.password).await;
    assert_eq!(error.sqlstate(), Some("3D000"));
    assert_eq!(&*error.refusal().unwrap().message, "database \"nosuch\" does not exist");

    let mut nowhere = here.clone();
    nowhere.port = primacy::engine::embedded::machine::free_port().unwrap();
    let error = refused(&nowhere, &database.user, &database.name, "").await;
    assert!(matches!(error, OpenError::Connect { .. }), "{error}");
    assert_eq!(error.retry(), Retry::AnotherNode);

    let demanding = target(&servers.endpoints[0], ServerTlsMode::Require);
    let error = refused(&demanding, &database.user, &database.name, &database.password).await;
    assert!(error.to_string().contains("the server has no TLS"), "{error}");
}

/// The shared servers want SCRAM of everybody: an md5 role cannot prove itself there, whatever is known of it.
#[tokio::test]
async fn an_md5_role_is_refused_where_the_server_wants_scram() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let admin = servers.admin(0, "postgres").await;
    let user = &database.user;
    admin
        .batch_execute(&format!("SET password_encryption = md5; ALTER ROLE {user} PASSWORD 'x'"))
        .await
        .unwrap();
    let here = target(&servers.endpoints[0], ServerTlsMode::Disable);
    let error = refused(&here, user, &database.name, "x").await;
    assert_eq!(error.sqlstate(), Some("28P01"), "{error}");
    let stored = Credentials::Md5(Hash::of("x", user).stored());
    let error = login::open(&here, user, &database.name, &stored).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("28P01"), "{error}");
}

#[tokio::test]
async fn tls_to_a_server_is_used_checked_and_quiet() {
    use ServerTlsMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let tls = TlsPem { certificate: pair.cert.pem(), key: pair.signing_key.serialize_pem() };
    let cluster = own_cluster_with(Options { tls: Some(tls), ..Options::default() }).await;
    let servers = Servers::of_postgres(&cluster);
    let database = servers.fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, pair.cert.pem()).unwrap();

    for mode in [Disable, Prefer, Require, VerifyCa, VerifyFull] {
        let target = target_with(&servers.endpoints[0], &ServerTls { mode, ca: Some(ca.clone()) });
        let mut opened =
            login::open(&target, &database.user, &database.name, &password(&database)).await.unwrap();
        assert_eq!(opened.stream.is_tls(), mode != Disable);
        assert!(opened.stream.is_quiet(), "{mode:?}");
        assert_eq!(query(&mut opened.stream, "SELECT repeat('x', 1000000)").await.0, "TDCZ");
        assert!(opened.stream.is_quiet(), "{mode:?}");
        login::cancel(&target, opened.stream.is_tls(), opened.pid, &opened.key).await.unwrap();
    }

    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&ca, stranger.cert.pem()).unwrap();
    for mode in [VerifyCa, VerifyFull] {
        let target = target_with(&servers.endpoints[0], &ServerTls { mode, ca: Some(ca.clone()) });
        let error = refused(&target, &database.user, &database.name, &database.password).await;
        assert!(matches!(error, OpenError::Tls { .. }), "{error}");
    }
}
