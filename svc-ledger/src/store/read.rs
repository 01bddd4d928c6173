//! Reads. What a reader may see is decided in the statement that reads it, so that no answer is older than the consent a partner has it
//! by. What takes several statements says in each whether the consent still stands; if it has ended in between, all begins anew, and
//! finds that out. Customers are told the same of what is another's and of what does not exist.

/// Whether a reader may see an account: its customer is a party to it and, where a partner reads for the customer, a consent
/// allows the partner what the scope says at this moment. A piece of text and no function of the database, which would be planned
/// anew for each call, because PostgreSQL puts no function with a subquery into the statement that calls it.
macro_rules! admits {
    ($account:literal, $customer:literal, $partner:literal, $scope:literal) => {
        concat!(
            "(EXISTS (SELECT FROM ledger.party p WHERE p.account = ",
            $account,
            " AND p.customer = ",
            $customer,
            ") AND (",
            $partner,
            "::text IS NULL OR EXISTS (SELECT FROM ledger.\"grant\" g WHERE g.account = ",
            $account,
            " AND g.partner = ",
            $partner,
            " AND g.scopes & ",
            $scope,
            " <> 0 AND g.expires_at > statement_timestamp())))"
        )
    };
}

mod balance;
mod entries;
mod journal;
mod periods;
mod proof;
mod spans;
mod transfers;

pub use balance::Balance;
pub use entries::{Entry, EntryFilter, Heading, Window};
pub use journal::{Totals, Watched};
pub use transfers::TransferFilter;

use spans::Life;

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::Store;
use super::rows::{currency, purpose};
use crate::domain::account::Purpose;
use crate::domain::currency::Currency;
use crate::domain::grant::Scope;
use crate::domain::verdict::Party;
use crate::error::{Error, Resource};

/// How often a reader of the past asks whether the batches in flight have ended. One takes a few milliseconds.
const FLIGHT_POLL: Duration = Duration::from_millis(5);

/// How many rows a list with a filter looks through in one call, at most: no index has what is filtered by.
const LOOKED_THROUGH_MAX: i64 = 5_000;

/// What a list has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// In the list's order.
    pub found: Vec<T>,
    /// The last row that was looked at, when looking ended for their number; the list goes on behind it.
    pub looked_through: Option<Uuid>,
}

impl<T> Listed<T> {
    const EMPTY: Self = Self { found: Vec::new(), looked_through: None };

    /// Adds what was found next, and answers whether the list wants more.
    fn add(&mut self, look: Look<T>, left: &mut Quota) -> bool {
        left.found -= look.found.len() as i64;
        left.looked -= look.looked;
        self.found.extend(look.found);
        if left.looked <= 0 {
            self.looked_through = look.last;
        }
        left.looked > 0 && left.found > 0
    }
}

/// How much may still be found and looked at.
#[derive(Clone, Copy, Debug)]
struct Quota {
    found: i64,
    looked: i64,
}

impl Quota {
    /// Of a list of `limit` items; if `all` that is looked at is found, no more than them is looked at.
    fn of(limit: i64, all: bool) -> Self {
        Self { found: limit, looked: if all { limit } else { LOOKED_THROUGH_MAX } }
    }
}

/// What one look has found.
struct Look<T> {
    found: Vec<T>,
    /// How many rows were looked at, and which was the last.
    looked: i64,
    last: Option<Uuid>,
}

impl<T> Look<T> {
    /// From the rows of a statement: what it has found, each with how many were looked at, which was the last, and whether the viewer
    /// was admitted; one row without an id where it has found nothing. `None` if the viewer was not.
    fn read(
        rows: &[PgRow],
        one: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Option<Self>, sqlx::Error> {
        let mut look = Self { found: Vec::with_capacity(rows.len()), looked: 0, last: None };
        for row in rows {
            if !row.try_get("admitted")? {
                return Ok(None);
            }
            (look.looked, look.last) = (row.try_get("looked")?, row.try_get("last")?);
            if row.try_get::<Option<Uuid>, _>("id")?.is_some() {
                look.found.push(one(row)?);
            }
        }
        Ok(Some(look))
    }
}

/// Who reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Sees every account and every counterparty.
    Staff,
    /// Sees every account; counterparties only where they are the bank's own.
    Service,
    /// Sees the customer's own accounts.
    Customer(String),
    /// Sees of the customer's own accounts what the customer has consented to.
    Partner {
        /// Who reads.
        partner: String,
        /// For whom.
        customer: String,
    },
    /// A partner that carries out payments to other banks, for itself: sees those.
    Rail,
    /// Sees nothing.
    Nobody,
}

impl Viewer {
    /// The customer whose accounts the reader may see; `None` when not bound to one.
    fn customer(&self) -> Option<&str> {
        match self {
            Self::Customer(customer) | Self::Partner { customer, .. } => Some(customer),
            Self::Staff | Self::Service | Self::Rail | Self::Nobody => None,
        }
    }

    /// The partner whose consents bound what the reader may see; `None` when none do.
    fn partner(&self) -> Option<&str> {
        match self {
            Self::Partner { partner, .. } => Some(partner),
            Self::Staff | Self::Service | Self::Customer(_) | Self::Rail | Self::Nobody => None,
        }
    }

    fn sees_all(&self) -> bool {
        matches!(self, Self::Staff | Self::Service)
    }

    /// What to say of something that is not there.
    fn missing(&self, resource: Resource, name: &str) -> Error {
        if self.sees_all() {
            Error::NotFound { resource, name: name.to_owned() }
        } else {
            Error::NotPermitted
        }
    }
}

/// An account as a reader names it.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its id.
    pub id: Uuid,
    /// How the reader wrote it, for the answer.
    pub name: String,
}

/// What readers need to know of an account before they read more about it.
struct Found {
    no: i64,
    purpose: Purpose,
    currency: Currency,
    life: Life,
}

impl Store {
    /// Waits until nothing that is still in flight can be booked before `time`, in milliseconds of the Unix time, so that what
    /// is then read of a time before now stays as it was read. Rows are booked when the head is locked and seen when their
    /// batch is committed: what lies between are the transactions that hold the head at this moment, or are next in line.
    /// The caller's deadline bounds the wait; the server ends a batch that takes longer than the store's timeout.
    async fn settled(&self, time: i64) -> Result<(), Error> {
        let head: i64 =
            sqlx::query_scalar("SELECT (extract(epoch FROM booked_at) * 1000)::bigint FROM ledger.head")
                .fetch_one(&self.pool)
                .await
                .map_err(Error::reading)?;
        // Booking times never decrease.
        if head >= time {
            return Ok(());
        }
        let mut in_flight: Option<Vec<String>> = None;
        loop {
            let left: Vec<String> = sqlx::query_scalar(
                "SELECT DISTINCT virtualtransaction FROM pg_locks WHERE relation = 'ledger.head'::regclass \
                 AND mode IN ('RowShareLock', 'RowExclusiveLock') \
                 AND ($1::text[] IS NULL OR virtualtransaction = ANY ($1))",
            )
            .bind(&in_flight)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::reading)?;
            if left.is_empty() {
                return Ok(());
            }
            in_flight = Some(left);
            tokio::time::sleep(FLIGHT_POLL).await;
        }
    }

    /// The account, if the viewer may see of it what `scope` says.
    async fn find(&self, viewer: &Viewer, account: &Named, scope: Scope) -> Result<Found, Error> {
        let row = sqlx::query(concat!(
            "SELECT a.no, a.purpose, a.currency, (extract(epoch FROM a.opened_at) * 1000)::bigint AS first_ms, \
             (extract(epoch FROM a.booked_at) * 1000)::bigint AS last_ms, ",
            admits!("a.no", "$2", "$3", "$4"),
            " AS own FROM ledger.account a WHERE a.id = $1"
        ))
        .bind(account.id)
        .bind(viewer.customer())
        .bind(viewer.partner())
        .bind(scope as i16)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        let row = row.ok_or_else(|| viewer.missing(Resource::Account, &account.name))?;
        let found = || -> Result<(Found, bool), sqlx::Error> {
            let found = Found {
                no: row.try_get("no")?,
                purpose: purpose(row.try_get("purpose")?)?,
                currency: currency(row.try_get("currency")?)?,
                life: Life { first: row.try_get("first_ms")?, last: row.try_get("last_ms")? },
            };
            Ok((found, row.try_get("own")?))
        };
        let (found, own) = found().map_err(Error::reading)?;
        if own || viewer.sees_all() { Ok(found) } else { Err(Error::NotPermitted) }
    }
}
