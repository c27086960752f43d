//! A client's commands; the first two bytes say how long a full packet and the pieces are that they come in.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| primacy::mysql::pieces::check_request(bytes));
