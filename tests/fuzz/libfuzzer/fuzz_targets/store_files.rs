//! Coverage-guided runs of `natsd_fuzz::store_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| natsd_fuzz::store_files(input));
