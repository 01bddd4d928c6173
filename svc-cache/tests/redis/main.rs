//! svc-cache on a real Redis. Each test starts a server of its own on a free port and stops it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod edges;
mod world;
