//! The connection that listens for all sessions of a database.

use super::backend::{Backend, Connector};
use super::said::is_fatal;
use super::wire::{self, ServerError};
use crate::config::settings::Node;
use crate::engine::cancel::CancelTarget;
use crate::engine::ear::{self, Heard, Message};
use crate::engine::seam::{Backend as _, Birth, Identity, OpenError};
use crate::error::{Fault, Retry};
use crate::net::buffer::Buffer;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Payloads come in one encoding, and a connection that says nothing for long is meant to.
const SETTINGS: &str = "SELECT pg_catalog.set_config(name, CASE name WHEN 'client_encoding' THEN 'UTF8' \
     WHEN 'application_name' THEN 'primacy listens' ELSE '0' END, false) FROM pg_catalog.pg_settings \
     WHERE name IN ('application_name', 'client_encoding', 'idle_session_timeout', 'statement_timeout')";
/// Room for one receive.
const ROOM: usize = 8 * 1024;
/// No message that it is sent is longer.
const MESSAGE_MAX: usize = 1024 * 1024;

/// See [`ear::Ear`].
#[derive(Debug)]
pub struct Ear {
    backend: Backend,
    inbox: Buffer,
    outbox: Buffer,
    refused: Option<ServerError>,
}

impl Ear {
    // The next whole message that concerns us, taken out of the inbox.
    fn next(&mut self) -> io::Result<Option<Heard>> {
        loop {
            let bytes = self.inbox.bytes();
            let Some(&[tag, a, b, c, d]) = bytes.get(..5) else { return Ok(None) };
            let length = match usize::try_from(i32::from_be_bytes([a, b, c, d])) {
                Ok(length) if (4..MESSAGE_MAX).contains(&length) => length + 1,
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a message with an invalid length",
                    ));
                }
            };
            let Some(body) = bytes.get(5..length) else { return Ok(None) };
            let heard = match tag {
                b'A' => notification(body).map(Heard::Notification),
                b'E' if is_fatal(body) => {
                    return Err(io::Error::other(String::from(ServerError::parse(body).message)));
                }
                b'E' => {
                    self.refused = Some(ServerError::parse(body));
                    None
                }
                b'Z' => Some(Heard::Answered),
                _ => None,
            };
            self.inbox.consume(length);
            if heard == Some(Heard::Answered)
                && let Some(error) = self.refused.take()
            {
                // It does not listen to what it was asked to: nobody may go on as if it did.
                return Err(io::Error::other(String::from(error.message)));
            }
            if heard.is_some() {
                return Ok(heard);
            }
        }
    }
}

fn notification(body: &[u8]) -> Option<Message> {
    let (pid, text) = body.split_first_chunk::<4>()?;
    Some(Message { pid: u32::from_be_bytes(*pid), text: text.into() })
}

fn quoted(text: &mut String, command: &str, channel: &str) {
    text.push_str(command);
    text.push_str(" \"");
    text.push_str(&channel.replace('"', "\"\""));
    text.push_str("\";");
}

impl ear::Ear for Ear {
    type Connector = Connector;

    async fn open(
        connector: &Connector,
        node: &Node,
        identity: &Identity,
    ) -> Result<(Self, Birth), OpenError> {
        let (mut backend, birth) = Backend::open(connector, node, identity).await?;
        backend.own_checked(SETTINGS).await.map_err(|error| OpenError {
            fault: Fault::Server,
            retry: Retry::AnotherNode,
            sqlstate: None,
            errno: 0,
            message: format!("node {} at {}:{}: {error}", node.name, node.host, node.port),
        })?;
        Ok((Self { backend, inbox: Buffer::default(), outbox: Buffer::default(), refused: None }, birth))
    }

    fn ask(&mut self, listen: &[Arc<str>], unlisten: &[Arc<str>]) {
        let mut text = String::new();
        listen.iter().for_each(|channel| quoted(&mut text, "LISTEN", channel));
        unlisten.iter().for_each(|channel| quoted(&mut text, "UNLISTEN", channel));
        let mut message = Vec::new();
        wire::query(&mut message, &text);
        self.outbox.extend(&message);
    }

    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Heard>> {
        while !self.outbox.is_empty() {
            match self.backend.stream.poll_write(cx, self.outbox.bytes()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.outbox.consume(n),
                // The server may have said why before it went.
                Poll::Ready(Err(_)) => self.outbox.clear(),
                Poll::Pending => break,
            }
        }
        // What did not leave yet leaves when the socket is writable: it wakes this task, as what comes does.
        if let Poll::Ready(Err(error)) = self.backend.stream.poll_flush(cx)
            && self.inbox.is_empty()
        {
            return Poll::Ready(Err(error));
        }
        loop {
            if let Some(heard) = self.next()? {
                return Poll::Ready(Ok(heard));
            }
            if ready!(self.inbox.poll_fill(cx, &mut self.backend.stream, ROOM))? == 0 {
                return Poll::Ready(Err(io::Error::other("the server closed the connection")));
            }
        }
    }

    fn target(&self) -> &Arc<CancelTarget> {
        &self.backend.cancel
    }
}
