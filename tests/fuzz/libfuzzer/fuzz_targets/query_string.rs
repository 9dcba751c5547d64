//! Coverage-guided runs of `natsd_fuzz::query_string`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| natsd_fuzz::query_string(input));
