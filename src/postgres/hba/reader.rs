//! Reads a server's pg_hba.conf by the monitor's account, and holds clients against it. The file is read anew when the server has loaded its
//! configuration; whether it has is asked at most once a second, however many log in.

use super::{From, Guest, Judged, Line, Method, Server, Verdict, judge};
use crate::clock::{self, Tick};
use crate::engine::identity::LookupError;
use crate::error::ClientError;
use crate::postgres::connections::{Connections, Query, QueryError};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// So long what was read holds without asking again.
const HOLDS: Duration = Duration::from_secs(1);

/// Whether this account may read the file.
pub(crate) const READABLE: &str = "
    select has_table_privilege('pg_catalog.pg_hba_file_rules', 'select')
       and has_function_privilege('pg_catalog.pg_hba_file_rules()', 'execute')";

/// What tells one load of one server's configuration from another, and how the server sees us.
const CIRCUMSTANCES: &str = "
    select concat_ws(' ', extract(epoch from pg_conf_load_time()), extract(epoch from pg_postmaster_start_time()),
                     inet_server_addr(), current_setting('port')),
           current_setting('server_version_num')::int4, host(inet_server_addr()), host(inet_client_addr()),
           coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
           current_setting('ssl')::bool";

/// In the order of the file. A line that cannot be read has no type; one that has a type and an error is good, and never matches there (`hostssl`
/// where TLS is off).
const FILE: &str = "
    select line_number, type, database, user_name, address, netmask, auth_method, options, error is not null
    from pg_catalog.pg_hba_file_rules";

/// The roles that a user is a member of, directly or not, whether it has their rights at once or not.
const ROLES: &str = "
    with recursive held (role) as (
        select oid from pg_catalog.pg_roles where rolname = $1
        union select m.roleid from pg_catalog.pg_auth_members m join held on m.member = held.role)
    select r.rolname::text from held join pg_catalog.pg_roles r on r.oid = held.role";

/// Which of the expressions match. Names are compared byte by byte, as the server compares them there.
const MATCHES: &str = "
    select pattern, ($1 collate \"C\") ~ pattern, ($2 collate \"C\") ~ pattern from unnest($3::text[]) pattern";

const DATABASE: &str = "select exists (select from pg_catalog.pg_database where datname = $1)";

/// A client at the door.
#[derive(Debug, Clone, Copy)]
pub struct Knocking<'a> {
    /// As whom.
    pub user: &'a str,
    /// The database, as the client named it.
    pub database: &'a str,
    /// A physical replication connection.
    pub walsender: bool,
    /// From where, as we see it.
    pub address: IpAddr,
    /// Whether inside TLS.
    pub encrypted: bool,
}

/// What becomes of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// As if the file could not be read: the password is proved in whichever way the role's is stored.
    Unknown,
    /// It proves itself.
    Prove {
        /// By SCRAM, whatever the role's password is stored as.
        scram: bool,
    },
    /// It comes in without a proof; the servers let us in without one, too.
    Trusted,
    /// It would be refused; told in the server's words.
    Refused {
        /// What it is told.
        told: Box<ClientError>,
        /// Whether a secret that we have of it would do all the same: the method is one that only a proxy cannot pass on.
        foreign: bool,
    },
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// A server's file, as it was read.
struct File {
    /// [`CIRCUMSTANCES`], first column.
    load: String,
    lines: Vec<Line>,
    has_patterns: bool,
    addresses: Vec<IpAddr>,
    /// Where the server sees us; `None` = by a unix socket.
    ours: Option<IpAddr>,
    /// Whether our own connections to it are inside TLS.
    encrypted: bool,
    /// Whether it speaks TLS at all.
    speaks_tls: bool,
}

#[derive(Default)]
struct State {
    asked: Option<Tick>,
    /// `None`: it may not be read, or was never read without errors in it.
    file: Option<Arc<File>>,
    /// When no server could be asked, and why: whoever was waiting meanwhile does not try again.
    failed: Option<(Tick, LookupError)>,
}

/// The pg_hba.conf of a cluster's primary, as the monitor's account reads it.
pub struct Reader {
    connections: Connections,
    /// Names of databases on the servers, by those that clients use, where they differ.
    aliases: HashMap<Arc<str>, Arc<str>>,
    state: tokio::sync::Mutex<State>,
}

impl Reader {
    /// `connections` are the monitor's.
    #[must_use]
    pub fn new(connections: Connections, aliases: HashMap<Arc<str>, Arc<str>>) -> Self {
        Self { connections, aliases, state: tokio::sync::Mutex::default() }
    }

    /// What the file says of a client. Cancel safe.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn admission(&self, knocking: &Knocking<'_>) -> Result<Admission, LookupError> {
        let Some(file) = self.file().await? else { return Ok(Admission::Unknown) };
        let database = self.aliases.get(knocking.database).map_or(knocking.database, |name| name);
        let known = self.known(&file, knocking.user, database).await?;
        let guest = Guest {
            user: knocking.user,
            roles: &known.roles,
            database,
            walsender: knocking.walsender,
            address: Some(file.seen(knocking.address)),
            // A server without TLS would see it in clear.
            encrypted: knocking.encrypted && file.speaks_tls,
        };
        let judged = file.judge(&guest, &known);
        if let Some(told) = judged.refusal(&guest) {
            let foreign = matches!(judged.verdict, Verdict::Foreign(_));
            return Ok(Admission::Refused { told: Box::new(told), foreign });
        }
        Ok(match judged.verdict {
            Verdict::Trust => {
                let ours = Guest { address: file.ours, encrypted: file.encrypted, ..guest };
                if file.judge(&ours, &known).verdict == Verdict::Trust {
                    Admission::Trusted
                } else {
                    Admission::Prove { scram: false }
                }
            }
            verdict => Admission::Prove { scram: verdict == Verdict::Scram },
        })
    }

    /// Whether the servers have a database of that name.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn has_database(&self, name: &str) -> Result<bool, LookupError> {
        let rows = self.ask(DATABASE, &[(&name as _, Type::TEXT)]).await?;
        rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(|error| unreachable(&error.into()))
    }

    async fn file(&self) -> Result<Option<Arc<File>>, LookupError> {
        let arrived = clock::now();
        let mut state = self.state.lock().await;
        if let Some((_, error)) = state.failed.as_ref().filter(|(when, _)| *when > arrived) {
            return Err(error.clone());
        }
        let looked = self.look(&mut state).await;
        state.failed = looked.as_ref().err().map(|error| (clock::now(), error.clone()));
        looked
    }

    async fn look(&self, state: &mut State) -> Result<Option<Arc<File>>, LookupError> {
        if state.asked.is_some_and(|asked| clock::now().since(asked) < HOLDS) {
            return Ok(state.file.clone());
        }
        let now = clock::now();
        let load = match self
            .connections
            .ask(&[Query { sql: READABLE, parameters: &[] }, Query { sql: CIRCUMSTANCES, parameters: &[] }])
            .await
        {
            Ok(answers) => answers,
            Err(error) => return Err(unreachable(&error)),
        };
        let mut rows = load.into_iter().flatten();
        let readable: bool = rows.next().is_some_and(|row| row.try_get(0).unwrap_or(false));
        let Some(circumstances) = rows.next().filter(|_| readable) else {
            *state = State { asked: Some(now), ..State::default() };
            return Ok(None);
        };
        let mut file = circumstances_of(&circumstances).map_err(|error| unreachable(&error.into()))?;
        if let Some(known) = &state.file
            && known.load == file.load
        {
            state.asked = Some(now);
            return Ok(state.file.clone());
        }
        let rows = self.ask(FILE, &[]).await?;
        match lines(&rows).map_err(|error| unreachable(&error.into()))? {
            Some(lines) => {
                file.lines = lines;
                state.file = Some(Arc::new(file));
            }
            // The server goes on with what it had loaded before, and so do we.
            None => tracing::info!("pg_hba.conf has errors: what it said before holds"),
        }
        state.asked = Some(now);
        Ok(state.file.clone())
    }

    async fn known(&self, file: &File, user: &str, database: &str) -> Result<Known, LookupError> {
        let mut known = Known::default();
        if file.lines.iter().any(Line::asks_roles) {
            let rows = self.ask(ROLES, &[(&user as _, Type::TEXT)]).await?;
            let roles = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>();
            known.roles = roles.map_err(|error: tokio_postgres::Error| unreachable(&error.into()))?;
        }
        if file.has_patterns {
            let patterns: Vec<&str> = file.lines.iter().flat_map(Line::patterns).collect();
            if !patterns.is_empty() {
                known.matches = self.matches(user, database, patterns).await?;
            }
        }
        Ok(known)
    }

    async fn matches(
        &self,
        user: &str,
        database: &str,
        patterns: Vec<&str>,
    ) -> Result<HashMap<(String, String), bool>, LookupError> {
        let parameters =
            [(&user as _, Type::TEXT), (&database as _, Type::TEXT), (&patterns as _, Type::TEXT_ARRAY)];
        let failed = |error: tokio_postgres::Error| unreachable(&error.into());
        let mut matches = HashMap::new();
        for row in self.ask(MATCHES, &parameters).await? {
            let pattern: String = row.try_get(0).map_err(failed)?;
            matches.insert((pattern.clone(), user.to_owned()), row.try_get(1).map_err(failed)?);
            // A name that is both is matched alike.
            matches.insert((pattern, database.to_owned()), row.try_get(2).map_err(failed)?);
        }
        Ok(matches)
    }

    async fn ask(
        &self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, LookupError> {
        let answers = self.connections.ask(&[Query { sql, parameters }]).await;
        Ok(answers.map_err(|error| unreachable(&error))?.pop().unwrap_or_default())
    }
}

/// What the server says of a user and a database.
#[derive(Default)]
struct Known {
    roles: Vec<String>,
    /// By expression and name.
    matches: HashMap<(String, String), bool>,
}

impl File {
    fn judge(&self, guest: &Guest<'_>, known: &Known) -> Judged {
        let matches =
            |pattern: &str, name: &str| known.matches.get(&(pattern.to_owned(), name.to_owned())).copied();
        let server = Server { addresses: &self.addresses, has_patterns: self.has_patterns };
        judge(&self.lines, guest, &server, &matches)
    }

    /// From where the server would see a client: one of this machine's own loopback comes from wherever we come from.
    fn seen(&self, address: IpAddr) -> IpAddr {
        let address = address.to_canonical();
        match self.ours {
            Some(ours) if address.is_loopback() && !ours.is_loopback() => ours,
            _ => address,
        }
    }
}

fn circumstances_of(row: &Row) -> Result<File, tokio_postgres::Error> {
    let address = |column| {
        let text: Option<&str> = row.try_get(column)?;
        Ok::<_, tokio_postgres::Error>(text.and_then(|text| text.parse::<IpAddr>().ok()))
    };
    Ok(File {
        load: row.try_get(0)?,
        lines: Vec::new(),
        has_patterns: row.try_get::<_, i32>(1)? >= 160_000,
        addresses: address(2)?.into_iter().collect(),
        ours: address(3)?,
        encrypted: row.try_get(4)?,
        speaks_tls: row.try_get(5)?,
    })
}

/// `None`: there are errors in the file.
fn lines(rows: &[Row]) -> Result<Option<Vec<Line>>, tokio_postgres::Error> {
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(kind) = row.try_get::<_, Option<&str>>(1)? else { return Ok(None) };
        if row.try_get(8)? {
            continue;
        }
        let names = |column| row.try_get::<_, Option<Vec<String>>>(column).map(Option::unwrap_or_default);
        let from = From::parse(row.try_get(4)?, row.try_get(5)?);
        let method = Method::parse(row.try_get::<_, Option<&str>>(6)?.unwrap_or_default(), &names(7)?);
        lines.push(Line::new(row.try_get(0)?, kind, (names(2)?, names(3)?), from, method));
    }
    Ok(Some(lines))
}

fn unreachable(error: &QueryError) -> LookupError {
    LookupError::Unreachable(error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_this_machine_comes_from_where_we_come_from() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let seen = |ours: Option<&str>, client: &str| {
            let file = File {
                load: String::new(),
                lines: Vec::new(),
                has_patterns: true,
                addresses: Vec::new(),
                ours: ours.map(address),
                encrypted: false,
                speaks_tls: false,
            };
            file.seen(address(client)).to_string()
        };
        assert_eq!(seen(Some("10.0.0.9"), "127.0.0.1"), "10.0.0.9");
        assert_eq!(seen(Some("10.0.0.9"), "::1"), "10.0.0.9");
        assert_eq!(seen(Some("10.0.0.9"), "::ffff:127.0.0.1"), "10.0.0.9");
        assert_eq!(seen(Some("10.0.0.9"), "::ffff:10.0.0.1"), "10.0.0.1");
        // The server is on this machine.
        assert_eq!(seen(Some("127.0.0.1"), "127.0.0.2"), "127.0.0.2");
        assert_eq!(seen(None, "127.0.0.2"), "127.0.0.2");
    }
}
