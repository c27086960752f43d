//! Prepared statements, shared by all clients of a cluster that prepared the same text under the same circumstances.

use crate::catalog::Cleared;
use crate::config::settings::{Consistency, RouteSetting};
use crate::engine::seam::{Form, Prepared};
use crate::sql::{Lexing, Verdict};
use arc_swap::ArcSwapOption;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// How the text is read.
    pub lexing: Lexing,
}

/// What was found out about a statement: it carries its verdict and need not be judged at each run.
#[derive(Debug)]
pub struct Memo {
    /// What it does.
    pub verdict: Arc<Verdict>,
    /// Whether its relations are cleared.
    pub cleared: Cleared,
    /// A hint in its text.
    pub hint: Option<RouteSetting>,
    /// A level in its text.
    pub level: Option<Consistency>,
}

/// A shared statement with what is known of it.
#[derive(Debug)]
pub struct Entry {
    /// The statement.
    pub prepared: Arc<Prepared>,
    /// Under what it means what it means.
    pub circumstances: Circumstances,
    /// What was found out; emptied when a node taught better.
    pub memo: ArcSwapOption<Memo>,
    /// Whether its text names prepared statements: what that comes to depends on whose it is.
    pub indirect: AtomicBool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    circumstances: Circumstances,
    form: Form,
    body: Box<[u8]>,
}

struct Sought<'a>(Circumstances, Form, &'a [u8]);

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
        self.2.hash(state);
    }
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.circumstances && self.1 == key.form && *self.2 == *key.body
    }
}

#[derive(Clone, Copy)]
struct Weight;

impl Weighter<Key, Arc<Entry>> for Weight {
    fn weight(&self, key: &Key, _: &Arc<Entry>) -> u64 {
        ENTRY_BYTES + 2 * key.body.len() as u64
    }
}

/// The store; bounded in bytes. What falls out lives on in the clients that hold it.
pub struct Store {
    cache: Cache<Key, Arc<Entry>, Weight>,
    ids: AtomicU64,
}

impl Default for Store {
    fn default() -> Self {
        Self { cache: Cache::with_weighter(10_000, STORE_BYTES, Weight), ids: AtomicU64::new(1) }
    }
}

impl Store {
    /// The shared statement of that body; made when there is none, or one that is outdated. A look-up of a known one allocates nothing.
    pub fn get(&self, circumstances: Circumstances, body: &[u8], text: &[u8]) -> Arc<Entry> {
        // The text stands at the front of the body in every engine's form of it.
        self.get_form(circumstances, Form::Protocol, body, 0..text.len())
    }

    /// The same for a form of preparing.
    pub fn get_form(
        &self,
        circumstances: Circumstances,
        form: Form,
        body: &[u8],
        text: Range<usize>,
    ) -> Arc<Entry> {
        if let Some(known) = self.cache.get(&Sought(circumstances, form, body))
            && !known.prepared.columns.are_outdated()
        {
            return known;
        }
        let entry = self.alone(circumstances, form, body, text);
        self.cache.insert(Key { circumstances, form, body: body.into() }, Arc::clone(&entry));
        entry
    }

    /// A statement that nobody else has.
    pub fn alone(
        &self,
        circumstances: Circumstances,
        form: Form,
        body: &[u8],
        text: Range<usize>,
    ) -> Arc<Entry> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Arc::new(Entry {
            prepared: Arc::new(Prepared::new(id, body, text, form)),
            circumstances,
            memo: ArcSwapOption::empty(),
            indirect: AtomicBool::new(false),
        })
    }

    /// What takes the place of `outdated`, for somebody who is told anew what its columns are.
    pub fn renewed(&self, outdated: &Entry, circumstances: Circumstances) -> Arc<Entry> {
        let Prepared { form, body, text, .. } = &*outdated.prepared;
        let renewed = self.get_form(circumstances, *form, body, text.clone());
        if outdated.indirect.load(Ordering::Relaxed) {
            renewed.indirect.store(true, Ordering::Relaxed);
        }
        renewed
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
        let lexing = Lexing::new(crate::engine::words::Dialect::Postgres);
        let now = Circumstances { generation: 1, path: 0, lexing };
        let a = store.get(now, b"select 1\0\0\0", b"select 1");
        let b = store.get(now, b"select 1\0\0\0", b"select 1");
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(a.prepared.text(), b"select 1");
        let later = store.get(Circumstances { generation: 2, ..now }, b"select 1\0\0\0", b"select 1");
        assert_ne!(a.prepared.id, later.prepared.id);
    }

    #[test]
    fn an_outdated_statement_is_nobodys_anew() {
        let store = Store::default();
        let lexing = Lexing::new(crate::engine::words::Dialect::Postgres);
        let now = Circumstances { generation: 1, path: 0, lexing };
        let old = store.get(now, b"table t\0\0\0", b"table t");
        assert!(old.prepared.columns.learn(3) && !old.prepared.columns.learn(5));
        let new = store.renewed(&old, now);
        assert_ne!(old.prepared.id, new.prepared.id);
        assert!(!new.prepared.columns.are_known());
        assert!(Arc::ptr_eq(&new, &store.get(now, b"table t\0\0\0", b"table t")));
        let by_sql = store.get_form(now, Form::Sql, b"table t\0\0\0", 0..7);
        assert_ne!(by_sql.prepared.id, new.prepared.id);
    }
}
