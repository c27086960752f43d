//! A server's packets at a login.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| primacy::mysql::pieces::check_server(bytes));
