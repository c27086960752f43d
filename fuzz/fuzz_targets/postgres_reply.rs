//! A server's reply; the first two bytes say how it is treated and in what pieces it comes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| primacy::postgres::pieces::check_reply(bytes));
