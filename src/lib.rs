//! Primacy stands in front of a primary-replica database cluster: writes go to the primary, reads are spread over the
//! replicas and still see what they must, connections are pooled. `ARCHITECTURE.md` is the map of these modules.

pub mod admin;
pub mod app;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod error;
pub mod failover;
pub mod mysql;
pub mod net;
pub mod pool;
pub mod postgres;
pub mod routing;
pub mod session;
pub mod sql;
pub mod task;
pub mod telemetry;
