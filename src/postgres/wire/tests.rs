//! The wire against `postgres-protocol` as the oracle.
