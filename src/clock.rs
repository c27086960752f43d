//! The only source of time and of randomness. Everything that decides takes both as arguments.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

/// A point on this process's monotonic clock, in nanoseconds since the process started; fits an atomic, so the
/// hot path compares two integers. `Tick::ZERO` lies before everything that this process ever saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// After everything: nothing is as fresh as this.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point that lies `by` after this one.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

// One nanosecond is taken off so that the very first reading is already after `Tick::ZERO`.
#[expect(clippy::disallowed_methods, reason = "this module is where time comes from")]
static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

/// Reads the monotonic clock (a real reading, never a cached one: an acknowledgement's instant depends on it).
#[must_use]
pub fn now() -> Tick {
    Tick(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX - 1).saturating_add(1))
}

/// The wall clock, for logs and for what operators read; never for decisions.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this module is where time comes from")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The tokio instant of a tick: the form that timers want.
#[must_use]
pub fn instant(tick: Tick) -> tokio::time::Instant {
    tokio::time::Instant::from_std(*START + Duration::from_nanos(tick.0))
}

/// The tokio instant that lies `after` from now: the form that timers want.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this module is where time comes from")]
pub fn deadline(after: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + after
}

/// Fills `into` from the operating system's secure random source.
///
/// # Errors
/// When the operating system has no randomness to give; nothing that needs secrets may go on then.
pub fn random(into: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(into).map_err(std::io::Error::other)
}
