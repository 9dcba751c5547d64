//! Coverage-guided runs of `natsd_fuzz::snapshot_archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| natsd_fuzz::snapshot_archive(input));
