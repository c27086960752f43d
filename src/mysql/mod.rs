//! What is MySQL's own; MariaDB is a dialect of it. For now a thin slice: each session is relayed one to one to the primary.

mod answer;
pub mod auth;
pub mod backend;
pub mod embedded;
pub mod exchange;
pub mod front;
pub mod handshake;
pub mod login;
pub mod pieces;
pub mod probe;
pub mod reply;
pub mod request;
pub mod wire;

pub use front::Mysql;
