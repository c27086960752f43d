//! Addresses: where Primacy listens, where servers are, and that no two ask for the same place.

use super::Resolver;
use crate::config::place::Leaf;
use crate::config::raw::{ListenText, RawAdmin, RawListener};
use crate::config::settings::*;
use crate::config::tree::{Kind, NodeIndex};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

const LISTEN: &str = "expected `ADDRESS:PORT` or `unix:/PATH`";
/// `sun_path` less its terminating zero.
const MAX_UNIX_PATH: usize = 107;

/// Every listener so far, with the path of its key.
#[derive(Default)]
pub(super) struct Taken {
    listeners: Vec<(ListenAddress, String)>,
}

impl Taken {
    /// Whether one of `listeners` is what a server's address leads to.
    pub(super) fn is_ours(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> =
            if host == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { host.parse().ok() };
        let Some(address) = address else { return false };
        self.listeners.iter().any(|(listener, _)| match listener {
            ListenAddress::Tcp(tcp) => {
                tcp.port() == port
                    && (tcp.ip() == address || (tcp.ip().is_unspecified() && address.is_loopback()))
            }
            ListenAddress::Unix(_) => false,
        })
    }
}

/// Two listeners that cannot both be opened. Port 0 is a free one each time.
fn collide(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Unix(one), ListenAddress::Unix(other)) => one == other,
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            let any = one.ip().is_unspecified() || other.ip().is_unspecified();
            let same_family = one.is_ipv4() == other.is_ipv4();
            one.port() != 0 && one.port() == other.port() && same_family && (any || one.ip() == other.ip())
        }
        _ => false,
    }
}

impl Resolver<'_> {
    pub(super) fn listeners(&self, leaves: &[Leaf<ListenText>], taken: &mut Taken) -> Vec<Listen> {
        leaves.iter().filter_map(|leaf| self.listener(leaf.0, taken)).collect()
    }

    fn listener(&self, node: NodeIndex, taken: &mut Taken) -> Option<Listen> {
        let (place, route) = match &self.context.tree.node(node).kind {
            Kind::Map(_) => {
                let raw: RawListener = self.context.decode(node);
                let route = self.or(raw.route.as_ref(), RouteSetting::Auto);
                let Some(address) = raw.address else {
                    self.missing(node, "address", LISTEN);
                    return None;
                };
                (address.0, route)
            }
            _ => (node, RouteSetting::Auto),
        };
        let address = self.listen_address(place)?;
        self.take(address.clone(), place, taken);
        Some(Listen { address, route })
    }

    fn listen_address(&self, node: NodeIndex) -> Option<ListenAddress> {
        let Some(text) = self.context.tree.text(node) else {
            self.context.wrong(node, "is not an address", LISTEN);
            return None;
        };
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') || path.len() > MAX_UNIX_PATH || path.contains('\0') {
                self.context.wrong(
                    node,
                    "is not the path of a socket",
                    "expected `unix:` and an absolute path of at most 107 bytes",
                );
                return None;
            }
            return Some(ListenAddress::Unix(PathBuf::from(path)));
        }
        self.tcp_listen(node, text, LISTEN).map(ListenAddress::Tcp)
    }

    fn tcp_listen(&self, node: NodeIndex, text: &str, allowed: &str) -> Option<SocketAddr> {
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok()).unwrap_or("6432");
        let help = format!(
            "`127.0.0.1:{port}` listens on this machine only, `0.0.0.0:{port}` on every IPv4 address"
        );
        let found = format!("{} is not an address to listen at", self.context.found(node));
        self.context.note(node, found, allowed, Some(help));
        None
    }

    pub(super) fn admin_listen(
        &self,
        raw: &RawAdmin,
        default: Option<SocketAddr>,
        taken: &mut Taken,
    ) -> Option<SocketAddr> {
        let Some(leaf) = &raw.listen else { return default };
        let text = self.read(Some(leaf))?;
        if &*text == "off" {
            return None;
        }
        let address = self.tcp_listen(leaf.0, &text, "expected `ADDRESS:PORT` or `off`")?;
        self.take(ListenAddress::Tcp(address), leaf.0, taken);
        Some(address)
    }

    fn take(&self, address: ListenAddress, node: NodeIndex, taken: &mut Taken) {
        if let Some((_, path)) = taken.listeners.iter().find(|(other, _)| collide(other, &address)) {
            let found = format!("{} is already listened at by {path}", self.context.found(node));
            self.context.note(node, found, "expected an address of its own", None);
        }
        taken.listeners.push((address, self.context.tree.path(node)));
    }
}

/// Reads `host:port`, `host`, `[ipv6]:port`, `[ipv6]` or a bare IPv6 address.
pub(super) fn server_address(text: &str, default_port: u16) -> Result<(String, u16), &'static str> {
    if text.starts_with('/') || text.starts_with("unix:") {
        return Err("is a socket's path, but servers are reached over TCP");
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), default_port));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("lacks the closing bracket")?;
        host.parse::<Ipv6Addr>().map_err(|_| "has no IPv6 address in its brackets")?;
        return Ok((host.to_owned(), port(rest.strip_prefix(':'), rest.is_empty(), default_port)?));
    }
    let (host, after) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(is_host) {
        return Err("is not a server's address");
    }
    let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if numeric && host.parse::<IpAddr>().is_err() {
        return Err("is neither an IPv4 address nor a host name");
    }
    Ok((host.to_owned(), port(after, after.is_none(), default_port)?))
}

fn port(text: Option<&str>, absent: bool, default: u16) -> Result<u16, &'static str> {
    if absent {
        return Ok(default);
    }
    let port = text.and_then(crate::config::units::digits).and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port != 0).ok_or("has a port that is not a number from 1 to 65535")
}

/// Whether clients can connect over a unix socket.
pub(super) fn has_unix(listeners: &[Listen]) -> bool {
    listeners.iter().any(|listener| matches!(listener.address, ListenAddress::Unix(_)))
}

#[cfg(test)]
mod tests {
    use super::server_address;

    #[test]
    fn servers_are_named_as_people_name_them() {
        for (text, host, port) in [
            ("10.0.0.11:5433", "10.0.0.11", 5433),
            ("db-1.internal", "db-1.internal", 5432),
            ("[::1]:5433", "::1", 5433),
            ("[::1]", "::1", 5432),
            ("fe80::1", "fe80::1", 5432),
            ("pg_1:1", "pg_1", 1),
        ] {
            assert_eq!(server_address(text, 5432), Ok((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":5432",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "a b",
            "[::1",
            "[::1]5432",
            "[host]:1",
            "/run/pg",
            "unix:/run/pg",
            "10.0.0:5432",
            "10.0.0.300",
            "user@host",
            "postgres://host",
            "hôte",
        ] {
            assert!(server_address(text, 5432).is_err(), "{text}");
        }
    }
}
