//! The operator's door: HTTP and console, two views of one model of the process's state.

pub mod command;
pub mod console;
pub mod http;
mod memory;
pub mod metrics;
pub mod rows;
pub mod status;
pub mod token;
mod when;

pub use command::{Command, CommandError, Scope};
pub use console::{Answer, Console, Flavour, Rights};
pub use rows::{DatabaseRow, PinRow, PoolRow, SocketRow};
pub use status::{Explanation, Inspect, Status};

#[cfg(test)]
pub(crate) mod fake;
