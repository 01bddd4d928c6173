//! The local mesh: what `make run` starts and what the end-to-end tests hold. Read `mesh` first, then `run` (the command) or
//! `stores` (how each store is set up); `issuer` and `pki` are where tokens and certificates come from.
//!
//! Promises: TLS and authentication are on as in production, nothing listens beyond loopback, secrets are in files only their
//! owner can read, and no process outlives the mesh that started it.

mod client;
mod config;
pub mod demo;
mod hosted;
pub mod issuer;
pub mod mesh;
pub mod part;
pub mod pki;
pub mod ports;
mod progress;
pub mod run;
pub mod secrets;
mod site;
mod state;
mod stores;
mod supervisor;
mod tools;

pub use issuer::{Issuer, Person, TokenRequest};
pub use mesh::{Mesh, Setup};
pub use part::Part;
pub use tools::repository;
