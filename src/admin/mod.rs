//! The operator's door: HTTP and console, two views of one model of the process's state.

pub mod command;
pub mod rows;
pub mod status;

pub use command::{Command, CommandError, Scope};
pub use rows::{ConfigRow, DatabaseRow, PinRow, PoolRow, SocketRow};
pub use status::{Explanation, Inspect, Status};
