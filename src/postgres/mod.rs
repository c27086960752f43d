//! What is PostgreSQL's own.

pub mod embedded;
