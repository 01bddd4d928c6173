//! Accounts that wait for the ledger: the list of them, and the write that ends the waiting.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Store;
use super::account::decode;
use super::item::{Item, Reader};
use super::key::{ACCOUNT_PREFIX, HOLDER_PREFIX, Key, OPENING, SORT};
use super::query::Range;
use super::transact::Written;
use super::waiting::WaitingPage;
use crate::domain::{Account, AccountId, AccountState, CustomerId};
use crate::error::Error;

/// More holders than an account may have; the ledger takes ten.
const HOLDERS_MAX: usize = 32;

/// What the ledger has to know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unopened {
    /// The account.
    pub account: Account,
    /// Everyone who holds it.
    pub holders: Vec<CustomerId>,
}

impl Store {
    /// Accounts that wait, the oldest first, and whether there are more.
    pub async fn openings(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<WaitingPage<AccountId>, Error> {
        self.waiting(OPENING, ACCOUNT_PREFIX, after.map(Key::opening), limit, |item| {
            item.sort_id(ACCOUNT_PREFIX, AccountId::parse)
        })
        .await
    }

    /// The account with its holders.
    pub async fn unopened(&self, id: AccountId) -> Result<Option<Unopened>, Error> {
        // The record and its holders are all of the partition, read in one consistent query.
        let partition = Key::account(id).partition;
        let (items, _more) =
            self.range(Range { partition, prefix: None, after: None, limit: HOLDERS_MAX }).await?;
        let mut account = None;
        let mut holders = Vec::new();
        for item in &items {
            if Reader(item).text(SORT)?.starts_with(HOLDER_PREFIX) {
                holders.push(Reader(item).sort_id(HOLDER_PREFIX, CustomerId::parse)?);
            } else {
                account = Some(decode(item)?);
            }
        }
        Ok(account.map(|account| Unopened { account, holders }))
    }

    /// Writes that the account is active and waits no longer, if it is still the OPENING account it was; else says what it
    /// is. Whoever comes second finds the work done.
    pub async fn activate(&self, opening: &Account, active: &Account) -> Result<Option<Account>, Error> {
        let values = Item::from([
            (":active".to_owned(), AttributeValue::S(active.state.as_str().to_owned())),
            (":opening".to_owned(), AttributeValue::S(AccountState::Opening.as_str().to_owned())),
            (":intent".to_owned(), AttributeValue::N(opening.state_revision.get().to_string())),
            (":was".to_owned(), AttributeValue::N(opening.revision.to_string())),
            (":revision".to_owned(), AttributeValue::N(active.revision.to_string())),
            (":now".to_owned(), AttributeValue::N(active.update_time.get().to_string())),
        ]);
        let names = [
            ("#state", "state"),
            ("#intent", "state_revision"),
            ("#revision", "revision"),
            ("#updated", "update_time"),
        ];
        let steps = vec![
            self.update(
                &Key::account(opening.id),
                "SET #state = :active, #revision = :revision, #updated = :now",
                "#state = :opening AND #intent = :intent AND #revision = :was",
                &names,
                values,
            )?,
            self.delete(&Key::opening(opening.id))?,
        ];
        match self.transact("ActivateAccount", steps).await? {
            Written::All => Ok(Some(active.clone())),
            Written::Nothing(_) => self.account(opening.id).await,
        }
    }
}
