//! All integration tests: one module per promise.

mod embedded;
