//! What every process of the mesh stands on. It knows no RPC, no service and no datastore.
//!
//! Reading order: [`run`] is a process's life from its configuration to its last flush; [`config`], [`telemetry`], [`spans`],
//! [`metrics`], [`identity`], [`admin`] and [`health`] are its stations; [`accept`] and [`serve`] take requests in, [`call`]
//! says who asks, by a [`transaction_token`] of the edge's, [`deadline`] for how long, [`error`] how a refusal reads; [`field`]
//! and [`page`] read what all contracts spell alike; [`edge_channel`] is the only way out, [`outbox`] what a service has to tell
//! others later; [`seal`] what one service hands to another through a client's hands; [`backoff`] paces what is tried again; [`drain`] ends it all.
//!
//! Promises: a process without a valid identity binds no socket. A service listens to nobody but the edge. Every task is
//! waited for, every wait has a deadline, and no secret prints.

pub mod accept;
pub mod admin;
pub mod backoff;
pub mod call;
pub mod config;
pub mod deadline;
pub mod drain;
pub mod edge_channel;
pub mod error;
pub mod field;
pub mod health;
pub mod identity;
pub mod metrics;
pub mod outbox;
pub mod page;
pub mod run;
pub mod seal;
pub mod serve;
pub mod spans;
pub mod telemetry;
pub mod trace;
mod transaction;
pub mod transaction_token;

pub use call::{Call, Caller, Partner, Principal, Scopes, Subject};
pub use deadline::Deadline;
pub use drain::Drain;
pub use edge_channel::EdgeChannel;
pub use error::{Failure, Kind, Violation};
pub use health::Health;
pub use identity::Identity;
pub use metrics::Metrics;
