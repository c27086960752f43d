//! What a PostgreSQL server says about itself: role, positions, who feeds whom. One query per probe; what cannot change while a connection lives
//! is asked when it is opened, what changes rarely twice a second.

use super::connections::{describe, open};
use super::lsn::WalLayout;
use crate::clock::{self, Tick};
use crate::config::settings::{Monitor, Node};
use crate::engine::{Observation, Part, Position, Probe, ProbeError};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, NoTls, Row, Statement};

/// Every connection ends with the server's start, so this is asked once. `own_setting`: a setting of the monitor's own role or database hides
/// the server's default from it.
const ONCE: &str = "SELECT (SELECT system_identifier FROM pg_control_system()),
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8,
    current_setting('server_version'),
    current_setting('server_version_num')::int4,
    current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4
        - coalesce(current_setting('reserved_connections', true)::int4, 0),
    (SELECT bytes_per_wal_segment FROM pg_control_init()),
    current_setting('wal_block_size')::int4,
    (SELECT source NOT IN ('default', 'configuration file', 'command line', 'environment variable')
        FROM pg_settings WHERE name = 'synchronous_commit')";

/// Asked at each probe. Whether commits may be acknowledged before they are flushed must be asked together with the position: whoever was
/// given such a setting before the probe is seen by it.
const ALWAYS: &str = "SELECT follows,
    CASE WHEN NOT follows THEN pg_current_wal_insert_lsn() END,
    CASE WHEN NOT follows THEN pg_current_wal_flush_lsn() END,
    CASE WHEN NOT follows THEN pg_walfile_name(pg_current_wal_insert_lsn()) END,
    CASE WHEN NOT follows THEN current_setting('synchronous_commit') = 'off' OR EXISTS
        (SELECT FROM pg_db_role_setting, unnest(setconfig) AS setting
            WHERE setting ~* '^synchronous_commit=(off|false|no|0)$') END,
    CASE WHEN follows THEN pg_last_wal_receive_lsn() END,
    CASE WHEN follows THEN pg_last_wal_replay_lsn() END,
    CASE WHEN follows THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END
    FROM (SELECT pg_is_in_recovery() AS follows OFFSET 0) AS role";

/// Asked now and then. Without pg_monitor only the process ids of walsenders and the walreceiver are seen: those count as streaming. The
/// receiver's timeline is the one that replay has chosen; the control file's follows later.
const SOMETIMES: &str = "SELECT
    (SELECT count(*)::int4 FROM pg_stat_replication WHERE coalesce(state, 'streaming') = 'streaming'),
    receiver.pid IS NOT NULL AND coalesce(receiver.status, 'streaming') = 'streaming',
    receiver.sender_host || ':' || receiver.sender_port,
    greatest(receiver.received_tli, (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
        (SELECT timeline_id FROM pg_control_checkpoint())),
    current_setting('synchronous_standby_names') <> '' AND
        (SELECT count(*) FROM pg_stat_replication
            WHERE coalesce(state, 'streaming') = 'streaming' AND coalesce(sync_state, 'sync') IN ('sync', 'quorum'))
        < coalesce((regexp_match(current_setting('synchronous_standby_names'), '([0-9]+) *[(]'))[1]::int, 1)
    FROM (SELECT) AS one LEFT JOIN pg_stat_wal_receiver AS receiver ON true";
const SOMETIMES_EVERY: Duration = Duration::from_millis(500);

/// Flushes the log without waiting for replicas (17 and newer).
const NUDGE: &str = "SELECT pg_logical_emit_message(false, 'primacy', '', true)";
/// The same for older servers: a transaction that commits locally flushes too.
const NUDGE_BY_COMMIT: &str = "BEGIN READ WRITE; SET LOCAL synchronous_commit = local;
    SELECT pg_logical_emit_message(true, 'primacy', ''); COMMIT";
const FLUSHING_MESSAGES_SINCE: i32 = 170_000;

/// Asks PostgreSQL servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostgresProbe;

/// The monitor's connection to one server.
#[derive(Debug)]
pub struct Link {
    client: Client,
    _driver: Driver,
    always: Statement,
    sometimes: Statement,
    server: Server,
    rare: Rare,
    asked_rare: Tick,
}

/// The task that moves the connection's bytes. Dropping this closes the socket at once, also when the server has stopped reading.
#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What cannot change while a connection lives.
#[derive(Debug)]
struct Server {
    identity: u64,
    start: u64,
    version: Arc<str>,
    number: i32,
    slots: u32,
    layout: WalLayout,
    own_setting: bool,
}

/// What changes rarely.
#[derive(Debug, Default)]
struct Rare {
    followers: u32,
    streaming: bool,
    upstream: Option<Arc<str>>,
    timeline: u32,
    /// Fewer followers that commits wait for than they need.
    quorum_lost: bool,
}

impl Probe for PostgresProbe {
    type Link = Link;

    async fn connect(&self, node: &Node, monitor: &Monitor) -> Result<Link, ProbeError> {
        let stream = open(node).await.map_err(|error| by_kind(&error))?;
        let mut config = tokio_postgres::Config::new();
        config
            .user(&*monitor.user)
            .password(monitor.password.expose())
            .dbname(&*monitor.database)
            .application_name("primacy monitor")
            .options("-c search_path=pg_catalog -c client_encoding=UTF8")
            // The stream is encrypted already, where it has to be.
            .ssl_mode(SslMode::Disable);
        let (client, connection) =
            config.connect_raw(stream, NoTls).await.map_err(|error| explain(&error))?;
        let name = node.name.clone();
        let driver = crate::task::spawn("monitor connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(node = %name, error = %describe(&error), "the monitor's connection ended");
            }
        });
        Link::prepare(client, Driver(driver.abort_handle())).await.map_err(|error| explain(&error))
    }

    async fn observe(&self, link: &mut Link) -> Result<Observation, ProbeError> {
        link.observe().await.map_err(|error| explain(&error))
    }

    async fn nudge(&self, link: &mut Link) -> Result<(), ProbeError> {
        let text = if link.server.number >= FLUSHING_MESSAGES_SINCE { NUDGE } else { NUDGE_BY_COMMIT };
        link.client.batch_execute(text).await.map_err(|error| explain(&error))
    }
}

impl Link {
    async fn prepare(client: Client, driver: Driver) -> Result<Self, tokio_postgres::Error> {
        let (once, always, sometimes) =
            tokio::try_join!(client.query_one(ONCE, &[]), client.prepare(ALWAYS), client.prepare(SOMETIMES))?;
        let server = Server::read(&once)?;
        let (rare, asked_rare) = (Rare::default(), Tick::ZERO);
        Ok(Self { client, _driver: driver, always, sometimes, server, rare, asked_rare })
    }

    async fn observe(&mut self) -> Result<Observation, tokio_postgres::Error> {
        let now = clock::now();
        let row = if self.asked_rare == Tick::ZERO || now.since(self.asked_rare) >= SOMETIMES_EVERY {
            // In this order on the wire: what has been replayed belongs to the timeline that is read after it.
            let (row, rare) = tokio::try_join!(
                self.client.query_one(&self.always, &[]),
                self.client.query_one(&self.sometimes, &[])
            )?;
            self.rare = Rare::read(&rare, self.rare.timeline)?;
            self.asked_rare = now;
            row
        } else {
            self.client.query_one(&self.always, &[]).await?
        };
        self.understand(&row)
    }

    fn understand(&self, row: &Row) -> Result<Observation, tokio_postgres::Error> {
        let follows: bool = row.try_get(0)?;
        let (part, timeline) = if follows { self.replica(row)? } else { self.primary(row)? };
        let Server { identity, start, version, slots, .. } = &self.server;
        let (identity, start, version, slots) = (*identity, *start, version.clone(), *slots);
        Ok(Observation { identity, system: identity, start, version, timeline, part, slots })
    }

    fn primary(&self, row: &Row) -> Result<(Part, u32), tokio_postgres::Error> {
        let insert: Option<PgLsn> = row.try_get(1)?;
        let flush: Option<PgLsn> = row.try_get(2)?;
        let timeline = timeline_of(row.try_get(3)?);
        let early: Option<bool> = row.try_get(4)?;
        let end = |lsn: PgLsn| PgLsn::from(self.server.layout.last_record_end(lsn.into()));
        let part = Part::Writable {
            written: position(timeline, insert.map(end)),
            durable: position(timeline, flush.map(end)),
            early_acknowledgement: self.server.own_setting || early.unwrap_or(true),
            quorum_lost: self.rare.quorum_lost,
            followers: Some(self.rare.followers),
        };
        Ok((part, timeline))
    }

    fn replica(&self, row: &Row) -> Result<(Part, u32), tokio_postgres::Error> {
        let timeline = self.rare.timeline;
        let age: Option<f64> = row.try_get(7)?;
        let part = Part::Follows {
            received: position(timeline, row.try_get(5)?),
            replayed: position(timeline, row.try_get(6)?),
            streaming: self.rare.streaming,
            upstream: self.rare.upstream.clone(),
            replay_age: age.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
        };
        Ok((part, timeline))
    }
}

impl Server {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let version: &str = row.try_get(2)?;
        let segment: i32 = row.try_get(5)?;
        let page: i32 = row.try_get(6)?;
        Ok(Self {
            // An unsigned number that the server shows as a signed one.
            identity: row.try_get::<_, i64>(0)?.cast_unsigned(),
            start: row.try_get::<_, i64>(1)?.cast_unsigned(),
            version: version.split(' ').next().unwrap_or(version).into(),
            number: row.try_get(3)?,
            slots: u32::try_from(row.try_get::<_, i32>(4)?).unwrap_or(0),
            layout: WalLayout {
                page: u64::try_from(page).unwrap_or(0),
                segment: u64::try_from(segment).unwrap_or(0),
            },
            own_setting: row.try_get::<_, Option<bool>>(7)?.unwrap_or(true),
        })
    }
}

impl Rare {
    /// A timeline that was seen is not forgotten when the receiver ends: within one start of a server it never goes back.
    fn read(row: &Row, known: u32) -> Result<Self, tokio_postgres::Error> {
        let timeline: Option<i32> = row.try_get(3)?;
        Ok(Self {
            followers: u32::try_from(row.try_get::<_, i32>(0)?).unwrap_or(0),
            streaming: row.try_get(1)?,
            upstream: row.try_get::<_, Option<&str>>(2)?.map(Arc::from),
            timeline: known.max(timeline.and_then(|timeline| u32::try_from(timeline).ok()).unwrap_or(0)),
            quorum_lost: row.try_get::<_, Option<bool>>(4)?.unwrap_or(false),
        })
    }
}

fn position(timeline: u32, lsn: Option<PgLsn>) -> Position {
    match lsn.map(u64::from) {
        Some(lsn) if lsn > 0 && timeline > 0 => Position::Lsn { timeline, lsn },
        _ => Position::Unordered,
    }
}

/// A log file's name begins with its timeline, in eight hexadecimal digits. The control file tells a promoted server's only after its first
/// checkpoint.
fn timeline_of(file: Option<&str>) -> u32 {
    file.and_then(|name| name.get(..8)).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

fn by_kind(error: &io::Error) -> ProbeError {
    let words = error.to_string().into();
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ProbeError::Refused(words),
        io::ErrorKind::Other | io::ErrorKind::InvalidData => ProbeError::Answer(words),
        _ => ProbeError::Lost(words),
    }
}

fn explain(error: &tokio_postgres::Error) -> ProbeError {
    let words = describe(error).into();
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match (error.code(), cause) {
        (Some(code), _) if *code == SqlState::CANNOT_CONNECT_NOW => ProbeError::Refused(words),
        (Some(code), _) if code.code().starts_with("57P0") => ProbeError::Lost(words),
        (Some(code), _) if code.code().starts_with("28") => ProbeError::Login(words),
        (Some(_), _) => ProbeError::Answer(words),
        (None, Some(cause)) => by_kind(cause),
        (None, None) if error.is_closed() => ProbeError::Lost(words),
        (None, None) => ProbeError::Answer(words),
    }
}
