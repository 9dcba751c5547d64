//! Coverage-guided runs of `natsd_fuzz::jwt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| natsd_fuzz::jwt(input));
