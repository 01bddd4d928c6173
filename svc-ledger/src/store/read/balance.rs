//! What an account holds: now from its row, at a booking time from the journal's last row about it. The ids of the journal carry
//! the booking time, so a balance in the past is two descents of an index, however old it is, a [span](super::spans) at a time.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::spans::{Span, backwards};
use super::{Found, Named, Viewer};
use crate::domain::account::{Purpose, Totals};
use crate::domain::currency::Currency;
use crate::domain::grant::Scope;
use crate::domain::journal::{Kind, first_id_at};
use crate::error::{Error, Resource};
use crate::store::Store;
use crate::store::rows::{currency, purpose};

/// The smallest id of a row booked at a time in milliseconds or later, as [`first_id_at`] has it.
macro_rules! first_id {
    ($ms:literal) => {
        concat!("(lpad(to_hex(", $ms, "), 12, '0') || repeat('0', 20))::uuid")
    };
}

/// What an account holds at one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What it is for.
    pub purpose: Purpose,
    /// Of all amounts.
    pub currency: Currency,
    /// Posted credits less posted debits.
    pub posted: i64,
    /// Pending credits less pending debits.
    pub pending: i64,
    /// What a debit can take.
    pub available: i64,
    /// The account's version; 0 before it was opened.
    pub version: i64,
    /// The sequence number the figures include.
    pub seq: i64,
    /// When the newest change included was booked, in milliseconds of the Unix time; absent when nothing has moved.
    pub booked_at: Option<i64>,
}

impl Balance {
    /// That of an account nothing was booked on.
    fn blank(found: &Found) -> Self {
        Self {
            purpose: found.purpose,
            currency: found.currency,
            posted: 0,
            pending: 0,
            available: 0,
            version: 0,
            seq: 0,
            booked_at: None,
        }
    }
}

impl Store {
    /// What the account holds.
    ///
    /// # Errors
    /// When the viewer may not see it, or it does not exist.
    pub async fn balance(&self, viewer: &Viewer, account: &Named) -> Result<Balance, Error> {
        // One statement, one snapshot: the figures are those after exactly `seq` rows.
        let row = sqlx::query(concat!(
            "SELECT a.purpose, a.currency, a.version, a.dr_posted, a.cr_posted, a.dr_pending, a.cr_pending, h.seq, \
             (extract(epoch FROM a.booked_at) * 1000)::bigint AS booked_ms, ",
            admits!("a.no", "$2", "$3", "$4"),
            " AS own FROM ledger.account a CROSS JOIN ledger.head h WHERE a.id = $1"
        ))
        .bind(account.id)
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadBalance as i16)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        let row = row.ok_or_else(|| viewer.missing(Resource::Account, &account.name))?;
        if !viewer.sees_all() && !row.try_get("own").map_err(Error::reading)? {
            return Err(Error::NotPermitted);
        }
        present(&row).map_err(Error::reading)
    }

    /// What the account held at a booking time, in milliseconds of the Unix time, rows booked at that very time included. Of a
    /// time before now the answer never changes.
    ///
    /// # Errors
    /// When the viewer may not see it, or it does not exist.
    pub async fn balance_as_of(
        &self,
        viewer: &Viewer,
        account: &Named,
        as_of: i64,
    ) -> Result<Balance, Error> {
        let end = as_of.saturating_add(1);
        loop {
            let found = self.find(viewer, account, Scope::ReadBalance).await?;
            self.settled(end).await?;
            if let Some(balance) = self.balance_before(viewer, &found, end).await? {
                return Ok(balance);
            }
        }
    }

    /// What the account held before a booking time; `None` when the viewer may not see it any more.
    async fn balance_before(
        &self,
        viewer: &Viewer,
        found: &Found,
        end: i64,
    ) -> Result<Option<Balance>, Error> {
        let blank = Balance::blank(found);
        for span in backwards((Uuid::nil(), first_id_at(end)), found.life) {
            let row = self.last_row(viewer, found.no, span).await.map_err(Error::reading)?;
            if !row.try_get("admitted").map_err(Error::reading)? {
                return Ok(None);
            }
            if row.try_get::<Option<Uuid>, _>("id").map_err(Error::reading)?.is_some() {
                return past(&row, blank).map(Some).map_err(Error::reading);
            }
        }
        Ok(Some(blank))
    }

    /// The newest row of the account in a span that says what it holds, and whether the viewer may see it.
    async fn last_row(&self, viewer: &Viewer, no: i64, span: Span) -> Result<PgRow, sqlx::Error> {
        sqlx::query(concat!(
            "SELECT a.admitted, s.* FROM (SELECT $3::text IS NULL OR ",
            admits!("$1", "$4", "$3", "$5"),
            " AS admitted) a LEFT JOIN LATERAL (SELECT * FROM ( \
             (SELECT id, seq, dr_version AS version, dr_posted AS posted, dr_held AS held, dr_expected AS expected, \
              (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms \
              FROM ledger.journal WHERE dr = $1 AND id >= $7 AND id < $2 ORDER BY id DESC LIMIT 1) \
             UNION ALL \
             (SELECT id, seq, cr_version, cr_posted, cr_held, cr_expected, \
              (extract(epoch FROM booked_at) * 1000)::bigint \
              FROM ledger.journal WHERE cr = $1 AND id >= $7 AND id < $2 AND kind <> $6 ORDER BY id DESC LIMIT 1)) side \
             ORDER BY id DESC LIMIT 1) s ON a.admitted"
        ))
        .bind(no)
        .bind(span.1)
        .bind(viewer.partner())
        .bind(viewer.customer())
        .bind(Scope::ReadBalance as i16)
        // A grant tells of the account, but nothing of what it holds has changed by it.
        .bind(Kind::Grant as i16)
        .bind(span.0)
        .fetch_one(&self.pool)
        .await
    }

    /// What the account held at one of its versions.
    ///
    /// # Errors
    /// When the viewer may not see it, it does not exist, or has not come to the version.
    pub async fn balance_at_version(
        &self,
        viewer: &Viewer,
        account: &Named,
        version: i64,
    ) -> Result<Balance, Error> {
        let found = self.find(viewer, account, Scope::ReadBalance).await?;
        // No index has versions, but they rise with the booking time: the span between the account's first and last booking is
        // halved until it is a millisecond, some 40 times, each a descent of either index.
        let row = sqlx::query(concat!(
            "WITH RECURSIVE span (lo, hi) AS ( \
             SELECT floor(extract(epoch FROM opened_at) * 1000)::bigint, floor(extract(epoch FROM booked_at) * 1000)::bigint + 1 \
             FROM ledger.account WHERE no = $1 AND version >= $2 \
             UNION ALL \
             SELECT CASE WHEN v.version < $2 THEN s.mid ELSE s.lo END, CASE WHEN v.version < $2 THEN s.hi ELSE s.mid END \
             FROM (SELECT lo, hi, (lo + hi) / 2 AS mid, ",
            first_id!("(lo + hi) / 2"),
            " AS first FROM span WHERE hi - lo > 1) s CROSS JOIN LATERAL ( \
             SELECT greatest( \
             (SELECT dr_version FROM ledger.journal WHERE dr = $1 AND id < s.first ORDER BY id DESC LIMIT 1), \
             (SELECT cr_version FROM ledger.journal WHERE cr = $1 AND id < s.first AND kind <> $6 ORDER BY id DESC LIMIT 1), \
             0) AS version) v), \
             booked AS MATERIALIZED (SELECT ",
            first_id!("lo"),
            " AS first, ",
            first_id!("hi"),
            " AS behind FROM span WHERE hi - lo <= 1) \
             SELECT side.* FROM booked CROSS JOIN LATERAL ( \
             SELECT id, seq, dr_version AS version, dr_posted AS posted, dr_held AS held, dr_expected AS expected, \
             (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms \
             FROM ledger.journal WHERE dr = $1 AND id >= booked.first AND id < booked.behind AND dr_version = $2 \
             UNION ALL \
             SELECT id, seq, cr_version, cr_posted, cr_held, cr_expected, \
             (extract(epoch FROM booked_at) * 1000)::bigint \
             FROM ledger.journal WHERE cr = $1 AND id >= booked.first AND id < booked.behind AND cr_version = $2 AND kind <> $6) side \
             WHERE $3::text IS NULL OR ",
            admits!("$1", "$4", "$3", "$5"),
            " ORDER BY id LIMIT 1"
        ))
        .bind(found.no)
        .bind(version)
        .bind(viewer.partner())
        .bind(viewer.customer())
        .bind(Scope::ReadBalance as i16)
        .bind(Kind::Grant as i16)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        let blank = Balance::blank(&found);
        let Some(row) = row else {
            self.find(viewer, account, Scope::ReadBalance).await?;
            return Err(Error::NoVersion);
        };
        past(&row, blank).map_err(Error::reading)
    }

    /// Where the journal ends.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn last_seq(&self) -> Result<i64, Error> {
        sqlx::query_scalar("SELECT seq FROM ledger.head").fetch_one(&self.pool).await.map_err(Error::reading)
    }
}

/// The opening of an account is a version, but nothing has moved by it.
fn moved(version: i64, booked_at: i64) -> Option<i64> {
    (version > 1).then_some(booked_at)
}

fn present(row: &PgRow) -> Result<Balance, sqlx::Error> {
    let totals = Totals {
        dr_posted: row.try_get("dr_posted")?,
        cr_posted: row.try_get("cr_posted")?,
        dr_pending: row.try_get("dr_pending")?,
        cr_pending: row.try_get("cr_pending")?,
    };
    let version = row.try_get("version")?;
    Ok(Balance {
        purpose: purpose(row.try_get("purpose")?)?,
        currency: currency(row.try_get("currency")?)?,
        posted: totals.posted(),
        pending: totals.pending(),
        available: totals.available(),
        version,
        seq: row.try_get("seq")?,
        booked_at: moved(version, row.try_get("booked_ms")?),
    })
}

fn past(row: &PgRow, blank: Balance) -> Result<Balance, sqlx::Error> {
    let (posted, held, expected): (i64, i64, i64) =
        (row.try_get("posted")?, row.try_get("held")?, row.try_get("expected")?);
    let version = row.try_get("version")?;
    Ok(Balance {
        posted,
        pending: expected - held,
        available: posted - held,
        version,
        seq: row.try_get("seq")?,
        booked_at: moved(version, row.try_get("booked_ms")?),
        ..blank
    })
}
