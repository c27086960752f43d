//! What clients send in turn on one backend; the first two bytes say how many statements it holds and how many clients there are.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| primacy::postgres::composed::check_compose(bytes));
