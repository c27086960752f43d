//! WHO is primary.

pub mod gate;

pub use gate::{Gate, Pass};
