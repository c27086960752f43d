//! What tests stand on: servers to talk to, databases of their own, a Primacy in front.
#![allow(dead_code, unused_imports, reason = "every test uses another part of it")]

pub mod http;
pub mod instance;
pub mod raw;
pub mod shared;

pub use instance::{Config, Primacy};
pub use raw::Raw;
pub use shared::{Database, Servers};

use primacy::config::settings::EngineKind;
use primacy::engine::embedded::{Embedded as _, EmbeddedError, Options};
use primacy::{mysql, postgres};
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a condition may take to come true before the test fails; far above what any takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An environment variable.
#[expect(clippy::disallowed_methods, reason = "where the machine's servers are is said by the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the environment says of the programs that a cluster is to be started from.
pub fn options(variable: &str, replicas: usize) -> Options {
    Options { programs: environment(variable).map(PathBuf::from), ..Options::replicas(replicas) }
}

/// A PostgreSQL cluster of the test's own, for tests that stop servers or change roles.
pub async fn own_cluster(replicas: usize) -> postgres::embedded::Cluster {
    own_cluster_with(Options::replicas(replicas)).await
}

/// The same, with options.
pub async fn own_cluster_with(options: Options) -> postgres::embedded::Cluster {
    let programs = options.programs.clone().or_else(|| environment("PRIMACY_PG_BIN").map(PathBuf::from));
    started(postgres::embedded::Cluster::start(&Options { programs, ..options }).await)
}

/// A MySQL cluster of the test's own; `None` when this machine has no MySQL.
pub async fn own_mysql(replicas: usize) -> Option<mysql::embedded::Cluster> {
    own_mysql_dialect(EngineKind::Mysql, replicas).await
}

/// The same for MySQL or MariaDB.
pub async fn own_mysql_dialect(dialect: EngineKind, replicas: usize) -> Option<mysql::embedded::Cluster> {
    let variable = if dialect == EngineKind::Mysql { "PRIMACY_MYSQLD" } else { "PRIMACY_MARIADBD" };
    match mysql::embedded::Cluster::start_dialect(dialect, &options(variable, replicas)).await {
        Err(error @ EmbeddedError::NotFound { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        result => Some(started(result)),
    }
}

/// Unwraps with the error's own words.
#[track_caller]
pub fn started<T>(result: Result<T, EmbeddedError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Waits until `condition` yields a value.
#[expect(clippy::disallowed_methods, reason = "a test's patience is not the product's time")]
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let since = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A name that no other test has.
pub fn unique(prefix: &str) -> String {
    let mut random = [0; 6];
    primacy::clock::random(&mut random).unwrap();
    random.iter().fold(format!("{prefix}_"), |name, byte| format!("{name}{byte:02x}"))
}
