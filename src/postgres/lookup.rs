//! What the servers say of users and databases at a login: verifiers, limits, rights. Asked anew at each login, so that a
//! changed password or right holds at once; who asks while the same question is being asked shares the next answer.

use super::connections::{Connections, Query, QueryError};
use crate::config::units::Secret;
use crate::engine::identity::{LookupError, UserRecord, UserSource};
use crate::error::ClientError;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

/// How this account may read verifiers. A function that is not a superuser's own could be anybody's trap: it would run with the
/// monitor's rights.
pub(super) const METHOD: &str = "
    select exists (select from pg_catalog.pg_proc p
                   join pg_catalog.pg_namespace s on s.oid = p.pronamespace
                   join pg_catalog.pg_roles o on o.oid = p.proowner
                   where s.nspname = 'primacy' and p.proname = 'user_lookup' and p.proargtypes = '25'::oidvector
                     and p.prosecdef and o.rolsuper
                     and has_function_privilege(p.oid, 'execute') and has_schema_privilege(s.oid, 'usage')),
           has_table_privilege('pg_catalog.pg_authid', 'select')";

/// One row always, its `rolcanlogin` NULL when there is no such user. The epoch of `infinity` is infinite.
const BY_FUNCTION: &str = "
    select rolpassword, extract(epoch from rolvaliduntil)::float8, rolcanlogin, rolconnlimit, rolsuper,
           current_setting('password_encryption') = 'md5'
    from (values (1)) one (row) left join primacy.user_lookup($1) found on true";

const DIRECTLY: &str = "
    select rolpassword, extract(epoch from rolvaliduntil)::float8, rolcanlogin, rolconnlimit, rolsuper,
           current_setting('password_encryption') = 'md5'
    from (values (1)) one (row) left join pg_catalog.pg_authid found on rolname = $1";

const ACCESS: &str = "
    select d.oid is not null, coalesce(d.datallowconn and d.datconnlimit <> -2, false),
           coalesce(has_database_privilege(r.oid, d.oid, 'connect'), false), r.rolconnlimit, d.datconnlimit
    from (values ($1, $2)) asked (role, database)
         left join pg_catalog.pg_roles r on r.rolname = asked.role
         left join pg_catalog.pg_database d on d.datname = asked.database";

const NOT_ALLOWED: &str = "create the function primacy.user_lookup(text) in the monitor's database and grant it to the \
    monitor's account as docs/verifier.md shows, or list the users in the configuration";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Function,
    Directly,
}

/// A flight, and how many share it.
type Shared = (usize, Arc<Flight>);
type Answer = Result<Option<Arc<UserRecord>>, LookupError>;

/// Look-ups by the monitor's account in the monitor's database.
pub struct Lookups {
    connections: Connections,
    method: Mutex<Option<Method>>,
    /// By user.
    flights: Mutex<HashMap<Arc<str>, Shared>>,
    /// What the last look-up saw of `password_encryption`.
    stores_md5: AtomicBool,
    /// Orders arrivals and beginnings of queries.
    ticket: AtomicU64,
}

/// The look-ups of one user that are under way: one query at a time, and the last answer with the ticket of its begin.
#[derive(Default)]
struct Flight(tokio::sync::Mutex<Option<(u64, Answer)>>);

/// What a database's server says of a user who wants to enter it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Whether there is such a database.
    pub exists: bool,
    /// Whether anybody may connect to it.
    pub allow_connections: bool,
    /// Whether the user has the right `CONNECT`.
    pub connect_right: bool,
    /// The user's connection limit over all databases; `None` = none. Superusers are exempt.
    pub user_limit: Option<u32>,
    /// The database's connection limit over all users; `None` = none. Superusers are exempt.
    pub database_limit: Option<u32>,
}

impl Access {
    /// The server's own refusal, in its order (after the password, before the limits); `None` when the user may enter.
    #[must_use]
    pub fn refusal(&self, database: &str) -> Option<ClientError> {
        if !self.exists {
            let text = format!("database \"{database}\" does not exist");
            return Some(ClientError::new("3D000", 1049, text).fatal());
        }
        if !self.allow_connections {
            let text = format!("database \"{database}\" is not currently accepting connections");
            return Some(ClientError::new("55000", 1044, text).fatal());
        }
        if !self.connect_right {
            let text = format!("permission denied for database \"{database}\"");
            let refusal = ClientError::new("42501", 1044, text).fatal();
            return Some(refusal.detail("User does not have CONNECT privilege."));
        }
        None
    }
}

/// A caller's share in a flight, given back also when the caller is dropped.
struct Seat<'a> {
    lookups: &'a Lookups,
    name: &'a str,
    flight: Arc<Flight>,
}

impl Drop for Seat<'_> {
    /// The last one out closes: an answer is never kept for those who come later.
    fn drop(&mut self) {
        let mut flights = self.lookups.flights.lock();
        if let Some((riders, _)) = flights.get_mut(self.name) {
            *riders -= 1;
            if *riders == 0 {
                flights.remove(self.name);
            }
        }
    }
}

impl UserSource for Lookups {
    async fn user(&self, name: &str) -> Answer {
        let arrived = self.ticket.fetch_add(1, Ordering::AcqRel);
        let seat = self.board(name);
        let mut last = seat.flight.0.lock().await;
        if let Some((began, answer)) = &*last
            && *began > arrived
        {
            // Begun after this caller came: it has seen whatever was changed before.
            return answer.clone();
        }
        let began = self.ticket.fetch_add(1, Ordering::AcqRel);
        let answer = self.look_up(name).await;
        *last = Some((began, answer.clone()));
        answer
    }

    fn stores_md5(&self) -> bool {
        self.stores_md5.load(Ordering::Relaxed)
    }
}

impl Lookups {
    /// `connections` are the monitor's, to its own database.
    #[must_use]
    pub fn new(connections: Connections) -> Self {
        Self {
            connections,
            method: Mutex::new(None),
            flights: Mutex::new(HashMap::new()),
            stores_md5: AtomicBool::new(false),
            ticket: AtomicU64::new(0),
        }
    }

    /// What `database` (its name on the servers) says of `user`.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn database_access(&self, user: &str, database: &str) -> Result<Access, LookupError> {
        let parameters = [(&user as _, Type::TEXT), (&database as _, Type::TEXT)];
        let rows = self.ask(ACCESS, &parameters).await.map_err(unreachable)?;
        let row = rows.first().ok_or_else(|| LookupError::Unreachable("the answer has no row".into()))?;
        access(row).map_err(|error| unreachable(error.into()))
    }

    fn board<'a>(&'a self, name: &'a str) -> Seat<'a> {
        let mut flights = self.flights.lock();
        let (riders, flight) = flights.entry(Arc::from(name)).or_default();
        *riders += 1;
        let flight = Arc::clone(flight);
        Seat { lookups: self, name, flight }
    }

    async fn look_up(&self, name: &str) -> Answer {
        let known = *self.method.lock();
        if let Some(method) = known {
            match self.look_up_by(method, name).await {
                Err(QueryError::Server(error)) if rights_changed(&error) => *self.method.lock() = None,
                answer => return answer.map_err(refused),
            }
        }
        let method = self.find_method().await?;
        *self.method.lock() = Some(method);
        self.look_up_by(method, name).await.map_err(refused)
    }

    async fn find_method(&self) -> Result<Method, LookupError> {
        let rows = self.ask(METHOD, &[]).await.map_err(unreachable)?;
        let may = |column| rows.first().is_some_and(|row| row.try_get(column).unwrap_or(false));
        if may(0) {
            Ok(Method::Function)
        } else if may(1) {
            Ok(Method::Directly)
        } else {
            Err(LookupError::NotAllowed(NOT_ALLOWED.into()))
        }
    }

    async fn look_up_by(&self, method: Method, name: &str) -> Result<Option<Arc<UserRecord>>, QueryError> {
        let sql = match method {
            Method::Function => BY_FUNCTION,
            Method::Directly => DIRECTLY,
        };
        let rows = self.ask(sql, &[(&name as _, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        self.stores_md5.store(row.try_get(5)?, Ordering::Relaxed);
        let exists = row.try_get::<_, Option<bool>>(2)?.is_some();
        let record = exists.then(|| record(row)).transpose()?;
        Ok(record.map(Arc::new))
    }

    async fn ask(
        &self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, QueryError> {
        let mut answers = self.connections.ask(&[Query { sql, parameters }]).await?;
        Ok(answers.pop().unwrap_or_default())
    }
}

/// Whether the way of asking is no longer there: found out anew then.
fn rights_changed(error: &tokio_postgres::Error) -> bool {
    let gone = [
        SqlState::UNDEFINED_FUNCTION,
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::UNDEFINED_COLUMN,
    ];
    error.code().is_some_and(|code| gone.contains(code))
}

fn unreachable(error: QueryError) -> LookupError {
    LookupError::Unreachable(error.to_string().into())
}

/// The function's owner may not read `pg_authid` either: what to do is the same.
fn refused(error: QueryError) -> LookupError {
    match &error {
        QueryError::Server(server) if server.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            LookupError::NotAllowed(format!("{error}; {NOT_ALLOWED}").into())
        }
        _ => unreachable(error),
    }
}

fn record(row: &Row) -> Result<UserRecord, tokio_postgres::Error> {
    Ok(UserRecord {
        verifier: row.try_get::<_, Option<String>>(0)?.map(Secret::new),
        valid_until: row.try_get::<_, Option<f64>>(1)?.and_then(instant),
        can_login: row.try_get(2)?,
        connection_limit: limit(row.try_get(3)?),
        superuser: row.try_get(4)?,
    })
}

fn access(row: &Row) -> Result<Access, tokio_postgres::Error> {
    Ok(Access {
        exists: row.try_get(0)?,
        allow_connections: row.try_get(1)?,
        connect_right: row.try_get(2)?,
        user_limit: limit(row.try_get::<_, Option<i32>>(3)?.unwrap_or(-1)),
        database_limit: limit(row.try_get::<_, Option<i32>>(4)?.unwrap_or(-1)),
    })
}

/// -1 = no limit.
fn limit(value: i32) -> Option<u32> {
    u32::try_from(value).ok()
}

/// Seconds since 1970 as `VALID UNTIL` has them. `infinity` and what lies beyond the clock's reach is no limit, what lies
/// before 1970 has passed at its beginning.
fn instant(epoch: f64) -> Option<SystemTime> {
    if epoch <= 0.0 {
        return Some(SystemTime::UNIX_EPOCH);
    }
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(epoch).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_until_has_ends_that_no_clock_reaches() {
        assert_eq!(instant(f64::INFINITY), None);
        assert_eq!(instant(f64::NAN), None);
        assert_eq!(instant(1e300), None);
        assert_eq!(instant(f64::NEG_INFINITY), Some(SystemTime::UNIX_EPOCH));
        assert_eq!(instant(-5.0), Some(SystemTime::UNIX_EPOCH));
        assert_eq!(instant(1.5), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500)));
    }

    #[test]
    fn refusals_come_in_the_servers_order() {
        let none = Access {
            exists: false,
            allow_connections: false,
            connect_right: false,
            user_limit: None,
            database_limit: Some(0),
        };
        let state = |access: &Access| access.refusal("shop").map(|refusal| refusal.sqlstate.to_string());
        assert_eq!(state(&none).as_deref(), Some("3D000"));
        assert_eq!(state(&Access { exists: true, ..none }).as_deref(), Some("55000"));
        assert_eq!(
            state(&Access { exists: true, allow_connections: true, ..none }).as_deref(),
            Some("42501")
        );
        assert_eq!(
            state(&Access { exists: true, allow_connections: true, connect_right: true, ..none }),
            None
        );
    }

    #[test]
    fn the_manual_shows_the_function_that_is_looked_for() {
        assert!(include_str!("../../docs/verifier.md").contains(include_str!("user_lookup.sql")));
    }
}
