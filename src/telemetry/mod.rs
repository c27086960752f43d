//! What is counted and logged: counters and histograms per worker, their Prometheus form, the log.

pub mod counters;
pub mod doubts;
pub mod histogram;
pub mod logs;
pub mod metrics;
pub mod sharded;
pub mod traffic;

pub use counters::{ClusterCount, ClusterStats, Count, Routed, TrafficStats};
pub use histogram::Histogram;
pub use traffic::Traffic;
