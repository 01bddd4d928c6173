//! The store against a real PostgreSQL, which each test starts and stops itself: what the ledger promises under concurrency,
//! under a lost connection, and under a crash of the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy knows tests only by their attribute, not their helpers"
)]

mod bank;
mod faults;
mod postgres;
mod promises;
