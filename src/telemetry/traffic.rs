//! All traffic of this process: who has which counters, and what the last minutes' averages are made of.

use super::counters::{ClusterStats, Totals, TrafficStats};
use crate::clock::Tick;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Averages are over the last one to two periods, as PgBouncer's are.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Whose traffic: cluster, database, user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whose {
    /// The cluster.
    pub cluster: Arc<str>,
    /// The database, as clients name it.
    pub database: Arc<str>,
    /// The user.
    pub user: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    stats: Arc<TrafficStats>,
    window: Mutex<[(Tick, Totals); 2]>,
}

/// One line of traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub whose: Whose,
    /// Since the process started.
    pub total: Totals,
    /// During the last `window`.
    pub recent: Totals,
    /// One to two periods, less just after the start.
    pub window: Duration,
}

/// The counters of everybody who has logged in, and of every cluster. Only users that proved who they are get counters of their own: what
/// a stranger makes up must not take memory.
#[derive(Debug)]
pub struct Traffic {
    workers: usize,
    entries: RwLock<BTreeMap<Whose, Arc<Entry>>>,
    clusters: RwLock<BTreeMap<Arc<str>, Arc<ClusterStats>>>,
}

impl Traffic {
    /// Nothing yet; room for `workers` threads without sharing.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers, entries: RwLock::default(), clusters: RwLock::default() }
    }

    /// The counters of one (cluster, database, user): ask once at login and keep them.
    #[must_use]
    pub fn of(&self, whose: &Whose, now: Tick) -> Arc<TrafficStats> {
        if let Some(entry) = self.entries.read().get(whose) {
            return Arc::clone(&entry.stats);
        }
        let mut entries = self.entries.write();
        let entry = entries.entry(whose.clone()).or_insert_with(|| {
            let window = Mutex::new([(now, Totals::default()); 2]);
            Arc::new(Entry { stats: Arc::new(TrafficStats::new(self.workers)), window })
        });
        Arc::clone(&entry.stats)
    }

    /// The counters of one cluster: ask once and keep them.
    #[must_use]
    pub fn cluster(&self, name: &Arc<str>) -> Arc<ClusterStats> {
        if let Some(stats) = self.clusters.read().get(name) {
            return Arc::clone(stats);
        }
        let mut clusters = self.clusters.write();
        let stats =
            clusters.entry(Arc::clone(name)).or_insert_with(|| Arc::new(ClusterStats::new(self.workers)));
        Arc::clone(stats)
    }

    /// Every cluster's counters, by name.
    #[must_use]
    pub fn clusters(&self) -> Vec<(Arc<str>, Arc<ClusterStats>)> {
        self.clusters.read().iter().map(|(name, stats)| (Arc::clone(name), Arc::clone(stats))).collect()
    }

    /// Ends a period: to be called once every [`PERIOD`].
    pub fn roll(&self, now: Tick) {
        for entry in self.entries.read().values() {
            let totals = entry.stats.totals();
            let mut window = entry.window.lock();
            *window = [window[1], (now, totals)];
        }
    }

    /// Every line of traffic, by cluster, database and user.
    #[must_use]
    pub fn rows(&self, now: Tick) -> Vec<Row> {
        let row = |(whose, entry): (&Whose, &Arc<Entry>)| {
            let total = entry.stats.totals();
            let (since, before) = entry.window.lock()[0];
            Row { whose: whose.clone(), total, recent: total.since(&before), window: now.since(since) }
        };
        self.entries.read().iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::Count;
    use super::*;

    #[test]
    fn averages_are_over_one_to_two_periods() {
        let traffic = Traffic::new(2);
        let whose = Whose { cluster: "shop".into(), database: "db".into(), user: "ann".into() };
        let start = Tick(1);
        let stats = traffic.of(&whose, start);
        let recent = |now: Tick| {
            let row = traffic.rows(now).remove(0);
            (row.total.get(Count::Queries), row.recent.get(Count::Queries), row.window.as_secs())
        };
        stats.add(Count::Queries, 5);
        assert_eq!(recent(start.plus(PERIOD / 2)), (5, 5, 30));
        traffic.roll(start.plus(PERIOD));
        stats.add(Count::Queries, 7);
        traffic.roll(start.plus(PERIOD * 2));
        assert_eq!(recent(start.plus(PERIOD * 2)), (12, 7, 60));
        traffic.roll(start.plus(PERIOD * 3));
        assert_eq!(recent(start.plus(PERIOD * 3)), (12, 0, 60));
    }

    #[test]
    fn the_same_login_has_the_same_counters() {
        let traffic = Traffic::new(1);
        let whose = Whose { cluster: "shop".into(), database: "db".into(), user: "ann".into() };
        assert!(Arc::ptr_eq(&traffic.of(&whose, Tick(1)), &traffic.of(&whose, Tick(2))));
        let name: Arc<str> = "shop".into();
        assert!(Arc::ptr_eq(&traffic.cluster(&name), &traffic.cluster(&name)));
    }
}
