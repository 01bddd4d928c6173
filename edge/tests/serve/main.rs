//! The edge as its users see it: everything here goes through its listeners, in the words of REST and gRPC. Behind it stands a
//! real service of the chassis; nothing is mocked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its fixtures too")]

mod audit;
mod bodies;
mod bounds;
#[path = "../shared/buckets.rs"]
mod buckets;
mod builtin;
#[path = "../shared/cases.rs"]
mod cases;
mod client;
mod coding;
mod collector;
mod conformance;
mod cors;
mod drain;
mod events;
mod faults;
mod grpc;
mod grpc_web;
mod idempotency;
mod identity;
mod messages;
mod negotiation;
mod outcomes;
mod rate;
mod reflection;
mod refusals;
mod reload;
mod rest;
mod rotation;
mod security_headers;
mod streams;
mod traces;
mod uploads;
mod upstream;
mod websocket;
mod wire;
mod world;
