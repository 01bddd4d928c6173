//! Reads. What a reader may see is decided in the statement that reads it, so that no answer mixes two moments. Customers are
//! told the same of what is another's and of what does not exist.

mod balance;
mod entries;
mod transfers;

pub use balance::Balance;
pub use entries::{Entry, Heading, Window};

use sqlx::Row as _;
use uuid::Uuid;

use super::Store;
use super::rows::{currency, purpose};
use crate::domain::account::Purpose;
use crate::domain::currency::Currency;
use crate::error::{Error, Resource};

/// Who reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Sees every account and every counterparty.
    Staff,
    /// Sees every account; counterparties only where they are the bank's own.
    Service,
    /// Sees the customer's own accounts.
    Customer(String),
    /// Sees nothing.
    Nobody,
}

impl Viewer {
    /// The customer whose accounts the reader may see; `None` when not bound to one.
    fn customer(&self) -> Option<&str> {
        match self {
            Self::Customer(customer) => Some(customer),
            Self::Staff | Self::Service | Self::Nobody => None,
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
}

impl Store {
    /// The account, if the viewer may see it.
    async fn find(&self, viewer: &Viewer, account: &Named) -> Result<Found, Error> {
        let row = sqlx::query(
            "SELECT a.no, a.purpose, a.currency, \
             EXISTS (SELECT FROM ledger.party p WHERE p.account = a.no AND p.customer = $2) AS own \
             FROM ledger.account a WHERE a.id = $1",
        )
        .bind(account.id)
        .bind(viewer.customer())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::reading)?;
        let row = row.ok_or_else(|| viewer.missing(Resource::Account, &account.name))?;
        let found = || -> Result<(Found, bool), sqlx::Error> {
            let found = Found {
                no: row.try_get("no")?,
                purpose: purpose(row.try_get("purpose")?)?,
                currency: currency(row.try_get("currency")?)?,
            };
            Ok((found, row.try_get("own")?))
        };
        let (found, own) = found().map_err(Error::reading)?;
        if own || viewer.sees_all() { Ok(found) } else { Err(Error::NotPermitted) }
    }
}
