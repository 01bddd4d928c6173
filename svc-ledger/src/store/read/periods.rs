//! Closed periods, newest first.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::domain::journal::Kind;
use crate::domain::period::Period;
use crate::error::Error;
use crate::store::Store;
use crate::store::rows::hash;

/// A closed period and the row that closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The row's id.
    pub row: Uuid,
    /// What it says.
    pub period: Period,
}

impl Store {
    /// The period that a row closed, for whoever closed it.
    ///
    /// # Errors
    /// When there is no such row; [`Error::OutcomeUnknown`] when it cannot be read, for the command is done already.
    pub async fn period_of_row(&self, row: Uuid) -> Result<Period, Error> {
        let row = sqlx::query(
            "SELECT j.id, j.value_date, j.seq, j.detail_hash, \
             (extract(epoch FROM j.booked_at) * 1000)::bigint AS booked_ms \
             FROM ledger.journal j WHERE j.id = $1 AND j.kind = $2",
        )
        .bind(row)
        .bind(Kind::ClosePeriod as i16)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::answering)?;
        sealed(&row.ok_or(Error::Corrupt("outcome"))?).map(|sealed| sealed.period).map_err(Error::answering)
    }

    /// Closed periods, newest first, before the row given. There are as many as months or days, and not more.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn periods(&self, before: Option<Uuid>, limit: i64) -> Result<Vec<Sealed>, Error> {
        let rows = sqlx::query(
            "SELECT j.id, j.value_date, j.seq, j.detail_hash, \
             (extract(epoch FROM j.booked_at) * 1000)::bigint AS booked_ms \
             FROM ledger.period p JOIN LATERAL (SELECT * FROM ledger.journal o \
              WHERE o.seq = p.seq AND o.id >= ledger.first_id_at(p.booked_at) \
              AND o.id < ledger.first_id_at(p.booked_at + interval '1 millisecond')) j ON true \
             WHERE j.id < $1 ORDER BY p.end_date DESC LIMIT $2",
        )
        .bind(before.unwrap_or(Uuid::max()))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::reading)?;
        rows.iter().map(sealed).collect::<Result<_, _>>().map_err(Error::reading)
    }
}

fn sealed(row: &PgRow) -> Result<Sealed, sqlx::Error> {
    let period = Period {
        end_date: row.try_get("value_date")?,
        seq: row.try_get("seq")?,
        trial_balance: hash(row.try_get("detail_hash")?)?,
        booked_at: row.try_get("booked_ms")?,
    };
    Ok(Sealed { row: row.try_get("id")?, period })
}
