//! A memory of each worker's own of what stretches of text do to a running hash: a long text of which a few literals change is
//! cut into tokens only around them.

use std::cell::RefCell;

/// Bytes that are looked up at once.
pub(super) const STRETCH: usize = 64;
/// Slots per worker; a stretch has one place and takes it from whoever was there.
const SLOTS: usize = 4096;

/// What the tokens do that a stretch settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stride {
    /// The hash behind them …
    pub(super) state: u64,
    /// … and the kinds that wait to be mixed into it.
    pub(super) pending: u64,
    /// Bytes of them.
    pub(super) length: u8,
    /// Whether literals count from there on.
    pub(super) exact: bool,
}

type Slot = Option<(u64, Stride)>;

thread_local! {
    static STRIDES: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

fn slot(key: u64) -> usize {
    // The low bits are as good as any.
    usize::try_from(key % SLOTS as u64).unwrap_or(0)
}

/// What this worker remembers under `key`, which tells a hash and a stretch.
#[inline]
pub(super) fn get(key: u64) -> Option<Stride> {
    STRIDES.with_borrow(|strides| match strides.get(slot(key)) {
        Some(Some((known, stride))) if *known == key => Some(*stride),
        _ => None,
    })
}

/// Remembers `stride` under `key`.
#[inline]
pub(super) fn put(key: u64, stride: Stride) {
    STRIDES.with_borrow_mut(|strides| {
        if strides.is_empty() {
            strides.resize(SLOTS, None);
        }
        if let Some(slot) = strides.get_mut(slot(key)) {
            *slot = Some((key, stride));
        }
    });
}
