//! What the end-to-end suites and the benchmarks share: a running mesh, and clients that meet it as its users do, through the
//! edge's listeners and in the words of the API. The suites are in `tests/`, in one binary, because linking it is what a change
//! costs most.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

pub mod collector;
pub mod contract;
pub mod door;
pub mod foreign;
pub mod grpc;
pub mod keys;
pub mod load;
pub mod oracle;
pub mod rest;
pub mod wire;
pub mod world;

pub use rest::{Answer, Rest};
pub use world::World;
