//! Prepared statements, shared by all clients of a cluster that prepared the same text under the same circumstances.

use crate::engine::seam::Prepared;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of statements that are kept while no client holds them.
const STORE_BYTES: u64 = 64 * 1024 * 1024;
/// What an entry costs beside its text: the statement, its key, its place in the table.
const ENTRY_BYTES: u64 = 256;

/// The circumstances under which a text means one thing: the catalog's generation (a DDL may change its result columns), and the
/// effective search path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Circumstances {
    /// Generation of the database's catalog; no two databases share one.
    pub generation: u64,
    /// A hash of the search path.
    pub path: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    circumstances: Circumstances,
    body: Box<[u8]>,
}

struct Sought<'a>(Circumstances, &'a [u8]);

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.circumstances && *self.1 == *key.body
    }
}

#[derive(Clone, Copy)]
struct Weight;

impl Weighter<Key, Arc<Prepared>> for Weight {
    fn weight(&self, key: &Key, _: &Arc<Prepared>) -> u64 {
        ENTRY_BYTES + 2 * key.body.len() as u64
    }
}

/// The store; bounded in bytes. What falls out lives on in the clients that hold it.
pub struct Store {
    cache: Cache<Key, Arc<Prepared>, Weight>,
    ids: AtomicU64,
}

impl Default for Store {
    fn default() -> Self {
        Self { cache: Cache::with_weighter(10_000, STORE_BYTES, Weight), ids: AtomicU64::new(1) }
    }
}

impl Store {
    /// The shared statement of that body; made when there is none. A look-up of a known one allocates nothing.
    pub fn get(&self, circumstances: Circumstances, body: &[u8], text: &[u8]) -> Arc<Prepared> {
        if let Some(known) = self.cache.get(&Sought(circumstances, body)) {
            return known;
        }
        // The text stands at the front of the body in every engine's form of it.
        let prepared = Arc::new(Prepared {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            body: body.into(),
            text: 0..text.len(),
        });
        self.cache.insert(Key { circumstances, body: body.into() }, Arc::clone(&prepared));
        prepared
    }

    /// Bytes that the store takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bodies_share_one_statement_while_circumstances_are_equal() {
        let store = Store::default();
        let now = Circumstances { generation: 1, path: 0 };
        let a = store.get(now, b"select 1\0\0\0", b"select 1");
        let b = store.get(now, b"select 1\0\0\0", b"select 1");
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(a.text(), b"select 1");
        let later = store.get(Circumstances { generation: 2, path: 0 }, b"select 1\0\0\0", b"select 1");
        assert_ne!(a.id, later.id);
    }
}
