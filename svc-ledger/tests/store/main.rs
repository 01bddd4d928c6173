//! The store against a real PostgreSQL, which each test starts and stops itself: what the ledger promises under concurrency,
//! under a lost connection, and under a crash of the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "what a test does not expect has failed it; clippy knows tests by their attribute, not their helpers"
)]

mod audit;
mod bank;
mod batches;
mod contract;
mod faults;
mod head;
mod healing;
mod holds;
mod import;
mod lists;
mod memory;
mod partners;
mod payees;
mod plans;
mod postgres;
mod promises;
mod proof;
mod races;
mod reads;
mod tampering;
mod units;
mod watch;
