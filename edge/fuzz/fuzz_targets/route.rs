//! Request paths against a table of templates.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| edge_fuzz::targets::route(input));
