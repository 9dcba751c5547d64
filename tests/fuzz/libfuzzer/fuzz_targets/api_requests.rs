//! Coverage-guided runs of `natsd_fuzz::api_requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| natsd_fuzz::api_requests(input));
