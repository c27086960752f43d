//! Units of our own on a backend, between those of clients: nothing of them reaches a client, nothing of a client's is lost in them.

use super::super::said::state;
use super::super::wire;
use super::Backend;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What one of our own answers may be long.
const OWN_ANSWER_MAX: usize = 1024 * 1024;
/// The name of our own statement and portal, while there is one.
const OWN: &str = "__primacy_own";

/// What one of our own units answered.
pub(super) struct OwnAnswer {
    pub(super) rows: Vec<Vec<Option<String>>>,
    pub(super) settings: Vec<(Box<str>, Box<str>)>,
    pub(super) error: Option<wire::ServerError>,
}

impl Backend {
    /// A unit of our own: a simple Query whose answer is read whole. The anonymous statement dies with it. Not cancel safe: dropped
    /// half-way, the backend must be closed, which its lease does.
    pub(super) async fn own(&mut self, text: &str) -> io::Result<OwnAnswer> {
        let mut bytes = Vec::new();
        wire::query(&mut bytes, text);
        self.anonymous = None;
        self.own_bytes(&bytes).await
    }

    /// A unit of our own that leaves the client's anonymous statement and portals alone: each text with names of our own, up to one Sync.
    pub(super) async fn own_beside(&mut self, texts: &[String]) -> io::Result<OwnAnswer> {
        let mut bytes = Vec::new();
        for text in texts {
            wire::parse(&mut bytes, OWN.as_bytes(), text.as_bytes(), &[]);
            wire::bind(&mut bytes, OWN, OWN, std::iter::empty());
            wire::execute(&mut bytes, OWN, 0);
            wire::close(&mut bytes, b'P', OWN.as_bytes());
            wire::close(&mut bytes, b'S', OWN.as_bytes());
        }
        wire::sync(&mut bytes);
        self.own_bytes(&bytes).await
    }

    async fn own_bytes(&mut self, bytes: &[u8]) -> io::Result<OwnAnswer> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        let mut answer = OwnAnswer { rows: Vec::new(), settings: Vec::new(), error: None };
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'D' => answer.rows.push(row(&body)),
                b'S' => answer.settings.extend(setting(&body)),
                b'E' => answer.error = Some(wire::ServerError::parse(&body)),
                b'Z' => {
                    self.tx = state(&body).ok_or(io::ErrorKind::InvalidData)?;
                    break;
                }
                _ => {}
            }
        }
        for (name, value) in &answer.settings {
            self.heard(name, value);
        }
        Ok(answer)
    }

    async fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let n = self.unread.len().min(into.len());
        let (known, rest) = into.split_at_mut(n);
        known.iter_mut().zip(self.unread.drain(..n)).for_each(|(to, byte)| *to = byte);
        self.stream.read_exact(rest).await.map(drop)
    }

    pub(in super::super) async fn own_checked(&mut self, text: &str) -> io::Result<()> {
        match self.own(text).await?.error {
            None => Ok(()),
            Some(error) => Err(io::Error::other(String::from(error.message))),
        }
    }

    /// One message of an answer of our own. What a session that listens is notified of meanwhile is kept: it reads it after this.
    pub(in super::super) async fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let mut header = [0; 5];
            self.read_exact(&mut header).await?;
            let [tag, a, b, c, d] = header;
            let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or(0);
            if !(4..=OWN_ANSWER_MAX).contains(&length) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a message with an invalid length"));
            }
            let mut body = vec![0; length - 4];
            self.read_exact(&mut body).await?;
            if tag == b'A' {
                self.notified.extend_from_slice(&header);
                self.notified.extend_from_slice(&body);
                continue;
            }
            if tag == b'Z' {
                self.notified.append(&mut self.unread);
                self.unread.append(&mut self.notified);
            }
            return Ok((tag, body));
        }
    }
}

fn row(body: &[u8]) -> Vec<Option<String>> {
    let mut fields = wire::Fields(body);
    let count = fields.i16().unwrap_or(0);
    (0..count)
        .map_while(|_| {
            let length = fields.i32()?;
            match usize::try_from(length) {
                Err(_) => Some(None),
                Ok(length) => Some(Some(String::from_utf8_lossy(fields.bytes(length)?).into_owned())),
            }
        })
        .collect()
}

fn setting(body: &[u8]) -> Option<(Box<str>, Box<str>)> {
    let mut fields = wire::Fields(body);
    Some((fields.text()?.into(), fields.text()?.into()))
}
