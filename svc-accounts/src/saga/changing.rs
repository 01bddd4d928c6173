//! How an account becomes frozen, or not any more, or closed, or gets another limit: the wish in the table, then the ledger, then
//! what the ledger said in the table again. What the ledger is told is always the wish as the table has it, with its revision, so
//! that two replicas, or a process that was stopped for an hour, cannot undo a newer one.

use super::{Saga, Stuck, Work};
use crate::cache::Cache;
use crate::clock;
use crate::domain::change::Step;
use crate::domain::{Account, AccountId};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::store::{Store, WaitingPage};

/// The changing of accounts. Clones share everything.
#[derive(Debug, Clone)]
pub struct Changing {
    /// Where accounts wait.
    pub store: Store,
    /// Judges by them.
    pub ledger: Ledger,
    /// Must forget what changed.
    pub cache: Cache,
}

/// Drives changes on.
pub type Changings = Saga<Changing>;

impl Work for Changing {
    const NAME: &'static str = "changing";
    type Id = AccountId;
    type Record = Account;

    async fn waiting(&self, after: Option<AccountId>, limit: usize) -> Result<WaitingPage<AccountId>, Error> {
        self.store.changings(after, limit).await
    }

    /// Step after step, as long as the ledger answers: a refusal makes another.
    async fn advance(&self, id: AccountId) -> Result<Account, Stuck> {
        let mut account = self.store.account(id).await?.ok_or(Stuck::Missing)?;
        let Some(mut step) = account.changes.next() else {
            // Another has settled it between the sweep's look at the list and this one.
            self.store.forget_changing(&account).await?;
            return Ok(account);
        };
        loop {
            let verdict = match step {
                Step::State(intent) => self.ledger.set_state(id, intent).await?,
                Step::Limit(intent) => self.ledger.set_limit(id, intent).await?,
            };
            let next = account.judged(step, verdict, clock::now());
            account =
                self.store.settle_account(&account, step, verdict, &next).await?.ok_or(Stuck::Missing)?;
            self.cache.invalidate(id).await;
            match account.changes.next() {
                Some(next) => step = next,
                None => return Ok(account),
            }
        }
    }
}
