//! Which connections to the servers there are, for consoles: who is behind each is looked up when somebody asks.

use crate::clock::Tick;
use crate::engine::NodeId;
use crate::engine::seam::{CancelTarget, Identity};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// One connection to a server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Unique in this process.
    pub id: u64,
    /// To which node.
    pub node: NodeId,
    /// In whose name.
    pub user: Arc<str>,
    /// The database, by its name on the servers.
    pub database: Arc<str>,
    /// When it was opened.
    pub since: Tick,
    /// The server's side of it.
    pub target: Arc<CancelTarget>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    node: NodeId,
    user: Arc<str>,
    database: Arc<str>,
    since: Tick,
    // The backend holds it: when it is gone, so is the backend.
    target: Weak<CancelTarget>,
}

/// All connections of one cluster.
#[derive(Debug, Default)]
pub struct Roster(Mutex<Vec<Entry>>);

impl Roster {
    /// A backend was opened.
    pub fn enter(&self, node: NodeId, identity: &Identity, target: &Arc<CancelTarget>, since: Tick) {
        let entry = Entry {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            node,
            user: Arc::clone(&identity.user),
            database: Arc::clone(&identity.database),
            since,
            target: Arc::downgrade(target),
        };
        let mut entries = self.0.lock();
        if entries.len() == entries.capacity() {
            // Before it grows: those that are gone make room.
            entries.retain(|entry| entry.target.strong_count() > 0);
        }
        entries.push(entry);
    }

    /// Those that are open, in the order in which they were opened.
    #[must_use]
    pub fn all(&self) -> Vec<Server> {
        let mut entries = self.0.lock();
        entries.retain(|entry| entry.target.strong_count() > 0);
        let server = |entry: &Entry| {
            Some(Server {
                id: entry.id,
                node: entry.node,
                user: Arc::clone(&entry.user),
                database: Arc::clone(&entry.database),
                since: entry.since,
                target: entry.target.upgrade()?,
            })
        };
        entries.iter().filter_map(server).collect()
    }
}
