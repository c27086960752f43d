//! MySQL's door: the greeting, TLS, the proof, the welcome.

use super::auth;
use super::backend::Backend;
use super::exchange::Exchange;
use super::handshake::{CACHING_SHA2, Greeting, NONCE, Response, asks_for_tls};
use super::login::receive;
use super::wire::{self, status};
use crate::catalog::Relation;
use crate::catalog::source::{Hang, Hangs, Source, Stamp, Teller, Uses};
use crate::clock;
use crate::config::settings::{ClientTlsMode, Cluster, EngineKind, Node, Passthrough, UserSecret};
use crate::config::units::Secret;
use crate::engine::CatalogLoader;
use crate::engine::door::{Caller, Front, Guest, Knock, Limits, Nodes, Through, TurnedAway};
use crate::engine::identity::Credentials;
use crate::engine::seam::{self, Engine, Identity};
use crate::engine::table::Reply;
use crate::engine::words::Dialect;
use crate::error::{ClientError, Fault, Retry};
use crate::net::stream::Stream;
use crate::net::tls::Acceptor;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// The engine of MySQL.
#[derive(Debug)]
pub struct Mysql;

impl Engine for Mysql {
    type Exchange = Exchange;
    type Backend = Backend;
    type Loader = Loader;
    type Ear = crate::engine::ear::Deaf<super::backend::Connector>;
    const DIALECT: Dialect = Dialect::Mysql;
}

/// Knows nothing of any database yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loader;

impl CatalogLoader for Loader {
    async fn code(&self, _: &str) -> Result<(Source, Stamp, Teller), Arc<str>> {
        Ok((Source::default(), Stamp { writes: Some(0), digest: 0 }, Teller::Primary))
    }

    async fn relations(
        &self,
        _: &str,
        _: &str,
        relations: &[Relation],
        _: Uses,
    ) -> Result<(Vec<Hangs>, Teller), Arc<str>> {
        let unread = || vec![Hang { function: None, why: Some("MySQL's catalog is not read yet".into()) }];
        let hangs = relations.iter().map(|_| Hangs { read: unread(), write: unread() });
        Ok((hangs.collect(), Teller::Primary))
    }

    fn let_go(&self, _: &str) {}

    async fn stamp(&self, _: &str, known: Stamp) -> Result<Option<Stamp>, Arc<str>> {
        Ok(Some(known))
    }
}

/// What MySQL's listeners know.
pub struct Entrance {
    tls: Option<Acceptor>,
    tls_required: bool,
    passthrough: bool,
    listed: HashMap<Arc<str>, Secret>,
    // What servers of unknown version are taken for: the lowest that has all we offer.
    fallback: &'static str,
}

impl Front for Mysql {
    type Door = Entrance;

    fn door(settings: &Cluster, _: Nodes, _: [u8; 32]) -> Result<(Entrance, Loader), String> {
        let tls = match (&settings.tls.certificate, &settings.tls.key) {
            (Some(certificate), Some(key)) if settings.tls.mode != ClientTlsMode::Disable => {
                Some(Acceptor::load(certificate, key).map_err(|error| format!("tls: {error}"))?)
            }
            _ => None,
        };
        let listed = settings.users.list.iter().filter_map(|user| match &user.secret {
            UserSecret::Password(password) => Some((Arc::clone(&user.name), password.clone())),
            UserSecret::ScramVerifier(_) => None,
        });
        let mariadb = settings.engine == EngineKind::Mariadb;
        let entrance = Entrance {
            tls,
            tls_required: settings.tls.mode == ClientTlsMode::Require,
            passthrough: settings.users.passthrough == Passthrough::Password,
            listed: listed.collect(),
            fallback: if mariadb { "10.6.0-MariaDB" } else { "8.0.11" },
        };
        Ok((entrance, Loader))
    }

    async fn knock(client: Stream, door: &Entrance, caller: &Caller<'_>) -> Result<Knock, TurnedAway> {
        let mut nonce = [0; NONCE];
        clock::random(&mut nonce).map_err(gone)?;
        // A zero would end it, and a dollar is none of the server's either.
        nonce.iter_mut().for_each(|byte| *byte = *byte % 90 + 33);
        let version = (caller.version)();
        let version = version.as_deref().unwrap_or(door.fallback);
        let greeting = Greeting::ours(version, caller.id, nonce, door.tls.is_some());
        let (mut talk, response) = greet(client, door, &greeting).await?;
        let outcome = examine(&mut talk, door, &response, &nonce).await;
        match outcome {
            Ok((credentials, unproven)) => Ok(Knock::Guest(Box::new(Guest {
                client: talk.stream,
                user: response.user.as_str().into(),
                database: response.database.as_str().into(),
                parameters: Vec::new(),
                replication: None,
                credentials: Arc::new(credentials),
                unproven,
                superuser: false,
                terms: response.terms().number(),
                step: talk.next,
                // KILL is a statement: nobody is told the secret.
                cancel_key: 4,
            }))),
            Err(Refused::Gone(error)) => Err(gone(error)),
            Err(Refused::Told(error, guess)) => {
                let away = TurnedAway { why: error.to_string(), guess, fault: Fault::Client };
                // That the client may be gone by now changes nothing.
                drop(talk.say(&wire::error(&error)).await);
                drop(talk.stream.shutdown().await);
                Err(away)
            }
        }
    }

    async fn access(_: &Entrance, _user: &str, _database: &str) -> Result<Limits, ClientError> {
        // The server itself says who may enter what, when the first connection is opened.
        Ok(Limits::default())
    }

    async fn through(
        _: &<Backend as seam::Backend>::Connector,
        _: &Node,
        _: &Identity,
        _: &str,
        _: &[(Box<str>, Box<str>)],
    ) -> Result<Through, (Retry, ClientError)> {
        // No handshake of MySQL's asks for it.
        Err((Retry::Never, ClientError::new("0A000", 1235, "replication cannot pass through the proxy yet")))
    }

    async fn welcome(
        client: &mut Stream,
        step: u8,
        _settings: &[(Box<str>, Box<str>)],
        _id: u32,
        _secret: &[u8],
    ) -> io::Result<()> {
        send(client, step, &wire::ok(0, status::AUTOCOMMIT)).await
    }

    async fn console(
        mut client: Stream,
        step: u8,
        _version: &str,
        _execute: impl Fn(String) -> BoxFuture<'static, Reply> + Send + Sync,
    ) -> io::Result<()> {
        let error = ClientError::new("0A000", 1235, "the console is not served over MySQL's protocol")
            .hint("use `primacy admin`");
        send(&mut client, step, &wire::error(&error)).await
    }

    fn message_length(head: &[u8]) -> Option<usize> {
        let [a, b, c, _] = *head.first_chunk()?;
        usize::try_from(u32::from_le_bytes([a, b, c, 0])).ok()?.checked_add(4)
    }

    async fn turn_away(client: &mut Stream, step: u8, error: &ClientError) -> io::Result<()> {
        send(client, step, &wire::error(error)).await
    }
}

// A conversation before the session: the stream, and the next packet's number.
struct Talk {
    stream: Stream,
    next: u8,
}

impl Talk {
    async fn say(&mut self, payload: &[u8]) -> io::Result<()> {
        send(&mut self.stream, self.next, payload).await?;
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    async fn hear(&mut self) -> io::Result<Vec<u8>> {
        let (number, payload) = receive(&mut self.stream).await?;
        self.next = number.wrapping_add(1);
        Ok(payload)
    }
}

async fn send(stream: &mut Stream, sequence: u8, payload: &[u8]) -> io::Result<()> {
    let mut out = Vec::new();
    wire::packets(&mut out, sequence, payload);
    stream.write_all(&out).await?;
    stream.flush().await
}

enum Refused {
    Gone(io::Error),
    // With this, and whether it may have guessed.
    Told(Box<ClientError>, bool),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function")]
fn gone(error: io::Error) -> TurnedAway {
    TurnedAway {
        why: format!("the connection broke during the login: {error}"),
        guess: false,
        fault: Fault::Peer,
    }
}

async fn greet(client: Stream, door: &Entrance, greeting: &Greeting) -> Result<(Talk, Response), TurnedAway> {
    let mut talk = Talk { stream: client, next: 0 };
    talk.say(&greeting.bytes()).await.map_err(gone)?;
    let mut packet = talk.hear().await.map_err(gone)?;
    if asks_for_tls(&packet)
        && let Some(acceptor) = &door.tls
    {
        let accepted = acceptor.accept(talk.stream).await.map_err(|error| TurnedAway {
            why: format!("the TLS handshake with the client failed: {error}"),
            guess: false,
            fault: Fault::Client,
        })?;
        talk.stream = accepted.stream;
        packet = talk.hear().await.map_err(gone)?;
    }
    let Some(response) = Response::parse(&packet) else {
        let error = ClientError::new("08S01", 1043, "Bad handshake");
        drop(talk.say(&wire::error(&error)).await);
        return Err(TurnedAway { why: error.to_string(), guess: false, fault: Fault::Client });
    };
    Ok((talk, response))
}

async fn examine(
    talk: &mut Talk,
    door: &Entrance,
    response: &Response,
    nonce: &[u8; NONCE],
) -> Result<(Credentials, bool), Refused> {
    let private = talk.stream.is_tls() || talk.stream.is_unix();
    if door.tls_required && !private {
        let error = ClientError::new("HY000", 3159, "Connections using insecure transport are prohibited")
            .hint("tls.mode of the proxy is require: connect inside TLS");
        return Err(Refused::Told(Box::new(error), false));
    }
    let mut proof = response.proof.clone();
    if response.plugin != CACHING_SHA2 {
        let mut switch = vec![0xfe];
        switch.extend_from_slice(CACHING_SHA2.as_bytes());
        switch.push(0);
        switch.extend_from_slice(nonce);
        switch.push(0);
        talk.say(&switch).await?;
        proof = talk.hear().await?;
    }
    match door.listed.get(&*response.user) {
        Some(password) if auth::is_right(password.expose(), nonce, &proof) => {
            talk.say(&[1, 3]).await?;
            Ok((Credentials::Password(password.clone()), false))
        }
        None if door.passthrough && private => {
            talk.say(&[1, 4]).await?;
            let mut whole = talk.hear().await?;
            whole.pop_if(|last| *last == 0);
            let password = String::from_utf8(whole).map_err(|_| denied(talk, &response.user, true))?;
            Ok((Credentials::Password(Secret::new(password)), true))
        }
        _ => Err(denied(talk, &response.user, !proof.is_empty())),
    }
}

// The same for a wrong password and for a name that nobody has.
fn denied(talk: &Talk, user: &str, password: bool) -> Refused {
    let from = talk.stream.peer().map_or_else(|| "localhost".to_owned(), |peer| peer.ip().to_string());
    let using = if password { "YES" } else { "NO" };
    let text = format!("Access denied for user '{user}'@'{from}' (using password: {using})");
    let error = ClientError::new("28000", 1045, text)
        .hint("users.list of the proxy's configuration names who may log in, and the passwords");
    Refused::Told(Box::new(error), true)
}
