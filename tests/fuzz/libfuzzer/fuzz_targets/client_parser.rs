//! Coverage-guided runs of `natsd_fuzz::client_parser`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| natsd_fuzz::client_parser(input));
