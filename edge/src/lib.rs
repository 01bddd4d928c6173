//! The edge: everything that enters the mesh, and every call between its services, crosses it. It knows descriptors and the
//! options of `edge.v1`; it knows no service by name. Adding an RPC changes the contract and one service, never this crate.
//!
//! Reading order: [`run`] is its life; [`config`] and [`snapshot`] what it is told, [`reload`] what it is told anew; [`listener`]
//! takes connections in and [`gateway`] is the path of a [`request`]: [`route`] and [`contract`] find the method, [`authn`] says
//! who asks, [`rate`] how often, [`authz`] whether they may, [`headers`] what the upstream hears of it; then [`relay`] carries gRPC
//! and [`grpc_web`], and [`rest`] carries REST, which [`transcode`] turns into gRPC and back, in whatever [`coding`] its bodies come
//! and whatever form the client will [`accept`]; [`upstream`] is the way on; [`builtin`] is what the edge answers itself, and a
//! [`provider`] a service it asks something for itself. [`extras`] is what browsers are told besides ([`cors`]), and [`error`] holds
//! every refusal, of which [`audit`] keeps a record; [`outcome`] is what it says of money.
//!
//! Promises: a method is identified once, before authentication, and nothing later matches again. No header of a client
//! reaches a service unless it is on a list. Nothing waits without a deadline, no buffer grows without a bound. One
//! [`snapshot::Snapshot`] serves a request from its first byte to its last. Only `gateway`, `listener`, `relay`, `request`,
//! `rest` and `upstream` see a type of Pingora's.

pub mod accept;
pub mod access_log;
pub mod admin;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod builtin;
pub mod check;
pub mod coding;
pub mod config;
pub mod contract;
pub mod cors;
pub mod error;
pub mod extras;
mod files;
pub mod gateway;
mod gather;
pub mod grpc_web;
pub mod headers;
mod jwks;
pub mod listener;
pub mod metrics;
pub mod outcome;
pub mod policy;
pub mod provider;
pub mod rate;
pub mod relay;
pub mod reload;
pub mod request;
pub mod rest;
pub mod room;
pub mod route;
pub mod run;
pub mod snapshot;
pub mod transcode;
pub mod upstream;
