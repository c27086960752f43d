//! One connection to a PostgreSQL server: what it carries, what is prepared on it, and the units of our own that bring it there.

mod carried;
mod own;

use super::auth::KeyCache;
use super::login::{self, Target};
use super::shelf::Statements;
use super::state;
use crate::clock::{self, Tick};
use crate::config::settings::{Cluster, Node};
use crate::engine::pooled::Pooled;
use crate::engine::seam::{self, Birth, CancelTarget, Identity, OpenError, Prepared};
use crate::engine::tracked::{Customs, Tracked};
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
    pub(super) stream: Stream,
    /// What came behind the end of the last unit: it is the next that is read from this server, and nobody else's.
    pub(super) unread: Vec<u8>,
    // Notifications that came during a unit of our own.
    notified: Vec<u8>,
    pub(super) cancel: Arc<CancelTarget>,
    /// The id by which its present client knows itself.
    pub(super) alias: u32,
    pub(super) tx: TxState,
    pub(super) statements: Statements,
    /// The anonymous statement: which shared one it is; 0 = one that nobody else has; `None` = there is none.
    pub(super) anonymous: Option<u64>,
    tracked: Arc<Tracked>,
    // What it will carry when the unit of our own that is under way has succeeded.
    coming: Option<Arc<Tracked>>,
    parameters: Vec<(Box<str>, Box<str>)>,
    /// The same at its birth.
    own_parameters: Box<[(Box<str>, Box<str>)]>,
    dirt: Dirt,
    drawn: Drawn,
    opened: Tick,
}

/// What opening backends of a cluster needs.
pub struct Connector {
    targets: HashMap<Arc<str>, Target>,
    statements: usize,
}

impl Connector {
    /// How the node of that name is connected to.
    pub(super) fn target(&self, node: &str) -> Option<&Target> {
        self.targets.get(node)
    }
}

impl Backend {
    async fn birth(&mut self) -> io::Result<Birth> {
        let answer = self
            .own(
                "SELECT system_identifier, pg_catalog.pg_is_in_recovery(), \
                 (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8 \
                 FROM pg_catalog.pg_control_system()",
            )
            .await?;
        if let Some(error) = answer.error {
            return Err(io::Error::other(String::from(error.message)));
        }
        let field = |i: usize| answer.rows.first().and_then(|row| row.get(i)).and_then(Option::as_deref);
        // The identifier is printed as a signed number; its bits are what counts.
        let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok()).map(i64::cast_unsigned);
        match (number(field(0)), field(1), number(field(2))) {
            (Some(identity), Some(recovery), Some(start)) => {
                Ok(Birth { identity, start, writable: recovery == "f" })
            }
            _ => Err(io::Error::other("the server did not say which system it is")),
        }
    }
}

impl Pooled for Backend {
    fn is_usable(&mut self) -> bool {
        self.tx == TxState::Idle
            && self.dirt == Dirt::Clean
            && self.unread.is_empty()
            && self.stream.is_quiet()
    }

    fn state_key(&self) -> u64 {
        self.tracked.key()
    }

    fn customs(&self) -> &Customs {
        self.tracked.customs()
    }

    fn born(&self) -> Tick {
        self.opened
    }
}

impl seam::Backend for Backend {
    type Connector = Connector;

    fn connector(settings: &Cluster) -> Result<Connector, String> {
        let mut secret = [0; 32];
        clock::random(&mut secret).map_err(|error| format!("no randomness: {error}"))?;
        let keys = KeyCache::new(secret);
        let mut targets = HashMap::new();
        for node in &settings.nodes {
            let target =
                Target::new(node, keys.clone()).map_err(|error| format!("node {}: {error}", node.name))?;
            targets.insert(Arc::clone(&node.name), target);
        }
        let statements = usize::try_from(settings.pool.prepared_statements).unwrap_or(usize::MAX).max(1);
        Ok(Connector { targets, statements })
    }

    async fn open(
        connector: &Connector,
        node: &Node,
        identity: &Identity,
    ) -> Result<(Self, Birth), OpenError> {
        let failed =
            |fault, retry, sqlstate, message: String| OpenError { fault, retry, sqlstate, errno: 0, message };
        let Some(target) = connector.targets.get(&node.name) else {
            let message = format!("node {} is not configured", node.name);
            return Err(failed(Fault::Proxy, Retry::Never, None, message));
        };
        let whose = [("user", &*identity.user), ("database", &*identity.database)];
        let parameters: Vec<_> = whose.into_iter().chain(identity.first.iter()).collect();
        let opened = login::start(target, &parameters, &identity.credentials).await;
        let opened = opened.map_err(|error| {
            let sqlstate = error.sqlstate().and_then(|state| state.as_bytes().try_into().ok());
            // What the server itself refuses, the client hears in the server's own words.
            let message = match error.refusal() {
                Some(refusal) if error.retry() == Retry::Never => refusal.message.to_string(),
                _ => format!("node {} at {}:{}: {error}", node.name, node.host, node.port),
            };
            failed(error.fault(), error.retry(), sqlstate, message)
        })?;
        let tls = opened.stream.is_tls();
        let mut backend = Self {
            stream: opened.stream,
            unread: Vec::new(),
            notified: Vec::new(),
            cancel: Arc::new(CancelTarget {
                pid: opened.pid,
                key: opened.key.into(),
                tls,
                identity: identity.clone(),
                coming: AtomicU32::new(0),
                deaf: AtomicBool::new(false),
                arrived: Notify::new(),
            }),
            alias: 0,
            tx: TxState::Idle,
            statements: Statements::new(connector.statements),
            anonymous: None,
            tracked: Arc::clone(&identity.first),
            coming: None,
            own_parameters: opened.parameters.clone().into(),
            parameters: opened.parameters,
            dirt: Dirt::Clean,
            drawn: Drawn::Nobodys,
            opened: clock::now(),
        };
        let birth = backend.birth().await.map_err(|error| OpenError {
            fault: Fault::Server,
            retry: Retry::AnotherNode,
            sqlstate: None,
            errno: 0,
            message: format!("node {} at {}:{}: {error}", node.name, node.host, node.port),
        })?;
        Ok((backend, birth))
    }

    fn parameters(&self) -> &[(Box<str>, Box<str>)] {
        &self.parameters
    }

    fn own_parameter(&self, name: &str) -> Option<&str> {
        let found = self.own_parameters.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }

    async fn reset(&mut self, dirt: Dirt) -> io::Result<()> {
        match dirt {
            Dirt::Clean => return Ok(()),
            Dirt::Incurable => return Err(io::Error::other("nothing resets what ran on it")),
            Dirt::Unknown => {}
        }
        if self.tx != TxState::Idle {
            return Err(io::Error::other("a transaction is open"));
        }
        self.own_checked("DISCARD ALL").await?;
        self.statements.clear();
        self.tracked = Arc::new(self.tracked.after_reset());
        self.dirt = Dirt::Clean;
        self.drawn = Drawn::Nobodys;
        Ok(())
    }

    async fn left(&mut self) -> io::Result<[bool; 4]> {
        let answer = self.own(state::LEFT).await?;
        // What it does not say may be there (a client's settings can refuse even this).
        let row = answer.rows.into_iter().next().unwrap_or_default();
        let is_left = |at: usize| row.get(at).and_then(Option::as_deref) != Some("f");
        Ok([0, 1, 2, 3].map(is_left))
    }

    async fn discard_sequences(&mut self) -> io::Result<()> {
        self.own_checked("DISCARD SEQUENCES").await?;
        self.drawn = Drawn::Nobodys;
        Ok(())
    }

    async fn begin(&mut self, text: &str) -> io::Result<()> {
        // What it refuses shows in the transaction's state.
        self.own(text).await.map(drop)
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

    fn forget_statements(&mut self) {
        self.statements.doubt_all();
        self.anonymous = None;
    }

    fn standing(&self, id: u64) -> Option<bool> {
        self.statements.standing(id)
    }

    fn gained(&mut self, id: u64) {
        self.statements.insert(id);
    }

    fn doubt(&mut self, id: u64) {
        self.statements.doubt(id);
    }

    async fn prepare(&mut self, statements: &[Arc<Prepared>]) -> io::Result<Option<ClientError>> {
        self.prepare_anew(statements).await
    }

    async fn drop_statements(&mut self, ids: &[u64]) -> io::Result<()> {
        self.close_statements(ids).await
    }

    fn lend_to(&mut self, client: u32) {
        self.alias = client;
    }

    fn tx(&self) -> TxState {
        self.tx
    }

    fn cancel_target(&self) -> &Arc<CancelTarget> {
        &self.cancel
    }

    async fn cancel(connector: &Connector, node: &Node, target: &CancelTarget) -> io::Result<()> {
        let to = connector.targets.get(&node.name).ok_or(io::ErrorKind::NotFound)?;
        login::cancel(to, target.tls, target.pid, &target.key).await
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_readable(cx)
    }

    fn opened_at(&self) -> Tick {
        self.opened
    }
}
