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
    /// Counts what waiting readers may profit from: the end of a round, and a replica that shows more before it.
    news: AtomicU64,
    asked: AtomicU64,
    // Somebody asked for one round then.
    owed: AtomicU64,
    // When the first question was asked that no replica has been fresh enough for yet (0 = none), and what it must show.
    open: AtomicU64,
    wanted: AtomicU64,
    // The best frontier of all replicas.
    freshest: AtomicU64,
    expected: AtomicU64,
    done: Notify,
    wake: Notify,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            completed: AtomicU64::new(0),
            news: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            open: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            freshest: AtomicU64::new(0),
            expected: AtomicU64::new(nanos(EXPECTED_AT_FIRST)),
            done: Notify::new(),
            wake: Notify::new(),
        }
    }
}

impl Rounds {
    /// Somebody wants to know what is so from now on: rounds follow each other closely for a tenth of a second.
    pub fn ask(&self) {
        self.ask_for(clock::now());
    }

    /// Somebody reads and no replica has seen everything before `floor`: rounds follow each other closely for a tenth of a second.
    pub fn ask_for(&self, floor: Tick) {
        let now = clock::now();
        self.asked.store(now.0, Ordering::Release);
        if self.open.load(Ordering::Relaxed) == 0 {
            // A race between two askers costs one measurement.
            self.wanted.store(floor.0, Ordering::Relaxed);
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
        self.passed(&self.completed, n).await
    }

    /// How often there was something new for readers.
    pub fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// Waits for something newer than news number `n`: a round's end, or a replica that shows more before it. Cancel safe.
    pub async fn newer(&self, n: u64) -> u64 {
        self.passed(&self.news, n).await
    }

    async fn passed(&self, counter: &AtomicU64, n: u64) -> u64 {
        loop {
            let notified = self.done.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let counted = counter.load(Ordering::Acquire);
            if counted > n {
                return counted;
            }
            notified.await;
        }
    }

    /// The recent time from asking to a replica's being as fresh as was wanted; never more than 100 ms.
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
        self.freshest.store(freshest.0, Ordering::Relaxed);
        self.measure(freshest, now);
        self.completed.fetch_add(1, Ordering::AcqRel);
        self.tell();
    }

    /// The best frontier of all replicas within a round: whoever waits for it need not wait for the others' answers.
    pub(super) fn show(&self, freshest: Tick, now: Tick) {
        if freshest.0 > self.freshest.swap(freshest.0, Ordering::Relaxed) {
            self.measure(freshest, now);
            self.tell();
        }
    }

    fn tell(&self) {
        self.news.fetch_add(1, Ordering::AcqRel);
        self.done.notify_waiters();
    }

    fn measure(&self, freshest: Tick, now: Tick) {
        let open = Tick(self.open.load(Ordering::Acquire));
        if open == Tick::ZERO {
            return;
        }
        let took = nanos(now.since(open).min(EXPECTED_MAX));
        let before = self.expected.load(Ordering::Relaxed);
        if freshest.0 >= self.wanted.load(Ordering::Relaxed) {
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

    #[tokio::test]
    async fn a_replica_that_shows_more_is_news_before_the_round_ends() {
        let rounds = Rounds::default();
        rounds.show(Tick(5), clock::now());
        assert_eq!((rounds.newer(0).await, rounds.completed()), (1, 0));
        rounds.show(Tick(5), clock::now());
        assert_eq!(rounds.news(), 1, "no more than before");
        rounds.complete(Tick(5), clock::now());
        assert_eq!((rounds.newer(1).await, rounds.after(0).await), (2, 1));
    }

    #[test]
    fn what_was_written_before_the_question_is_all_that_it_waits_for() {
        let rounds = Rounds::default();
        let floor = clock::now();
        std::hint::black_box(clock::now());
        rounds.ask_for(floor);
        let asked = Tick(rounds.asked.load(Ordering::Relaxed));
        assert!(asked > floor);
        for _ in 0..6 {
            rounds.ask_for(floor);
            rounds.complete(floor, asked.plus(Duration::from_micros(500)));
        }
        assert!(rounds.expected() < Duration::from_millis(1), "{:?}", rounds.expected());
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
        rounds.complete(Tick(rounds.wanted.load(Ordering::Relaxed) - 1), asked.plus(Duration::from_secs(3)));
        assert_eq!(rounds.expected(), EXPECTED_MAX);
        for _ in 0..6 {
            rounds.ask();
            let asked = Tick(rounds.open.load(Ordering::Relaxed));
            rounds.complete(asked, asked.plus(Duration::from_millis(1)));
        }
        assert!(rounds.expected() < Duration::from_millis(4), "{:?}", rounds.expected());
    }
}
