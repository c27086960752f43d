//! A PostgreSQL client that sends what it is told, byte for byte, and keeps every message that comes back.

use super::{Database, PATIENCE};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use primacy::postgres::wire;
use std::fmt;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take before a script is given up.
const ANSWER: Duration = Duration::from_secs(10);

/// One message of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", char::from(self.tag), self.body.escape_ascii())
    }
}

impl Message {
    /// A field of an error or notice: `C` is the SQLSTATE, `M` the text.
    pub fn field(&self, kind: u8) -> Option<String> {
        let fields = self.body.split(|byte| *byte == 0);
        let field = fields.filter_map(|field| field.split_first()).find(|(first, _)| **first == kind)?;
        Some(String::from_utf8_lossy(field.1).into_owned())
    }

    /// The values of a row, `None` for NULL.
    pub fn values(&self) -> Vec<Option<String>> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut values = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            match usize::try_from(i32::from_be_bytes(*length)) {
                Err(_) => {
                    values.push(None);
                    rest = tail;
                }
                Ok(length) => {
                    let (value, tail) = tail.split_at(length);
                    values.push(Some(String::from_utf8_lossy(value).into_owned()));
                    rest = tail;
                }
            }
        }
        values
    }
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub port: u16,
    /// Id and secret for cancel requests.
    pub pid: u32,
    pub key: Vec<u8>,
    /// The status byte of the last ReadyForQuery.
    pub status: u8,
}

impl Raw {
    /// Logs in to that port of 127.0.0.1.
    pub async fn connect(database: &Database, port: u16) -> Self {
        Self::try_connect(database, port, &[]).await.unwrap_or_else(|error| panic!("login: {error:?}"))
    }

    /// Logs in with start-up parameters; the error is what the server said instead.
    pub async fn try_connect(
        database: &Database,
        port: u16,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Message> {
        Self::try_connect_speaking(wire::PROTOCOL_3_0, database, port, parameters).await
    }

    /// The same with another version of the protocol.
    pub async fn try_connect_speaking(
        version: u32,
        database: &Database,
        port: u16,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Message> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self { stream, buffer: Vec::new(), port, pid: 0, key: Vec::new(), status: 0 };
        let mut out = Vec::new();
        let own = [("user", database.user.as_str()), ("database", database.name.as_str())];
        wire::startup(&mut out, own.into_iter().chain(parameters.iter().copied()));
        out[4..8].copy_from_slice(&version.to_be_bytes());
        raw.send(&out).await;
        let mut scram = ScramSha256::new(database.password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let message = raw.read().await.unwrap();
            let (kind, data) = message.body.split_at_checked(4).unwrap_or_default();
            let mut out = Vec::new();
            match (message.tag, kind) {
                (b'R', [0, 0, 0, 10]) => wire::sasl_initial(&mut out, scram.message()),
                (b'R', [0, 0, 0, 11]) => {
                    scram.update(data).unwrap();
                    wire::sasl_response(&mut out, scram.message());
                }
                (b'R', [0, 0, 0, 12]) => scram.finish(data).unwrap(),
                (b'K', pid) => {
                    raw.pid = u32::from_be_bytes(pid.try_into().unwrap());
                    raw.key = data.to_vec();
                }
                (b'E', _) => return Err(message),
                (b'Z', _) => return Ok(raw),
                _ => {}
            }
            raw.send(&out).await;
        }
    }

    /// Sends bytes; a server that hung up is found when reading.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap_or_default();
    }

    /// The next message; `None` at the end of the connection.
    pub async fn read(&mut self) -> Option<Message> {
        loop {
            if let Some([tag, a, b, c, d]) =
                self.buffer.get(..5).and_then(|head| <[u8; 5]>::try_from(head).ok())
            {
                let end = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap() + 1;
                if self.buffer.len() >= end {
                    let body = self.buffer[5..end].to_vec();
                    self.buffer.drain(..end);
                    if tag == b'Z' {
                        self.status = body[0];
                    }
                    return Some(Message { tag, body });
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Bytes that came and are no whole message.
    pub fn unread(&self) -> usize {
        self.buffer.len()
    }

    /// Everything up to the last of these tags, each awaited in turn; `$` is the end of the connection. What does not come ends it with a word of
    /// its own, so that a comparison shows it.
    pub async fn read_until(&mut self, tags: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        for tag in tags.bytes() {
            loop {
                let next = tokio::time::timeout(ANSWER, self.read()).await;
                let missing = |what: &str| Message { tag: b'!', body: what.as_bytes().to_vec() };
                match next {
                    Err(_) => {
                        messages.push(missing(&format!("no {} came", char::from(tag))));
                        return messages;
                    }
                    Ok(None) => {
                        messages.push(missing("end"));
                        return messages;
                    }
                    Ok(Some(message)) => {
                        let found = message.tag == tag;
                        messages.push(message);
                        if found {
                            break;
                        }
                    }
                }
            }
        }
        messages
    }

    /// Runs a simple query.
    pub async fn query(&mut self, text: &str) -> Vec<Message> {
        let mut out = Vec::new();
        wire::query(&mut out, text);
        self.send(&out).await;
        self.read_until("Z").await
    }

    /// Runs a simple query that must work: its rows.
    pub async fn rows(&mut self, text: &str) -> Vec<Vec<Option<String>>> {
        let messages = self.query(text).await;
        assert!(!messages.iter().any(|m| matches!(m.tag, b'E' | b'!')), "{text}: {messages:?}");
        messages.iter().filter(|m| m.tag == b'D').map(Message::values).collect()
    }

    /// The one value that a simple query gives; NULL is "NULL".
    pub async fn value(&mut self, text: &str) -> String {
        let rows = self.rows(text).await;
        rows.first().and_then(|row| row.first().cloned()).unwrap_or_default().unwrap_or_else(|| "NULL".into())
    }

    /// Runs a simple query that must work.
    pub async fn run(&mut self, text: &str) {
        self.rows(text).await;
    }

    /// The SQLSTATE with which a simple query fails.
    pub async fn fails(&mut self, text: &str) -> String {
        let messages = self.query(text).await;
        let error = messages.iter().find(|m| m.tag == b'E');
        error.unwrap_or_else(|| panic!("{text} did not fail: {messages:?}")).field(b'C').unwrap()
    }

    /// Sends a cancel request with this session's id and `key`, and waits until the other side has closed.
    pub async fn cancel(&self, key: &[u8]) {
        cancel(self.port, self.pid, key).await;
    }
}

/// Sends a cancel request and waits until the other side has closed.
pub async fn cancel(port: u16, pid: u32, key: &[u8]) {
    let mut out = Vec::new();
    wire::cancel_request(&mut out, pid, key);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&out).await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset closes, too.
    end.expect("the cancel connection ends").unwrap_or_default();
    assert!(rest.is_empty(), "a cancel request has no answer: {rest:?}");
}
