//! The seam: the traits that an engine implements, and the neutral words that cross it.

<<<<<<< HEAD
pub mod embedded;
=======
pub mod catalog;
>>>>>>> 4b61121 (Catalog: one snapshot per database, loaded once, dropped on DDL)
pub mod identity;
pub mod words;

pub use catalog::CatalogLoader;
pub use words::{Certainty, Class, Dirt, Epoch, NodeId, NodeSet, Pin, PinReason, TxState};
