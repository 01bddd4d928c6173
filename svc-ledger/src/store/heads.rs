//! Signed heads: the newest is signed, after the way to it from the one signed before was followed, and lies in a box until its
//! keeper elsewhere has it. The connection is its own, as that of the other box.

use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use tokio_stream::StreamExt as _;

use super::chain::stored;
use super::connect;
use super::rows::hash;
use crate::config;
use crate::domain::chain::{Batch, GENESIS};
use crate::domain::proof::{Head, SignedHead};
use crate::signing::Signer;

/// Heads of the ledger.
#[derive(Clone, Debug)]
pub struct Heads {
    pool: PgPool,
}

/// Why a head was not signed.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] sqlx::Error),
    /// The batches behind the head signed last do not lead to the head. The ledger does not put its name to that.
    #[error("the chain breaks at row {at}, between the head signed last and the head")]
    Broken {
        /// The first row of the batch that does not follow.
        at: i64,
    },
}

impl Heads {
    /// The heads of the ledger; it connects when it is first asked.
    ///
    /// # Errors
    /// When the configuration names no server or no password.
    pub fn new(config: &config::Store) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(config.timeout())
            .connect_lazy_with(connect::outbox(config)?.application_name("svc-ledger/heads"));
        Ok(Self { pool })
    }

    /// Signs the head, if it has moved since one was signed last.
    ///
    /// # Errors
    /// When the store is away, or the head is not what the batches lead to.
    pub async fn sign(&self, signer: &Signer) -> Result<Option<SignedHead>, NotSigned> {
        let head = self.newest().await?;
        let (last_seq, last_hash) = match self.last_signed().await? {
            Some(signed) => (signed.head.seq, signed.head.hash),
            None => (0, GENESIS),
        };
        if head.seq <= last_seq {
            return Ok(None);
        }
        let mut before = last_hash;
        let mut next = last_seq + 1;
        let mut batches = sqlx::query(
            "SELECT seq_from, n, prev, root, hash FROM ledger.batch WHERE seq_from > $1 AND seq_from <= $2 ORDER BY seq_from",
        )
        .bind(last_seq)
        .bind(head.seq)
        .fetch(&self.pool);
        while let Some(row) = batches.next().await {
            let batch = stored(&row?)?;
            let follows = batch.seq_from == next && batch.prev == before;
            if !follows || batch != Batch::link(batch.prev, batch.seq_from, batch.rows, batch.root) {
                return Err(NotSigned::Broken { at: batch.seq_from });
            }
            (before, next) = (batch.hash, batch.next());
        }
        drop(batches);
        if before != head.hash || next != head.seq + 1 {
            return Err(NotSigned::Broken { at: next });
        }
        let signed = signer.sign(head);
        self.keep(&signed).await?;
        Ok(Some(signed))
    }

    async fn newest(&self) -> Result<Head, sqlx::Error> {
        let row = sqlx::query(
            "SELECT seq, hash, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms FROM ledger.head",
        )
        .fetch_one(&self.pool)
        .await?;
        head(&row)
    }

    async fn last_signed(&self) -> Result<Option<SignedHead>, sqlx::Error> {
        let row = sqlx::query(concat!(
            "SELECT seq, hash, key_id, signature, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms ",
            "FROM ledger.signed_head ORDER BY seq DESC LIMIT 1"
        ))
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(signed).transpose()
    }

    /// Keeps a signed head, and puts it into the box. Of replicas that sign one head at once, one keeps it.
    async fn keep(&self, signed: &SignedHead) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH kept AS (INSERT INTO ledger.signed_head (seq, hash, booked_at, key_id, signature) \
             VALUES ($1, $2, 'epoch'::timestamptz + $3 * interval '1 millisecond', $4, $5) \
             ON CONFLICT DO NOTHING RETURNING seq) \
             INSERT INTO ledger.head_outbox (seq) SELECT seq FROM kept",
        )
        .bind(signed.head.seq)
        .bind(signed.head.hash.as_slice())
        .bind(signed.head.booked_at)
        .bind(&signed.key_id)
        .bind(&signed.signature)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The oldest heads that their keeper does not have yet.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn pending(&self, max: i64) -> Result<Vec<SignedHead>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT seq, hash, key_id, signature, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms \
             FROM ledger.head_outbox JOIN ledger.signed_head USING (seq) ORDER BY seq LIMIT $1",
        )
        .bind(max)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(signed).collect()
    }

    /// Takes heads out of the box: their keeper has them.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn remove(&self, shipped: &[SignedHead]) -> Result<(), sqlx::Error> {
        let seqs: Vec<i64> = shipped.iter().map(|signed| signed.head.seq).collect();
        sqlx::query("DELETE FROM ledger.head_outbox WHERE seq = ANY ($1)")
            .bind(seqs)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn head(row: &PgRow) -> Result<Head, sqlx::Error> {
    Ok(Head {
        seq: row.try_get("seq")?,
        hash: hash(row.try_get("hash")?)?,
        booked_at: row.try_get("booked_ms")?,
    })
}

/// A signed head as it is stored.
pub(super) fn signed(row: &PgRow) -> Result<SignedHead, sqlx::Error> {
    Ok(SignedHead { head: head(row)?, key_id: row.try_get("key_id")?, signature: row.try_get("signature")? })
}
