//! A server's packets, read field by field.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| primacy::mysql::pieces::check_fields(bytes));
