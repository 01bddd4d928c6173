//! The model test of the ledger: random sequences of everything that can be asked of it, through the judge and a store of maps,
//! beside an oracle written from `docs/ledger.md` alone ([`e2e::oracle`]); and a few of the same sequences through the real store
//! on PostgreSQL, whose tables and whose hash chain have to come out the same. What fails is shrunk, and its seed is kept in
//! `regressions.txt`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "what a test does not expect has failed it; clippy knows tests by their attribute, not their helpers"
)]

mod bank;
#[path = "../../../svc-ledger/src/domain/judge/tests/memory.rs"]
mod memory;
#[path = "../../../svc-ledger/tests/store/postgres.rs"]
#[allow(dead_code, reason = "the store's tests crash their server too")]
mod postgres;
#[path = "../../../svc-ledger/src/domain/judge/tests/promises.rs"]
mod promises;
mod script;
mod sequences;
mod store;
mod world;

use svc_ledger::domain;
