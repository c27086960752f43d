//! A client's messages; the first byte says in what pieces they come.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| primacy::postgres::pieces::check_request(bytes));
