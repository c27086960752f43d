//! Certificates and handshakes over loopback.

use super::*;
use crate::net::stream::tests::pair;
use std::fs;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A directory with an authority, and certificates that it signed.
struct Authority {
    directory: TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(directory.path().join("ca.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sign(&self, host: &str) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![host.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        (self.path("cert.pem"), self.path("key.pem"))
    }

    fn connector(&self, mode: ServerTlsMode) -> Connector {
        Connector::load(&ServerTls { mode, ca: Some(self.path("ca.pem")) }).unwrap()
    }
}

async fn handshake(acceptor: &Acceptor, connector: &Connector, host: &str) -> io::Result<(Stream, Stream)> {
    let (client, server) = pair().await;
    let (client, server) = tokio::join!(connector.connect(client, host), acceptor.accept(server));
    Ok((client?, server?.stream))
}

#[tokio::test]
async fn each_mode_checks_what_libpq_checks() {
    use ServerTlsMode::{Prefer, Require, VerifyCa, VerifyFull};
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.sign("db.example");
    let acceptor = Acceptor::load(&certificate, &key).unwrap();
    let accepted =
        async |connector: &Connector, host: &str| handshake(&acceptor, connector, host).await.is_ok();
    for mode in [Prefer, Require] {
        assert!(accepted(&stranger.connector(mode), "other.example").await, "{mode:?}");
    }
    assert!(accepted(&authority.connector(VerifyCa), "other.example").await);
    assert!(accepted(&authority.connector(VerifyCa), "not a host name").await);
    assert!(!accepted(&stranger.connector(VerifyCa), "db.example").await);
    assert!(accepted(&authority.connector(VerifyFull), "db.example").await);
    assert!(!accepted(&authority.connector(VerifyFull), "other.example").await);
    assert!(!accepted(&authority.connector(VerifyFull), "not a host name").await);
    assert!(!accepted(&stranger.connector(VerifyFull), "db.example").await);
}

#[tokio::test]
async fn a_reload_changes_new_handshakes_only() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("old.example");
    let acceptor = Acceptor::load(&certificate, &key).unwrap();
    let verifying = authority.connector(ServerTlsMode::VerifyFull);
    let (mut client, mut server) = handshake(&acceptor, &verifying, "old.example").await.unwrap();

    let (certificate, key) = authority.sign("new.example");
    acceptor.reload(&certificate, &key).unwrap();
    assert!(handshake(&acceptor, &verifying, "new.example").await.is_ok());
    assert!(handshake(&acceptor, &verifying, "old.example").await.is_err());

    client.write_all(b"still here").await.unwrap();
    client.flush().await.unwrap();
    let mut read = [0; 10];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still here");

    fs::write(&certificate, "nonsense").unwrap();
    assert!(acceptor.reload(&certificate, &key).is_err());
    assert!(handshake(&acceptor, &verifying, "new.example").await.is_ok(), "a failed reload changes nothing");
}

#[test]
fn a_bad_file_is_named_with_the_reason() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("a.example");
    let missing = authority.path("missing.pem");
    let words = |certificate: &Path, key: &Path| Acceptor::load(certificate, key).unwrap_err().to_string();
    assert!(words(&missing, &key).contains("missing.pem: "));
    assert!(words(&certificate, &missing).contains("missing.pem: "));
    assert!(words(&key, &key).contains("key.pem: holds no PEM certificate"), "{}", words(&key, &key));
    assert!(words(&certificate, &certificate).contains("cert.pem: "));
    let other = Authority::new();
    let (_, other_key) = other.sign("a.example");
    assert!(words(&certificate, &other_key).contains("is not the key of the certificate in"));
    let settings = ServerTls { mode: ServerTlsMode::VerifyCa, ca: Some(missing) };
    assert!(Connector::load(&settings).unwrap_err().to_string().contains("missing.pem: "));
}

#[tokio::test]
async fn plaintext_that_waits_in_the_tls_buffer_is_readable_and_not_quiet() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("a.example");
    let acceptor = Acceptor::load(&certificate, &key).unwrap();
    let connector = authority.connector(ServerTlsMode::Require);
    let (mut client, mut server) = handshake(&acceptor, &connector, "a.example").await.unwrap();
    assert!(client.is_tls() && server.is_tls());

    client.write_all(b"two words").await.unwrap();
    client.flush().await.unwrap();
    std::future::poll_fn(|cx| server.poll_readable(cx)).await.unwrap();
    let mut read = [0; 4];
    server.read_exact(&mut read).await.unwrap();
    assert!(!server.is_quiet(), "the rest was decrypted with the first part");
    std::future::poll_fn(|cx| server.poll_readable(cx)).await.unwrap();
    let mut rest = [0; 5];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!([&read[..], &rest].concat(), b"two words");
    assert!(server.is_quiet());

    client.shutdown().await.unwrap();
    std::future::poll_fn(|cx| server.poll_readable(cx)).await.unwrap();
    assert!(!server.is_quiet());
    assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(!server.is_quiet(), "an end stays an end");
}
