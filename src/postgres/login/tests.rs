//! Servers that misbehave, written by hand.

use super::*;
use crate::config::settings::ServerTls;
use crate::config::units::Secret;
use tokio::net::TcpListener;

/// A server that reads the start-up message (or what stands for it), says `words`, and closes. What a client makes of it.
async fn against(mode: ServerTlsMode, words: impl FnOnce(&mut Vec<u8>)) -> Result<Opened, OpenError> {
    let mut out = Vec::new();
    words(&mut out);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        tls: Arc::new(Connector::load(&ServerTls { mode, ca: None }).unwrap()),
        keys: KeyCache::new([0; 32]),
    };
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut first = [0; 4];
        socket.read_exact(&mut first).await.unwrap();
        let length = usize::try_from(u32::from_be_bytes(first)).unwrap() - 4;
        socket.read_exact(&mut vec![0; length]).await.unwrap();
        // The client may have heard enough before the last word.
        socket.write_all(&out).await.unwrap_or_default();
        socket
    };
    let credentials = Credentials::Password(Secret::new("secret".to_owned()));
    let login = async {
        tokio::time::timeout(Duration::from_secs(60), open(&target, "ann", "shop", &credentials))
            .await
            .unwrap()
    };
    // The socket stays open until the client has its result, unless the client waits for more.
    tokio::select! {
        opened = login => opened,
        () = async { drop(server.await); std::future::pending().await } => unreachable!(),
    }
}

async fn refused(words: impl FnOnce(&mut Vec<u8>)) -> OpenError {
    against(ServerTlsMode::Disable, words).await.unwrap_err()
}

fn welcome(out: &mut Vec<u8>) {
    wire::authentication_ok(out);
    wire::parameter_status(out, "server_version", "18.1");
    wire::backend_key_data(out, 0x8000_0000, &[1; 32]);
    wire::ready_for_query(out, crate::engine::TxState::Idle);
}

#[tokio::test]
async fn a_trusting_server_opens_and_its_key_has_any_length() {
    let opened = against(ServerTlsMode::Disable, welcome).await.unwrap();
    assert_eq!((opened.pid, opened.key), (0x8000_0000, vec![1; 32]));
    assert_eq!(opened.parameters, [("server_version".into(), "18.1".into())]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_named() {
    let gss = refused(|out| wire::message(out, b'R', |out| out.extend([0, 0, 0, 7]))).await;
    assert!(gss.to_string().contains("GSSAPI"), "{gss}");
    let clear = refused(wire::authentication_cleartext).await;
    assert!(clear.to_string().contains("inside TLS"), "{clear}");
    let other = refused(|out| wire::message(out, b'R', |out| out.extend(b"\0\0\0\x0aOAUTHBEARER\0\0"))).await;
    assert!(other.to_string().contains("does not offer SCRAM-SHA-256"), "{other}");
    for error in [gss, clear, other] {
        assert!(matches!(error, OpenError::Unsupported(_)));
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[tokio::test]
async fn a_salt_of_another_length_is_no_md5() {
    let error = refused(|out| wire::message(out, b'R', |out| out.extend([0, 0, 0, 5, 1, 2, 3]))).await;
    assert!(matches!(error, OpenError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn noise_is_not_believed() {
    for (bytes, part) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "claims a length"),
        (b"R\x7f\xff\xff\xff", "claims a length"),
        (b"R\0\0\0\x05\0", "instead of an authentication request"),
        (b"Z\0\0\0\x05I", "instead of an authentication request"),
    ] {
        let error = refused(|out| out.extend(bytes)).await;
        assert!(matches!(&error, OpenError::Protocol(text) if text.contains(part)), "{error}");
        assert_eq!(error.retry(), Retry::AnotherNode);
    }
    let gone = refused(|_| {}).await;
    assert!(matches!(gone, OpenError::Io(_)), "{gone}");
    let chatty = refused(|out| {
        welcome(out);
        wire::parameter_status(out, "a", "b");
    })
    .await;
    assert!(chatty.to_string().contains("spoke on"), "{chatty}");
}

#[tokio::test]
async fn a_refusal_may_come_at_any_time_and_keeps_its_words() {
    let full = crate::error::ClientError::new("53300", 0, "sorry, too many clients already").fatal();
    let early = refused(|out| wire::error(out, &full)).await;
    let late = refused(|out| {
        wire::warning(out, &full);
        wire::authentication_ok(out);
        wire::error(out, &full);
    })
    .await;
    for error in [early, late] {
        assert_eq!(&*error.refusal().unwrap().message, "sorry, too many clients already");
        assert_eq!((error.sqlstate(), error.retry()), (Some("53300"), Retry::AnotherNode));
    }
}

#[tokio::test]
async fn tls_that_is_demanded_is_not_given_up() {
    let error = against(ServerTlsMode::Require, |out| out.push(b'N')).await.unwrap_err();
    assert!(matches!(error, OpenError::Tls { .. }), "{error}");
    let error = against(ServerTlsMode::Prefer, |out| out.push(b'?')).await.unwrap_err();
    assert!(matches!(error, OpenError::Protocol(_)), "{error}");
    // Bytes in clear behind the `S` are somebody's in between.
    let error = against(ServerTlsMode::Prefer, |out| {
        out.push(b'S');
        welcome(out);
    })
    .await
    .unwrap_err();
    assert!(matches!(error, OpenError::Tls { .. }), "{error}");
}
