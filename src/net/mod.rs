//! Sockets: listening, TLS, the firewall.

pub mod buffer;
mod end_point;
pub mod firewall;
pub mod listener;
pub mod stream;
pub mod tls;

pub use stream::Stream;
