//! One session's state: everything that outlives a unit.

use super::registry::Place;
use super::shared::{Greeting, Lane, Shared};
use super::statements::Statements;
use super::timer::Timer;
use super::unit::Unit;
use crate::clock::{self, Tick};
use crate::cluster::NodeLive;
use crate::config::settings::{Cluster, Consistency, RouteSetting, Routing};
use crate::engine::seam::{Backend, Engine, Exchange};
use crate::engine::tracked::Tracked;
use crate::engine::{NodeId, Pin, TxState};
use crate::failover::Pass;
use crate::pool::{Lease, PinEntry, Slot};
use crate::routing::Sticky;
use crate::sql::Lexing;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A backend that the session has now.
pub(super) struct Held<E: Engine> {
    pub(super) lease: Lease<E::Backend>,
    pub(super) node: NodeId,
    /// Which start of the node's server.
    pub(super) start: u64,
    /// The node's figures: how many statements it runs.
    pub(super) live: Arc<NodeLive>,
    /// The leave under which it speaks to the primary; `None` = a replica's.
    pub(super) pass: Option<Pass>,
}

/// How a session's texts are read.
pub(super) struct Reading {
    /// The effective search path, with the role's name for `"$user"`.
    pub(super) path: Box<str>,
    /// A hash of it.
    pub(super) path_key: u64,
    /// The servers' major version.
    pub(super) server_major: u16,
    pub(super) lexing: Lexing,
}

/// One session.
pub(super) struct Core<E: Engine> {
    pub(super) shared: Arc<Shared<E>>,
    pub(super) lane: Lane<E>,
    pub(super) place: Place,
    pub(super) exchange: Option<Box<E::Exchange>>,
    /// Reused from one unit to the next.
    pub(super) unit: Option<Box<Unit>>,
    /// The client's start-up settings: what its RESET returns to.
    pub(super) startup: Arc<Tracked>,
    /// The settings that its statements must run under; changed by [`Core::want`] alone.
    pub(super) wanted: Arc<Tracked>,
    /// How its texts are read, which follows from its settings.
    pub(super) reading: Reading,
    /// What the client was told at login.
    pub(super) greeting: Greeting,
    /// What the client was told since, where it differs from the greeting.
    pub(super) told: Vec<(Box<str>, Box<str>)>,
    pub(super) statements: Statements,
    pub(super) held: Option<Held<E>>,
    pub(super) pin: Option<Pin>,
    pub(super) pin_entry: Option<PinEntry>,
    pub(super) tx: TxState,
    pub(super) tx_since: Tick,
    /// Whether the open transaction may have written, and whether it changed the catalog.
    pub(super) tx_wrote: bool,
    pub(super) tx_ddl: bool,
    pub(super) login: Tick,
    /// When something that it may have written was last about to be known; raised by [`Core::wrote`] alone.
    pub(super) last_write: Tick,
    pub(super) last_read_end: Tick,
    pub(super) sticky: Option<Sticky>,
    pub(super) route: RouteSetting,
    /// The session's own level, when it set one.
    pub(super) consistency: Option<Consistency>,
    pub(super) slot: Slot<E::Backend>,
    pub(super) timer: Timer,
    /// Where the last statement ran.
    pub(super) last_node: Option<NodeId>,
}

impl<E: Engine> Core<E> {
    /// A session that has just come in, with its start-up settings.
    pub(super) fn new(shared: Arc<Shared<E>>, lane: Lane<E>, place: Place, startup: Arc<Tracked>) -> Self {
        let login = place.since;
        Self {
            shared,
            lane,
            place,
            exchange: None,
            unit: None,
            wanted: Arc::clone(&startup),
            startup,
            reading: Reading {
                path: "".into(),
                path_key: 0,
                server_major: 0,
                lexing: Lexing::new(E::DIALECT),
            },
            greeting: Greeting::default(),
            told: Vec::new(),
            statements: Statements::default(),
            held: None,
            pin: None,
            pin_entry: None,
            tx: TxState::Idle,
            tx_since: login,
            tx_wrote: false,
            tx_ddl: false,
            login,
            last_write: Tick::ZERO,
            last_read_end: Tick::ZERO,
            sticky: None,
            route: RouteSetting::Auto,
            consistency: None,
            slot: Slot::new(),
            timer: Timer::default(),
            last_node: None,
        }
    }

    /// The routing settings that bind this session: its user's, else its database's, else the cluster's.
    pub(super) fn routing<'a>(&self, settings: &'a Cluster) -> &'a Routing {
        // Nobody who has no overrides pays for looking.
        if settings.users.list.is_empty() && settings.databases.is_empty() {
            return &settings.routing;
        }
        let user = settings.users.list.iter().find(|user| user.name == self.lane.identity.user);
        let database = settings.databases.iter().find(|database| database.alias == self.lane.alias);
        user.and_then(|user| user.routing.as_ref())
            .or_else(|| database.and_then(|database| database.routing.as_ref()))
            .unwrap_or(&settings.routing)
    }

    /// Changes the settings that its statements must run under.
    pub(super) fn want(&mut self, wanted: Arc<Tracked>) {
        self.wanted = wanted;
        self.read_anew();
    }

    /// Works out how texts are read from here on.
    pub(super) fn read_anew(&mut self) {
        let setting = |name| self.wanted.get(name).or_else(|| self.told(name));
        let mut lexing = Lexing::new(E::DIALECT);
        lexing.standard_conforming_strings = setting("standard_conforming_strings") != Some("off");
        lexing.ambiguous_bytes = setting("client_encoding").is_some_and(is_ambiguous);
        let path = self.wanted.get("search_path").unwrap_or("\"$user\", public");
        let role = self.wanted.get("role").filter(|role| *role != "none").unwrap_or(&self.lane.identity.user);
        let path = path.replace("\"$user\"", &format!("\"{}\"", role.replace('"', "\"\"")));
        let path_key = foldhash::quality::FixedState::default().hash_one(&path);
        self.reading =
            Reading { path: path.into(), path_key, lexing, server_major: self.shared.server_major() };
    }

    /// A node's configured name.
    pub(super) fn node_name(&self, node: NodeId) -> Arc<str> {
        let settings = self.shared.settings.load();
        settings.nodes.get(usize::from(node.0)).map_or_else(|| Arc::from("?"), |node| Arc::clone(&node.name))
    }

    /// A setting of the session as its client knows it.
    pub(super) fn told(&self, name: &str) -> Option<&str> {
        let told = self.told.iter().find(|(told, _)| &**told == name);
        told.or_else(|| self.greeting.iter().find(|(told, _)| &**told == name)).map(|(_, value)| &**value)
    }

    /// Notes that the client was told a setting.
    pub(super) fn tell(&mut self, name: Box<str>, value: Box<str>) {
        match self.told.iter_mut().find(|(told, _)| *told == name) {
            Some((_, told)) => *told = value,
            None => self.told.push((name, value)),
        }
    }

    /// Somebody is about to be told of what this session may have written, or of what came before a notification: from here on its reads,
    /// and at `causal` everybody's in the database, must see that. The clock is read after the bytes that tell it, and before they are passed on.
    pub(super) fn wrote(&mut self) {
        self.last_write = clock::now();
        self.lane.writes.raise(self.last_write);
    }

    /// An exchange from the free list, for this client.
    pub(super) fn take_exchange(&self) -> Box<E::Exchange> {
        let mut exchange = self.shared.take_exchange();
        exchange.agree(self.lane.identity.terms);
        exchange
    }

    /// Takes the backend out of the session's hands; cancel requests find it no more.
    pub(super) fn let_go(&mut self) -> Option<Held<E>> {
        let held = self.held.take()?;
        *self.place.current.lock() = None;
        held.live.active.fetch_sub(1, Ordering::Relaxed);
        Some(held)
    }

    /// Closes the backend, whatever it was doing.
    pub(super) fn drop_backend(&mut self) {
        if let Some(held) = self.let_go() {
            held.lease.close();
        }
        self.pin_entry = None;
    }

    /// Whether the backend must stay with the session.
    pub(super) fn must_keep(&self) -> bool {
        self.pin.is_some() || self.tx != TxState::Idle
    }

    /// Whether the held backend's leave (if it leads to a primary) is still good.
    pub(super) fn may_speak(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.pass.is_none_or(|pass| self.shared.state.gate.holds(pass)))
    }

    /// Whether the backend that is held leads to a replica.
    pub(super) fn on_replica(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.pass.is_none())
    }

    /// What a fresh backend would need to carry for this session.
    pub(super) fn needs_carrying(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.lease.tracked().key() != self.wanted.key())
    }
}

// Encodings in which a later byte of a character may look like a quote or a backslash.
fn is_ambiguous(encoding: &str) -> bool {
    let encoding = encoding.trim_matches('\'').to_ascii_uppercase().replace(['-', '_'], "");
    ["SJIS", "SHIFTJIS2004", "BIG5", "GBK", "UHC", "GB18030", "JOHAB"].contains(&&*encoding)
}
