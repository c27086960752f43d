//! WHAT the database says of its functions, views and tables.

pub mod names;

pub use names::Names;
