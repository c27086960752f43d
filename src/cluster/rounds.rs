//! The rhythm of the monitor's rounds, as readers see it: ask for freshness, wait for a round, know how long that takes.

use crate::clock::{self, Tick};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Rounds follow each other closely for so long after somebody asked.
pub const ASKED_FOR: Duration = Duration::from_millis(100);
/// Longer times to freshness are all the same: longer than anybody waits.
const EXPECTED_MAX: Duration = Duration::from_millis(100);
const EXPECTED_AT_FIRST: Duration = Duration::from_millis(2);

/// Shared by the readers of a cluster and its monitor.
#[derive(Debug)]
pub struct Rounds {
    completed: AtomicU64,
    asked: AtomicU64,
    // Somebody asked for one round then.
    owed: AtomicU64,
    // The first question that no replica has been fresh enough for yet; 0 = none.
    open: AtomicU64,
    expected: AtomicU64,
    done: Notify,
    wake: Notify,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            completed: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            open: AtomicU64::new(0),
            expected: AtomicU64::new(nanos(EXPECTED_AT_FIRST)),
            done: Notify::new(),
            wake: Notify::new(),
        }
    }
}

impl Rounds {
    /// Somebody reads and no replica is fresh enough: rounds follow each other closely for a tenth of a second from now.
    pub fn ask(&self) {
        let now = clock::now();
        self.asked.store(now.0, Ordering::Release);
        if self.open.load(Ordering::Relaxed) == 0 {
            // A race between two askers is harmless: both moments are "now".
            self.open.store(now.0, Ordering::Release);
        }
        self.wake.notify_one();
    }

    /// Somebody may read soon: one round will do. Whoever then finds that it did not, asks.
    pub fn ask_once(&self) {
        self.owed.store(clock::now().0, Ordering::Release);
        self.wake.notify_one();
    }

    /// How many rounds have been completed.
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    /// Waits until more than `n` rounds are completed and says how many are. Cancel safe.
    pub async fn after(&self, n: u64) -> u64 {
        loop {
            let notified = self.done.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let completed = self.completed();
            if completed > n {
                return completed;
            }
            notified.await;
        }
    }

    /// The recent time from asking to a replica's being fresh as of the question; never more than 100 ms.
    pub fn expected(&self) -> Duration {
        Duration::from_nanos(self.expected.load(Ordering::Relaxed))
    }

    /// Whether somebody asked within the last tenth of a second.
    pub(super) fn is_asked(&self, now: Tick) -> bool {
        let asked = Tick(self.asked.load(Ordering::Acquire));
        asked != Tick::ZERO && now.since(asked) < ASKED_FOR
    }

    /// Whether a round is owed to somebody who asked after the last one began, at `started`.
    pub(super) fn is_owed(&self, started: Tick) -> bool {
        self.owed.load(Ordering::Acquire) >= started.0
    }

    /// Waits until somebody asks; a question from before counts. Cancel safe.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Cuts the monitor's sleep short, without asking for fast rounds.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A round is complete; `freshest` is the best frontier of all replicas.
    pub(super) fn complete(&self, freshest: Tick, now: Tick) {
        self.measure(freshest, now);
        self.completed.fetch_add(1, Ordering::AcqRel);
        self.done.notify_waiters();
    }

    fn measure(&self, freshest: Tick, now: Tick) {
        let open = Tick(self.open.load(Ordering::Acquire));
        if open == Tick::ZERO {
            return;
        }
        let took = nanos(now.since(open).min(EXPECTED_MAX));
        let before = self.expected.load(Ordering::Relaxed);
        if freshest >= open {
            self.open.store(0, Ordering::Release);
            self.expected.store(u64::midpoint(before, took), Ordering::Relaxed);
        } else if took > before {
            self.expected.store(took, Ordering::Relaxed);
        }
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_sees_the_next_round() {
        let rounds = std::sync::Arc::new(Rounds::default());
        let other = rounds.clone();
        let waiter = crate::task::spawn("waiter", async move { other.after(0).await });
        tokio::task::yield_now().await;
        rounds.complete(Tick::ZERO, clock::now());
        assert_eq!(waiter.await.unwrap(), 1);
        assert_eq!(rounds.after(0).await, 1);
    }

    #[test]
    fn one_round_is_owed_until_it_begins() {
        let rounds = Rounds::default();
        let started = clock::now();
        assert!(!rounds.is_owed(started));
        rounds.ask_once();
        assert!(rounds.is_owed(started) && !rounds.is_asked(clock::now()));
        assert!(!rounds.is_owed(clock::now().plus(Duration::from_nanos(1))));
    }

    #[test]
    fn expectation_rises_while_nobody_is_fresh_and_falls_after() {
        let rounds = Rounds::default();
        rounds.ask();
        let asked = Tick(rounds.asked.load(Ordering::Relaxed));
        assert!(rounds.is_asked(asked.plus(Duration::from_millis(99))));
        assert!(!rounds.is_asked(asked.plus(Duration::from_millis(101))));
        rounds.complete(Tick(asked.0 - 1), asked.plus(Duration::from_secs(3)));
        assert_eq!(rounds.expected(), EXPECTED_MAX);
        for _ in 0..6 {
            rounds.ask();
            let asked = Tick(rounds.open.load(Ordering::Relaxed));
            rounds.complete(asked, asked.plus(Duration::from_millis(1)));
        }
        assert!(rounds.expected() < Duration::from_millis(4), "{:?}", rounds.expected());
    }
}
