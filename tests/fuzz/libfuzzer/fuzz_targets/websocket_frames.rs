//! Coverage-guided runs of `natsd_fuzz::websocket_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| natsd_fuzz::websocket_frames(input));
