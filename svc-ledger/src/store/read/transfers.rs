//! Transfers: one as a command left it, one as it stands, and lists of them, newest first.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Named, Viewer};
use crate::domain::grant::Scope;
use crate::domain::journal::Kind;
use crate::domain::verdict::{Party, Transfer, TransferState};
use crate::error::{Error, Resource};
use crate::store::Store;
use crate::store::rows::{currency, kind, purpose, transfer_state};

/// A row `j` of the journal with its two accounts and its text, for [`transfer`].
macro_rules! transfer_columns {
    () => {
        "coalesce(j.ref, j.id) AS transfer, j.kind, j.amount, j.currency, \
         d.id AS debit_id, d.purpose AS debit_purpose, c.id AS credit_id, c.purpose AS credit_purpose, t.reference "
    };
}

macro_rules! transfer_joins {
    () => {
        "JOIN ledger.account d ON d.no = j.dr JOIN ledger.account c ON c.no = j.cr \
         LEFT JOIN ledger.transfer_detail t ON t.transfer = coalesce(j.ref, j.id) "
    };
}

/// The same as it stands: a hold's state is that of the row that ended it.
macro_rules! standing_columns {
    () => {
        concat!(
            transfer_columns!(),
            ", h.state, coalesce(r.seq, j.seq) AS seq, \
             (extract(epoch FROM coalesce(r.booked_at, j.booked_at)) * 1000)::bigint AS booked_ms "
        )
    };
}

macro_rules! standing_joins {
    () => {
        concat!(
            transfer_joins!(),
            "LEFT JOIN ledger.hold h ON h.id = j.id LEFT JOIN ledger.journal r ON r.id = h.resolved_by "
        )
    };
}

impl Store {
    /// A transfer as the command behind a row of the journal left it, for whoever gave that command.
    ///
    /// # Errors
    /// When there is no such row; [`Error::OutcomeUnknown`] when it cannot be read, for the command is done already.
    pub async fn transfer_of_row(&self, row: Uuid) -> Result<Transfer, Error> {
        let row = sqlx::query(concat!(
            "SELECT ",
            transfer_columns!(),
            ", NULL::smallint AS state, j.seq, (extract(epoch FROM j.booked_at) * 1000)::bigint AS booked_ms \
             FROM ledger.journal j ",
            transfer_joins!(),
            "WHERE j.id = $1"
        ))
        .bind(row)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::answering)?;
        transfer(&row.ok_or(Error::Corrupt("outcome"))?).map_err(Error::answering)
    }

    /// A transfer as it stands.
    ///
    /// # Errors
    /// When the viewer is neither party nor staff, or there is no such transfer.
    pub async fn transfer(&self, viewer: &Viewer, id: Uuid) -> Result<Transfer, Error> {
        let row = sqlx::query(concat!(
            "SELECT ",
            standing_columns!(),
            ", ",
            admits!("j.dr", "$4", "$5", "$6"),
            " AS payer, ",
            admits!("j.cr", "$4", "$5", "$6"),
            " AS payee FROM ledger.journal j ",
            standing_joins!(),
            "WHERE j.id = $1 AND j.kind IN ($2, $3)"
        ))
        .bind(id)
        .bind(Kind::Transfer as i16)
        .bind(Kind::Hold as i16)
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadEntries as i16)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        let row = row.ok_or_else(|| viewer.missing(Resource::Transfer, &id.to_string()))?;
        let own = |side| row.try_get::<bool, _>(side).map_err(Error::reading);
        if !viewer.sees_all() && !own("payer")? && !own("payee")? {
            return Err(Error::NotPermitted);
        }
        shown(&row, viewer).map_err(Error::reading)
    }

    /// Transfers of one account, or of all accounts of the viewer's customer, newest first, before the one given.
    ///
    /// # Errors
    /// When the viewer may not see the account, or it does not exist.
    pub async fn transfers(
        &self,
        viewer: &Viewer,
        account: Option<&Named>,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Transfer>, Error> {
        let accounts = match account {
            Some(account) => vec![self.find(viewer, account, Scope::ReadEntries).await?.no],
            None => self.own_accounts(viewer).await?,
        };
        let rows = sqlx::query(concat!(
            "WITH page AS ( \
             SELECT DISTINCT x.id FROM unnest($1::bigint[]) a (no) CROSS JOIN LATERAL ( \
             (SELECT id FROM ledger.journal WHERE dr = a.no AND kind IN ($4, $5) AND id < $2 ORDER BY id DESC LIMIT $3) \
             UNION ALL \
             (SELECT id FROM ledger.journal WHERE cr = a.no AND kind IN ($4, $5) AND id < $2 ORDER BY id DESC LIMIT $3)) x \
             WHERE $7::text IS NULL OR ",
            admits!("a.no", "$6", "$7", "$8"),
            " ORDER BY x.id DESC LIMIT $3) SELECT ",
            standing_columns!(),
            ", ",
            admits!("j.dr", "$6", "$7", "$8"),
            " AS payer FROM page JOIN ledger.journal j ON j.id = page.id ",
            standing_joins!(),
            "ORDER BY j.id DESC"
        ))
        .bind(accounts)
        .bind(before.unwrap_or(Uuid::max()))
        .bind(limit)
        .bind(Kind::Transfer as i16)
        .bind(Kind::Hold as i16)
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadEntries as i16)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::reading)?;
        if let (true, Some(account)) = (rows.is_empty(), account) {
            self.still(viewer, account, Scope::ReadEntries).await?;
        }
        rows.iter().map(|row| shown(row, viewer)).collect::<Result<_, _>>().map_err(Error::reading)
    }

    async fn own_accounts(&self, viewer: &Viewer) -> Result<Vec<i64>, Error> {
        // The page asks again for each of them; here only those are left out that need not be gone through.
        sqlx::query_scalar(concat!(
            "SELECT o.account FROM ledger.party o WHERE o.customer = $1 AND ",
            admits!("o.account", "$1", "$2", "$3")
        ))
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadEntries as i16)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::reading)
    }
}

/// A transfer as the viewer may know it. Who is paid learns from the text who has paid, and not from which account.
fn shown(row: &PgRow, viewer: &Viewer) -> Result<Transfer, sqlx::Error> {
    let transfer = transfer(row)?;
    let payer: bool = row.try_get("payer")?;
    let known = |party: &Party| payer || *viewer == Viewer::Staff || party.purpose.is_house();
    Ok(Transfer { debit: transfer.debit.filter(known), ..transfer })
}

fn transfer(row: &PgRow) -> Result<Transfer, sqlx::Error> {
    let state = match row.try_get::<Option<i16>, _>("state")? {
        Some(state) => transfer_state(state)?,
        None => match kind(row.try_get("kind")?)? {
            Kind::Transfer | Kind::Post => TransferState::Posted,
            Kind::Void => TransferState::Voided,
            Kind::Hold => TransferState::Pending,
            Kind::Open | Kind::Party | Kind::Grant => return Err(super::super::rows::corrupt("transfer")),
        },
    };
    Ok(Transfer {
        id: row.try_get("transfer")?,
        debit: Some(Party { id: row.try_get("debit_id")?, purpose: purpose(row.try_get("debit_purpose")?)? }),
        credit: Party { id: row.try_get("credit_id")?, purpose: purpose(row.try_get("credit_purpose")?)? },
        amount: row.try_get("amount")?,
        currency: currency(row.try_get("currency")?)?,
        state,
        reference: row.try_get::<Option<String>, _>("reference")?.unwrap_or_default(),
        seq: row.try_get("seq")?,
        booked_at: row.try_get("booked_ms")?,
    })
}
