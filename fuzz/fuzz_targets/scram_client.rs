//! A server's two SCRAM messages, a NUL between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(primacy::postgres::auth::client::decode_all(bytes).is_err());
});
