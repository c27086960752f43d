//! Bytes that are no PostgreSQL, or nearly: before the login and after it.

use super::{instance, rest, said};
use crate::support::{Raw, eventually};
use primacy::postgres::wire;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A packet without a tag whose length field says what it is told to.
fn packet(length: u32, body: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes(), body].concat()
}

/// A message whose length field says what it is told to.
fn message(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag], &packet(length, body)[..]].concat()
}

/// A message as it should be around a body that may not be.
fn body(tag: u8, body: &[u8]) -> Vec<u8> {
    message(tag, u32::try_from(body.len()).unwrap() + 4, body)
}

/// First bytes after which nobody needs to wait for more.
fn hopeless() -> Vec<Vec<u8>> {
    vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        // A TLS handshake that did not ask first.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        packet(0, b""),
        packet(3, b""),
        packet(4, b""),
        packet(7, b"abc"),
        packet(10_005, b""),
        packet(0x7fff_ffff, b"x"),
        packet(0x8000_0000, b"x"),
        packet(u32::MAX, b"x"),
        // Protocols 2 and 9, a start-up without an end, one without a user, an empty one.
        packet(8, &[0, 2, 0, 0]),
        packet(9, &[0, 9, 0, 0, 0]),
        packet(13, &[0, 3, 0, 0, b'u', b's', b'e', b'r', b'!']),
        packet(20, b"\x00\x03\x00\x00database\x00d\x00\x00"),
        packet(9, &[0, 3, 0, 0, 0]),
        packet(8, &[0, 3, 0, 0]),
        // Cancel requests without a key, with too long a one.
        packet(8, &[4, 210, 22, 46]),
        packet(12, &[4, 210, 22, 46, 0, 0, 0, 1]),
        packet(300, &[&[4, 210, 22, 46, 0, 0, 0, 1][..], &[7; 288]].concat()),
        // TLS asked for twice.
        [packet(8, &[4, 210, 22, 47]), packet(8, &[4, 210, 22, 47])].concat(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_bytes_of_any_kind_end_that_connection_only() {
    let (_, database, primacy) = instance(&["timeouts: { login: 10m }", "pool: { size: 2 }"]).await;
    let mut bystander = Raw::connect(&database, primacy.port).await;
    bystander.run("CREATE TABLE t (a int)").await;
    bystander.run("BEGIN; INSERT INTO t VALUES (1)").await;
    for (row, bytes) in hopeless().iter().enumerate() {
        // TLS refused twice is an answer to which a client may still say something.
        said(primacy.port, bytes, row == 20).await;
        assert_eq!(bystander.value("SELECT count(*) FROM t").await, "1", "after {}", bytes.escape_ascii());
    }
    let mut whole = Vec::new();
    wire::startup(&mut whole, [("user", "nobody"), ("database", "d")]);
    for end in 0..whole.len() {
        assert_eq!(said(primacy.port, &whole[..end], true).await, b"", "cut after {end} bytes");
    }
    let mut random = vec![0; 4096];
    for round in 0..64 {
        primacy::clock::random(&mut random).unwrap();
        said(primacy.port, &random[..round * 64], true).await;
    }
    // In the midst of the password exchange.
    for answer in
        [message(b'p', 3, b""), message(b'p', u32::MAX, b"x"), body(b'Q', b"SELECT 1\0"), body(b'p', b"?\0")]
    {
        let heard = said(primacy.port, &[&whole[..], &answer].concat(), true).await;
        assert!(
            heard.starts_with(b"R") && heard.escape_ascii().to_string().contains("FATAL"),
            "{}",
            heard.escape_ascii()
        );
    }
    bystander.run("COMMIT").await;
    assert_eq!(bystander.value("SELECT count(*) FROM t").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_never_ends_is_ended() {
    let (_, database, primacy) = instance(&["timeouts: { login: 1s }"]).await;
    // One that says nothing, one that says its packet byte by byte, one that does not prove who it is.
    let silent = said(primacy.port, b"", false).await;
    assert_eq!(silent, b"");
    let mut slow = TcpStream::connect(("127.0.0.1", primacy.port)).await.unwrap();
    slow.write_all(&packet(10_000, &[0, 3, 0, 0])).await.unwrap();
    eventually("the dripping client is cut off", async || {
        let mut heard = [0; 16];
        let ended = match slow.try_read(&mut heard) {
            Ok(n) => n == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        let full = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        (ended || slow.try_write(b"x").is_err_and(|error| !full(&error))).then_some(())
    })
    .await;
    let mut startup = Vec::new();
    wire::startup(&mut startup, [("user", &*database.user), ("database", &*database.name)]);
    let mut mute = TcpStream::connect(("127.0.0.1", primacy.port)).await.unwrap();
    mute.write_all(&startup).await.unwrap();
    assert!(rest(&mut mute).await.starts_with(b"R"));
    // Who is in is not meant.
    let mut client = Raw::connect(&database, primacy.port).await;
    assert_eq!(client.value("SELECT 1").await, "1");
}

/// Messages of a client that has logged in. Each is followed by a Sync.
fn wrong() -> Vec<Vec<u8>> {
    let parse = |text: &str| {
        let mut out = Vec::new();
        wire::parse(&mut out, b"", text.as_bytes(), &[]);
        out
    };
    vec![
        message(b'Q', 3, b""),
        message(b'Q', 0x7fff_ffff, b"SELECT 1\0"),
        message(b'Q', 0x8000_0000, b"SELECT 1\0"),
        message(b'Q', u32::MAX, b"SELECT 1\0"),
        message(b'H', u32::MAX, b""),
        body(b'Q', b"SELECT 1"),
        body(b'Q', b""),
        body(b'Q', b"SELECT 1\0SELECT 2\0"),
        body(b'Q', b"SELECT '\xff\xfe'\0"),
        body(0, b""),
        body(1, b"?"),
        body(b'z', b"?"),
        body(b'R', &[0; 4]),
        body(b'p', b"password\0"),
        body(b'P', b""),
        body(b'P', b"no end"),
        body(b'P', b"\0SELECT 1\0"),
        body(b'P', b"\0SELECT $1\0\x00\x09\x00\x00"),
        body(b'P', b"\0SELECT $1\0\xff\xff"),
        body(b'P', b"\0SELECT 1\0\x00\x00and more"),
        body(b'B', b""),
        [parse("SELECT $1::int"), body(b'B', b"\0")].concat(),
        [parse("SELECT $1::int"), body(b'B', b"\0\0\x00\x00\x00\x01\x7f\xff\xff\xffx\x00\x00")].concat(),
        [parse("SELECT $1::int"), body(b'B', b"\0\0\x00\x00\x00\x01\x00\x00\x00\x09x\x00\x00")].concat(),
        [parse("SELECT $1::int"), body(b'B', b"\0\0\x00\x00\x00\x01\xff\xff\xff\xf0\x00\x00")].concat(),
        [parse("SELECT $1::int"), body(b'B', b"\0\0\x00\x00\xff\xff\x00\x00")].concat(),
        [parse("SELECT $1::int"), body(b'B', b"\0\0\x00\x00\x00\x05\x00\x00")].concat(),
        [parse("SELECT 1"), body(b'B', b"\0\0\x00\x00\x00\x00\x00\x09")].concat(),
        [parse("SELECT 1"), body(b'B', b"\0\0\x00\x01\x00\x07\x00\x00\x00\x00")].concat(),
        body(b'B', b"\0nowhere\0\x00\x00\x00\x00\x00\x00"),
        body(b'D', b""),
        body(b'D', b"X\0"),
        body(b'D', b"S"),
        body(b'D', b"Pnowhere\0"),
        body(b'C', b""),
        body(b'C', b"X\0"),
        body(b'C', b"Sno end"),
        body(b'E', b""),
        body(b'E', b"\0"),
        body(b'E', b"nowhere\0\x00\x00\x00\x00"),
        body(b'E', b"\0\x00\x00\x00\x00more"),
        body(b'S', b"more"),
        body(b'F', b""),
        body(b'F', &[0xff; 16]),
        // What belongs into a COPY, outside one, and inside one that fails.
        body(b'd', b"1\n"),
        body(b'c', b""),
        body(b'f', b"why\0"),
        [body(b'Q', b"COPY t FROM STDIN\0"), body(b'd', b"no number\n"), body(b'c', b"")].concat(),
        [body(b'Q', b"COPY t FROM STDIN\0"), body(b'f', b"no end")].concat(),
        [body(b'Q', b"COPY t FROM STDIN\0"), body(b'Q', b"SELECT 1\0")].concat(),
        [body(b'Q', b"COPY t FROM STDIN\0"), body(b'z', b"")].concat(),
        [body(b'Q', b"COPY t FROM STDIN\0"), message(b'd', u32::MAX, b"1\n")].concat(),
        [body(b'Q', b"COPY t FROM STDIN\0"), message(b'd', 2, b"1\n")].concat(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_messages_get_the_servers_own_error_or_end_the_session() {
    let (servers, database, primacy) = instance(&["pool: { size: 2 }"]).await;
    let mut bystander = Raw::connect(&database, primacy.port).await;
    bystander.run("CREATE TABLE t (a int)").await;
    bystander.run("BEGIN; INSERT INTO t VALUES (1)").await;
    let heard = async |port: u16, bytes: &[u8]| {
        let mut client = Raw::connect(&database, port).await;
        let mut sync = Vec::new();
        wire::sync(&mut sync);
        wire::terminate(&mut sync);
        client.send(&[bytes, &sync].concat()).await;
        let answer = client.read_until("$").await;
        assert!(answer.last().is_some_and(|last| last.body == b"end"), "{answer:?}");
        let errors = answer.iter().filter(|message| message.tag == b'E');
        errors.map(|error| (error.field(b'V'), error.field(b'C'))).collect::<Vec<_>>()
    };
    let violation = (Some("FATAL".to_owned()), Some("08P01".to_owned()));
    let mut differ = Vec::new();
    for bytes in wrong() {
        let (server, ours) =
            (heard(servers.endpoints[0].port, &bytes).await, heard(primacy.port, &bytes).await);
        if server != ours && ours.last() != Some(&violation) {
            differ.push(format!("{}: the server {server:?}, Primacy {ours:?}", bytes.escape_ascii()));
        }
        assert_eq!(bystander.value("SELECT count(*) FROM t").await, "1", "{}", bytes.escape_ascii());
    }
    bystander.run("COMMIT").await;
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    super::all_clean(servers, &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_come_at_once() {
    let (servers, database, primacy) =
        instance(&["pool: { size: 4, queue_timeout: 10m }", "timeouts: { login: 10m }"]).await;
    let mut clients = JoinSet::new();
    for number in 0..500 {
        let (database, port) = (database.clone(), primacy.port);
        clients.spawn(async move {
            let mut client = Raw::connect(&database, port).await;
            assert_eq!(client.value(&format!("SELECT {number}")).await, number.to_string());
            client.run("BEGIN; SELECT txid_current(); COMMIT").await;
            client
        });
    }
    let mut all = clients.join_all().await;
    for client in &mut all {
        assert_eq!(client.value("SELECT 1").await, "1");
    }
    drop(all);
    super::all_clean(servers, &database).await;
}
