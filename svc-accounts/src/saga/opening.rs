//! How an account becomes active: OPENING in the table, then the ledger's side, then ACTIVE in the table.

use super::{Saga, Stuck, Work};
use crate::cache::Cache;
use crate::clock;
use crate::domain::{Account, AccountId};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::store::{Store, WaitingPage};

/// The opening of accounts. Clones share everything.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Where accounts wait.
    pub store: Store,
    /// Makes the other side.
    pub ledger: Ledger,
    /// Must forget what changed.
    pub cache: Cache,
}

/// Drives openings on.
pub type Openings = Saga<Opening>;

impl Work for Opening {
    const NAME: &'static str = "opening";
    type Id = AccountId;
    type Record = Account;

    async fn waiting(&self, after: Option<AccountId>, limit: usize) -> Result<WaitingPage<AccountId>, Error> {
        self.store.openings(after, limit).await
    }

    async fn advance(&self, id: AccountId) -> Result<Account, Stuck> {
        let unopened = self.store.unopened(id).await?.ok_or(Stuck::Missing)?;
        let Ok(active) = unopened.account.activated(clock::now()) else {
            return Ok(unopened.account);
        };
        self.ledger.open(&unopened).await?;
        let account = self.store.activate(&unopened.account, &active).await?.ok_or(Stuck::Missing)?;
        self.cache.invalidate(id).await;
        Ok(account)
    }
}
