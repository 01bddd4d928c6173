//! Accounts: the record, who holds it (asked from either side), and the owner of its IBAN.

use std::collections::HashMap;

use super::item::{Item, Reader, Writer, corrupt};
use super::key::{ACCOUNT_PREFIX, Key};
use super::query::Range;
use super::request;
use super::transact::Written;
use super::{Event, Store, change};
use crate::domain::{
    Account, AccountId, AccountName, AccountState, CurrencyCode, CustomerId, Iban, Request, StateRevision,
    UnixMillis,
};
use crate::error::Error;

/// What became of a request for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It was written, OPENING.
    New,
    /// The same request has made this one before.
    Before(AccountId),
    /// The IBAN belongs to another account; nothing was written.
    IbanTaken,
}

impl Store {
    /// Writes a new account with all that belongs to it, and puts it among those that wait for the ledger. What stands in
    /// the way is told in this order: no such customer, a known request, a taken IBAN. `opened_by` is the principal that
    /// asked, kept with the record because the ledger's side is made by the service itself.
    pub async fn open_account(
        &self,
        account: &Account,
        opened_by: &str,
        request: &Request,
        event: &Event,
    ) -> Result<Opened, Error> {
        const CUSTOMER: usize = 0;
        const REQUEST: usize = 1;
        const IBAN: usize = 2;
        let (id, customer) = (account.id, account.customer_id);
        let mut record = encode(account);
        record.extend(Writer::at(&Key::account(id)).text("opened_by", opened_by).done());
        let steps = vec![
            self.demand(&Key::customer(customer))?,
            self.put_new(request::item(request, &id, account.create_time))?,
            self.put_new(Writer::at(&Key::iban(&account.iban)).text("account_id", id.to_string()).done())?,
            self.put_new(record)?,
            self.put_new(Writer::at(&Key::holder(id, customer)).done())?,
            self.put_new(Writer::at(&Key::account_held(customer, id)).done())?,
            self.put_new(
                Writer::at(&Key::opening(id)).number("create_time", account.create_time.get()).done(),
            )?,
            self.put_event(event)?,
        ];
        match self.transact("OpenAccount", steps).await? {
            Written::All => Ok(Opened::New),
            Written::Nothing(refused) if refused.at(CUSTOMER) => Err(Error::CustomerNotFound(customer)),
            Written::Nothing(refused) if refused.at(REQUEST) => {
                self.made_before(request, AccountId::parse).await.map(Opened::Before)
            }
            Written::Nothing(refused) if refused.at(IBAN) => Ok(Opened::IbanTaken),
            Written::Nothing(_) => Err(corrupt("pk")),
        }
    }

    /// One account.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, Error> {
        self.get(&Key::account(id)).await?.as_ref().map(decode).transpose()
    }

    /// Those of the accounts that exist. The ids must differ from one another.
    pub async fn accounts(&self, ids: &[AccountId]) -> Result<HashMap<AccountId, Account>, Error> {
        let keys: Vec<Key> = ids.iter().copied().map(Key::account).collect();
        let items = self.get_all(&keys).await?;
        items.iter().map(|item| decode(item).map(|account| (account.id, account))).collect()
    }

    /// Whether the customer holds the account. What an owner may do hangs on this item, read from the table each time.
    pub async fn is_holder(&self, account: AccountId, customer: CustomerId) -> Result<bool, Error> {
        Ok(self.get(&Key::holder(account, customer)).await?.is_some())
    }

    /// The accounts of a customer, oldest first, and whether there are more.
    pub async fn list_accounts(
        &self,
        customer: CustomerId,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<(Vec<Account>, bool), Error> {
        let (ids, more) = self.held_accounts(customer, after, limit).await?;
        Ok((self.accounts_in_order(&ids).await?, more))
    }

    /// The ids of a customer's accounts, oldest first, and whether there are more.
    pub async fn held_accounts(
        &self,
        customer: CustomerId,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<(Vec<AccountId>, bool), Error> {
        let range = Range {
            partition: Key::customer(customer).partition,
            prefix: Some(ACCOUNT_PREFIX),
            after: after.map(|account| Key::account_held(customer, account)),
            limit,
        };
        let (held, more) = self.range(range).await?;
        let id = |item| Reader(item).sort_id(ACCOUNT_PREFIX, AccountId::parse);
        Ok((held.iter().map(id).collect::<Result<_, _>>()?, more))
    }

    /// Those of the accounts that exist, in the order of the ids, which must differ from one another.
    pub async fn accounts_in_order(&self, ids: &[AccountId]) -> Result<Vec<Account>, Error> {
        let mut accounts = self.accounts(ids).await?;
        Ok(ids.iter().filter_map(|id| accounts.remove(id)).collect())
    }
}

fn encode(account: &Account) -> Item {
    Writer::at(&Key::account(account.id))
        .text("account_id", account.id.to_string())
        .text("customer_id", account.customer_id.to_string())
        .text("iban", account.iban.as_str())
        .text("currency", account.currency.as_str())
        .text("display_name", account.display_name.as_str())
        .text("state", account.state.as_str())
        .number("overdraft_limit_minor_units", account.overdraft_limit_minor_units)
        .number("state_revision", account.state_revision.get())
        .number("create_time", account.create_time.get())
        .number("update_time", account.update_time.get())
        .number("revision", account.revision)
        .done()
}

pub(super) fn decode(item: &Item) -> Result<Account, Error> {
    let item = Reader(item);
    Ok(Account {
        id: item.parsed("account_id", AccountId::parse)?,
        customer_id: item.parsed("customer_id", CustomerId::parse)?,
        iban: item.parsed("iban", Iban::parse)?,
        currency: item.parsed("currency", CurrencyCode::parse)?,
        display_name: item.parsed("display_name", AccountName::parse)?,
        state: AccountState::parse(item.text("state")?).ok_or_else(|| corrupt("state"))?,
        overdraft_limit_minor_units: item.number("overdraft_limit_minor_units")?,
        changes: change::decode(&item)?,
        state_revision: StateRevision::new(item.number("state_revision")?),
        create_time: UnixMillis::new(item.number("create_time")?),
        update_time: UnixMillis::new(item.number("update_time")?),
        revision: item.number("revision")?,
    })
}
