//! Whose read-only transactions begin on the primary, because one of them needed it not long ago.

use crate::clock::{self, Tick};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Application names are made up by clients: no more of them are remembered.
const READERS_MAX: usize = 1000;

/// User, database, application.
type Reader = (Arc<str>, Arc<str>, Arc<str>);

/// The readers of one cluster.
#[derive(Debug, Default)]
pub struct Readers {
    any: AtomicBool,
    until: Mutex<HashMap<Reader, Tick>>,
}

impl Readers {
    /// Read-only transactions of this reader begin on the primary for so long (`routing.retry.breaker`).
    pub fn begin_on_primary(
        &self,
        user: &Arc<str>,
        database: &Arc<str>,
        application: &Arc<str>,
        breaker: Duration,
    ) {
        let now = clock::now();
        let mut until = self.until.lock();
        if until.len() >= READERS_MAX {
            until.retain(|_, until| *until > now);
        }
        if until.len() < READERS_MAX {
            let reader = (Arc::clone(user), Arc::clone(database), Arc::clone(application));
            until.insert(reader, now.plus(breaker));
            self.any.store(true, Ordering::Release);
        }
    }

    /// Whether they do.
    #[must_use]
    pub fn begins_on_primary(
        &self,
        user: &Arc<str>,
        database: &Arc<str>,
        application: &Arc<str>,
        now: Tick,
    ) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let reader = (Arc::clone(user), Arc::clone(database), Arc::clone(application));
        self.until.lock().get(&reader).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: Duration = Duration::from_secs(300);

    #[test]
    fn a_reader_is_remembered_for_a_while() {
        let readers = Readers::default();
        let (user, database, app) = (Arc::from("u"), Arc::from("d"), Arc::from("a"));
        assert!(!readers.begins_on_primary(&user, &database, &app, clock::now()));
        readers.begin_on_primary(&user, &database, &app, BREAKER);
        let now = clock::now();
        assert!(readers.begins_on_primary(&user, &database, &app, now));
        assert!(!readers.begins_on_primary(&user, &database, &Arc::from("b"), now));
        assert!(!readers.begins_on_primary(&user, &database, &app, now.plus(BREAKER)));
    }
}
