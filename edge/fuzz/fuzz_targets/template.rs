//! Path templates, as contracts write them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| edge_fuzz::targets::template(input));
