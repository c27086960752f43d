//! SCRAM.
