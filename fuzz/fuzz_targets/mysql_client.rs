//! A client's packets at its login.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| primacy::mysql::pieces::check_client(bytes));
