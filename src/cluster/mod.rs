//! WHAT is true of the nodes: who is up, who is primary, how fresh each is.

pub mod view;

pub use view::{ClusterView, Health, NodeLive, NodeView, Role};
