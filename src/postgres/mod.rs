//! What is PostgreSQL's own.

pub mod accept;
pub mod auth;
pub mod catalog;
pub mod connections;
pub mod embedded;
pub mod handshake;
pub mod login;
pub mod lookup;
pub mod table;
pub mod wire;
