//! The seam: the traits that an engine implements, and the neutral words that cross it.

pub mod answer;
pub mod cancel;
pub mod carrier;
pub mod catalog;
pub mod door;
pub mod ear;
pub mod edit;
pub mod embedded;
pub mod identity;
pub mod outcome;
pub mod pooled;
pub mod position;
pub mod prepared;
pub mod probe;
pub mod seam;
pub mod table;
pub mod tracked;
pub mod words;

pub use catalog::CatalogLoader;
pub use position::Position;
pub use probe::{Observation, Part, Probe, ProbeError};
pub use words::{
    Certainty, Class, Dirt, Drawn, Epoch, NodeId, NodeSet, PROBED, Pin, PinReason, TxState, Unasked,
};
