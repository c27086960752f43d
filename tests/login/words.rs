//! First packets of every kind, byte for byte: what the server answers, we answer.

use super::{Front, users};
use crate::support::{PATIENCE, Servers};
use primacy::config::settings::Passthrough;
use primacy::postgres::wire::{CANCEL_REQUEST, Frames, SSL_REQUEST, ServerError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is answered until the other side closes. Nothing more is sent.
async fn answer(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut answer = Vec::new();
    // Who asks for TLS waits for the answer.
    let (question, rest) =
        bytes.split_at(if bytes.get(4..8) == Some(&SSL_REQUEST.to_be_bytes()) { 8 } else { 0 });
    if !question.is_empty() {
        stream.write_all(question).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'N');
    }
    stream.write_all(rest).await.unwrap();
    match tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the other side must close")
    {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => answer,
    }
}

fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 8).unwrap();
    [&length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
}

const fn version(major: u32, minor: u32) -> u32 {
    major << 16 | minor
}

/// An answer as it can be compared: the fields of an error that name the server's source files are left out.
fn comparable(answer: &[u8]) -> String {
    let mut frames = Frames::new(answer, 100_000);
    let mut text = String::new();
    while let Some(Ok(frame)) = frames.next() {
        if !frame.complete {
            break;
        }
        match frame.tag {
            b'E' => text += &format!("{:?}", ServerError::parse(frames.body(&frame))),
            tag => text += &format!("{}{:?}", char::from(tag), frames.body(&frame)),
        }
    }
    text + &String::from_utf8_lossy(&answer[frames.consumed()..])
}

#[tokio::test]
async fn first_packets_are_answered_as_by_the_server() {
    let servers = Servers::postgres().await;
    let front = Front::tcp(users(Passthrough::Verifier)).await;
    let startup = |rest: &[u8]| packet(version(3, 0), rest);
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("protocol 4.0", packet(version(4, 0), b"user\0x\0\0")),
        ("protocol 2.0", packet(version(2, 0), &[0; 280])),
        ("protocol 1.0", packet(version(1, 0), b"user\0x\0\0")),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("too short", vec![0, 0, 0, 7, 0, 3, 0]),
        ("too long", vec![0, 0, 0x27, 0x15, 0, 3, 0, 0]),
        ("no user", startup(b"database\0x\0\0")),
        ("empty user", startup(b"user\0\0\0")),
        ("nothing at all", startup(b"")),
        ("no terminator", startup(b"user\0x\0database\0y")),
        ("no value", startup(b"user\0x\0database\0")),
        ("bytes after the end", startup(b"user\0x\0\0more\0")),
        ("bad replication", startup(b"user\0x\0replication\0maybe\0\0")),
        ("SSLRequest twice", [packet(SSL_REQUEST, b""), packet(SSL_REQUEST, b"")].concat()),
        ("cancel of nobody", packet(CANCEL_REQUEST, &[0, 0, 0, 1, 0, 0, 0, 2])),
        ("cancel too short", packet(CANCEL_REQUEST, &[0, 0, 0, 1])),
        ("SSLRequest, then no user", [packet(SSL_REQUEST, b""), startup(b"\0")].concat()),
        ("wrong message", [startup(b"user\0x\0\0"), b"Q\0\0\0\x05\0".to_vec()].concat()),
        ("wrong mechanism", [startup(b"user\0x\0\0"), b"p\0\0\0\x0bPLAIN\0\xff".to_vec()].concat()),
        (
            "unknown mechanism",
            [startup(b"user\0x\0\0"), b"p\0\0\0\x0ePLAIN\0\xff\xff\xff\xff".to_vec()].concat(),
        ),
        ("channel binding", scram(b"p=tls-unique,,n=,r=abc")),
        ("authorization identity", scram(b"n,a=me,n=,r=abc")),
        ("extension", scram(b"n,,m=1,n=,r=abc")),
        ("bad flag", scram(b"x,,n=,r=abc")),
        ("bad nonce", scram(b"n,,n=,r=a\x01c")),
        ("not SCRAM", scram(b"hello")),
    ];
    let asked =
        |minor: u32, rest: &[u8]| [packet(version(3, minor), rest), b"Q\0\0\0\x05\0".to_vec()].concat();
    for minor in [0, 1, 2, 3, 9999] {
        cases.push(("a minor version", asked(minor, b"user\0x\0\0")));
        cases.push(("a minor version, and _pq_", asked(minor, b"user\0x\0_pq_.a\0b\0\0")));
    }
    let mut wrong = String::new();
    for (name, bytes) in cases {
        let theirs = comparable(&answer(servers.endpoints[0].port, &bytes).await);
        let ours = comparable(&answer(front.port(), &bytes).await);
        if theirs != ours {
            wrong += &format!("{name}:\n  server  {theirs}\n  primacy {ours}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn scram(first: &[u8]) -> Vec<u8> {
    let mut body = b"SCRAM-SHA-256\0".to_vec();
    body.extend(u32::try_from(first.len()).unwrap().to_be_bytes());
    body.extend(first);
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [packet(version(3, 0), b"user\0x\0\0"), b"p".to_vec(), length.to_vec(), body].concat()
}
