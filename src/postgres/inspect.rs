//! What a PostgreSQL server says to somebody who wants to know whether a proxy can stand before it: asked once, by `primacy check --connect`.

use super::connections::{Account, Connections, Query, QueryError};
use super::hba::reader::READABLE;
use super::lookup::METHOD;
use crate::clock;
use crate::config::settings::{Monitor, Node};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_postgres::Row;

const SERVER: &str = "select current_setting('server_version'), current_setting('server_version_num')::int4,
    pg_is_in_recovery(), (select system_identifier from pg_control_system()),
    current_setting('max_connections')::int4,
    current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4
        - coalesce(current_setting('reserved_connections', true)::int4, 0),
    current_setting('hot_standby_feedback')::bool, current_setting('max_standby_streaming_delay'),
    current_setting('password_encryption'), current_setting('synchronous_commit'),
    extract(epoch from clock_timestamp())::float8,
    (select rolsuper from pg_roles where rolname = current_user),
    pg_has_role(current_user, 'pg_monitor', 'usage'),
    (select count(*)::int4 from pg_stat_wal_receiver)";

const HBA: &str = "select count(*) filter (where type is null)::int4,
    count(*) filter (where netmask is null and address <> 'all')::int4 from pg_catalog.pg_hba_file_rules";

const ACCOUNTS_DIRECTLY: &str = "select rolname::text, rolsuper, rolpassword, rolvaliduntil < now()
    from pg_authid where rolcanlogin order by 1";

/// What the function hides counts as not looked up.
const ACCOUNTS_BY_FUNCTION: &str = "select r.rolname::text, r.rolsuper, l.rolpassword, l.rolvaliduntil < now()
    from pg_roles r join lateral primacy.user_lookup(r.rolname::text) l on true where r.rolcanlogin order by 1";

/// What one server says.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// `15.18`.
    pub version: String,
    /// `150018`.
    pub number: i32,
    /// Whether it is a replica.
    pub follows: bool,
    /// Which system it is.
    pub identity: u64,
    /// `max_connections`.
    pub connections: u32,
    /// Those of them that ordinary users may have.
    pub slots: u32,
    /// `hot_standby_feedback`.
    pub feedback: bool,
    /// `max_standby_streaming_delay`, with its unit; `-1`: replay waits for queries without end.
    pub replay_delay: String,
    /// `password_encryption`.
    pub password_encryption: String,
    /// `synchronous_commit`.
    pub synchronous_commit: String,
    /// Its clock less ours, in seconds, and by how much that may be wrong.
    pub clock: (f64, f64),
    /// Whether the monitor's account is a superuser.
    pub superuser: bool,
    /// Whether it has the rights of `pg_monitor`.
    pub monitor: bool,
    /// Whether it receives WAL from a server.
    pub receives: bool,
    /// How the monitor's account may read verifiers.
    pub verifiers: Verifiers,
    /// Its pg_hba.conf; `None`: the monitor's account may not read it.
    pub hba: Option<Hba>,
}

/// What is to be known of a pg_hba.conf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hba {
    /// Lines that cannot be read.
    pub broken: u32,
    /// Lines for host names or the server's own networks, which cannot be judged from outside.
    pub doubtful: u32,
}

/// How verifiers may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verifiers {
    /// By `primacy.user_lookup`.
    Function,
    /// Directly.
    Directly,
    /// Not at all.
    Hidden,
}

/// An account that may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub name: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// What its password is stored as; `None` = it has none.
    pub password: Option<Stored>,
    /// Whether `VALID UNTIL` has passed.
    pub expired: bool,
}

/// What a password is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// A SCRAM verifier.
    Scram,
    /// A hash that is as good as the password.
    Md5,
}

/// Connections of the monitor's account to one node alone, for questions of whoever starts Primacy.
#[derive(Clone)]
pub struct Inspector(Connections);

impl Inspector {
    /// Opens nothing yet. Needs a tokio runtime.
    #[must_use]
    pub fn new(node: &Arc<Node>, monitor: &Monitor, patience: Duration) -> Self {
        let account = Account {
            user: Arc::clone(&monitor.user),
            password: monitor.password.clone(),
            database: Arc::clone(&monitor.database),
        };
        let node = Arc::clone(node);
        Self(Connections::new(Arc::new(move || vec![Arc::clone(&node)]), account, 1, patience))
    }

    /// What the server says of itself and of the monitor's account.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    pub async fn facts(&self) -> Result<Facts, QueryError> {
        let ask = |sql| Query { sql, parameters: &[] };
        // The first question opens the connection: what it takes is not the clocks' difference.
        let methods = self.0.ask(&[ask(METHOD)]).await?;
        let readable = self.0.ask(&[ask(READABLE)]).await?;
        let readable = readable.iter().flatten().next().is_some_and(|row| row.try_get(0).unwrap_or(false));
        let lines = if readable { self.0.ask(&[ask(HBA)]).await? } else { Vec::new() };
        let before = epoch(clock::wall());
        let servers = self.0.ask(&[ask(SERVER)]).await?;
        let after = epoch(clock::wall());
        let row = |rows: Vec<Vec<Row>>| rows.into_iter().flatten().next();
        let nothing = || QueryError::Unreachable("the answer has no row".to_owned());
        let method = row(methods).ok_or_else(nothing)?;
        let server = row(servers).ok_or_else(nothing)?;
        let hba = row(lines).map(|row| hba(&row)).transpose()?;
        Ok(Facts { hba, ..facts(&server, verifiers(&method)?, (before, after))? })
    }

    /// The accounts that may log in, as far as verifiers may be read.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    pub async fn logins(&self, verifiers: Verifiers) -> Result<Vec<Login>, QueryError> {
        let sql = match verifiers {
            Verifiers::Function => ACCOUNTS_BY_FUNCTION,
            Verifiers::Directly => ACCOUNTS_DIRECTLY,
            Verifiers::Hidden => return Ok(Vec::new()),
        };
        let rows = self.0.ask(&[Query { sql, parameters: &[] }]).await?;
        Ok(rows.iter().flatten().map(login).collect::<Result<_, _>>()?)
    }
}

fn epoch(wall: SystemTime) -> f64 {
    wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn verifiers(row: &Row) -> Result<Verifiers, tokio_postgres::Error> {
    Ok(match (row.try_get(0)?, row.try_get(1)?) {
        (true, _) => Verifiers::Function,
        (false, true) => Verifiers::Directly,
        (false, false) => Verifiers::Hidden,
    })
}

fn facts(
    row: &Row,
    verifiers: Verifiers,
    (before, after): (f64, f64),
) -> Result<Facts, tokio_postgres::Error> {
    let version: &str = row.try_get(0)?;
    let count =
        |column| Ok::<_, tokio_postgres::Error>(u32::try_from(row.try_get::<_, i32>(column)?).unwrap_or(0));
    let server: f64 = row.try_get(10)?;
    Ok(Facts {
        version: version.split(' ').next().unwrap_or(version).to_owned(),
        number: row.try_get(1)?,
        follows: row.try_get(2)?,
        identity: row.try_get::<_, i64>(3)?.cast_unsigned(),
        connections: count(4)?,
        slots: count(5)?,
        feedback: row.try_get(6)?,
        replay_delay: row.try_get(7)?,
        password_encryption: row.try_get(8)?,
        synchronous_commit: row.try_get(9)?,
        clock: (server - f64::midpoint(before, after), (after - before) / 2.0),
        superuser: row.try_get::<_, Option<bool>>(11)?.unwrap_or(false),
        monitor: row.try_get(12)?,
        receives: count(13)? > 0,
        verifiers,
        hba: None,
    })
}

fn hba(row: &Row) -> Result<Hba, tokio_postgres::Error> {
    let count =
        |column| Ok::<_, tokio_postgres::Error>(u32::try_from(row.try_get::<_, i32>(column)?).unwrap_or(0));
    Ok(Hba { broken: count(0)?, doubtful: count(1)? })
}

fn login(row: &Row) -> Result<Login, tokio_postgres::Error> {
    let stored = |text: &str| if text.starts_with("SCRAM-SHA-256$") { Stored::Scram } else { Stored::Md5 };
    Ok(Login {
        name: row.try_get(0)?,
        superuser: row.try_get(1)?,
        password: row.try_get::<_, Option<&str>>(2)?.map(stored),
        expired: row.try_get::<_, Option<bool>>(3)?.unwrap_or(false),
    })
}
