//! The journal by sequence number: where a row lies, its rows as services watch them, and the totals of all accounts.

use sqlx::postgres::PgRow;
use sqlx::{Executor as _, Row as _};
use uuid::Uuid;

use super::Party;
use crate::domain::journal::{Kind, Row, first_id_at};
use crate::domain::period::{Line, TrialBalance};
use crate::error::Error;
use crate::store::Store;
use crate::store::rows::{chart, corrupt, currency, journal_row, purpose};

/// A row with the accounts of its sides.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The row.
    pub row: Row,
    /// The account debited.
    pub debit: Option<Party>,
    /// The account credited, or the one concerned.
    pub credit: Option<Party>,
}

/// Posted totals at one place in the journal.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Everything up to this row.
    pub seq: i64,
    /// When it was booked, in milliseconds of the Unix time.
    pub booked_at: i64,
    /// The totals.
    pub balance: TrialBalance,
}

impl Store {
    /// The id that every row behind `seq` exceeds: that of the row with it. The journal has reached `seq`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn id_behind(&self, seq: i64) -> Result<Uuid, Error> {
        // The batch that holds the row says when it was booked, and so in which partition it lies.
        let id: Option<Uuid> = sqlx::query_scalar(
            "SELECT j.id FROM (SELECT * FROM ledger.batch WHERE seq_from <= $1 ORDER BY seq_from DESC LIMIT 1) b \
             JOIN ledger.journal j ON j.id >= ledger.first_id_at(b.booked_at) \
              AND j.id < ledger.first_id_at(b.booked_at + interval '1 millisecond') AND j.seq = $1",
        )
        .bind(seq)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        // Behind nothing lies everything. That a row is not there which the journal has reached cannot be: sequence numbers are gapless.
        id.or((seq == 0).then_some(Uuid::nil())).ok_or(Error::Corrupt("sequence number"))
    }

    /// Rows behind an id, in the journal's order.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn rows_behind(&self, id: Uuid, limit: i64) -> Result<Vec<Watched>, Error> {
        let rows = sqlx::query(
            "SELECT j.*, (extract(epoch FROM j.booked_at) * 1000)::bigint AS booked_ms, \
             (extract(epoch FROM j.expires_at) * 1000)::bigint AS expires_ms, \
             d.id AS debit_id, d.purpose AS debit_purpose, c.id AS credit_id, c.purpose AS credit_purpose \
             FROM ledger.journal j LEFT JOIN ledger.account d ON d.no = j.dr LEFT JOIN ledger.account c ON c.no = j.cr \
             WHERE j.id > $1 ORDER BY j.id LIMIT $2",
        )
        .bind(id)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::reading)?;
        rows.iter().map(watched).collect::<Result<_, _>>().map_err(Error::reading)
    }

    /// The posted totals of all accounts, at present or at a booking time, in milliseconds of the Unix time.
    ///
    /// # Errors
    /// When the store is away; [`Error::Store`] when the totals of a currency do not sum to zero.
    pub async fn totals(&self, as_of: Option<i64>) -> Result<Totals, Error> {
        if let Some(as_of) = as_of {
            self.settled(as_of.saturating_add(1)).await?;
        }
        // All accounts are read: not by key, as everything else that is read by these connections.
        let mut reading = self.pool.begin().await.map_err(Error::reading)?;
        reading
            .execute("SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on")
            .await
            .map_err(Error::reading)?;
        let rows = match as_of {
            None => {
                // One statement, one snapshot: the totals after exactly `seq` rows.
                sqlx::query(
                    "SELECT h.seq, (extract(epoch FROM h.booked_at) * 1000)::bigint AS booked_ms, a.currency, a.type, a.gl_code, \
                     count(*) AS accounts, sum(a.dr_posted)::text AS debits, sum(a.cr_posted)::text AS credits \
                     FROM ledger.head h CROSS JOIN ledger.account a GROUP BY 1, 2, 3, 4, 5",
                )
                .fetch_all(&mut *reading)
                .await
            }
            Some(as_of) => {
                // The present totals less what was posted since, in one snapshot: what is asked for is mostly the recent past.
                sqlx::query(
                    "WITH place AS MATERIALIZED (SELECT seq, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms \
                      FROM ledger.journal WHERE id < $1 ORDER BY id DESC LIMIT 1), \
                     since AS MATERIALIZED (SELECT dr, cr, amount FROM ledger.journal WHERE id >= $1 AND kind = ANY ($2)), \
                     debit AS (SELECT dr AS no, sum(amount) AS amount FROM since GROUP BY dr), \
                     credit AS (SELECT cr AS no, sum(amount) AS amount FROM since GROUP BY cr) \
                     SELECT p.seq, p.booked_ms, a.currency, a.type, a.gl_code, count(*) AS accounts, \
                     sum(a.dr_posted - coalesce(d.amount, 0))::text AS debits, \
                     sum(a.cr_posted - coalesce(c.amount, 0))::text AS credits \
                     FROM place p JOIN ledger.account a ON a.no <= p.seq \
                     LEFT JOIN debit d ON d.no = a.no LEFT JOIN credit c ON c.no = a.no GROUP BY 1, 2, 3, 4, 5",
                )
                .bind(first_id_at(as_of.saturating_add(1)))
                .bind([Kind::Transfer as i16, Kind::Post as i16, Kind::Reverse as i16])
                .fetch_all(&mut *reading)
                .await
            }
        };
        totals(&rows.map_err(Error::reading)?).map_err(Error::reading)
    }
}

fn totals(rows: &[PgRow]) -> Result<Totals, sqlx::Error> {
    let sum = |text: &str| text.parse::<i128>().map_err(|_| corrupt("sum"));
    let mut totals = Totals { seq: 0, booked_at: 0, balance: TrialBalance::default() };
    for row in rows {
        totals.seq = row.try_get("seq")?;
        totals.booked_at = row.try_get("booked_ms")?;
        let line = Line {
            accounts: row.try_get("accounts")?,
            debits: sum(row.try_get("debits")?)?,
            credits: sum(row.try_get("credits")?)?,
        };
        let place = chart(row.try_get("type")?, row.try_get("gl_code")?)?;
        totals.balance.add(currency(row.try_get("currency")?)?, place, line);
    }
    if let Some(currency) = totals.balance.unbalanced() {
        tracing::error!(currency, seq = totals.seq, "the books do not balance");
        return Err(corrupt("trial balance"));
    }
    Ok(totals)
}

fn watched(row: &PgRow) -> Result<Watched, sqlx::Error> {
    let party = |id: &str, of: &str| -> Result<Option<Party>, sqlx::Error> {
        let Some(id) = row.try_get(id)? else { return Ok(None) };
        Ok(Some(Party { id, purpose: purpose(row.try_get(of)?)? }))
    };
    Ok(Watched {
        row: journal_row(row)?,
        debit: party("debit_id", "debit_purpose")?,
        credit: party("credit_id", "credit_purpose")?,
    })
}
