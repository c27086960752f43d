//! One session's state: everything that outlives a unit.

use super::deferred::Deferred;
use super::journal::Journal;
use super::listen::Ears;
use super::reading::Reading;
use super::registry::Place;
use super::shared::{Greeting, Lane, Shared};
use super::statements::Statements;
use super::timer::Timer;
use super::unit::Unit;
use crate::clock::{self, Tick};
use crate::cluster::NodeLive;
use crate::config::settings::{Cluster, Consistency, PoolMode, RouteSetting, Routing};
use crate::engine::carrier::Carrier;
use crate::engine::seam::{Engine, Exchange};
use crate::engine::tracked::Tracked;
use crate::engine::{NodeId, NodeSet, Pin, TxState};
use crate::failover::Pass;
use crate::pool::{Lease, PinEntry, Purpose, Slot, Want};
use crate::routing::Sticky;
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
    /// What its open transaction may have done to its settings, until a server has been asked.
    pub(super) journal: Option<Box<Journal>>,
    /// Settings by which texts are read, as they are in its open transaction.
    pub(super) seen: Option<Box<Tracked>>,
    /// The nodes that have accepted the settings that are wanted now, by their key.
    pub(super) accepted: (u64, NodeSet),
    /// Whether its transactions are serializable, or read committed, unless they say otherwise.
    pub(super) serializable: bool,
    pub(super) read_committed: bool,
    /// How its texts are read, which follows from its settings.
    pub(super) reading: Reading,
    /// What the client was told at login, and what goes with it.
    pub(super) greeting: Arc<Greeting>,
    /// What the client was told since, where it differs from the greeting.
    pub(super) told: Vec<(Box<str>, Box<str>)>,
    pub(super) statements: Statements,
    pub(super) held: Option<Held<E>>,
    pub(super) pin: Option<Pin>,
    pub(super) pin_entry: Option<PinEntry>,
    /// Whether something may have ended a pin since the backend was asked what is left.
    pub(super) pin_doubted: bool,
    /// The state of the transaction on the backend that is held; see [`Core::client_tx`].
    pub(super) tx: TxState,
    /// The transaction that the client is in and no server knows of.
    pub(super) deferred: Option<Deferred>,
    pub(super) tx_since: Tick,
    /// Whether the open transaction may have written, and whether it changed the catalog.
    pub(super) tx_wrote: bool,
    pub(super) tx_ddl: bool,
    pub(super) login: Tick,
    /// When something that it may have written was last about to be known, raised by [`Core::wrote`]; or what it was notified of had been heard.
    pub(super) last_write: Tick,
    pub(super) last_read_end: Tick,
    pub(super) sticky: Option<Sticky>,
    pub(super) route: RouteSetting,
    /// The session's own level, when it set one.
    pub(super) consistency: Option<Consistency>,
    pub(super) slot: Slot<E::Backend>,
    pub(super) timer: Timer,
    /// What it listens to by the shared listener.
    pub(super) ears: Option<Box<Ears>>,
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
            journal: None,
            serializable: false,
            read_committed: false,
            accepted: (0, NodeSet::EMPTY),
            seen: None,
            reading: Reading::unknown(E::DIALECT),
            greeting: Arc::default(),
            told: Vec::new(),
            statements: Statements::default(),
            held: None,
            pin: None,
            pin_entry: None,
            pin_doubted: false,
            tx: TxState::Idle,
            deferred: None,
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
            ears: None,
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
        let role = self.setting("role").filter(|role| *role != "none");
        let user = role.or_else(|| self.setting("session_authorization"));
        let told = |name| self.setting(name).or_else(|| self.told(name));
        let isolation = self.own("default_transaction_isolation");
        let is = |level: &str| isolation.is_some_and(|isolation| isolation.eq_ignore_ascii_case(level));
        let (serializable, read_committed) = (is("serializable"), is("read committed"));
        self.reading = Reading::new(
            (E::DIALECT, self.shared.server_major()),
            self.setting("search_path"),
            user.unwrap_or(&self.lane.identity.user),
            (told("standard_conforming_strings"), told("client_encoding")),
        );
        (self.serializable, self.read_committed) = (serializable, read_committed);
    }

    /// The state of the transaction that the client is in.
    pub(super) fn client_tx(&self) -> TxState {
        self.deferred.as_ref().map_or(self.tx, Deferred::tx)
    }

    // A setting by which texts are read, as the session's next statement finds it.
    fn setting(&self, name: &str) -> Option<&str> {
        let seen = self.seen.as_ref().and_then(|seen| seen.get(name));
        seen.or_else(|| self.own(name))
    }

    // A setting outside transactions: the session's, or the server's own for this user and database where that was asked for.
    fn own(&self, name: &str) -> Option<&str> {
        self.wanted.get(name).or_else(|| self.greeting.asked.get(name))
    }

    /// Whether its transactions are read-only unless they say otherwise.
    pub(super) fn is_read_only(&self) -> bool {
        let name = "default_transaction_read_only";
        let read_only = self.wanted.get(name).or_else(|| self.told(name));
        read_only.is_some_and(|on| ["on", "true", "yes", "1"].iter().any(|yes| on.eq_ignore_ascii_case(yes)))
    }

    /// What the open transaction did to the session's settings is of no account any more.
    pub(super) fn forget_transaction(&mut self) {
        self.journal = None;
        if self.seen.take().is_some() {
            self.read_anew();
        }
    }

    /// What it asks a pool for.
    pub(super) fn wants(&self, purpose: Purpose) -> Want {
        Want { state_key: self.wanted.key(), customs: self.wanted.customs().clone(), purpose }
    }

    /// A node's configured name.
    pub(super) fn node_name(&self, node: NodeId) -> Arc<str> {
        let settings = self.shared.settings.load();
        settings.nodes.get(usize::from(node.0)).map_or_else(|| Arc::from("?"), |node| Arc::clone(&node.name))
    }

    /// A setting of the session as its client knows it.
    pub(super) fn told(&self, name: &str) -> Option<&str> {
        let told = self.told.iter().find(|(told, _)| &**told == name);
        told.or_else(|| self.greeting.told.iter().find(|(told, _)| &**told == name))
            .map(|(_, value)| &**value)
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
        if let Some(ears) = &mut self.ears {
            ears.forget_own();
        }
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
        self.forget_transaction();
        super::listen::undone(self);
        // Whatever it was lost over: what it accepted is asked for again.
        self.accepted = (0, NodeSet::EMPTY);
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

    /// Notes that the node of the backend that is held has accepted the settings that are wanted.
    pub(super) fn accept(&mut self) {
        let Some(held) = &self.held else { return };
        let (key, nodes) = self.accepted;
        let nodes = if key == self.wanted.key() { nodes } else { NodeSet::EMPTY };
        self.accepted = (self.wanted.key(), nodes.with(held.node));
    }

    /// Whether the settings may go in front of the client's unit, in the same write: this node is known to accept them.
    pub(super) fn may_carry_ahead(&self) -> bool {
        let (key, nodes) = self.accepted;
        self.tx == TxState::Idle
            && self.pin.is_none()
            && self.lane.mode == PoolMode::Transaction
            && key == self.wanted.key()
            && self
                .held
                .as_ref()
                .is_some_and(|held| nodes.has(held.node) && held.lease.may_carry_ahead(&self.wanted))
    }

    /// What a fresh backend would need to carry for this session.
    pub(super) fn needs_carrying(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.lease.tracked().key() != self.wanted.key())
    }
}
