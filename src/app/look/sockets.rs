//! Connections: the clients', ours to the servers, and what keeps one of these with one of those.

use super::{Look, us};
use crate::admin::{PinRow, SocketRow};
use crate::clock::Tick;
use crate::engine::seam::{CancelTarget, Engine};
use crate::engine::{Certainty, NodeId};
use crate::session::registry::{Activity, ClientEntry, Replication};
use crate::session::roster::Server;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Clients by the server connection that they have.
type Holders = HashMap<*const CancelTarget, Arc<ClientEntry>>;

impl<E: Engine> Look<'_, E> {
    /// Who is connected to us.
    pub(in crate::app) fn clients(&self) -> Vec<SocketRow> {
        let servers: HashMap<_, _> = self
            .shared
            .roster
            .all()
            .into_iter()
            .map(|server| (Arc::as_ptr(&server.target), server))
            .collect();
        let mut clients = self.shared.registry.all();
        clients.sort_by_key(|client| (client.since, client.id));
        clients.iter().map(|client| self.client(client, &servers)).collect()
    }

    fn client(&self, client: &ClientEntry, servers: &HashMap<*const CancelTarget, Server>) -> SocketRow {
        let current = client.current.lock().as_ref().map(|(node, target)| (*node, Arc::as_ptr(target)));
        let activity = client.activity();
        let waiting_since = Tick(client.waiting_since.load(Ordering::Relaxed));
        SocketRow {
            id: u64::from(client.id),
            cluster: self.cluster(),
            user: client.user.to_string(),
            database: client.database.to_string(),
            replication: client.replication.word().to_owned(),
            state: match activity {
                _ if client.replication != Replication::None => "active",
                Activity::Waiting => "waiting",
                Activity::Active | Activity::IdleInTransaction => "active",
                Activity::Idle => "idle",
            }
            .to_owned(),
            addr: client.peer.map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_string()),
            port: client.peer.map_or(0, |peer| peer.port()),
            connected_us: self.wall(client.since),
            request_us: self.wall(Tick(client.last_request.load(Ordering::Relaxed))),
            wait_us: if waiting_since == Tick::ZERO { 0 } else { us(self.now.since(waiting_since)) },
            close_needed: client.doom().is_some(),
            link: current.and_then(|(_, target)| servers.get(&target)).map(|server| server.id),
            tls: encrypted(client.tls),
            application_name: client.application.to_string(),
            node: current.map(|(node, _)| self.node_name(node)),
            pin: client.pin.lock().map(|pin| pin.reason.word().to_owned()),
            ..SocketRow::default()
        }
    }

    /// Our connections to the servers.
    pub(in crate::app) fn servers(&self) -> Vec<SocketRow> {
        let holders = self.holders();
        self.shared.roster.all().iter().map(|server| self.server(server, &holders)).collect()
    }

    fn holders(&self) -> Holders {
        let holder = |client: Arc<ClientEntry>| {
            let target = client.current.lock().as_ref().map(|(_, target)| Arc::as_ptr(target));
            target.map(|target| (target, client))
        };
        self.shared.registry.all().into_iter().filter_map(holder).collect()
    }

    fn server(&self, server: &Server, holders: &Holders) -> SocketRow {
        let holder = holders.get(&Arc::as_ptr(&server.target));
        let node = self.settings.nodes.get(usize::from(server.node.0));
        let cancelled = server.target.coming.load(Ordering::Relaxed) > 0;
        SocketRow {
            id: server.id,
            cluster: self.cluster(),
            user: server.user.to_string(),
            database: self.shown(&server.database).to_string(),
            replication: "none".to_owned(),
            state: match (cancelled, holder) {
                (true, _) => "being_canceled",
                (false, Some(_)) => "active",
                (false, None) => "idle",
            }
            .to_owned(),
            addr: node.map(|node| node.host.to_string()).unwrap_or_default(),
            port: node.map_or(0, |node| node.port),
            connected_us: self.wall(server.since),
            request_us: holder
                .map_or(0, |client| self.wall(Tick(client.last_request.load(Ordering::Relaxed)))),
            link: holder.map(|client| u64::from(client.id)),
            remote_pid: server.target.pid,
            tls: encrypted(server.target.tls),
            application_name: holder.map(|client| client.application.to_string()).unwrap_or_default(),
            node: Some(self.node_name(server.node)),
            pin: holder.and_then(|client| client.pin.lock().map(|pin| pin.reason.word().to_owned())),
            ..SocketRow::default()
        }
    }

    /// The sessions that keep a backend, and each reason why.
    pub(in crate::app) fn pins(&self) -> Vec<PinRow> {
        let servers = self.shared.roster.all();
        let mut rows = Vec::new();
        for node in (0..self.settings.nodes.len()).filter_map(|id| u8::try_from(id).ok()).map(NodeId) {
            for pinned in self.shared.pools.node(node).pins().rows() {
                let client = u32::try_from(pinned.session).ok().and_then(|id| self.shared.registry.get(id));
                let Some(client) = client else { continue };
                let held = client.current.lock().as_ref().map(|(_, target)| Arc::clone(target));
                let server =
                    held.and_then(|held| servers.iter().find(|server| Arc::ptr_eq(&server.target, &held)));
                rows.extend(pinned.pins.iter().map(|pin| {
                    PinRow {
                        client: pinned.session,
                        server: server.map_or(0, |server| server.id),
                        cluster: self.cluster(),
                        node: self.node_name(node),
                        database: client.database.to_string(),
                        user: client.user.to_string(),
                        application_name: client.application.to_string(),
                        reason: pin.reason.word().to_owned(),
                        certainty: match pin.certainty {
                            Certainty::Known => "known",
                            Certainty::Possible => "possible",
                        }
                        .to_owned(),
                        age_us: us(self.now.since(pinned.since)),
                        statement: (*client.pinned_by.lock()).to_owned(),
                    }
                }));
            }
        }
        rows
    }
}

// Version and cipher are not kept.
fn encrypted(is: bool) -> String {
    if is { "TLS".to_owned() } else { String::new() }
}
