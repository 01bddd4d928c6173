//! The end-to-end suite: one binary, a file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking, its fixtures too")]

mod rules;
