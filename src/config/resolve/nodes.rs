//! The servers of a cluster.

use super::Resolver;
use super::address::{Taken, server_address};
use crate::config::place::{In, Leaf, Named};
use crate::config::raw::RawNode;
use crate::config::scalar::Name;
use crate::config::settings::*;
use crate::config::tree::NodeIndex;
use std::sync::Arc;

/// A set of nodes is one machine word wherever it is needed.
pub(super) const MAX_NODES: usize = 64;

impl Resolver<'_> {
    pub(super) fn nodes(
        &self,
        cluster: NodeIndex,
        raw: Option<&In<Named<RawNode>>>,
        engine: EngineKind,
        taken: &Taken,
    ) -> Vec<Arc<Node>> {
        let named = raw.map_or(&[][..], |named| &named.value.0);
        if named.is_empty() {
            self.missing(cluster, "nodes", "name the servers: `nodes: { db1: { address: HOST:PORT } }`");
        }
        if let Some((name, _)) = named.get(MAX_NODES) {
            let found = format!("{} nodes", named.len());
            self.context.note(name.0, found, "a cluster has at most 64 nodes", None);
        }
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for (name, section) in named.iter().take(MAX_NODES) {
            if let Some(node) = self.node(name, section, engine) {
                self.check_address(section, &node, &nodes, taken);
                nodes.push(Arc::new(node));
            }
        }
        nodes
    }

    fn node(&self, name: &Leaf<Name>, section: &In<RawNode>, engine: EngineKind) -> Option<Node> {
        let raw = &section.value;
        let name = self.read(Some(name));
        let max_connections = self.read(raw.max_connections.as_ref()).flatten();
        let default = Node::new("", "", engine.default_port());
        let node = Node {
            role: self.or(raw.role.as_ref(), default.role),
            weight: self.or(raw.weight.as_ref(), default.weight),
            zone: self.or(raw.zone.as_ref(), Arc::clone(&default.zone)),
            priority: self.or(raw.priority.as_ref(), default.priority),
            promote: self.or(raw.promote.as_ref(), default.promote),
            max_connections,
            tls: self.server_tls(raw.tls.as_ref()),
            ..default
        };
        let Some(address) = &raw.address else {
            self.missing(section.at, "address", "say where the server is: `address: HOST:PORT`");
            return None;
        };
        let text = self.read(Some(address))?;
        match server_address(&text, engine.default_port()) {
            Ok((host, port)) => Some(Node { name: name?, host: host.into(), port, ..node }),
            Err(fault) => {
                self.context.wrong(address.0, fault, "expected `HOST:PORT`, `HOST` or `[IPV6]:PORT`");
                None
            }
        }
    }

    fn check_address(&self, section: &In<RawNode>, node: &Node, others: &[Arc<Node>], taken: &Taken) {
        let Some(address) = &section.value.address else { return };
        let same =
            |other: &&Arc<Node>| other.port == node.port && other.host.eq_ignore_ascii_case(&node.host);
        if let Some(other) = others.iter().find(same) {
            let found =
                format!("{} is already the address of node `{}`", self.context.found(address.0), other.name);
            self.context.note(address.0, found, "expected a server of its own", None);
        }
        if taken.is_ours(&node.host, node.port) {
            let found = format!("{} is where Primacy itself listens", self.context.found(address.0));
            self.context.note(address.0, found, "expected a server's address", None);
        }
    }
}
