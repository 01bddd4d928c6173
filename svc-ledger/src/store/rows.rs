//! Stored values back into the domain's types. A number the domain does not know means that the row was not written by this
//! ledger: an error, never a guess.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::domain::account::{AccountType, Amount, Chart, Purpose, State};
use crate::domain::chain::Hash;
use crate::domain::currency::Currency;
use crate::domain::exchange::Exchange;
use crate::domain::grant::Scopes;
use crate::domain::journal::{Bounds, Kind, Row, Side, Taken};
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

pub(super) fn chart(kind: i16, gl_code: i32) -> Result<Chart, sqlx::Error> {
    let kind = AccountType::from_number(kind).ok_or_else(|| corrupt("account type"))?;
    Ok(Chart { kind, gl_code })
}

/// A conversion, if the row is half of one.
pub(super) fn exchange(quote: Option<String>, rate: Option<String>) -> Option<Exchange> {
    quote.zip(rate).map(|(quote, rate)| Exchange { quote, rate })
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

pub(super) fn scopes(bits: i16) -> Result<Scopes, sqlx::Error> {
    Scopes::from_bits(bits).ok_or_else(|| corrupt("scopes"))
}

/// A cap; absent for none.
pub(super) fn cap(minor_units: Option<i64>) -> Result<Option<Amount>, sqlx::Error> {
    minor_units.map(|minor_units| Amount::new(minor_units).ok_or_else(|| corrupt("cap"))).transpose()
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash, sqlx::Error> {
    bytes.try_into().map_err(|_| corrupt("hash"))
}

pub(super) fn scope(bytes: &[u8]) -> Result<Scope, sqlx::Error> {
    bytes.try_into().map(Scope::from_bytes).map_err(|_| corrupt("principal"))
}

/// A row of the journal, all of it. `booked_ms` is the booking time in milliseconds of the Unix time, `expires_ms` the end of
/// a grant or a hold.
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
    let taken = |consent| Ok::<_, sqlx::Error>(Taken { consent, used: row.try_get("used")? });
    let bounds = |expires_at| -> Result<Bounds, sqlx::Error> {
        Ok(Bounds {
            per_transfer_max: cap(row.try_get("per_transfer_max")?)?,
            total_max: cap(row.try_get("total_max")?)?,
            expires_at,
        })
    };
    let kind = kind(row.try_get("kind")?)?;
    let ends: Option<i64> = row.try_get("expires_ms")?;
    Ok(Row {
        id: row.try_get("id")?,
        seq: row.try_get("seq")?,
        kind,
        currency: row.try_get::<Option<i16>, _>("currency")?.map(currency).transpose()?,
        amount: row.try_get("amount")?,
        remaining: row.try_get("remaining")?,
        debit: side(["dr", "dr_version", "dr_posted", "dr_held", "dr_expected"])?,
        credit: side(["cr", "cr_version", "cr_posted", "cr_held", "cr_expected"])?,
        floor: row.try_get("floor")?,
        ceiling: row.try_get("ceiling")?,
        link: row.try_get("link")?,
        reference: row.try_get("ref")?,
        flags: row.try_get("flags")?,
        gl_code: row.try_get("gl_code")?,
        revision: row.try_get("revision")?,
        party: row.try_get("party")?,
        consent: row.try_get::<Option<Uuid>, _>("consent")?.map(taken).transpose()?,
        bounds: ends.filter(|_| kind == Kind::Grant).map(bounds).transpose()?,
        expires_at: ends.filter(|_| kind != Kind::Grant),
        value_date: row.try_get("value_date")?,
        exchange: exchange(row.try_get("quote")?, row.try_get("rate")?),
        actor: scope(row.try_get("actor")?)?,
        detail_hash: row.try_get::<Option<&[u8]>, _>("detail_hash")?.map(hash).transpose()?,
        salt: row.try_get::<&[u8], _>("salt")?.try_into().map_err(|_| corrupt("salt"))?,
        booked_at: row.try_get("booked_ms")?,
    })
}
