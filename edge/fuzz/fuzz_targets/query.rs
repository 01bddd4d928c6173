//! Queries, forms, and a query beside a body.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| edge_fuzz::targets::query(input));
