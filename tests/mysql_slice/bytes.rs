//! The same bytes come back as from the server itself, whatever the client agreed on.

use super::{Bed, bed};
use crate::support::eventually;
use mysql_async::prelude::Queryable as _;
use primacy::config::settings::{ServerTls, ServerTlsMode};
use primacy::engine::embedded::Embedded as _;
use primacy::engine::seam::Kill;
use primacy::mysql::handshake::{AGREED, Terms};
use primacy::mysql::login::{self, Opened, Target};
use primacy::mysql::pieces;
use primacy::mysql::reply::Step;
use primacy::mysql::request::{self, Command};
use primacy::mysql::wire::{self, FULL, ServerError, capability as cap};
use primacy::net::tls::Connector;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

/// A client whose bytes are looked at.
struct Bare(Opened);

impl Bare {
    async fn connect(port: u16, database: &str, capabilities: u32) -> Self {
        let tls = Connector::load(&ServerTls { mode: ServerTlsMode::Require, ca: None }).unwrap();
        let target = Target { host: "127.0.0.1".into(), port, tls: Arc::new(tls) };
        let terms = Terms { capabilities, collation: 45 };
        Self(login::open(&target, "app", "embedded-app", database, terms).await.unwrap())
    }

    async fn send(&mut self, command: &[u8]) {
        let mut out = Vec::new();
        wire::packets(&mut out, 0, command);
        self.0.stream.write_all(&out).await.unwrap();
        self.0.stream.flush().await.unwrap();
    }

    /// The answer, whole.
    async fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        let Command::Pass(shape) = Command::of(command.first().copied()) else { panic!("{command:?}") };
        let deprecates_eof = self.0.terms.deprecates_eof();
        let mut bytes = Vec::new();
        loop {
            let walked = pieces::reply::<FULL>(&bytes, usize::MAX, shape, (deprecates_eof, false));
            match walked.end {
                Some(Step::Ready) => {
                    assert_eq!(walked.left.len(), bytes.len(), "something follows the answer to {command:?}");
                    return bytes;
                }
                Some(other) => panic!("{other:?} to {command:?}: {bytes:?}"),
                None => assert!(self.0.stream.read_buf(&mut bytes).await.unwrap() > 0, "{command:?}"),
            }
        }
    }

    async fn run(&mut self, command: &[u8]) -> Vec<u8> {
        self.send(command).await;
        self.answer(command).await
    }

    async fn query(&mut self, text: &str) -> Vec<u8> {
        self.run(&[&[request::QUERY], text.as_bytes()].concat()).await
    }

    async fn error(&mut self, command: &[u8]) -> ServerError {
        self.send(command).await;
        let (_, payload) = login::receive(&mut self.0.stream).await.unwrap();
        assert_eq!(payload.first(), Some(&0xff), "{payload:?}");
        ServerError::parse(&payload)
    }
}

/// What drivers of every age send: statements with and without a cursor, several results, errors.
fn commands() -> Vec<Vec<u8>> {
    let execute = |id: u8, cursor: u8| [&[0x17, id, 0, 0, 0, cursor, 1, 0, 0, 0][..]].concat();
    let fetch = |id: u8, rows: u8| vec![0x1c, id, 0, 0, 0, rows, 0, 0, 0];
    let query = |text: &str| [b"\x03", text.as_bytes()].concat();
    let prepare = |text: &str| [b"\x16", text.as_bytes()].concat();
    let numbers = "SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3";
    let parameter = [&[0x17, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0xfd, 0, 3][..], b"abc"].concat();
    let long_data = [&[0x18, 3, 0, 0, 0, 0, 0][..], b"long"].concat();
    let of_long_data = vec![0x17, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0xfd, 0];
    vec![
        vec![0x0e],
        query("SET @a = 1"),
        query(numbers),
        query("SELECT 1 FROM DUAL WHERE FALSE"),
        query("SELECT 1; DO 1; SELECT 2, 3"),
        query("SELECT 1; SELEC"),
        query("START TRANSACTION"),
        query("SELECT NULL, ''"),
        query("COMMIT"),
        // The first statement: a cursor that is read in parts, and read beyond its end.
        prepare(numbers),
        execute(1, 0),
        execute(1, 1),
        fetch(1, 2),
        fetch(1, 2),
        fetch(1, 2),
        execute(1, 1),
        vec![0x1a, 1, 0, 0, 0],
        fetch(1, 1),
        // The second: no columns.
        prepare("DO 1"),
        execute(2, 1),
        // The third: parameters.
        prepare("SELECT ?"),
        parameter,
        long_data,
        of_long_data,
        vec![0x19, 3, 0, 0, 0],
        prepare("SELEC"),
        execute(99, 0),
        fetch(99, 1),
        [b"\x02", &b"app"[..]].concat(),
        [b"\x02", &b"nowhere"[..]].concat(),
        vec![0x1f],
        query("SELECT @a"),
    ]
}

async fn compare(bed: &Bed, capabilities: u32) {
    let mut proxied = Bare::connect(bed.primacy.port, "app", capabilities).await;
    let mut direct = Bare::connect(bed.cluster.endpoints()[0].port, "app", capabilities).await;
    for command in commands() {
        let (ours, theirs) = (proxied.run(&command).await, direct.run(&command).await);
        assert!(
            ours == theirs,
            "{} with {capabilities:#x}: {} for {}",
            command.escape_ascii(),
            ours.escape_ascii(),
            theirs.escape_ascii()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_servers_byte_for_byte() {
    let Some(bed) = bed().await else { return };
    for without in [0, cap::DEPRECATE_EOF, cap::DEPRECATE_EOF | cap::SESSION_TRACK, cap::SESSION_TRACK] {
        compare(&bed, AGREED & !without).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_passed_on_is_refused_in_words() {
    let Some(bed) = bed().await else { return };
    for capabilities in [AGREED, AGREED & !cap::DEPRECATE_EOF] {
        let mut client = Bare::connect(bed.primacy.port, "app", capabilities).await;
        for command in [&b"\x04t\0"[..], b"\x09", b"\x0a", b"\x0c\x01\0\0\0", b"\x11app\0", b"\x1b\0\0"] {
            let error = client.error(command).await;
            assert!(error.errno == 1235 && error.message.contains("the proxy"), "{command:?}: {error:?}");
        }
        assert_eq!(client.error(b"\x7f").await.errno, 1047);
        client.query("DO 1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_query_reaches_the_session_that_was_meant() {
    let Some(bed) = bed().await else { return };
    let mut victim = Bare::connect(bed.primacy.port, "app", AGREED).await;
    let mut killer = Bare::connect(bed.primacy.port, "app", AGREED).await;
    let id = victim.0.id;
    victim.query("DO 1").await;
    let sleep = [&[request::QUERY], &b"SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b, information_schema.columns c"[..]].concat();
    victim.send(&sleep).await;
    let watcher = Mutex::new(bed.app().await);
    let running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT COUNT(*) FROM information_schema.columns%'";
    eventually("the victim runs", || async {
        let running: Option<u64> = watcher.lock().await.query_first(running).await.unwrap();
        (running == Some(1)).then_some(())
    })
    .await;
    killer.query(&format!("kill query {id};")).await;
    let (_, error) = login::receive(&mut victim.0.stream).await.unwrap();
    assert_eq!(ServerError::parse(&error).errno, 1317);
    // Its session goes on, and so does the killer's.
    victim.query("DO 1").await;
    let query = |text: String| [&[request::QUERY], text.as_bytes()].concat();
    assert_eq!(killer.error(&query(format!("KILL {id}"))).await.errno, 1235);
    assert_eq!(killer.error(&query("KILL QUERY 1073741823".into())).await.errno, 1094);
    assert_eq!(killer.error(&query(format!("KILL QUERY {}", killer.0.id))).await.errno, 1317);
    victim.query("DO 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_database_leaves_its_connection_to_others() {
    let Some(bed) = bed().await else { return };
    let id = async |entered: bool| {
        let mut client = Bare::connect(bed.primacy.port, "", AGREED).await;
        let state = client.query("SELECT DATABASE()").await;
        // The row: one field, which is NULL.
        assert!(state.windows(5).any(|packet| packet == [1, 0, 0, 3, 0xfb]), "{}", state.escape_ascii());
        if entered {
            client.run(b"\x02app").await;
        }
        client.query("SELECT CONNECTION_ID()").await
    };
    let left = id(true).await;
    let seen = Mutex::new(Vec::new());
    eventually("a connection is used again", || async {
        let id = id(false).await;
        assert_ne!(id, left);
        let mut seen = seen.lock().await;
        let again = seen.contains(&id);
        seen.push(id);
        again.then_some(())
    })
    .await;
}

#[test]
fn kill_is_read_as_it_is_sent() {
    for (text, expected) in [
        ("KILL QUERY 7", Some((7, false))),
        (" kill query 7 ; ", Some((7, false))),
        ("KILL 7", Some((7, true))),
        ("KILL HARD CONNECTION 7", Some((7, true))),
        ("KILL QUERY 7 8", None),
        ("KILL QUERY CONNECTION_ID()", None),
        ("KILLS QUERY 7", None),
        ("KILL", None),
        ("SELECT 7", None),
        ("", None),
    ] {
        let expected = expected.map(|(id, connection)| Kill { id, connection });
        assert_eq!(request::kill(text.as_bytes()), expected, "{text}");
    }
}
