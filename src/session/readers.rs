//! Who did something not long ago by which others of its kind are treated: a read-only transaction that needed the primary, a question for the session's own
//! values of sequences.

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
    /// This reader is remembered for so long.
    pub fn note(&self, user: &Arc<str>, database: &Arc<str>, application: &Arc<str>, how_long: Duration) {
        let now = clock::now();
        let mut until = self.until.lock();
        if until.len() >= READERS_MAX {
            until.retain(|_, until| *until > now);
        }
        if until.len() < READERS_MAX {
            let reader = (Arc::clone(user), Arc::clone(database), Arc::clone(application));
            until.insert(reader, now.plus(how_long));
            self.any.store(true, Ordering::Release);
        }
    }

    /// Whether it is remembered.
    #[must_use]
    pub fn knows(&self, user: &Arc<str>, database: &Arc<str>, application: &Arc<str>, now: Tick) -> bool {
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
        assert!(!readers.knows(&user, &database, &app, clock::now()));
        readers.note(&user, &database, &app, BREAKER);
        let now = clock::now();
        assert!(readers.knows(&user, &database, &app, now));
        assert!(!readers.knows(&user, &database, &Arc::from("b"), now));
        assert!(!readers.knows(&user, &database, &app, now.plus(BREAKER)));
    }
}
