//! Contract, routes and transcoding from outside: the conformance cases that need no data path, the project's own contract,
//! what is refused at load, a round trip of random messages against prost-reflect, what the fuzzer found, and inputs that are large.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../shared/cases.rs"]
mod cases;
mod conformance;
mod corpora;
mod elements;
mod forms;
mod large;
mod openapi;
mod own_contract;
mod positions;
mod printing;
mod refusals;
mod round_trip;
mod routes;
mod selection;
mod support;
#[path = "../shared/targets.rs"]
mod targets;
