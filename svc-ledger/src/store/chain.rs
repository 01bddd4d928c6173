//! Proves that the journal is what the hash chain committed to: each batch's rows are read back, hashed again and compared, and
//! each batch must follow the one before it, up to the head.

use anyhow::{Context as _, ensure};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::Store;
use super::rows::{hash, journal_row};
use crate::domain::chain::{Batch, GENESIS, Hash};
use crate::domain::journal::Row;

/// How many batches are read at once.
const BATCHES: i64 = 100;

impl Store {
    /// Verifies the chain from the batch that begins with row `from` to the head; from the last batch when `None`. Answers how
    /// many rows were verified.
    ///
    /// # Errors
    /// The first batch that is not what it should be.
    pub async fn verify_chain(&self, from: Option<i64>) -> anyhow::Result<i64> {
        let mut next = match from {
            Some(from) => from,
            None => self.last_batch().await?.unwrap_or(1),
        };
        // After the batch, never before it: other replicas write meanwhile.
        let (head_seq, head_hash) = self.head().await?;
        let (first, mut expected) = (next, if next == 1 { Some(GENESIS) } else { None });
        while next <= head_seq {
            let batches = sqlx::query(
                "SELECT seq_from, n, prev, root, hash, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms \
                 FROM ledger.batch WHERE seq_from >= $1 AND seq_from <= $2 ORDER BY seq_from LIMIT $3",
            )
            .bind(next)
            .bind(head_seq)
            .bind(BATCHES)
            .fetch_all(&self.pool)
            .await?;
            ensure!(!batches.is_empty(), "no batch begins with row {next}, but the head is at {head_seq}");
            for batch in &batches {
                let stored = stored(batch)?;
                ensure!(stored.seq_from == next, "a batch begins with row {}, not {next}", stored.seq_from);
                ensure!(
                    expected.is_none_or(|hash| hash == stored.prev),
                    "the batch of row {next} follows another batch"
                );
                self.verify_batch(&stored, batch.try_get("booked_ms")?).await?;
                next += i64::from(stored.rows);
                expected = Some(stored.hash);
            }
        }
        ensure!(
            next == head_seq + 1,
            "the last batch ends with row {}, but the head is at {head_seq}",
            next - 1
        );
        ensure!(
            expected.is_none_or(|hash| hash == head_hash),
            "the head's hash is not that of the last batch"
        );
        Ok(next - first)
    }

    /// The rows of a batch.
    pub(super) async fn rows_of(&self, batch: &Batch, booked_ms: i64) -> Result<Vec<Row>, sqlx::Error> {
        // All rows of a batch are booked at one instant, so their ids lie in one partition.
        let rows = sqlx::query(
            "SELECT j.*, (extract(epoch FROM j.booked_at) * 1000)::bigint AS booked_ms, \
             (extract(epoch FROM j.expires_at) * 1000)::bigint AS expires_ms FROM ledger.journal j \
             WHERE j.id >= $1 AND j.id < $2 AND j.seq BETWEEN $3 AND $4 ORDER BY j.id",
        )
        .bind(crate::domain::journal::first_id_at(booked_ms))
        .bind(crate::domain::journal::first_id_at(booked_ms + 1))
        .bind(batch.seq_from)
        .bind(batch.next() - 1)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(journal_row).collect()
    }

    async fn verify_batch(&self, stored: &Batch, booked_ms: i64) -> anyhow::Result<()> {
        let last = stored.next() - 1;
        let rows = self.rows_of(stored, booked_ms).await?;
        let consecutive = rows.iter().zip(stored.seq_from..).all(|(row, seq)| row.seq == seq);
        ensure!(consecutive, "the rows of the batch of row {} are not consecutive", stored.seq_from);
        let again = Batch::new(stored.prev, &rows).context("a batch has no rows")?;
        ensure!(
            again == *stored,
            "the rows from {} to {last} are not those that were hashed",
            stored.seq_from
        );
        Ok(())
    }

    async fn head(&self) -> anyhow::Result<(i64, Hash)> {
        let row = sqlx::query("SELECT seq, hash FROM ledger.head").fetch_one(&self.pool).await?;
        Ok((row.try_get("seq")?, hash(row.try_get("hash")?)?))
    }

    async fn last_batch(&self) -> anyhow::Result<Option<i64>> {
        Ok(sqlx::query_scalar("SELECT max(seq_from) FROM ledger.batch").fetch_one(&self.pool).await?)
    }
}

/// A link as it is stored.
pub(super) fn stored(row: &PgRow) -> Result<Batch, sqlx::Error> {
    Ok(Batch {
        seq_from: row.try_get("seq_from")?,
        rows: row.try_get("n")?,
        prev: hash(row.try_get("prev")?)?,
        root: hash(row.try_get("root")?)?,
        hash: hash(row.try_get("hash")?)?,
    })
}
