//! The configuration: from the file's text to `Settings`, and from one `Settings` to the next.

pub mod settings;
pub mod units;
