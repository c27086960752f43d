//! Frames, error fields and body fields.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = primacy::postgres::wire::decode_all(bytes);
});
