//! What is known of an IBAN: the account and the names of those who hold it.

use super::Store;
use super::item::Reader;
use super::key::Key;
use crate::domain::{Account, AccountId, CustomerId, CustomerName, Iban};
use crate::error::Error;

/// An account as whoever pays to it may have to know it.
#[derive(Debug, Clone)]
pub struct Holding {
    /// The account.
    pub account: Account,
    /// The names of its holders.
    pub names: Vec<CustomerName>,
}

impl Store {
    /// The account of an IBAN. One that nobody has takes as many reads as any other, of records that are not there: how long it
    /// takes must not tell whether there is such an account. `nobody` names those records.
    pub async fn holding(
        &self,
        iban: &Iban,
        nobody: (AccountId, CustomerId),
    ) -> Result<Option<Holding>, Error> {
        let owner = self.get(&Key::iban(iban)).await?;
        let account = match &owner {
            Some(item) => Reader(item).parsed("account_id", AccountId::parse)?,
            None => nobody.0,
        };
        let unopened = self.unopened(account).await?;
        let holders = match &unopened {
            Some(unopened) if !unopened.holders.is_empty() => unopened.holders.clone(),
            Some(_) | None => vec![nobody.1],
        };
        let keys: Vec<Key> = holders.into_iter().map(Key::customer).collect();
        let customers = self.get_all(&keys).await?;
        let name = |item| Reader(item).parsed("display_name", CustomerName::parse);
        let names = customers.iter().map(name).collect::<Result<Vec<_>, Error>>()?;
        Ok(unopened.map(|unopened| Holding { account: unopened.account, names }))
    }
}
