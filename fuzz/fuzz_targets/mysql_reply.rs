//! A server's answer; the first two bytes say what it answers and in what pieces it comes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| primacy::mysql::pieces::check_reply(bytes));
