//! How long things take: a log-linear histogram of microseconds, eight steps to each doubling (at most 12.5 % off).

use super::sharded::Sharded;
use std::time::Duration;

const STEP_BITS: u32 = 3;
const STEPS: usize = 1 << STEP_BITS;
// The last doubling begins at 2^31 µs (36 minutes); what takes longer is counted there.
const TOP: u32 = 31;
const BUCKETS: usize = STEPS + (TOP - STEP_BITS + 1) as usize * STEPS;

/// A histogram of durations. Recording costs two additions on this thread's own shard.
#[derive(Debug)]
pub struct Histogram(Sharded<{ BUCKETS + 1 }>);

impl Histogram {
    /// Room for `workers` threads without sharing.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self(Sharded::new(workers))
    }

    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        self.record_us(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts one duration in microseconds.
    pub fn record_us(&self, us: u64) {
        let mine = self.0.mine();
        mine.add(bucket(us), 1);
        mine.add(BUCKETS, us);
    }

    /// What was recorded so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let totals = self.0.totals();
        let (buckets, sum) = totals.split_at(BUCKETS);
        Snapshot { buckets: buckets.to_vec(), sum_us: sum.first().copied().unwrap_or(0) }
    }
}

fn bucket(us: u64) -> usize {
    let exponent = us.checked_ilog2().unwrap_or(0);
    if exponent < STEP_BITS {
        return usize::try_from(us).unwrap_or(0);
    }
    if exponent > TOP {
        return BUCKETS - 1;
    }
    let step = usize::try_from(us >> (exponent - STEP_BITS)).unwrap_or(0) & (STEPS - 1);
    STEPS * (exponent - STEP_BITS + 1) as usize + step
}

// The smallest number of microseconds that belongs to the bucket after `index`.
fn end(index: usize) -> u64 {
    let (doubling, step) = ((index + 1) / STEPS, (index + 1) % STEPS);
    match u32::try_from(doubling).unwrap_or(0) {
        0 => step as u64,
        doubling => ((STEPS + step) as u64) << (doubling - 1),
    }
}

/// What a histogram held at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    buckets: Vec<u64>,
    /// All durations together, in microseconds.
    pub sum_us: u64,
}

impl Snapshot {
    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration that a `share` (0 to 1) of all did not exceed, in microseconds, at most 12.5 % too long; 0 when empty.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> u64 {
        let count = self.count();
        let mut left = (share.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        for (index, &here) in self.buckets.iter().enumerate() {
            if here >= left {
                return end(index) - 1;
            }
            left -= here;
        }
        0
    }

    /// Upper bounds in seconds with the number of durations between each and the one before, as Prometheus wants them: one bound per
    /// doubling from 64 µs to 67 s, then infinity.
    #[must_use]
    pub fn doublings(&self) -> Vec<(f64, u64)> {
        let mut rows = Vec::with_capacity(22);
        let (mut from, mut bound) = (0, 6);
        while bound <= 26 {
            let to = bucket(1 << bound);
            rows.push(((1_u64 << bound) as f64 / 1e6, self.between(from, to)));
            (from, bound) = (to, bound + 1);
        }
        rows.push((f64::INFINITY, self.between(from, BUCKETS)));
        rows
    }

    fn between(&self, from: usize, to: usize) -> u64 {
        self.buckets.get(from..to).map_or(0, |buckets| buckets.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_within_an_eighth(us in 0_u64..(1 << 32)) {
            let index = bucket(us);
            prop_assert!(us < end(index));
            prop_assert!(index == 0 || us >= end(index - 1));
            prop_assert!(end(index) - 1 <= us + us / 8);
        }

        #[test]
        fn nothing_is_lost(values in proptest::collection::vec(any::<u64>(), 0..50)) {
            let histogram = Histogram::new(2);
            for &us in &values {
                histogram.record_us(us);
            }
            let snapshot = histogram.snapshot();
            prop_assert_eq!(snapshot.count(), values.len() as u64);
            prop_assert_eq!(snapshot.doublings().iter().map(|row| row.1).sum::<u64>(), values.len() as u64);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let histogram = Histogram::new(1);
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let snapshot = histogram.snapshot();
        assert!((500..=563).contains(&snapshot.quantile_us(0.5)), "{}", snapshot.quantile_us(0.5));
        assert!((990..=1114).contains(&snapshot.quantile_us(0.99)), "{}", snapshot.quantile_us(0.99));
        assert_eq!(snapshot.sum_us, 500_500);
    }

    #[test]
    fn an_empty_one_says_zero() {
        assert_eq!(Histogram::new(1).snapshot().quantile_us(0.99), 0);
    }
}
