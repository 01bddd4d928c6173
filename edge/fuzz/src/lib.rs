//! What the fuzz targets do. The code stands in `edge/tests`, where an ordinary test replays the corpora through it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a target says what it found by panicking"
)]

#[path = "../../tests/shared/cases.rs"]
pub mod cases;
#[path = "../../tests/shared/targets.rs"]
pub mod targets;
