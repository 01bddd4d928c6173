//! The RPCs: decode, permit, store, encode. Each answers the first of its errors in the order that the contract gives.
//! Time and ids are fetched here and handed down.

mod access;
mod consents;
mod convert;

use std::sync::Arc;
use std::time::Duration;

use chassis::Call;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService;
use rand::Rng as _;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::cache::Cache;
use crate::clock;
use crate::domain::{
    Account, AccountId, AccountState, CurrencyCode, Customer, CustomerId, IbanRange, StateRevision,
};
use crate::error::Error;
use crate::saga::{Grantings, Openings};
use crate::store::{Created, Opened, Store};
use access::{Access, Reach};

/// IBANs drawn for one account. In a range of ten thousand million numbers a second draw is rare and a sixth does not
/// happen; if it does, the range is used up.
const DRAWS_MAX: usize = 6;
/// What is kept of a write's time to answer in it how far it is, instead of letting the deadline pass.
const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// The service behind the contract. Clones share everything.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// Customers and accounts.
    pub store: Store,
    /// Accounts, faster.
    pub cache: Cache,
    /// Opens accounts.
    pub openings: Openings,
    /// Tells the ledger of consents.
    pub grantings: Grantings,
    /// The IBANs to give out.
    pub ibans: IbanRange,
    /// The currencies in which accounts can be opened.
    pub currencies: Arc<[CurrencyCode]>,
    /// The largest overdraft, in minor units.
    pub overdraft_limit_max: i64,
    /// The longest a consent may last.
    pub consent_days_max: u32,
}

#[tonic::async_trait]
impl AccountsService for Rpc {
    async fn create_customer(
        &self,
        request: Request<pb::CreateCustomerRequest>,
    ) -> Result<Response<pb::Customer>, Status> {
        let call = Call::of(&request)?;
        let wanted = convert::create_customer(request.into_inner())?;
        Access::of(&call.caller).write_any()?;
        let request = wanted.request(self.store.seal(), &call.caller.idempotency_scope());
        let id = CustomerId::new(clock::new_id());
        let customer = Customer::new(id, wanted.display_name, wanted.email, clock::now());
        let customer = match self.store.create_customer(&customer, &request).await? {
            Created::New => customer,
            Created::Before(id) => self.store.customer(id).await?.ok_or(Error::CustomerNotFound(id))?,
        };
        Ok(Response::new(convert::customer(&customer)))
    }

    async fn get_customer(
        &self,
        request: Request<pb::GetCustomerRequest>,
    ) -> Result<Response<pb::Customer>, Status> {
        let call = Call::of(&request)?;
        let id = convert::customer_id(&request.get_ref().customer_id)?;
        let reach = Access::of(&call.caller).read_customer(id)?;
        let customer = self.store.customer(id).await?.ok_or_else(|| reach.no_customer(id))?;
        Ok(Response::new(convert::customer(&customer)))
    }

    async fn list_customers(
        &self,
        request: Request<pb::ListCustomersRequest>,
    ) -> Result<Response<pb::ListCustomersResponse>, Status> {
        let call = Call::of(&request)?;
        let page = convert::list_customers(request.get_ref())?;
        Access::of(&call.caller).read_any()?;
        let after = page.after().map(CustomerId::new);
        let (customers, more) = self.store.list_customers(after, page.size()).await?;
        let last = customers.last().filter(|_| more);
        Ok(Response::new(pb::ListCustomersResponse {
            next_page_token: last.map(|last| page.token(last.id.uuid())).unwrap_or_default(),
            customers: customers.iter().map(convert::customer).collect(),
        }))
    }

    async fn open_account(
        &self,
        request: Request<pb::OpenAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let call = Call::of(&request)?;
        let wanted = convert::open_account(request.into_inner(), &self.currencies, self.overdraft_limit_max)?;
        let access = Access::of(&call.caller);
        let reach = access.write_customer(wanted.customer_id)?;
        if wanted.overdraft_limit_minor_units > 0 {
            access.write_any().map_err(|_| Error::OverdraftNotPermitted)?;
        }
        let account = self.open(&call, wanted).await.map_err(|error| reach.hide(error))?;
        let until = answer_by(call.deadline.instant());
        let account = match account.state {
            AccountState::Opening => self.openings.drive(account.id, until).await.unwrap_or(account),
            AccountState::Active => account,
        };
        Ok(Response::new(convert::account(&account)))
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let call = Call::of(&request)?;
        let id = convert::account_id("account_id", &request.get_ref().account_id)?;
        let account = match Access::of(&call.caller).read_account()? {
            Reach::Any => self.cached(id).await?.ok_or(Error::AccountNotFound(id))?,
            Reach::Own(customer) => {
                // Who holds it is read from the table, at the same time as the account from wherever it is. Who does not
                // is refused as soon as that is known: how long it takes must not tell whether there is such an account.
                let holds = async {
                    self.store.is_holder(id, customer).await?.then_some(()).ok_or(Error::NotPermitted)
                };
                let ((), account) = tokio::try_join!(holds, self.cached(id))?;
                account.ok_or(Error::NotPermitted)?
            }
        };
        Ok(Response::new(convert::account(&account)))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        let call = Call::of(&request)?;
        let (customer, page) = convert::list_accounts(request.get_ref())?;
        let reach = Access::of(&call.caller).read_customer(customer)?;
        let after = page.after().map(AccountId::new);
        let (accounts, more) = self.store.list_accounts(customer, after, page.size()).await?;
        if accounts.is_empty() && self.store.customer(customer).await?.is_none() {
            return Err(reach.no_customer(customer).into());
        }
        let last = accounts.last().filter(|_| more);
        Ok(Response::new(pb::ListAccountsResponse {
            next_page_token: last.map(|last| page.token(last.id.uuid())).unwrap_or_default(),
            accounts: accounts.iter().map(convert::account).collect(),
        }))
    }

    async fn batch_get_accounts(
        &self,
        request: Request<pb::BatchGetAccountsRequest>,
    ) -> Result<Response<pb::BatchGetAccountsResponse>, Status> {
        let call = Call::of(&request)?;
        let ids = convert::batch_get_accounts(&request.get_ref().account_ids)?;
        Access::of(&call.caller).read_for_service()?;
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let load = async |missing: Vec<AccountId>| {
            self.store.accounts(&missing).await.map(|accounts| accounts.into_values().collect())
        };
        let accounts = self.cache.read_all(&distinct, load).await?;
        let find = |id: &AccountId| accounts.iter().find(|account| account.id == *id).map(convert::account);
        Ok(Response::new(pb::BatchGetAccountsResponse { accounts: ids.iter().filter_map(find).collect() }))
    }

    async fn create_consent(
        &self,
        request: Request<pb::CreateConsentRequest>,
    ) -> Result<Response<pb::Consent>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.give_consent(&call, request.get_ref()).await?))
    }

    async fn get_consent(
        &self,
        request: Request<pb::GetConsentRequest>,
    ) -> Result<Response<pb::Consent>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.read_consent(&call, request.get_ref()).await?))
    }

    async fn list_consents(
        &self,
        request: Request<pb::ListConsentsRequest>,
    ) -> Result<Response<pb::ListConsentsResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.read_consents(&call, request.get_ref()).await?))
    }

    async fn revoke_consent(
        &self,
        request: Request<pb::RevokeConsentRequest>,
    ) -> Result<Response<pb::Consent>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.take_consent_back(&call, request.get_ref()).await?))
    }

    async fn check_consent(
        &self,
        request: Request<pb::CheckConsentRequest>,
    ) -> Result<Response<pb::CheckConsentResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.judge_consent(&call, request.get_ref()).await?))
    }
}

impl Rpc {
    async fn cached(&self, id: AccountId) -> Result<Option<Account>, Error> {
        self.cache.read(id, || self.store.account(id)).await
    }

    /// The account that the request makes, or made before.
    async fn open(&self, call: &Call, wanted: convert::OpenAccount) -> Result<Account, Error> {
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
                state_revision: StateRevision::FIRST,
                create_time: now,
                update_time: now,
                revision: 1,
            };
            match self.store.open_account(&account, &scope, &request).await? {
                Opened::New => return Ok(account),
                Opened::Before(id) => return self.store.account(id).await?.ok_or(Error::AccountNotFound(id)),
                Opened::IbanTaken => {}
            }
        }
        Err(Error::NoIban)
    }
}

/// When a write stops waiting for the ledger: early enough to answer, and never later than half of a short budget.
fn answer_by(deadline: Instant) -> Instant {
    let remaining = deadline.saturating_duration_since(Instant::now());
    deadline - ANSWER_MARGIN.min(remaining / 2)
}
