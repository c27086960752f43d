//! WHAT is true of the nodes: who is up, who is primary, how fresh each is.

mod alarm;
pub mod freshness;
pub mod monitor;
mod node;
mod pace;
pub mod rounds;
pub mod state;
pub mod view;
mod watch;
pub mod writes;

pub use monitor::{MonitorHandle, start};
pub use rounds::Rounds;
pub use state::ClusterState;
pub use view::{ClusterView, Health, NodeLive, NodeView, Role};
pub use writes::{LastWrite, Writes};
