//! What is MySQL's own; MariaDB is a dialect of it.

pub mod embedded;
