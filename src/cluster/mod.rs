//! WHAT is true of the nodes: who is up, who is primary, how fresh each is.

pub mod monitor;
pub mod rounds;
pub mod state;
pub mod view;

pub use monitor::{MonitorHandle, start};
pub use rounds::Rounds;
pub use state::ClusterState;
pub use view::{ClusterView, Health, NodeLive, NodeView, Role};
