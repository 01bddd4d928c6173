//! Accounts: opened and read by their holders and by staff, read by partners with a consent, and by services.

use chassis::Call;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use proto::accounts::v1 as pb;
use rand::Rng as _;

use super::access::{Access, AccountReach};
use super::{Rpc, answer_by, audit, convert};
use crate::clock;
use crate::domain::{
    Account, AccountId, AccountState, Changes, ConsentScope, CustomerId, PartnerId, StateRevision,
};
use crate::error::Error;
use crate::store::Opened;

/// IBANs drawn for one account. In a range of ten thousand million numbers a second draw is rare and a sixth does not
/// happen; if it does, the range is used up.
const DRAWS_MAX: usize = 6;
/// Accounts of a customer that are looked through at once for those that a partner may read. Most customers have fewer.
const LOOKED_THROUGH: usize = 50;
/// Questions about consents under way at once for one list.
const ASKED_AT_ONCE: usize = 8;

impl Rpc {
    pub(super) async fn open(
        &self,
        call: &Call,
        request: pb::OpenAccountRequest,
    ) -> Result<pb::Account, Error> {
        let wanted = convert::open_account(request, &self.currencies, self.overdraft_limit_max)?;
        let access = Access::of(&call.caller);
        let reach = access.write_customer(wanted.customer_id)?;
        if wanted.overdraft_limit_minor_units > 0 {
            access.write_any().map_err(|_| Error::OverdraftNotPermitted)?;
        }
        let account = self.asked_for(call, wanted).await.map_err(|error| reach.hide(error))?;
        let until = answer_by(call.deadline.instant());
        let account = match account.state {
            AccountState::Opening => self.openings.drive(account.id, until).await.unwrap_or(account),
            AccountState::Active
            | AccountState::DebitFrozen
            | AccountState::Frozen
            | AccountState::Closed => account,
        };
        Ok(convert::account(&account))
    }

    pub(super) async fn read_account(
        &self,
        call: &Call,
        request: &pb::GetAccountRequest,
    ) -> Result<pb::Account, Error> {
        let id = convert::account_id("account_id", &request.account_id)?;
        // Who may read it is read from the table, at the same time as the account from wherever it is. Who may not is
        // refused as soon as that is known: how long it takes must not tell whether there is such an account.
        let account = match Access::of(&call.caller).read_account()? {
            AccountReach::Any => self.cached(id).await?.ok_or(Error::AccountNotFound(id))?,
            AccountReach::Own(customer) => {
                let ((), account) = tokio::try_join!(self.demand_holder(id, customer), self.cached(id))?;
                account.ok_or(Error::NotPermitted)?
            }
            AccountReach::Consented(customer, partner) => {
                // In a box of its own: three reads at once are a large future, and most callers are no partners.
                Box::pin(self.consented(id, customer, &partner)).await?
            }
        };
        Ok(convert::account(&account))
    }

    pub(super) async fn read_accounts(
        &self,
        call: &Call,
        request: &pb::ListAccountsRequest,
    ) -> Result<pb::ListAccountsResponse, Error> {
        let (customer, page) = convert::list_accounts(request)?;
        let reach = Access::of(&call.caller).read_accounts_of(customer)?;
        let after = page.after().map(AccountId::new);
        let (accounts, more) = match &reach {
            AccountReach::Any | AccountReach::Own(_) => {
                self.store.list_accounts(customer, after, page.size()).await?
            }
            AccountReach::Consented(_, partner) => {
                self.list_consented(customer, partner, after, page.size()).await?
            }
        };
        if accounts.is_empty() {
            match reach {
                AccountReach::Any if !self.is_customer(customer).await? => {
                    return Err(Error::CustomerNotFound(customer));
                }
                AccountReach::Own(_) if !self.is_customer(customer).await? => {
                    return Err(Error::NotPermitted);
                }
                // A partner that may read nothing learns no more than one that acts for nobody.
                AccountReach::Consented(..) => return Err(Error::NotPermitted),
                AccountReach::Any | AccountReach::Own(_) => {}
            }
        }
        let last = accounts.last().filter(|_| more);
        Ok(pb::ListAccountsResponse {
            next_page_token: last.map(|last| page.token(last.id.uuid())).unwrap_or_default(),
            accounts: accounts.iter().map(convert::account).collect(),
        })
    }

    pub(super) async fn read_accounts_by_id(
        &self,
        call: &Call,
        request: &pb::BatchGetAccountsRequest,
    ) -> Result<pb::BatchGetAccountsResponse, Error> {
        let ids = convert::batch_get_accounts(&request.account_ids)?;
        Access::of(&call.caller).read_for_service()?;
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let load = async |missing: Vec<AccountId>| {
            self.store.accounts(&missing).await.map(|accounts| accounts.into_values().collect())
        };
        let accounts = self.cache.read_all(&distinct, load).await?;
        let find = |id: &AccountId| accounts.iter().find(|account| account.id == *id).map(convert::account);
        Ok(pb::BatchGetAccountsResponse { accounts: ids.iter().filter_map(find).collect() })
    }

    async fn cached(&self, id: AccountId) -> Result<Option<Account>, Error> {
        self.cache.read(id, || self.store.account(id)).await
    }

    async fn is_customer(&self, id: CustomerId) -> Result<bool, Error> {
        Ok(self.store.customer(id).await?.is_some())
    }

    /// The account, for a partner that acts for the customer.
    async fn consented(
        &self,
        id: AccountId,
        customer: CustomerId,
        partner: &PartnerId,
    ) -> Result<Account, Error> {
        let ((), (), account) = tokio::try_join!(
            self.demand_holder(id, customer),
            self.demand_consent(id, partner),
            self.cached(id)
        )?;
        account.ok_or(Error::NotPermitted)
    }

    /// Refuses a partner that may not read the account, in the same words as one that acts for another.
    async fn demand_consent(&self, account: AccountId, partner: &PartnerId) -> Result<(), Error> {
        let consent = self.consent_for(account, partner, ConsentScope::ReadAccount).await?;
        consent.map(drop).ok_or(Error::NotPermitted)
    }

    /// The customer's accounts that the partner may read, and whether there are more. Found among those that the customer
    /// holds, so that a list shows what GetAccount would show and no token points at what may not be seen.
    async fn list_consented(
        &self,
        customer: CustomerId,
        partner: &PartnerId,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<(Vec<Account>, bool), Error> {
        let mut readable: Vec<AccountId> = Vec::new();
        let mut after = after;
        loop {
            let (held, more) = self.store.held_accounts(customer, after, LOOKED_THROUGH).await?;
            after = held.last().copied();
            let judged: Vec<Option<AccountId>> = stream::iter(held)
                .map(|id| async move {
                    let consent = self.consent_for(id, partner, ConsentScope::ReadAccount).await?;
                    Ok::<_, Error>(consent.map(|_| id))
                })
                .buffered(ASKED_AT_ONCE)
                .try_collect()
                .await?;
            readable.extend(judged.into_iter().flatten());
            if readable.len() > limit || !more {
                break;
            }
        }
        let more = readable.len() > limit;
        readable.truncate(limit);
        Ok((self.store.accounts_in_order(&readable).await?, more))
    }

    /// The account that the request makes, or made before.
    async fn asked_for(&self, call: &Call, wanted: convert::OpenAccount) -> Result<Account, Error> {
        let scope = call.caller.idempotency_scope();
        let request = wanted.request(self.store.seal(), &scope);
        for _draw in 0..DRAWS_MAX {
            let now = clock::now();
            let account = Account {
                id: AccountId::new(clock::new_id()),
                customer_id: wanted.customer_id,
                iban: self.ibans.iban(rand::rng().random()),
                currency: wanted.currency,
                display_name: wanted.display_name.clone(),
                state: AccountState::Opening,
                overdraft_limit_minor_units: wanted.overdraft_limit_minor_units,
                changes: Changes::default(),
                state_revision: StateRevision::FIRST,
                create_time: now,
                update_time: now,
                revision: 1,
            };
            let event = audit::done(call, audit::OPEN_ACCOUNT, format!("accounts/{}", account.id));
            match self.store.open_account(&account, &scope, &request, &event).await? {
                Opened::New => return Ok(account),
                Opened::Before(id) => return self.store.account(id).await?.ok_or(Error::AccountNotFound(id)),
                Opened::IbanTaken => {}
            }
        }
        Err(Error::NoIban)
    }
}
