//! The limits of one pool, and what follows from them.

use crate::clock::Tick;
use crate::config::settings;
use std::time::Duration;

/// How long reads wait until writes must leave them their share.
const READS_PATIENCE: Duration = Duration::from_secs(1);

/// The limits of one pool. A duration of zero means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Backends that are open or being opened, pinned ones not counted.
    pub size: u32,
    /// Idle backends that are kept open.
    pub min_idle: u32,
    /// Percent of the size that writes leave to reads which have waited for a second. Only a primary's pool sees writes.
    pub reads_reserved: u8,
    /// An idle backend is closed after so long.
    pub idle_timeout: Duration,
    /// A backend is closed when it is so old, less up to a tenth.
    pub max_age: Duration,
    /// Connections of this user to the node, over all databases (`rolconnlimit`).
    pub user_limit: Option<u32>,
    /// Connections to this database of the node, over all users (`datconnlimit`).
    pub database_limit: Option<u32>,
}

impl Limits {
    /// What the configuration says; the servers' own limits of users and databases are not known to it.
    #[must_use]
    pub fn new(settings: &settings::Pool) -> Self {
        Self {
            size: settings.size,
            min_idle: settings.min_idle,
            reads_reserved: settings.reads_reserved,
            idle_timeout: settings.idle_timeout,
            max_age: settings.max_age,
            user_limit: None,
            database_limit: None,
        }
    }

    /// How many backends writes may hold while reads have been waiting for too long; never none.
    pub(super) fn writes_max(&self) -> u32 {
        let reserved = u64::from(self.size) * u64::from(self.reads_reserved.min(100)) / 100;
        self.size.saturating_sub(u32::try_from(reserved).unwrap_or(u32::MAX)).max(1)
    }

    /// Whether reads that wait since `since` have waited for too long.
    pub(super) fn reads_starve(since: Tick, now: Tick) -> bool {
        now.since(since) >= READS_PATIENCE
    }

    /// Whether a backend born at `born` is too old. `jitter` in 256ths of a tenth of the maximum keeps backends that were opened
    /// together from being closed together.
    pub(super) fn is_old(&self, born: Tick, jitter: u8, now: Tick) -> bool {
        !self.max_age.is_zero() && now.since(born) >= self.max_age - self.max_age / 2560 * u32::from(jitter)
    }

    /// Whether a backend that idles since `since` has done so for too long.
    pub(super) fn is_stale(&self, since: Tick, now: Tick) -> bool {
        !self.idle_timeout.is_zero() && now.since(since) >= self.idle_timeout
    }
}
