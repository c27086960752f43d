//! Counters that many threads raise at once: each thread has a shard of its own, readers add them up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More shards than this buy nothing: threads beyond it share.
const SHARDS_MAX: usize = 64;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
}

// Two cache lines: the processor fetches lines in pairs, and a neighbour's writes must not slow ours down.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

/// `N` counters, kept once per worker. Raising one never allocates, locks or waits.
#[derive(Debug)]
pub struct Sharded<const N: usize> {
    // Their number is a power of two, so that a mask finds a thread's own.
    shards: Box<[Shard<N>]>,
}

impl<const N: usize> Sharded<N> {
    /// Room for `workers` threads without sharing.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let shards = workers.clamp(1, SHARDS_MAX).next_power_of_two();
        Self { shards: (0..shards).map(|_| Shard([const { AtomicU64::new(0) }; N])).collect() }
    }

    /// This thread's shard: take it once to raise several counters.
    #[must_use]
    pub fn mine(&self) -> Mine<'_, N> {
        let index = MINE.with(|mine| *mine) & (self.shards.len() - 1);
        Mine(&self.shards[index].0)
    }

    /// Raises counter `index` by `by`; out of range does nothing.
    pub fn add(&self, index: usize, by: u64) {
        self.mine().add(index, by);
    }

    /// The sums over all shards. Counters that are raised meanwhile may or may not be in.
    #[must_use]
    pub fn totals(&self) -> [u64; N] {
        let mut totals = [0_u64; N];
        for shard in &self.shards {
            for (total, counter) in totals.iter_mut().zip(&shard.0) {
                *total = total.wrapping_add(counter.load(Ordering::Relaxed));
            }
        }
        totals
    }
}

/// One thread's shard.
#[derive(Debug, Clone, Copy)]
pub struct Mine<'a, const N: usize>(&'a [AtomicU64; N]);

impl<const N: usize> Mine<'_, N> {
    /// Raises counter `index` by `by`; out of range does nothing.
    pub fn add(self, index: usize, by: u64) {
        if let Some(counter) = self.0.get(index) {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_sum_over_shards_is_what_all_threads_added(
            workers in 1_usize..9,
            adds in proptest::collection::vec((0_usize..5, 0_u64..1000), 0..200),
            threads in 1_usize..6,
        ) {
            let counters = Sharded::<5>::new(workers);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| adds.iter().for_each(|&(index, by)| counters.add(index, by)));
                }
            });
            let mut expected = [0_u64; 5];
            for &(index, by) in &adds {
                expected[index] += by * u64::try_from(threads).unwrap();
            }
            prop_assert_eq!(counters.totals(), expected);
        }
    }

    #[test]
    fn an_index_out_of_range_counts_nothing() {
        let counters = Sharded::<2>::new(2);
        counters.add(2, 7);
        assert_eq!(counters.totals(), [0, 0]);
    }
}
