//! One connection to a MySQL server, as a pool keeps it.

use super::handshake::Terms;
use super::login::{self, LoginError, Opened, Target};
use super::request::{INIT_DB, QUERY, RESET_CONNECTION};
use super::wire::{ServerError, status};
use crate::clock::{self, Tick};
use crate::config::settings::{Cluster, Node};
use crate::engine::carrier::Carrier;
use crate::engine::identity::Credentials;
use crate::engine::pooled::Pooled;
use crate::engine::seam::{self, Birth, CancelTarget, Identity, OpenError};
use crate::engine::tracked::Tracked;
use crate::engine::{Dirt, Drawn, TxState};
use crate::error::{ClientError, Fault, Retry};
use crate::net::stream::Stream;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::task::{Context, Poll};
use tokio::sync::Notify;

/// See [`seam::Backend`].
#[derive(Debug)]
pub struct Backend {
    opened: Opened,
    cancel: Arc<CancelTarget>,
    // Brings the character set back after a reset, which sets it to the server's default.
    names: String,
    tx: TxState,
    tracked: Arc<Tracked>,
    dirt: Dirt,
    drawn: Drawn,
    born: Tick,
}

/// What opening backends of a cluster needs.
pub struct Connector {
    targets: HashMap<Arc<str>, Target>,
}

impl Backend {
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.opened.stream
    }

    pub(super) fn settle(&mut self, tx: TxState) {
        self.tx = tx;
    }
}

async fn log_in(connector: &Connector, node: &Node, identity: &Identity) -> Result<Opened, OpenError> {
    let place = format!("node {} at {}:{}", node.name, node.host, node.port);
    let failed = |fault, retry, message| OpenError { fault, retry, sqlstate: None, errno: 0, message };
    let Some(target) = connector.targets.get(&node.name) else {
        return Err(failed(Fault::Proxy, Retry::Never, format!("node {} is not configured", node.name)));
    };
    let Credentials::Password(password) = &*identity.credentials else {
        let words = format!("{place}: only a password opens connections to MySQL");
        return Err(failed(Fault::Proxy, Retry::Never, words));
    };
    let terms = Terms::of(identity.terms);
    let opened = login::open(target, &identity.user, password.expose(), &identity.database, terms).await;
    opened.map_err(|error| match error {
        LoginError::Io(error) => failed(Fault::Peer, Retry::AnotherNode, format!("{place}: {error}")),
        LoginError::Unsupported(words) => failed(Fault::Server, Retry::Never, format!("{place}: {words}")),
        LoginError::Refused(refusal) => refused(&place, refusal),
    })
}

fn refused(place: &str, ServerError { errno, sqlstate, message }: ServerError) -> OpenError {
    // Too many connections, shutting down, offline, host blocked: another node may do.
    let elsewhere = matches!(errno, 1040 | 1053 | 1129 | 1203 | 1226 | 3032);
    OpenError {
        fault: if matches!(&sqlstate, [b'2', b'8', ..] | [b'4', b'2', ..]) {
            Fault::Client
        } else {
            Fault::Server
        },
        retry: if elsewhere { Retry::AnotherNode } else { Retry::Never },
        sqlstate: Some(sqlstate),
        errno,
        message: if elsewhere { format!("{place}: {message}") } else { message },
    }
}

fn broken(error: LoginError) -> io::Error {
    match error {
        LoginError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

impl Pooled for Backend {
    fn is_usable(&mut self) -> bool {
        self.tx == TxState::Idle && self.dirt == Dirt::Clean && self.opened.stream.is_quiet()
    }

    fn state_key(&self) -> u64 {
        self.tracked.key()
    }

    fn born(&self) -> Tick {
        self.born
    }
}

impl Carrier for Backend {
    fn tracked(&self) -> &Arc<Tracked> {
        &self.tracked
    }

    fn set_tracked(&mut self, tracked: Arc<Tracked>) {
        self.tracked = tracked;
    }

    // Sessions are one to one: what they set stays where they set it, and clients log in with no settings.
    async fn carry(&mut self, wanted: &Arc<Tracked>) -> Result<Vec<(Box<str>, Box<str>)>, ClientError> {
        self.tracked = Arc::clone(wanted);
        Ok(Vec::new())
    }
}

impl seam::Backend for Backend {
    type Connector = Connector;

    fn connector(settings: &Cluster) -> Result<Connector, String> {
        let mut targets = HashMap::new();
        for node in &settings.nodes {
            let target = Target::new(node).map_err(|error| format!("node {}: {error}", node.name))?;
            targets.insert(Arc::clone(&node.name), target);
        }
        Ok(Connector { targets })
    }

    async fn open(
        connector: &Connector,
        node: &Node,
        identity: &Identity,
    ) -> Result<(Self, Birth), OpenError> {
        let mut opened = log_in(connector, node, identity).await?;
        let who = login::who(&mut opened).await.map_err(|error| OpenError {
            fault: Fault::Server,
            retry: Retry::AnotherNode,
            sqlstate: None,
            errno: 0,
            message: format!("node {} at {}:{}: {error}", node.name, node.host, node.port),
        })?;
        let cancel = Arc::new(CancelTarget {
            pid: opened.id,
            key: Box::default(),
            tls: opened.stream.is_tls(),
            identity: identity.clone(),
            coming: AtomicU32::new(0),
            deaf: AtomicBool::new(false),
            arrived: Notify::new(),
        });
        let birth = Birth { identity: who.identity, start: who.start, writable: who.writable };
        let backend = Self {
            opened,
            cancel,
            names: who.names,
            tx: TxState::Idle,
            tracked: Arc::default(),
            dirt: Dirt::Clean,
            drawn: Drawn::Nobodys,
            born: clock::now(),
        };
        Ok((backend, birth))
    }

    fn parameters(&self) -> &[(Box<str>, Box<str>)] {
        &[]
    }

    async fn reset(&mut self, dirt: Dirt) -> io::Result<()> {
        match dirt {
            Dirt::Clean => return Ok(()),
            Dirt::Incurable => return Err(io::Error::other("nothing resets what ran on it")),
            Dirt::Unknown => {}
        }
        let database = Arc::clone(&self.cancel.identity.database);
        login::ask(&mut self.opened, RESET_CONNECTION, "").await.map_err(broken)?;
        if database.is_empty() {
            let (rows, _) = login::ask(&mut self.opened, QUERY, "SELECT DATABASE()").await.map_err(broken)?;
            if rows.first().and_then(|row| row.first()) != Some(&None) {
                return Err(io::Error::other("a database that was entered cannot be left again"));
            }
        } else {
            login::ask(&mut self.opened, INIT_DB, &database).await.map_err(broken)?;
        }
        let (_, flags) = login::ask(&mut self.opened, QUERY, &self.names).await.map_err(broken)?;
        self.tx = if flags & status::IN_TRANSACTION == 0 { TxState::Idle } else { TxState::Open };
        self.tracked = Arc::default();
        self.dirt = Dirt::Clean;
        self.drawn = Drawn::Nobodys;
        Ok(())
    }

    // Each session's own values went with its reset.
    async fn discard_sequences(&mut self) -> io::Result<()> {
        self.drawn = Drawn::Nobodys;
        Ok(())
    }

    fn dirt(&self) -> Dirt {
        self.dirt
    }

    fn soil(&mut self, dirt: Dirt) {
        self.dirt = self.dirt.max(dirt);
    }

    fn drawn(&self) -> Drawn {
        self.drawn
    }

    fn set_drawn(&mut self, drawn: Drawn) {
        self.drawn = drawn;
    }

    fn forget_statements(&mut self) {}

    fn lend_to(&mut self, _client: u32) {}

    fn tx(&self) -> TxState {
        self.tx
    }

    fn cancel_target(&self) -> &Arc<CancelTarget> {
        &self.cancel
    }

    async fn cancel(connector: &Connector, node: &Node, target: &CancelTarget) -> io::Result<()> {
        let opened = log_in(connector, node, &target.identity).await;
        let mut opened = opened.map_err(|error| io::Error::other(error.message))?;
        let text = format!("KILL QUERY {}", target.pid);
        login::ask(&mut opened, QUERY, &text).await.map(drop).map_err(broken)
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.opened.stream.poll_readable(cx)
    }

    fn opened_at(&self) -> Tick {
        self.born
    }
}
