//! The posted entries of an account with the balance after each, in the journal's order. Both sides' indexes are in that order,
//! so a page costs its own length, wherever in the past it lies: it is looked for a [span](super::spans) at a time.

use chrono::NaiveDate;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::spans::{Span, forwards};
use super::{Found, Listed, Look, Named, Quota, Viewer};
use crate::domain::account::Purpose;
use crate::domain::currency::Currency;
use crate::domain::grant::Scope;
use crate::domain::journal::{Kind, first_id_at};
use crate::domain::verdict::Party;
use crate::error::Error;
use crate::store::Store;
use crate::store::rows::purpose;

/// Which entries are wanted. Times are booking times in milliseconds of the Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Booked at or after.
    pub from: Option<i64>,
    /// Booked before.
    pub until: Option<i64>,
    /// Behind this row: where the page before ended.
    pub after: Option<Uuid>,
    /// How many at most.
    pub limit: i64,
}

/// Which of them, by what they are. Nothing is left out by a field that is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// The least amount without its sign, in minor units.
    pub amount_min: Option<i64>,
    /// The greatest amount without its sign, in minor units.
    pub amount_max: Option<i64>,
    /// The whole text both parties read.
    pub reference: Option<String>,
}

/// One side of a posted transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The row that posted it.
    pub row: Uuid,
    /// The transfer.
    pub transfer: Uuid,
    /// Positive for a credit, negative for a debit.
    pub amount: i64,
    /// The posted balance after it.
    pub balance_after: i64,
    /// The account's version after it.
    pub version: i64,
    /// The row's place in the journal.
    pub seq: i64,
    /// The other account, where the viewer may know it.
    pub counterparty: Option<Party>,
    /// The text both parties read.
    pub reference: String,
    /// In milliseconds of the Unix time.
    pub booked_at: i64,
    /// The day it counts for.
    pub value_date: NaiveDate,
}

/// An account's own side of its entries: what all of them share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// What the account is for.
    pub purpose: Purpose,
    /// Of all amounts.
    pub currency: Currency,
}

impl Store {
    /// Posted entries of the account, oldest first. A window that has ended is whole: no entry appears in it later.
    ///
    /// # Errors
    /// When the viewer may not see the account, or it does not exist.
    pub async fn entries(
        &self,
        viewer: &Viewer,
        account: &Named,
        window: Window,
    ) -> Result<(Heading, Vec<Entry>), Error> {
        let (heading, listed) = self.entries_like(viewer, account, window, &EntryFilter::default()).await?;
        Ok((heading, listed.found))
    }

    /// Those of them that pass the filter.
    ///
    /// # Errors
    /// As [`Store::entries`].
    pub async fn entries_like(
        &self,
        viewer: &Viewer,
        account: &Named,
        window: Window,
        filter: &EntryFilter,
    ) -> Result<(Heading, Listed<Entry>), Error> {
        loop {
            let found = self.find(viewer, account, Scope::ReadEntries).await?;
            if let Some(until) = window.until {
                self.settled(until).await?;
            }
            if let Some(listed) = self.listed_entries(viewer, &found, window, filter).await? {
                return Ok((Heading { purpose: found.purpose, currency: found.currency }, listed));
            }
        }
    }

    /// The same of an account that is found; `None` when the viewer may not see it any more.
    async fn listed_entries(
        &self,
        viewer: &Viewer,
        found: &Found,
        window: Window,
        filter: &EntryFilter,
    ) -> Result<Option<Listed<Entry>>, Error> {
        // An entry's id is behind that of the page before, and so at or behind the smallest id after it.
        let after =
            window.after.map_or(Uuid::nil(), |after| Uuid::from_u128(after.as_u128().saturating_add(1)));
        let first = first_id_at(window.from.unwrap_or_default()).max(after);
        let until = window.until.map_or(Uuid::max(), first_id_at);
        let (mut listed, mut left) =
            (Listed::EMPTY, Quota::of(window.limit, *filter == EntryFilter::default()));
        for span in forwards((first, until), found.life) {
            let look = self.look_at_entries(viewer, found.no, filter, span, left).await?;
            let Some(look) = look else { return Ok(None) };
            if !listed.add(look, &mut left) {
                break;
            }
        }
        Ok(Some(listed))
    }

    async fn look_at_entries(
        &self,
        viewer: &Viewer,
        no: i64,
        filter: &EntryFilter,
        span: Span,
        quota: Quota,
    ) -> Result<Option<Look<Entry>>, Error> {
        let rows = sqlx::query(concat!(
            "WITH looked AS MATERIALIZED (SELECT * FROM ( \
             (SELECT id, CASE WHEN kind = $6 THEN ref ELSE id END AS transfer, -amount AS amount, dr_posted AS balance, dr_version AS version, seq, \
              cr AS other, value_date, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms \
              FROM ledger.journal WHERE dr = $1 AND kind IN ($5, $6, $10) AND id >= $2 AND id < $3 \
              ORDER BY id LIMIT $4) \
             UNION ALL \
             (SELECT id, CASE WHEN kind = $6 THEN ref ELSE id END AS transfer, amount, cr_posted, cr_version, seq, dr, value_date, \
              (extract(epoch FROM booked_at) * 1000)::bigint \
              FROM ledger.journal WHERE cr = $1 AND kind IN ($5, $6, $10) AND id >= $2 AND id < $3 \
              ORDER BY id LIMIT $4)) side ORDER BY id LIMIT $4), \
             passed AS (SELECT e.*, o.id AS other_id, o.purpose AS other_purpose, o.currency AS other_currency, d.reference, ",
            admits!("o.no", "$7", "$8", "$9"),
            " AS own FROM looked e JOIN ledger.account o ON o.no = e.other \
             LEFT JOIN ledger.transfer_detail d ON d.transfer = e.transfer \
             WHERE ($11::bigint IS NULL OR abs(e.amount) >= $11) AND ($12::bigint IS NULL OR abs(e.amount) <= $12) \
             AND ($13::text IS NULL OR d.reference = $13) ORDER BY e.id LIMIT $14) \
             SELECT p.*, l.* FROM passed p RIGHT JOIN \
             (SELECT count(*) AS looked, (SELECT id FROM looked ORDER BY id DESC LIMIT 1) AS last, $8::text IS NULL OR ",
            admits!("$1", "$7", "$8", "$9"),
            " AS admitted FROM looked) l ON true ORDER BY p.id"
        ))
        .bind(no)
        .bind(span.0)
        .bind(span.1)
        .bind(quota.looked)
        .bind(Kind::Transfer as i16)
        .bind(Kind::Post as i16)
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadEntries as i16)
        .bind(Kind::Reverse as i16)
        .bind(filter.amount_min)
        .bind(filter.amount_max)
        .bind(&filter.reference)
        .bind(quota.found)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::reading)?;
        Look::read(&rows, |row| entry(row, viewer)).map_err(Error::reading)
    }
}

fn entry(row: &PgRow, viewer: &Viewer) -> Result<Entry, sqlx::Error> {
    let other = Party { id: row.try_get("other_id")?, purpose: purpose(row.try_get("other_purpose")?)? };
    let known = *viewer == Viewer::Staff || other.purpose.is_house() || row.try_get("own")?;
    Ok(Entry {
        row: row.try_get("id")?,
        transfer: row.try_get("transfer")?,
        amount: row.try_get("amount")?,
        balance_after: row.try_get("balance")?,
        version: row.try_get("version")?,
        seq: row.try_get("seq")?,
        counterparty: known.then_some(other),
        reference: row.try_get::<Option<String>, _>("reference")?.unwrap_or_default(),
        booked_at: row.try_get("booked_ms")?,
        value_date: row.try_get("value_date")?,
    })
}
