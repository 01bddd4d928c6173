//! Stored values back into the domain's types. A number the domain does not know means that the row was not written by this
//! ledger: an error, never a guess.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::domain::account::{Purpose, State};
use crate::domain::chain::Hash;
use crate::domain::currency::Currency;
use crate::domain::journal::{Kind, Row, Side};
use crate::domain::request::Scope;
use crate::domain::verdict::TransferState;

/// The error of a value that the ledger cannot have written.
pub(super) fn corrupt(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("unreadable {what}").into())
}

pub(super) fn currency(numeric: i16) -> Result<Currency, sqlx::Error> {
    Currency::from_numeric(numeric).ok_or_else(|| corrupt("currency"))
}

pub(super) fn purpose(number: i16) -> Result<Purpose, sqlx::Error> {
    Purpose::from_number(number).ok_or_else(|| corrupt("purpose"))
}

pub(super) fn account_state(number: i16) -> Result<State, sqlx::Error> {
    State::from_number(number).ok_or_else(|| corrupt("account state"))
}

pub(super) fn transfer_state(number: i16) -> Result<TransferState, sqlx::Error> {
    TransferState::from_number(number).ok_or_else(|| corrupt("hold state"))
}

pub(super) fn kind(number: i16) -> Result<Kind, sqlx::Error> {
    Kind::from_number(number).ok_or_else(|| corrupt("kind of row"))
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash, sqlx::Error> {
    bytes.try_into().map_err(|_| corrupt("hash"))
}

pub(super) fn scope(bytes: &[u8]) -> Result<Scope, sqlx::Error> {
    bytes.try_into().map(Scope::from_bytes).map_err(|_| corrupt("principal"))
}

/// A row of the journal, all of it. `booked_ms` is the booking time in milliseconds of the Unix time.
pub(super) fn journal_row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let side = |names: [&str; 5]| -> Result<Option<Side>, sqlx::Error> {
        let Some(account) = row.try_get(names[0])? else { return Ok(None) };
        Ok(Some(Side {
            account,
            version: row.try_get(names[1])?,
            posted: row.try_get(names[2])?,
            held: row.try_get(names[3])?,
            expected: row.try_get(names[4])?,
        }))
    };
    Ok(Row {
        id: row.try_get("id")?,
        seq: row.try_get("seq")?,
        kind: kind(row.try_get("kind")?)?,
        currency: currency(row.try_get("currency")?)?,
        amount: row.try_get("amount")?,
        debit: side(["dr", "dr_version", "dr_posted", "dr_held", "dr_expected"])?,
        credit: side(["cr", "cr_version", "cr_posted", "cr_held", "cr_expected"])?,
        floor: row.try_get("floor")?,
        reference: row.try_get("ref")?,
        flags: row.try_get("flags")?,
        revision: row.try_get("revision")?,
        party: row.try_get("party")?,
        actor: scope(row.try_get("actor")?)?,
        detail_hash: row.try_get::<Option<&[u8]>, _>("detail_hash")?.map(hash).transpose()?,
        booked_at: row.try_get("booked_ms")?,
    })
}
