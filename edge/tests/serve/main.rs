//! The edge as its users see it: everything here goes through its listeners, in the words of REST and gRPC. Behind it stands a
//! real service of the chassis; nothing is mocked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its fixtures too")]

mod builtin;
#[path = "../shared/cases.rs"]
mod cases;
mod client;
mod coding;
mod collector;
mod conformance;
mod drain;
mod events;
mod faults;
mod grpc;
mod messages;
mod negotiation;
mod reflection;
mod refusals;
mod rest;
mod streams;
mod traces;
mod uploads;
mod upstream;
mod websocket;
mod wire;
mod world;
