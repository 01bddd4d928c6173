//! Transfers: one as a command left it, one as it stands, and lists of them, newest first.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::spans::{Life, Span, backwards};
use super::{Found, Listed, Look, Named, Quota, Viewer};
use crate::domain::account::Purpose;
use crate::domain::command::ExternalPayee;
use crate::domain::grant::Scope;
use crate::domain::journal::{EXTERNAL, HIDDEN, Kind};
use crate::domain::verdict::{Party, Transfer, TransferState};
use crate::error::{Error, Resource};
use crate::store::Store;
use crate::store::rows::{corrupt, currency, exchange, kind, purpose, transfer_state};

/// The row `j` of the journal that made a transfer, as the transfer stands, with its two accounts and its texts, for [`transfer`].
macro_rules! columns {
    () => {
        "j.id, j.kind, j.flags, j.currency, j.link, j.ref, j.value_date, j.quote, j.rate, coalesce(h.amount, j.amount) AS amount, \
         h.state, h.captured, h.remaining, coalesce(r.seq, j.seq) AS seq, \
         (extract(epoch FROM coalesce(r.booked_at, j.booked_at)) * 1000)::bigint AS booked_ms, \
         (extract(epoch FROM h.expires_at) * 1000)::bigint AS expires_ms, v.reversed_by, \
         d.id AS debit_id, d.purpose AS debit_purpose, c.id AS credit_id, c.purpose AS credit_purpose, \
         t.reference, t.iban, t.name "
    };
}

macro_rules! joins {
    () => {
        "JOIN ledger.account d ON d.no = j.dr JOIN ledger.account c ON c.no = j.cr \
         LEFT JOIN ledger.hold h ON h.id = j.id LEFT JOIN ledger.journal r ON r.id = h.resolved_by \
         LEFT JOIN ledger.reversal v ON v.transfer = j.id LEFT JOIN ledger.transfer_detail t ON t.transfer = j.id "
    };
}

/// The row `o` of the journal and the transfer it made or changed, for [`as_left`]; `$2` are the [`MAKING`] kinds.
macro_rules! left {
    () => {
        concat!(
            "o.kind AS row_kind, o.amount AS row_amount, o.remaining AS row_remaining, o.seq AS row_seq, \
             (extract(epoch FROM o.booked_at) * 1000)::bigint AS row_booked_ms, ",
            columns!(),
            "FROM ledger.journal o \
             JOIN ledger.journal j ON j.id = CASE WHEN o.kind = ANY ($2) THEN o.id ELSE o.ref END ",
            joins!()
        )
    };
}

mod recorded;

/// Which transfers, by what they are. Nothing is left out by a field that is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferFilter {
    /// How it stands.
    pub state: Option<TransferState>,
    /// The whole text both parties read.
    pub reference: Option<String>,
}

/// The kinds of row that make a transfer.
const MAKING: [i16; 3] = [Kind::Transfer as i16, Kind::Hold as i16, Kind::Reverse as i16];

impl Store {
    /// The transfer that a row of the journal made or changed, as the row left it, for whoever gave the command behind it.
    ///
    /// # Errors
    /// When there is no such row; [`Error::OutcomeUnknown`] when it cannot be read, for the command is done already.
    pub async fn transfer_of_row(&self, row: Uuid) -> Result<Transfer, Error> {
        let row = sqlx::query(concat!("SELECT ", left!(), "WHERE o.id = $1"))
            .bind(row)
            .bind(MAKING)
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::answering)?;
        as_left(&row.ok_or(Error::Corrupt("outcome"))?).map_err(Error::answering)
    }

    /// A transfer as it stands.
    ///
    /// # Errors
    /// When the viewer is neither party nor staff, or there is no such transfer.
    pub async fn transfer(&self, viewer: &Viewer, id: Uuid) -> Result<Transfer, Error> {
        let row = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            ", ",
            admits!("j.dr", "$3", "$4", "$5"),
            " AS payer, ",
            admits!("j.cr", "$3", "$4", "$5"),
            " AS payee FROM ledger.journal j ",
            joins!(),
            "WHERE j.id = $1 AND j.kind = ANY ($2)"
        ))
        .bind(id)
        .bind(MAKING)
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadEntries as i16)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        let row = row.ok_or_else(|| viewer.missing(Resource::Transfer, &id.to_string()))?;
        let own = |side| row.try_get::<bool, _>(side).map_err(Error::reading);
        let carries_out = *viewer == Viewer::Rail && is_external(&row).map_err(Error::reading)?;
        if !viewer.sees_all() && !carries_out && !own("payer")? && !own("payee")? {
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
        let filter = TransferFilter::default();
        Ok(self.transfers_like(viewer, account, before, limit, &filter).await?.found)
    }

    /// Those of them that pass the filter.
    ///
    /// # Errors
    /// As [`Store::transfers`].
    pub async fn transfers_like(
        &self,
        viewer: &Viewer,
        account: Option<&Named>,
        before: Option<Uuid>,
        limit: i64,
        filter: &TransferFilter,
    ) -> Result<Listed<Transfer>, Error> {
        loop {
            let accounts = match account {
                Some(account) if *viewer == Viewer::Rail => self.settlement(account).await?.into(),
                Some(account) => self.find(viewer, account, Scope::ReadEntries).await?.into(),
                None => self.own_accounts(viewer).await?,
            };
            let span = (Uuid::nil(), before.unwrap_or(Uuid::max()));
            if let Some(listed) = self.listed_transfers(viewer, &accounts, span, limit, filter).await? {
                return Ok(listed);
            }
        }
    }

    /// The same of accounts that are found; `None` when the viewer may not see one of them any more.
    async fn listed_transfers(
        &self,
        viewer: &Viewer,
        accounts: &Accounts,
        span: Span,
        limit: i64,
        filter: &TransferFilter,
    ) -> Result<Option<Listed<Transfer>>, Error> {
        // Whoever carries out payments to other banks sees those alone.
        let only = if *viewer == Viewer::Rail { EXTERNAL } else { 0 };
        let (mut listed, mut left) =
            (Listed::EMPTY, Quota::of(limit, only == 0 && *filter == TransferFilter::default()));
        for span in backwards(span, accounts.life) {
            let look = self.look_at_transfers(viewer, &accounts.numbers, only, filter, span, left).await?;
            let Some(look) = look else { return Ok(None) };
            if !listed.add(look, &mut left) {
                break;
            }
        }
        Ok(Some(listed))
    }

    async fn look_at_transfers(
        &self,
        viewer: &Viewer,
        accounts: &[i64],
        only: i16,
        filter: &TransferFilter,
        span: Span,
        quota: Quota,
    ) -> Result<Option<Look<Transfer>>, Error> {
        let rows = sqlx::query(concat!(
            "WITH looked AS MATERIALIZED ( \
             SELECT DISTINCT x.id FROM unnest($1::bigint[]) a (no) CROSS JOIN LATERAL ( \
             (SELECT id FROM ledger.journal WHERE dr = a.no AND kind = ANY ($4) AND id >= $13 AND id < $2 ORDER BY id DESC LIMIT $3) \
             UNION ALL \
             (SELECT id FROM ledger.journal WHERE cr = a.no AND kind = ANY ($4) AND id >= $13 AND id < $2 ORDER BY id DESC LIMIT $3)) x \
             ORDER BY x.id DESC LIMIT $3), passed AS (SELECT ",
            columns!(),
            ", ",
            admits!("j.dr", "$5", "$6", "$7"),
            " AS payer, ",
            admits!("j.cr", "$5", "$6", "$7"),
            " AS payee FROM looked JOIN ledger.journal j ON j.id = looked.id ",
            joins!(),
            "WHERE j.flags & $8 = $8 AND ($9::smallint IS NULL OR coalesce(h.state, $11) = $9) AND ($10::text IS NULL OR t.reference = $10) \
             ORDER BY j.id DESC LIMIT $12) \
             SELECT p.*, l.* FROM passed p RIGHT JOIN \
             (SELECT count(*) AS looked, (SELECT id FROM looked ORDER BY id LIMIT 1) AS last, \
             $6::text IS NULL OR NOT EXISTS (SELECT FROM unnest($1::bigint[]) a (no) WHERE NOT ",
            admits!("a.no", "$5", "$6", "$7"),
            ") AS admitted FROM looked) l ON true ORDER BY p.id DESC"
        ))
        .bind(accounts)
        .bind(span.1)
        .bind(quota.looked)
        .bind(MAKING)
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadEntries as i16)
        .bind(only)
        .bind(filter.state.map(|state| state as i16))
        .bind(&filter.reference)
        .bind(TransferState::Posted as i16)
        .bind(quota.found)
        .bind(span.0)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::reading)?;
        Look::read(&rows, |row| shown(row, viewer)).map_err(Error::reading)
    }

    /// A settlement account, towards which the payments lie that a rail partner carries out. Of others it learns nothing, not even
    /// whether they exist.
    async fn settlement(&self, account: &Named) -> Result<Found, Error> {
        let found = self.find(&Viewer::Staff, account, Scope::ReadEntries).await;
        match found {
            Ok(found) if found.purpose == Purpose::Settlement => Ok(found),
            Ok(_) | Err(Error::NotFound { .. }) => Err(Error::NotPermitted),
            Err(error) => Err(error),
        }
    }

    async fn own_accounts(&self, viewer: &Viewer) -> Result<Accounts, Error> {
        let row = sqlx::query(concat!(
            "SELECT coalesce(array_agg(a.no), '{}') AS numbers, \
             coalesce((extract(epoch FROM min(a.opened_at)) * 1000)::bigint, 0) AS first_ms, \
             coalesce((extract(epoch FROM max(a.booked_at)) * 1000)::bigint, 0) AS last_ms \
             FROM ledger.party o JOIN ledger.account a ON a.no = o.account WHERE o.customer = $1 AND ",
            admits!("o.account", "$1", "$2", "$3")
        ))
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(Scope::ReadEntries as i16)
        .fetch_one(&self.pool)
        .await
        .map_err(Error::reading)?;
        let accounts = || -> Result<Accounts, sqlx::Error> {
            let life = Life { first: row.try_get("first_ms")?, last: row.try_get("last_ms")? };
            Ok(Accounts { numbers: row.try_get("numbers")?, life })
        };
        accounts().map_err(Error::reading)
    }
}

/// Accounts whose transfers are listed together.
struct Accounts {
    numbers: Vec<i64>,
    life: Life,
}

impl From<Found> for Accounts {
    fn from(found: Found) -> Self {
        Self { numbers: vec![found.no], life: found.life }
    }
}

/// A transfer as the viewer may know it. Who is paid learns from the text who has paid, and not from which account; who gives it back
/// learns it no more.
fn shown(row: &PgRow, viewer: &Viewer) -> Result<Transfer, sqlx::Error> {
    let transfer = transfer(row)?;
    let (payer, payee): (bool, bool) = (row.try_get("payer")?, row.try_get("payee")?);
    let all = *viewer == Viewer::Staff;
    let rail = *viewer == Viewer::Rail;
    let debit = transfer.debit.filter(|party| payer || all || rail || party.purpose.is_house());
    // Who named the payee by a token does not learn the account from the transfer.
    let hidden = row.try_get::<i16, _>("flags")? & HIDDEN != 0 && !payee && !all;
    let credit = transfer.credit.filter(|_| !hidden);
    // Who is paid outside the bank is for the payer to know, and for who carries it out.
    let outside = transfer.payee.filter(|_| payer || all || rail);
    Ok(Transfer { debit, credit, payee: outside, ..transfer })
}

/// Whether the transfer pays somebody outside this bank.
fn is_external(row: &PgRow) -> Result<bool, sqlx::Error> {
    Ok(row.try_get::<i16, _>("flags")? & EXTERNAL != 0)
}

fn transfer(row: &PgRow) -> Result<Transfer, sqlx::Error> {
    let amount: i64 = row.try_get("amount")?;
    let (state, posted, held) = match row.try_get::<Option<i16>, _>("state")? {
        Some(state) => (transfer_state(state)?, row.try_get("captured")?, row.try_get("remaining")?),
        None => (TransferState::Posted, amount, 0),
    };
    let reverses = match kind(row.try_get("kind")?)? {
        Kind::Reverse => row.try_get("ref")?,
        Kind::Transfer | Kind::Hold => None,
        Kind::Open
        | Kind::Limits
        | Kind::State
        | Kind::Party
        | Kind::Grant
        | Kind::Increment
        | Kind::Post
        | Kind::Void
        | Kind::Expire
        | Kind::ClosePeriod => return Err(corrupt("transfer")),
    };
    let (iban, name): (Option<String>, Option<String>) = (row.try_get("iban")?, row.try_get("name")?);
    Ok(Transfer {
        id: row.try_get("id")?,
        debit: Some(Party { id: row.try_get("debit_id")?, purpose: purpose(row.try_get("debit_purpose")?)? }),
        credit: Some(Party {
            id: row.try_get("credit_id")?,
            purpose: purpose(row.try_get("credit_purpose")?)?,
        }),
        amount,
        posted,
        held,
        currency: currency(row.try_get("currency")?)?,
        state,
        reference: row.try_get::<Option<String>, _>("reference")?.unwrap_or_default(),
        seq: row.try_get("seq")?,
        booked_at: row.try_get("booked_ms")?,
        expires_at: row.try_get("expires_ms")?,
        value_date: row.try_get("value_date")?,
        link: row.try_get("link")?,
        reverses,
        reversed_by: row.try_get("reversed_by")?,
        exchange: exchange(row.try_get("quote")?, row.try_get("rate")?),
        payee: iban.zip(name).map(|(iban, name)| ExternalPayee { iban, name }),
    })
}

/// A transfer as one of its rows left it, whatever has become of it since: the same answer for ever. What the hold's own figures
/// say is used only where nothing can change them any more: its amount once a part was posted, what was posted once it has ended.
fn as_left(row: &PgRow) -> Result<Transfer, sqlx::Error> {
    let transfer = transfer(row)?;
    let moved: i64 = row.try_get("row_amount")?;
    let left = row.try_get::<Option<i64>, _>("row_remaining")?.unwrap_or_default();
    let ended = |unposted| if transfer.posted > 0 { TransferState::Posted } else { unposted };
    let (amount, state, posted, held) = match kind(row.try_get("row_kind")?)? {
        Kind::Hold | Kind::Increment => (left, TransferState::Pending, 0, left),
        Kind::Transfer | Kind::Reverse => (moved, TransferState::Posted, moved, 0),
        Kind::Post if left > 0 => (transfer.amount, TransferState::Pending, transfer.amount - left, left),
        Kind::Post => (transfer.amount, TransferState::Posted, transfer.posted, 0),
        Kind::Void => (transfer.amount, ended(TransferState::Voided), transfer.posted, 0),
        Kind::Expire => (transfer.amount, ended(TransferState::Expired), transfer.posted, 0),
        Kind::Open | Kind::Limits | Kind::State | Kind::Party | Kind::Grant | Kind::ClosePeriod => {
            return Err(corrupt("transfer"));
        }
    };
    let (seq, booked_at) = (row.try_get("row_seq")?, row.try_get("row_booked_ms")?);
    // It is the payer who reads this.
    let hidden = row.try_get::<i16, _>("flags")? & HIDDEN != 0;
    let credit = transfer.credit.filter(|_| !hidden);
    Ok(Transfer { credit, amount, state, posted, held, seq, booked_at, reversed_by: None, ..transfer })
}
