//! Real clients at our door.

use super::{Front, users};
use crate::support::{Database, PATIENCE, Servers};
use primacy::config::settings::{
    ClientTlsMode, ListenAddress, Passthrough, PgHba, ServerTls, ServerTlsMode, User, UserSecret, Users,
};
use primacy::config::units::Secret;
use primacy::net::Stream;
use primacy::net::tls::{Acceptor, Connector};
use primacy::postgres::accept::AcceptError;
use primacy::postgres::auth::Verifier;
use primacy::postgres::wire;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn psql(conninfo: &str, password: &str, statement: &str) -> Output {
    let servers = Servers::postgres().await;
    tokio::process::Command::new(servers.programs.join("psql"))
        .args(["-XAtw", "-c", statement, conninfo])
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "30")
        .env("LC_ALL", "C")
        .output()
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8(output.stderr.clone()).unwrap()
}

fn at(port: u16, database: &Database, more: &str) -> String {
    format!("host=127.0.0.1 port={port} user={} dbname={} {more}", database.user, database.name)
}

#[tokio::test]
async fn the_servers_own_users_log_in_with_their_own_passwords() {
    let database = Servers::postgres().await.fresh_database().await;
    let mut front = Front::tcp(users(Passthrough::Verifier)).await;
    let client = database.connect("127.0.0.1", front.port()).await.unwrap();
    let row = client.query_one("SELECT current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), database.user);
    assert!(front.outcomes.recv().await.unwrap().is_ok());
    let output = psql(&at(front.port(), &database, ""), &database.password, "SELECT 42").await;
    assert_eq!(said(&output), "42\n");
}

/// The same login at the server and at us: the same words, the address aside.
#[tokio::test]
async fn refused_users_hear_what_the_server_says() {
    let servers = Servers::postgres().await;
    let front = Front::tcp(users(Passthrough::Verifier)).await;
    let admin = servers.admin(0, "postgres").await;
    let cases: [(&str, bool); 7] = [
        ("SELECT 1", false),
        ("ALTER ROLE {u} NOLOGIN", true),
        ("ALTER ROLE {u} NOLOGIN", false),
        ("ALTER ROLE {u} VALID UNTIL '2001-01-01'", true),
        ("ALTER ROLE {u} PASSWORD NULL", true),
        (
            "SET password_encryption = md5; ALTER ROLE {u} PASSWORD '{p}'; SET password_encryption = 'scram-sha-256'",
            false,
        ),
        ("ALTER ROLE {u} RENAME TO {u}_gone", true),
    ];
    for (change, right) in cases {
        let database = servers.fresh_database().await;
        let change = change.replace("{u}", &database.user).replace("{p}", &database.password);
        admin.batch_execute(&change).await.unwrap();
        let password = if right { &*database.password } else { "wrong" };
        let mut answers = Vec::new();
        for port in [servers.endpoints[0].port, front.port()] {
            let output = psql(&at(port, &database, "sslmode=disable"), password, "SELECT 1").await;
            answers.push(said(&output).replace(&port.to_string(), "PORT"));
        }
        assert!(answers[0].contains("FATAL"), "{change}: {}", answers[0]);
        assert_eq!(answers[0], answers[1], "{change}, right password: {right}");
    }
}

#[tokio::test]
async fn a_refused_login_is_a_guess_and_says_why_to_us_alone() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let mut front = Front::tcp(users(Passthrough::Verifier)).await;
    for (user, why) in [(&*database.user, "wrong password"), ("nosuch", "the servers have no such user")] {
        let output =
            psql(&format!("host=127.0.0.1 port={} user={user} dbname=x", front.port()), "wrong", "").await;
        assert!(said(&output).contains(&format!("password authentication failed for user \"{user}\"")));
        let error = front.outcomes.recv().await.unwrap().unwrap_err();
        assert!(error.is_guess());
        assert!(matches!(&error, AcceptError::Refused { why: told, .. } if told == why), "{error}");
    }
    let none = psql(&at(front.port(), &database, ""), "", "").await;
    assert!(said(&none).contains("no password supplied"));
    assert!(matches!(front.outcomes.recv().await.unwrap(), Err(AcceptError::Closed)));
}

fn listed(name: &str, secret: UserSecret) -> User {
    User { name: name.into(), secret, pool: None, routing: None, databases: Vec::new() }
}

#[tokio::test]
async fn listed_users_are_checked_without_the_server() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let stored = servers
        .admin(0, "postgres")
        .await
        .query_one("SELECT rolpassword FROM pg_authid WHERE rolname = $1", &[&database.user])
        .await
        .unwrap()
        .get::<_, String>(0);
    for secret in [
        UserSecret::Password(Secret::new(database.password.clone())),
        UserSecret::ScramVerifier(Secret::new(stored)),
    ] {
        let list = vec![listed(&database.user, secret)];
        let front = Front::tcp(Users { passthrough: Passthrough::Off, pg_hba: PgHba::Off, list }).await;
        let output = psql(&at(front.port(), &database, ""), &database.password, "SELECT 42").await;
        assert_eq!(said(&output), "42\n");
        let output = psql(&at(front.port(), &database, ""), "wrong", "SELECT 42").await;
        assert!(said(&output).contains("password authentication failed"));
        let stranger = format!("host=127.0.0.1 port={} user=postgres dbname=x", front.port());
        assert!(said(&psql(&stranger, "x", "").await).contains("password authentication failed"));
    }
}

#[tokio::test]
async fn any_number_of_rounds_and_any_letters_prove_a_password() {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    let admin = servers.admin(0, "postgres").await;
    let front = Front::tcp(users(Passthrough::Verifier)).await;
    for (rounds, password) in [(1, "short"), (20_000, "pässwörd \u{2168} \u{00A0}x"), (4096, "\u{0007}bell")]
    {
        let verifier = Verifier::derive(password, b"some salt", NonZeroU32::new(rounds).unwrap());
        admin.batch_execute(&format!("ALTER ROLE {} PASSWORD '{verifier}'", database.user)).await.unwrap();
        for port in [servers.endpoints[0].port, front.port()] {
            let output = psql(&at(port, &database, "client_encoding=UTF8"), password, "SELECT 42").await;
            assert_eq!(said(&output), "42\n", "{rounds} rounds");
        }
    }
}

fn certificate(directory: &Path) -> Acceptor {
    let pair =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    Acceptor::load_for(wire::ALPN, &certificate, &key).unwrap()
}

fn any_port() -> ListenAddress {
    ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())
}

#[tokio::test]
async fn tls_is_offered_demanded_and_verified() {
    let database = Servers::postgres().await.fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let tls = certificate(directory.path());
    let front =
        Front::open(any_port(), users(Passthrough::Verifier), ClientTlsMode::Require, Some(tls)).await;
    let root = directory.path().join("cert.pem");
    let verified = format!("sslmode=verify-full sslrootcert={} channel_binding=disable", root.display());
    for more in ["", "sslmode=require", &verified] {
        let output =
            psql(&at(front.port(), &database, more), &database.password, "SELECT repeat('x', 100000)").await;
        assert_eq!(said(&output).len(), 100_001, "{more}: {}", said(&output));
    }
    let output = psql(&at(front.port(), &database, "sslmode=disable"), &database.password, "").await;
    assert!(said(&output).contains("inside TLS only"), "{}", said(&output));
}

#[tokio::test]
async fn a_password_in_clear_needs_tls_or_a_unix_socket() {
    let database = Servers::postgres().await.fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let tls = certificate(directory.path());
    let front = Front::open(any_port(), users(Passthrough::Password), ClientTlsMode::Prefer, Some(tls)).await;
    let secured = at(front.port(), &database, "sslmode=require");
    assert_eq!(said(&psql(&secured, &database.password, "SELECT 42").await), "42\n");
    let wrong = said(&psql(&secured, "wrong", "SELECT 42").await);
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    let open = said(&psql(&at(front.port(), &database, "sslmode=disable"), &database.password, "").await);
    assert!(open.contains("inside TLS or a unix socket only"), "{open}");

    let socket = ListenAddress::Unix(directory.path().join(".s.PGSQL.6432"));
    let _front = Front::open(socket, users(Passthrough::Password), ClientTlsMode::Prefer, None).await;
    let by_socket = format!(
        "host={} port=6432 user={} dbname={}",
        directory.path().display(),
        database.user,
        database.name
    );
    assert_eq!(said(&psql(&by_socket, &database.password, "SELECT 42").await), "42\n");
}

async fn tls_front(directory: &Path, passthrough: Passthrough) -> Front {
    let tls = certificate(directory);
    Front::open(any_port(), users(passthrough), ClientTlsMode::Prefer, Some(tls)).await
}

#[tokio::test]
async fn channel_binding_can_be_required() {
    let database = Servers::postgres().await.fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let front = tls_front(directory.path(), Passthrough::Verifier).await;
    let how = |more: &str| at(front.port(), &database, more);
    for binding in ["require", "prefer", "disable"] {
        let how = how(&format!("sslmode=require channel_binding={binding}"));
        assert_eq!(said(&psql(&how, &database.password, "SELECT 42").await), "42\n", "{binding}");
        let wrong = said(&psql(&how, "wrong", "SELECT 42").await);
        assert!(wrong.contains("password authentication failed"), "{binding}: {wrong}");
    }
    let open = said(&psql(&how("sslmode=disable channel_binding=require"), &database.password, "").await);
    assert!(open.contains("channel binding required"), "{open}");
    let stranger = format!("host=127.0.0.1 port={} user=nosuch dbname=x sslmode=require", front.port());
    let stranger = said(&psql(&format!("{stranger} channel_binding=require"), "x", "").await);
    assert!(stranger.contains("password authentication failed for user \"nosuch\""), "{stranger}");
}

/// Takes clients' TLS off with a certificate of its own and puts new TLS on: what somebody in the middle would do.
async fn middleman(directory: &Path, to: u16) -> u16 {
    let acceptor = Arc::new(certificate(directory));
    let settings = ServerTls { mode: ServerTlsMode::Require, ca: None };
    let connector = Arc::new(Connector::load(&settings).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    primacy::task::spawn("middleman", async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            primacy::task::spawn("relay", async move {
                client.read_exact(&mut [0; 8]).await.unwrap();
                client.write_all(b"S").await.unwrap();
                let mut client = acceptor.accept(Stream::tcp(client).unwrap()).await.unwrap().stream;
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let mut ask = Vec::new();
                wire::ssl_request(&mut ask);
                server.write_all(&ask).await.unwrap();
                assert_eq!(server.read_u8().await.unwrap(), b'S');
                let mut server = connector.connect(Stream::tcp(server).unwrap(), "localhost").await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await.unwrap_or_default();
            });
        }
    });
    port
}

#[tokio::test]
async fn nobody_in_the_middle_passes_a_bound_proof_on() {
    let database = Servers::postgres().await.fresh_database().await;
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let front = tls_front(ours.path(), Passthrough::Verifier).await;
    let port = middleman(theirs.path(), front.port()).await;
    let through = async |binding: &str| {
        let how = at(port, &database, &format!("sslmode=require channel_binding={binding}"));
        said(&psql(&how, &database.password, "SELECT 42").await)
    };
    let bound = through("require").await;
    assert!(bound.contains("SCRAM channel binding check failed"), "{bound}");
    assert_eq!(through("disable").await, "42\n");
}

/// A TLS connection without an SSLRequest, naming these protocols.
async fn direct(
    port: u16,
    root: &Path,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(root).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

#[tokio::test]
async fn tls_needs_no_request_where_the_protocol_is_named() {
    let database = Servers::postgres().await.fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let mut front = tls_front(directory.path(), Passthrough::Password).await;
    let root = directory.path().join("cert.pem");
    let mut startup = Vec::new();
    wire::startup(&mut startup, [("user", &*database.user), ("database", &*database.name)]);

    let mut stream = direct(front.port(), &root, &[b"h3", wire::ALPN]).await.unwrap();
    let mut asked = Vec::new();
    wire::ssl_request(&mut asked);
    stream.write_all(&asked).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'N', "TLS inside TLS");
    stream.write_all(&startup).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'R');
    let mut request = [0; 8];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, [0, 0, 0, 8, 0, 0, 0, 3], "a password may be asked for inside TLS");
    let mut password = Vec::new();
    wire::password(&mut password, &database.password);
    stream.write_all(&password).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'R');
    assert!(front.outcomes.recv().await.unwrap().is_ok());

    // Without a name: closed without a word, as the server does.
    let mut unnamed = direct(front.port(), &root, &[]).await.unwrap();
    unnamed.write_all(&startup).await.unwrap_or_default();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, unnamed.read_to_end(&mut rest)).await;
    end.expect("it is closed").unwrap_or_default();
    assert!(rest.is_empty(), "{rest:?}");
    assert!(matches!(front.outcomes.recv().await.unwrap(), Err(AcceptError::Tls(_))));
    // Another name: refused in TLS's own words.
    assert!(direct(front.port(), &root, &[b"h2"]).await.is_err());
    assert!(matches!(front.outcomes.recv().await.unwrap(), Err(AcceptError::Tls(_))));
}

/// What newer libpqs can do, where the machine's is one.
#[tokio::test]
async fn libpq_comes_with_tls_at_once_and_the_newest_protocol() {
    let servers = Servers::postgres().await;
    let major: u32 = servers.version.split('.').next().unwrap().parse().unwrap();
    let database = servers.fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let front = tls_front(directory.path(), Passthrough::Verifier).await;
    let root = directory.path().join("cert.pem");
    let verified = format!("sslmode=verify-full sslrootcert={} channel_binding=require", root.display());
    let plain = said(&psql(&at(front.port(), &database, &verified), &database.password, "SELECT 42").await);
    assert_eq!(plain, "42\n");
    if major >= 17 {
        let how = at(front.port(), &database, &format!("{verified} sslnegotiation=direct"));
        assert_eq!(said(&psql(&how, &database.password, "SELECT 42").await), "42\n");
    }
    if major >= 18 {
        let how = at(front.port(), &database, &format!("{verified} max_protocol_version=latest"));
        let info = said(&psql(&how, &database.password, "\\conninfo").await);
        assert!(info.contains("3.2"), "{info}");
    }
}
