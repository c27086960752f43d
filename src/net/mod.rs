//! Sockets: listening, TLS, the firewall.
