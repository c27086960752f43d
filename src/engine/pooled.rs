//! What the pool asks of an engine's backends.

use super::tracked::Customs;
use crate::clock::Tick;

/// What a backend must say of itself to be pooled. Dropping one closes it.
pub trait Pooled: Send + 'static {
    /// Whether it may be handed to somebody: answered without a round trip (the socket is quiet and open, nobody asked it to close).
    fn is_usable(&mut self) -> bool;

    /// A hash of the session state that it carries; an idle backend of equal state is preferred.
    fn state_key(&self) -> u64;

    /// The custom settings that were ever set on it: it is lent only to who has set them all.
    fn customs(&self) -> &Customs {
        const { &Customs::NONE }
    }

    /// When it was opened.
    fn born(&self) -> Tick;
}
