//! The ledger's rules, pure: no clock, no random source, no driver, no message of the contract. [`judge::judge`] takes what the
//! store read under the head lock ([`view::View`]) and a batch of [`command::Command`]s, and answers one verdict a command
//! together with every row the store has to write. The same function serves the service and the tests that replay it.

pub mod account;
pub mod audit;
pub mod chain;
pub mod command;
pub mod currency;
pub mod exchange;
pub mod grant;
mod iso4217;
pub mod journal;
pub mod judge;
pub mod period;
pub mod proof;
pub mod replay;
pub mod request;
pub mod verdict;
pub mod view;
