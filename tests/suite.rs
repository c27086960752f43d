//! All integration tests: one module per promise.
#![allow(unreachable_pub, reason = "a test binary exports nothing")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking; clippy.toml's exemption does not reach what is outside #[test] functions"
)]

mod admin;
mod admission;
mod bad_input;
mod cancel;
mod catalog;
mod check;
mod compatibility;
mod consistency;
mod console;
mod corpus;
mod databases;
mod drivers;
mod embedded;
mod failures;
mod functions;
mod large;
mod layers;
mod listen;
mod login;
mod lookup;
mod mixed_texts;
mod monitor;
mod mysql_slice;
mod oracle;
mod pipelines;
mod pooling;
mod programs;
mod replication;
mod retries;
mod rights;
mod settings;
mod stale;
mod statements;
mod support;
mod transactions;
mod vacuum;
