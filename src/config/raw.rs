//! The file as it is written: every key of the interface that this version has, each optional, nothing checked yet.
//! `config/schema.json` is made from these types.

use super::place::{In, Leaf, LeafSchema, Named, OneOrMany};
use super::scalar::*;
use super::settings::*;
use super::units::Bytes;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::time::Duration;

macro_rules! section {
    ($(#[doc = $doc:literal])* $name:literal $type:ident { $($(#[doc = $field_doc:literal])* $field:ident: $field_type:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Default, serde::Deserialize, JsonSchema)]
        #[serde(rename = $name, default, deny_unknown_fields)]
        pub(crate) struct $type {
            $($(#[doc = $field_doc])* pub(crate) $field: Option<$field_type>,)*
        }
    };
}

section! {
    /// A Primacy configuration file.
    "file" RawFile {
        /// The clusters, each under a name of your choice.
        clusters: In<Named<RawCluster>>,
        /// The operator's door: HTTP and console.
        admin: In<RawAdmin>,
        /// Threads.
        runtime: In<RawRuntime>,
        /// What is logged, and how.
        log: In<RawLog>,
    }
}

section! {
    /// One primary with its replicas, and the door in front of them.
    "cluster" RawCluster {
        /// The servers' engine.
        engine: Leaf<OneOf<EngineKind>>,
        /// Where clients connect: `host:port` or `unix:/path`, one or several.
        listen: OneOrMany<Leaf<ListenText>>,
        /// TLS towards clients.
        tls: In<RawTls>,
        /// Who may connect at all.
        firewall: In<RawFirewall>,
        /// The monitor's account and rhythm.
        monitor: In<RawMonitor>,
        /// The servers, each under a name of your choice.
        nodes: In<Named<RawNode>>,
        /// Database names that clients use, with aliases and overrides.
        databases: In<Named<RawDatabase>>,
        /// Whose passwords are checked against what.
        users: In<RawUsers>,
        /// Pool limits.
        pool: In<RawPool>,
        /// Limits in time.
        timeouts: In<RawTimeouts>,
        /// Which node serves what.
        routing: In<RawRouting>,
        /// Who is primary.
        failover: In<RawFailover>,
    }
}

section! {
    /// A listener with a fixed route.
    "listener" RawListener {
        /// `host:port` or `unix:/path`.
        address: Leaf<Text>,
        /// Where its sessions' statements go.
        route: Leaf<OneOf<RouteSetting>>,
    }
}

section! {
    /// TLS towards clients.
    "tls" RawTls {
        /// Whether TLS is offered, or demanded.
        mode: Leaf<OneOf<ClientTlsMode>>,
        /// PEM file with the certificate chain.
        certificate: Leaf<FilePath>,
        /// PEM file with the private key.
        key: Leaf<FilePath>,
    }
}

section! {
    /// Checked before the first byte of a client is parsed.
    "firewall" RawFirewall {
        /// Networks that may connect; empty: all.
        allow: Vec<Leaf<IpNet>>,
        /// Networks that may not; wins over `allow`.
        deny: Vec<Leaf<IpNet>>,
        /// New connections a second from one address; 0: no limit.
        connections_per_second: Leaf<Number<0, 1_000_000>>,
        /// What happens to addresses that fail to log in.
        failed_logins: In<RawFailedLogins>,
    }
}

section! {
    /// What happens to addresses that fail to log in.
    "failed_logins" RawFailedLogins {
        /// Failed logins within `block` before an address is refused; 0: no limit.
        limit: Leaf<Number<0, 1_000_000>>,
        /// How long it is refused.
        block: Leaf<Duration>,
    }
}

section! {
    /// The monitor's account and rhythm.
    "monitor" RawMonitor {
        /// Login name.
        user: Leaf<Text>,
        /// Its password.
        password: Leaf<SecretText>,
        /// The database that it connects to.
        database: Leaf<Text>,
        /// Between two rounds when nobody waits.
        interval: Leaf<Duration>,
        /// Between two rounds when a read waits for a replica.
        min_interval: Leaf<Duration>,
        /// A node that has not answered by then has failed the round.
        timeout: Leaf<Duration>,
        /// Whether a WAL message may be written when readers wait for a position that is not flushed.
        nudge: Leaf<bool>,
    }
}

section! {
    /// One server.
    "node" RawNode {
        /// `host:port`, `host`, `[ipv6]:port`.
        address: Leaf<Text>,
        /// What may become of it.
        role: Leaf<OneOf<NodeRole>>,
        /// Its share of the reads, relative to the others; 0: none.
        weight: Leaf<Number<0, 1000>>,
        /// For zone-aware routing.
        zone: Leaf<Text>,
        /// Preference at promotion.
        priority: Leaf<Number<0, 1000>>,
        /// Whether it may be promoted.
        promote: Leaf<bool>,
        /// Connections that Primacy may hold on it.
        max_connections: Leaf<AutoOr<1, 100_000>>,
        /// TLS towards it.
        tls: In<RawServerTls>,
    }
}

section! {
    /// TLS towards a server; the words mean what libpq's `sslmode` means by them.
    "node.tls" RawServerTls {
        /// How much is asked of the server.
        mode: Leaf<OneOf<ServerTlsMode>>,
        /// PEM file with the authorities to trust; the system's own if absent.
        ca: Leaf<FilePath>,
    }
}

section! {
    /// A database name that clients use.
    "database" RawDatabase {
        /// What it is called on the servers.
        name: Leaf<Text>,
        /// Pool limits for it.
        pool: In<RawPool>,
        /// Routing for it.
        routing: In<RawRouting>,
    }
}

section! {
    /// Whose passwords are checked against what.
    "users" RawUsers {
        /// How users that are not listed are checked.
        passthrough: Leaf<OneOf<Passthrough>>,
        /// Whether the servers' pg_hba.conf is held against the clients' own addresses.
        pg_hba: Leaf<OneOf<PgHba>>,
        /// Listed users.
        list: Vec<In<RawUser>>,
    }
}

section! {
    /// A listed user.
    "user" RawUser {
        /// Login name.
        name: Leaf<Text>,
        /// The password.
        password: Leaf<SecretText>,
        /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
        scram_verifier: Leaf<SecretText>,
        /// Pool limits for it.
        pool: In<RawPool>,
        /// Routing for it.
        routing: In<RawRouting>,
        /// The databases that it may use; empty: all.
        databases: Vec<Leaf<Text>>,
    }
}

section! {
    /// Pool limits.
    "pool" RawPool {
        /// When a server connection goes back to the pool.
        mode: Leaf<OneOf<PoolMode>>,
        /// Server connections per node, user and database.
        size: Leaf<Number<1, 10_000>>,
        /// Kept open; needs a listed password.
        min_idle: Leaf<Number<0, 10_000>>,
        /// Share of a primary's pool that reads keep when they have waited for a second.
        reads_reserved: Leaf<Percent>,
        /// Pinned server connections per node.
        pinned: Leaf<Number<0, 100_000>>,
        /// A session idle for so long whose pins are only possible is closed when `pinned` is reached.
        pin_idle: Leaf<Duration>,
        /// A client that has waited for so long gets an error.
        queue_timeout: Leaf<Duration>,
        /// An idle server connection is closed after so long.
        idle_timeout: Leaf<Duration>,
        /// A server connection is closed when it is so old, less a random tenth.
        max_age: Leaf<Duration>,
        /// Clients of the cluster.
        max_clients: Leaf<Number<1, 1_000_000>>,
        /// Prepared statements kept on one server connection.
        prepared_statements: Leaf<Number<0, 100_000>>,
    }
}

section! {
    /// Limits in time; 0: none.
    "timeouts" RawTimeouts {
        /// For a client to log in.
        login: Leaf<Duration>,
        /// For a connection to a server, login included.
        connect: Leaf<Duration>,
        /// For one statement.
        query: Leaf<Duration>,
        /// For a client that holds a transaction and says nothing.
        idle_in_transaction: Leaf<Duration>,
        /// For a client that says nothing.
        client_idle: Leaf<Duration>,
        /// For running transactions at shutdown.
        shutdown: Leaf<Duration>,
    }
}

section! {
    /// Which node serves what.
    "routing" RawRouting {
        /// How a replica is drawn.
        balance: Leaf<OneOf<Balance>>,
        /// What a read must see.
        consistency: Leaf<OneOf<Consistency>>,
        /// How long a read may wait for a replica to be fresh enough before the primary serves it.
        consistency_wait: Leaf<ConsistencyWait>,
        /// A replica that is further behind serves nothing.
        max_lag: Leaf<Duration>,
        /// The same in bytes; 0: no limit.
        max_lag_bytes: Leaf<Bytes>,
        /// Whether the primary serves reads.
        reads_on_primary: Leaf<OneOf<ReadsOnPrimary>>,
        /// What functions do, over what the catalog says; each under its name, `f` or `schema.f`.
        functions: In<Named<RawFunction>>,
        /// What becomes of a read that waited for a primary in vain.
        reads_without_primary: Leaf<OneOf<ReadsWithoutPrimary>>,
        /// Whether reads within transactions leave the primary.
        reads_in_transactions: Leaf<OneOf<ReadsInTransactions>>,
        /// What is tried again.
        retry: In<RawRetry>,
    }
}

section! {
    /// What a function does.
    "function" RawFunction {
        /// Whether it writes.
        class: Leaf<OneOf<FunctionClass>>,
        /// Whether it may leave something in the session.
        state: Leaf<OneOf<FunctionState>>,
    }
}

section! {
    /// What is tried again.
    "retry" RawRetry {
        /// How long what went wrong keeps its like away: a statement under which two servers went down is refused.
        breaker: Leaf<Duration>,
    }
}

section! {
    /// Who is primary.
    "failover" RawFailover {
        /// Whether roles are followed.
        mode: Leaf<OneOf<FailoverMode>>,
        /// How long a statement waits for a primary.
        hold: Leaf<Duration>,
        /// How many bytes may wait.
        hold_bytes: Leaf<Bytes>,
        /// How promotions are recognised.
        observe: In<RawObserve>,
    }
}

section! {
    /// How promotions are recognised.
    "observe" RawObserve {
        /// Writes need one configured replica that streamed from that primary within this time.
        witness: Leaf<Duration>,
    }
}

section! {
    /// The operator's door.
    "admin" RawAdmin {
        /// HTTP `address:port`, or `off`.
        listen: Leaf<Text>,
        /// What every POST must carry; made at start into a file if absent.
        token: Leaf<SecretText>,
        /// The console's database name.
        database: Leaf<Text>,
        /// Users that may run commands on the console.
        users: Vec<Leaf<Text>>,
        /// Users that may look.
        stats_users: Vec<Leaf<Text>>,
    }
}

section! {
    /// Threads.
    "runtime" RawRuntime {
        /// Threads that serve clients; 0: one per core.
        workers: Leaf<Number<0, 1024>>,
    }
}

section! {
    /// What is logged, and how.
    "log" RawLog {
        /// The least severe level that is logged.
        level: Leaf<OneOf<LogLevel>>,
        /// For people or for machines.
        format: Leaf<OneOf<LogFormat>>,
        /// A statement that took longer is logged; 0: none.
        slow_query: Leaf<Duration>,
    }
}

section! {
    /// Where a secret comes from.
    "secret" RawSecret {
        /// The name of an environment variable.
        env: Leaf<Text>,
        /// A file; one trailing line end is dropped.
        file: Leaf<FilePath>,
    }
}

/// A secret: literal, `{ env: NAME }` or `{ file: PATH }`.
#[derive(Debug)]
pub(crate) struct SecretText;
/// A listener: text, or a `RawListener`.
#[derive(Debug)]
pub(crate) struct ListenText;

impl LeafSchema for SecretText {
    fn leaf_schema(generator: &mut SchemaGenerator) -> Schema {
        let reference = generator.subschema_for::<RawSecret>();
        json_schema!({ "anyOf": [{ "type": ["string", "number"] }, reference] })
    }
}

impl LeafSchema for ListenText {
    fn leaf_schema(generator: &mut SchemaGenerator) -> Schema {
        let listener = generator.subschema_for::<RawListener>();
        json_schema!({ "anyOf": [{ "type": "string" }, listener] })
    }
}
