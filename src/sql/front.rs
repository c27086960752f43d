//! A small cache of each worker's own in front of the shared one: texts that come again byte for byte, as prepared statements and
//! most ORMs send them, are not even cut into tokens.

use super::verdict::Verdict;
use std::cell::RefCell;
use std::sync::Arc;

/// Slots per worker; a text has one place and takes it from whoever was there.
const SLOTS: usize = 512;

type Slot = Option<(u64, Arc<Verdict>)>;

thread_local! {
    static FRONT: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

fn slot(key: u64) -> usize {
    // The low bits are as good as any.
    usize::try_from(key % SLOTS as u64).unwrap_or(0)
}

/// The verdict that this worker remembers for the text of hash `key`.
#[inline]
pub(super) fn get(key: u64) -> Option<Arc<Verdict>> {
    FRONT.with_borrow(|front| match front.get(slot(key)) {
        Some(Some((known, verdict))) if *known == key => Some(Arc::clone(verdict)),
        _ => None,
    })
}

/// Remembers `verdict` for the text of hash `key`.
#[inline]
pub(super) fn put(key: u64, verdict: &Arc<Verdict>) {
    FRONT.with_borrow_mut(|front| {
        if front.is_empty() {
            front.resize(SLOTS, None);
        }
        if let Some(slot) = front.get_mut(slot(key)) {
            *slot = Some((key, Arc::clone(verdict)));
        }
    });
}
