//! WHO is primary.

pub mod gate;
pub mod observe;

pub use gate::{Gate, Pass};
