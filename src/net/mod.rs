//! Sockets: listening, TLS, the firewall.

pub mod stream;
pub mod tls;

pub use stream::Stream;
