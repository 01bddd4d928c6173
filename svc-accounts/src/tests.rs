//! The service on a real DynamoDB engine, with its neighbours behind a stand-in for the edge. Each test has a table, an
//! edge and certificates of its own.

mod audit;
mod cache;
mod changes;
mod consents;
mod neighbours;
mod opening;
mod partners;
mod payees;
mod place;
mod rpc;
mod store;
