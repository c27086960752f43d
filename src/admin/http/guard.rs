//! Who may ask at all: no page of a stranger in an operator's browser, and for changes only who has the token.

use super::Door;
use super::answer::Refusal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub(super) async fn check(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    match admitted(&door, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn admitted(door: &Door, request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    // HTTP/1.0 has no Host; a browser always sends one.
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => text(headers, header::HOST)?,
    };
    if let Some(host) = host.filter(|host| !known(host, &door.hosts)) {
        let hint = "use an IP address, localhost or a name without a dot";
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!("this door is not known as \"{host}\""),
            hint,
        ));
    }
    if let Some(origin) = text(headers, header::ORIGIN)? {
        let own = origin.split_once("://").map(|(_, rest)| rest);
        if own.is_none() || own != host {
            let error = format!("a page of \"{origin}\" may not ask here");
            return Err(Refusal::new(StatusCode::FORBIDDEN, error, "ask without the header Origin"));
        }
    }
    let looks = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if looks { Ok(()) } else { proved(door, headers) }
}

/// Whether the request carries the token.
pub(super) fn proved(door: &Door, headers: &HeaderMap) -> Result<(), Refusal> {
    if door.token.load().opens(text(headers, header::AUTHORIZATION)?) {
        return Ok(());
    }
    let hint = "send the header \"Authorization: Bearer TOKEN\"; the token is admin.token of the configuration, or in the file \
                that the log named at start";
    Err(Refusal::new(StatusCode::UNAUTHORIZED, "this needs the admin token", hint))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next().map(|value| value.to_str());
    match (first, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the header {name} cannot be read"),
            "send it once, in ASCII",
        )),
    }
}

// Whoever owns a domain can point it here and have a browser ask in its name (DNS rebinding). Nobody owns an address, `localhost`, or a
// name without a dot.
fn known(host: &str, hosts: &[String]) -> bool {
    let name = without_port(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let one_label =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    one_label || name.parse::<Ipv4Addr>().is_ok() || hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
}

// An IPv6 address without brackets has colons of its own.
fn without_port(host: &str) -> &str {
    let Some((name, port)) = host.rsplit_once(':') else { return host };
    let whole = !name.contains(':') || name.ends_with(']');
    if whole && port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_stranger_can_own_are_known() {
        let own = ["proxy.example.org".to_owned()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:9632",
            "10.1.2.3",
            "[::1]",
            "[::1]:9632",
            "localhost",
            "localhost:9632",
            "LOCALHOST",
            "primacy:9632",
            "proxy.example.org",
            "Proxy.Example.org:80",
            "localhost.",
        ] {
            assert!(known(host, &own), "{host}");
        }
        for host in [
            "",
            ":9632",
            "evil.example",
            "evil.example:9632",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[::1",
            "[x]",
            "::1",
            "proxy.example.org.evil.example",
            "127.0.0.1:x",
            "a b",
        ] {
            assert!(!known(host, &own), "{host}");
        }
    }
}
