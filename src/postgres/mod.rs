//! What is PostgreSQL's own.

pub mod accept;
mod answer;
pub mod auth;
pub mod backend;
pub mod catalog;
mod compose;
pub mod composed;
pub mod connections;
mod console;
pub mod ear;
mod edit;
pub mod embedded;
pub mod exchange;
mod expected;
pub mod front;
pub mod handshake;
pub mod hba;
pub mod inspect;
pub mod login;
pub mod lookup;
mod lsn;
mod names;
pub mod pieces;
pub mod probe;
pub mod reply;
pub mod request;
mod said;
pub mod shelf;
pub mod state;
pub mod table;
pub mod told;
mod walsender;
pub mod wire;

pub use front::Postgres;
