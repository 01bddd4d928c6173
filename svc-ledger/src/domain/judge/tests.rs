//! Tests of the judge: tables of commands with the verdicts and balances they are to come to ([`table`] is their language), and
//! the order of refusals. Every batch of every table is applied to a store of maps as strict as the SQL ([`memory`]) and checked
//! against what holds of any ledger ([`promises`]). Random sequences are the model test's, in the end-to-end suites.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what a test does not expect has failed it, whichever it is"
)]

mod accounts;
mod chains;
mod exchange;
mod grants;
mod holds;
mod keys;
mod memory;
mod precedence;
mod promises;
mod reversals;
mod table;
mod transfers;

use crate::domain;
