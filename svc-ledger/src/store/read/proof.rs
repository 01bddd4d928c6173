//! What proves that a transfer is in the journal: its row, as far as the reader may know it, and the way from there to the first
//! head behind it that was signed.

use sqlx::Row as _;
use uuid::Uuid;

use super::Viewer;
use crate::domain::chain::{Batch, audit_path, leaf, part};
use crate::domain::grant::Scope;
use crate::domain::journal::{Row, Which};
use crate::domain::proof::{Link, Proof, Side, SignedHead};
use crate::error::{Error, Resource};
use crate::store::Store;
use crate::store::chain::stored;
use crate::store::heads::signed;
use crate::store::rows::journal_row;

/// A row with the sides that the reader may know.
struct Shown {
    row: Row,
    debit: bool,
    credit: bool,
}

impl Store {
    /// Proves the row of a transfer, or one that changed it. The journal and what was signed never change, so that the reads
    /// need no common moment.
    ///
    /// # Errors
    /// When the viewer is neither party nor staff, or there is no such row; [`Error::HeadNotSigned`] when no head behind it is.
    pub async fn proof(&self, viewer: &Viewer, id: Uuid) -> Result<Proof, Error> {
        let shown = self.shown(viewer, id).await?;
        let (batch, booked_ms) = self.batch_of(shown.row.seq).await?;
        let head = self.signed_from(batch.next() - 1).await?.ok_or(Error::HeadNotSigned)?;
        let rows = self.rows_of(&batch, booked_ms).await.map_err(Error::reading)?;
        let leaves: Vec<_> = rows.iter().map(leaf).collect();
        let index = usize::try_from(shown.row.seq - batch.seq_from).map_err(|_| Error::Corrupt("batch"))?;
        let path = audit_path(&leaves, index).ok_or(Error::Corrupt("batch"))?;
        let batches = self.links(batch.seq_from, head.head.seq).await.map_err(Error::reading)?;
        let side = |is_shown: bool, which| {
            let bytes = shown.row.side(which);
            if is_shown { Side::Shown(bytes) } else { Side::Hidden(part(&bytes)) }
        };
        Ok(Proof {
            public: shown.row.public(),
            debit: side(shown.debit, Which::Debit),
            credit: side(shown.credit, Which::Credit),
            index: index as u64,
            path,
            batches,
            head,
        })
    }

    async fn shown(&self, viewer: &Viewer, id: Uuid) -> Result<Shown, Error> {
        let row = sqlx::query(concat!(
            "SELECT j.*, (extract(epoch FROM j.booked_at) * 1000)::bigint AS booked_ms, \
             (extract(epoch FROM j.expires_at) * 1000)::bigint AS expires_ms, ",
            admits!("j.dr", "$2", "$3", "$4"),
            " AS payer, ",
            admits!("j.cr", "$2", "$3", "$4"),
            " AS payee FROM ledger.journal j WHERE j.id = $1 AND j.dr IS NOT NULL"
        ))
        .bind(id)
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadEntries as i16)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        let row = row.ok_or_else(|| viewer.missing(Resource::Transfer, &id.to_string()))?;
        let own =
            |side| Ok(*viewer == Viewer::Staff || row.try_get::<bool, _>(side).map_err(Error::reading)?);
        let (debit, credit) = (own("payer")?, own("payee")?);
        if !debit && !credit {
            return Err(Error::NotPermitted);
        }
        Ok(Shown { row: journal_row(&row).map_err(Error::reading)?, debit, credit })
    }

    /// The batch that a row is part of, and when it was booked.
    async fn batch_of(&self, seq: i64) -> Result<(Batch, i64), Error> {
        let row = sqlx::query(
            "SELECT seq_from, n, prev, root, hash, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms \
             FROM ledger.batch WHERE seq_from <= $1 ORDER BY seq_from DESC LIMIT 1",
        )
        .bind(seq)
        .fetch_one(&self.pool)
        .await
        .map_err(Error::reading)?;
        let batch = stored(&row).map_err(Error::reading)?;
        Ok((batch, row.try_get("booked_ms").map_err(Error::reading)?))
    }

    /// The first signed head at `seq` or behind it.
    async fn signed_from(&self, seq: i64) -> Result<Option<SignedHead>, Error> {
        let row = sqlx::query(
            "SELECT seq, hash, key_id, signature, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms \
             FROM ledger.signed_head WHERE seq >= $1 ORDER BY seq LIMIT 1",
        )
        .bind(seq)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        row.as_ref().map(signed).transpose().map_err(Error::reading)
    }

    /// The batches from the one that begins with `first` to the one that ends with `last`.
    async fn links(&self, first: i64, last: i64) -> Result<Vec<Link>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT seq_from, n, prev, root, hash FROM ledger.batch WHERE seq_from BETWEEN $1 AND $2 ORDER BY seq_from",
        )
        .bind(first)
        .bind(last)
        .fetch_all(&self.pool)
        .await?;
        let link = |row| {
            let Batch { seq_from, rows, prev, root, .. } = stored(row)?;
            Ok(Link { seq_from, rows, prev, root })
        };
        rows.iter().map(link).collect()
    }
}
