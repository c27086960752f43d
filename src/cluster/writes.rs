//! When each database was last written, as far as somebody was told of it: what a read at `causal` must see.

use crate::clock::Tick;
use hashbrown::HashMap;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Databases that are remembered one by one; what is known of those that nobody uses is then put together.
const DATABASES_MAX: usize = 1000;

/// The instant of the last write to one database that anybody was told of, shared by all its sessions.
#[derive(Debug)]
pub struct LastWrite(AtomicU64);

impl LastWrite {
    fn new(at: Tick) -> Self {
        Self(AtomicU64::new(at.0))
    }

    /// A write was acknowledged at `at`. Called before anybody can know of it: whoever is told of the write and then reads finds this instant.
    pub fn raise(&self, at: Tick) {
        self.0.fetch_max(at.0, Ordering::AcqRel);
    }

    /// The latest of them.
    #[must_use]
    pub fn get(&self) -> Tick {
        Tick(self.0.load(Ordering::Acquire))
    }
}

/// The last writes of a cluster's databases.
#[derive(Debug)]
pub struct Writes(RwLock<Known>);

#[derive(Debug)]
struct Known {
    /// What counts for a database that is not listed: everything that an earlier process had acknowledged, and what was forgotten since.
    before: Tick,
    by_database: HashMap<Arc<str>, Arc<LastWrite>>,
}

impl Writes {
    /// A cluster that is served from `start` on: what other proxies, or this one before it was started anew, acknowledged counts as of then.
    #[must_use]
    pub fn new(start: Tick) -> Self {
        Self(RwLock::new(Known { before: start, by_database: HashMap::new() }))
    }

    /// The last write of `database` (its name on the servers; where a statement can name any database, one name stands for all).
    #[must_use]
    pub fn of(&self, database: &str) -> Arc<LastWrite> {
        if let Some(known) = self.0.read().by_database.get(database) {
            return Arc::clone(known);
        }
        let mut known = self.0.write();
        if known.by_database.len() >= DATABASES_MAX {
            known.forget();
        }
        let before = known.before;
        let last = known.by_database.entry(Arc::from(database));
        Arc::clone(last.or_insert_with(|| Arc::new(LastWrite::new(before))))
    }
}

impl Known {
    // Forgets what no session holds; it counts for every database from here on.
    fn forget(&mut self) {
        let mut before = self.before;
        self.by_database.retain(|_, last| {
            let used = Arc::strong_count(last) > 1;
            if !used {
                before = before.max(last.get());
            }
            used
        });
        self.before = before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_as_old_as_its_last_write_and_no_older_than_the_start() {
        let writes = Writes::new(Tick(10));
        let (one, other) = (writes.of("one"), writes.of("other"));
        assert_eq!((one.get(), other.get()), (Tick(10), Tick(10)));
        one.raise(Tick(20));
        one.raise(Tick(15));
        assert_eq!((writes.of("one").get(), writes.of("other").get()), (Tick(20), Tick(10)));
    }

    #[test]
    fn what_is_forgotten_counts_for_all() {
        let writes = Writes::new(Tick(10));
        let held = writes.of("held");
        held.raise(Tick(12));
        writes.of("left").raise(Tick(30));
        for n in 2..=DATABASES_MAX {
            assert!(writes.of(&n.to_string()).get() >= Tick(10));
        }
        assert_eq!(writes.of("left").get(), Tick(30), "it was forgotten, and what it had seen was not");
        assert_eq!(writes.of("held").get(), Tick(12));
        assert!(Arc::ptr_eq(&held, &writes.of("held")), "a session holds it");
        assert!(writes.0.read().by_database.len() < DATABASES_MAX);
    }
}
