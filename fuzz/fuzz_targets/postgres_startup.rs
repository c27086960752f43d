//! A client's first packets, one after the other.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    primacy::postgres::handshake::decode_all(bytes);
});
