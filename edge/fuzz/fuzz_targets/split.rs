//! Streams of JSON values, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| edge_fuzz::targets::split(input));
