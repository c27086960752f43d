//! A server's pg_hba.conf: which of its lines is a client's, and what that line asks of it. Pure.
//!
//! A line that names a host, or the server's own addresses, cannot always be told to be a client's: then whatever may hold is looked at, and
//! the strictest of it is taken.

pub mod reader;

use crate::error::ClientError;
use std::net::IpAddr;

/// A line, as the view `pg_hba_file_rules` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in its file.
    pub number: i32,
    /// Which connections it is for.
    pub kind: Kind,
    /// Databases, lists in files expanded.
    pub databases: Vec<String>,
    /// Users, lists in files expanded.
    pub users: Vec<String>,
    /// From where.
    pub from: From,
    /// What it asks.
    pub method: Method,
}

/// Which connections a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unix sockets.
    Local,
    /// TCP.
    Host,
    /// TCP inside TLS.
    HostSsl,
    /// TCP without TLS.
    HostNoSsl,
    /// TCP inside GSSAPI encryption: no client of ours is.
    HostGss,
    /// A kind that is not known here.
    Other,
}

/// From where the clients of a line come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Anywhere.
    All,
    /// One of the server's own addresses.
    SameHost,
    /// A network that the server is in.
    SameNet,
    /// A network: an address and its mask.
    Network(IpAddr, IpAddr),
    /// A host's name, or what it ends with.
    Name,
}

/// What a line asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Nothing.
    Trust,
    /// The password, in whichever way the role's is stored (`md5`, `password`).
    Password,
    /// A SCRAM proof.
    Scram,
    /// What a proxy cannot pass on.
    Foreign(Box<str>),
    /// It refuses.
    Reject,
}

impl Line {
    /// Reads the columns of the view.
    #[must_use]
    pub fn new(
        number: i32,
        kind: &str,
        (databases, users): (Vec<String>, Vec<String>),
        from: From,
        method: Method,
    ) -> Self {
        let kind = match kind {
            "local" => Kind::Local,
            "host" | "hostnogssenc" => Kind::Host,
            "hostssl" => Kind::HostSsl,
            "hostnossl" => Kind::HostNoSsl,
            "hostgssenc" => Kind::HostGss,
            _ => Kind::Other,
        };
        Self { number, kind, databases, users, from, method }
    }

    /// Whether the user's memberships in roles matter to it.
    #[must_use]
    pub fn asks_roles(&self) -> bool {
        self.users.iter().any(|user| user.starts_with('+'))
            || self.databases.iter().any(|database| is_same_role(database))
    }

    /// The regular expressions in it (a server from 16 on has them).
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.users.iter().chain(&self.databases).filter_map(|name| name.strip_prefix('/'))
    }
}

impl From {
    /// Reads the columns of the view; `None` is a unix socket's.
    #[must_use]
    pub fn parse(address: Option<&str>, mask: Option<&str>) -> Self {
        match (address, mask) {
            (None | Some("all"), _) => Self::All,
            (Some("samehost"), _) => Self::SameHost,
            (Some("samenet"), _) => Self::SameNet,
            (Some(address), Some(mask)) => match (address.parse(), mask.parse()) {
                (Ok(address), Ok(mask)) => Self::Network(address, mask),
                _ => Self::Name,
            },
            (Some(_), None) => Self::Name,
        }
    }
}

impl Method {
    /// Reads the columns of the view.
    #[must_use]
    pub fn parse(method: &str, options: &[String]) -> Self {
        match method {
            "reject" => Self::Reject,
            // The certificate is shown to us, and cannot be passed on.
            _ if options.iter().any(|option| option.starts_with("clientcert=")) => {
                Self::Foreign("cert".into())
            }
            "trust" => Self::Trust,
            "md5" | "password" => Self::Password,
            "scram-sha-256" => Self::Scram,
            method => Self::Foreign(method.into()),
        }
    }
}

/// Who wants in.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// As whom.
    pub user: &'a str,
    /// The roles that the user is a member of, directly or not, itself among them; empty when there is no such user.
    pub roles: &'a [String],
    /// Where to, by its name on the server.
    pub database: &'a str,
    /// A physical replication connection, which is to no database.
    pub walsender: bool,
    /// From where; `None` = a unix socket of the server's.
    pub address: Option<IpAddr>,
    /// Whether inside TLS.
    pub encrypted: bool,
}

/// What the server's own circumstances are, as far as they are known.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// Some of its own addresses.
    pub addresses: &'a [IpAddr],
    /// Whether a name that begins with `/` is a regular expression (from 16 on).
    pub has_patterns: bool,
}

/// Whether a regular expression (without its `/`) matches a name; `None` = nobody knows.
pub type Matches<'a> = &'a dyn Fn(&str, &str) -> Option<bool>;

/// What pg_hba.conf says of a client. Ordered: the later, the stricter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It comes in without a proof.
    Trust,
    /// It proves its password, in whichever way the role's is stored.
    Password,
    /// It gives a SCRAM proof.
    Scram,
    /// It would have to prove itself in a way that a proxy cannot pass on.
    Foreign(Box<str>),
    /// A line refuses it.
    Rejected,
    /// No line is for it.
    NoLine,
}

/// A verdict, and the first line that may be the client's and may be not, if that has made it stricter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What holds.
    pub verdict: Verdict,
    /// The number of the line in doubt.
    pub doubt: Option<i32>,
}

/// What these lines say of a client.
#[must_use]
pub fn judge(lines: &[Line], guest: &Guest<'_>, server: &Server<'_>, matches: Matches<'_>) -> Judged {
    let mut possible: Option<(Verdict, i32)> = None;
    let mut sure = Verdict::NoLine;
    for line in lines {
        match line.is_for(guest, server, matches) {
            Some(false) => {}
            Some(true) => {
                sure = line.verdict();
                break;
            }
            None => {
                let verdict = line.verdict();
                if possible.as_ref().is_none_or(|(strictest, _)| verdict > *strictest) {
                    possible = Some((verdict, line.number));
                }
            }
        }
    }
    match possible {
        Some((verdict, number)) if verdict > sure => Judged { verdict, doubt: Some(number) },
        // It might have been another's, who is asked less: what is sure is as strict as can be, and says why.
        Some((_, number)) if sure > Verdict::Scram => Judged { verdict: sure, doubt: Some(number) },
        _ => Judged { verdict: sure, doubt: None },
    }
}

impl Line {
    fn verdict(&self) -> Verdict {
        match &self.method {
            Method::Trust => Verdict::Trust,
            Method::Password => Verdict::Password,
            Method::Scram => Verdict::Scram,
            Method::Foreign(name) => Verdict::Foreign(name.clone()),
            Method::Reject => Verdict::Rejected,
        }
    }

    fn is_for(&self, guest: &Guest<'_>, server: &Server<'_>, matches: Matches<'_>) -> Option<bool> {
        let kind = match self.kind {
            Kind::Local => Some(guest.address.is_none()),
            Kind::Host => Some(guest.address.is_some()),
            Kind::HostSsl => Some(guest.address.is_some() && guest.encrypted),
            Kind::HostNoSsl => Some(guest.address.is_some() && !guest.encrypted),
            Kind::HostGss => Some(false),
            Kind::Other => None,
        };
        let address = guest.address.map_or(Some(true), |address| self.from.holds(address, server));
        let matches: Matches<'_> = if server.has_patterns { matches } else { &|_, _| Some(false) };
        let user = any(&self.users, |name| is_user(name, guest, server, matches));
        let database = any(&self.databases, |name| is_database(name, guest, server, matches));
        all([kind, address, user, database])
    }
}

/// Whether one holds; in doubt if one may.
fn any(names: &[String], holds: impl Fn(&str) -> Option<bool>) -> Option<bool> {
    let mut answer = Some(false);
    for name in names {
        match holds(name) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}

/// Whether all hold; in doubt if none is surely wrong and one may be.
fn all(parts: [Option<bool>; 4]) -> Option<bool> {
    if parts.contains(&Some(false)) {
        Some(false)
    } else {
        parts.into_iter().collect::<Option<Vec<_>>>().map(|_| true)
    }
}

fn is_same_role(name: &str) -> bool {
    matches!(name, "samerole" | "samegroup")
}

fn is_user(name: &str, guest: &Guest<'_>, server: &Server<'_>, matches: Matches<'_>) -> Option<bool> {
    if let Some(role) = name.strip_prefix('+') {
        return Some(guest.roles.iter().any(|member| member == role));
    }
    match name.strip_prefix('/') {
        Some(pattern) if server.has_patterns => matches(pattern, guest.user),
        _ => Some(name == "all" || name == guest.user),
    }
}

fn is_database(name: &str, guest: &Guest<'_>, server: &Server<'_>, matches: Matches<'_>) -> Option<bool> {
    if guest.walsender {
        return Some(name == "replication");
    }
    match name {
        "all" => Some(true),
        "sameuser" => Some(guest.database == guest.user),
        "replication" => Some(false),
        _ if is_same_role(name) => Some(guest.roles.iter().any(|role| role == guest.database)),
        _ => match name.strip_prefix('/') {
            Some(pattern) if server.has_patterns => matches(pattern, guest.database),
            _ => Some(name == guest.database),
        },
    }
}

impl From {
    fn holds(&self, address: IpAddr, server: &Server<'_>) -> Option<bool> {
        match self {
            Self::All => Some(true),
            // The server may have more addresses than we know of.
            Self::SameHost | Self::SameNet => server.addresses.contains(&address).then_some(true),
            Self::Network(network, mask) => Some(is_within(address, *network, *mask)),
            Self::Name => None,
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, mask: IpAddr) -> bool {
    match (address, network, mask) {
        (IpAddr::V4(address), IpAddr::V4(network), IpAddr::V4(mask)) => {
            (address.to_bits() ^ network.to_bits()) & mask.to_bits() == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network), IpAddr::V6(mask)) => {
            (address.to_bits() ^ network.to_bits()) & mask.to_bits() == 0
        }
        _ => false,
    }
}

impl Judged {
    /// What the client is told, in the server's words where it has some; `None` when it may come in (with the proof that the verdict names).
    #[must_use]
    pub fn refusal(&self, guest: &Guest<'_>) -> Option<ClientError> {
        let host = guest.address.map_or_else(|| "[local]".to_owned(), |address| address.to_string());
        let user = guest.user;
        let to = if guest.walsender {
            format!("replication connection from host \"{host}\", user \"{user}\"")
        } else {
            format!("host \"{host}\", user \"{user}\", database \"{}\"", guest.database)
        };
        let encryption = if guest.encrypted { "SSL encryption" } else { "no encryption" };
        let text = match &self.verdict {
            Verdict::Trust | Verdict::Password | Verdict::Scram => return None,
            Verdict::Rejected if guest.walsender => format!(
                "pg_hba.conf rejects replication connection for host \"{host}\", user \"{user}\", {encryption}"
            ),
            Verdict::Rejected => format!("pg_hba.conf rejects connection for {to}, {encryption}"),
            Verdict::NoLine => format!("no pg_hba.conf entry for {to}, {encryption}"),
            Verdict::Foreign(method) => {
                format!("pg_hba.conf wants method \"{method}\" for {to}, which cannot pass through the proxy")
            }
        };
        let error = ClientError::new("28000", 1045, text).fatal();
        let hint = match (self.doubt, &self.verdict) {
            (Some(line), _) => format!(
                "Line {line} of pg_hba.conf may be meant, but the proxy cannot judge host names and the server's own networks: use addresses there, or users.pg_hba: off in the proxy's configuration."
            ),
            (None, Verdict::Foreign(_)) => {
                "Connect to the server itself, or list the user in the proxy's configuration.".to_owned()
            }
            (None, _) => return Some(error),
        };
        Some(error.hint(hint))
    }
}

#[cfg(test)]
mod tests;
