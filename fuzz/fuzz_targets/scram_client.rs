//! A server's two SCRAM messages, a NUL between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    primacy::postgres::auth::client::decode_all(bytes);
});
