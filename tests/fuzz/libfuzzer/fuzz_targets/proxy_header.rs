//! Coverage-guided runs of `natsd_fuzz::proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| natsd_fuzz::proxy_header(input));
