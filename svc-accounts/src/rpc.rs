//! The RPCs: decode, permit, store, encode. Each answers the first of its errors in the order that the contract gives.
//! Here they are bound to the contract; what they do stands in a file a noun. Time and ids are fetched there and handed down.

mod access;
mod accounts;
mod audit;
mod changes;
mod consents;
mod convert;
mod customers;
mod payees;

use std::sync::Arc;
use std::time::Duration;

use chassis::Call;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::cache::Cache;
use crate::domain::{CurrencyCode, IbanRange};
use crate::error::Error;
use crate::saga::{Changings, Grantings, Openings};
use crate::store::Store;
pub use audit::Audit;
pub use payees::Payees;

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
    /// Freezes and closes them.
    pub changings: Changings,
    /// Tells the ledger of consents.
    pub grantings: Grantings,
    /// Makes tokens of payees.
    pub payees: Payees,
    /// Who did what.
    pub audit: Audit,
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
        let made = self.make_customer(&call, request.into_inner()).await;
        self.audited(&call, audit::CREATE_CUSTOMER, String::new(), made)
    }

    async fn get_customer(
        &self,
        request: Request<pb::GetCustomerRequest>,
    ) -> Result<Response<pb::Customer>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.read_customer(&call, request.get_ref()).await?))
    }

    async fn list_customers(
        &self,
        request: Request<pb::ListCustomersRequest>,
    ) -> Result<Response<pb::ListCustomersResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.read_customers(&call, request.get_ref()).await?))
    }

    async fn open_account(
        &self,
        request: Request<pb::OpenAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let call = Call::of(&request)?;
        let object = audit::customer(&request.get_ref().customer_id);
        let opened = self.open(&call, request.into_inner()).await;
        self.audited(&call, audit::OPEN_ACCOUNT, object, opened)
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.read_account(&call, request.get_ref()).await?))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.read_accounts(&call, request.get_ref()).await?))
    }

    async fn update_account(
        &self,
        request: Request<pb::UpdateAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let call = Call::of(&request)?;
        let object = audit::account(&request.get_ref().account_id);
        let changed = self.update(&call, request.get_ref()).await;
        self.audited(&call, audit::UPDATE_ACCOUNT, object, changed)
    }

    async fn lookup_account(
        &self,
        request: Request<pb::LookupAccountRequest>,
    ) -> Result<Response<pb::LookupAccountResponse>, Status> {
        Ok(Response::new(self.look_up(request.get_ref()).await?))
    }

    async fn freeze_account(
        &self,
        request: Request<pb::FreezeAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let call = Call::of(&request)?;
        let object = audit::account(&request.get_ref().account_id);
        let frozen = self.freeze(&call, request.get_ref()).await;
        self.audited(&call, audit::FREEZE_ACCOUNT, object, frozen)
    }

    async fn unfreeze_account(
        &self,
        request: Request<pb::UnfreezeAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let call = Call::of(&request)?;
        let object = audit::account(&request.get_ref().account_id);
        let thawed = self.unfreeze(&call, request.get_ref()).await;
        self.audited(&call, audit::UNFREEZE_ACCOUNT, object, thawed)
    }

    async fn close_account(
        &self,
        request: Request<pb::CloseAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let call = Call::of(&request)?;
        let object = audit::account(&request.get_ref().account_id);
        let closed = self.close(&call, request.get_ref()).await;
        self.audited(&call, audit::CLOSE_ACCOUNT, object, closed)
    }

    async fn batch_get_accounts(
        &self,
        request: Request<pb::BatchGetAccountsRequest>,
    ) -> Result<Response<pb::BatchGetAccountsResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.read_accounts_by_id(&call, request.get_ref()).await?))
    }

    async fn create_consent(
        &self,
        request: Request<pb::CreateConsentRequest>,
    ) -> Result<Response<pb::Consent>, Status> {
        let call = Call::of(&request)?;
        let given = self.give_consent(&call, request.get_ref()).await;
        let object = audit::account(&request.get_ref().account_id);
        self.audited(&call, audit::CREATE_CONSENT, object, given)
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
        let revoked = self.take_consent_back(&call, request.get_ref()).await;
        let object = audit::consent(&request.get_ref().account_id, &request.get_ref().consent_id);
        self.audited(&call, audit::REVOKE_CONSENT, object, revoked)
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
    /// Answers an audited call. `object` is what the request names.
    fn audited<T>(
        &self,
        call: &Call,
        rpc: &'static str,
        object: String,
        outcome: Result<T, Error>,
    ) -> Result<Response<T>, Status> {
        self.audit.ended(call, rpc, object, outcome.as_ref().err());
        Ok(Response::new(outcome?))
    }
}

/// When a write stops waiting for the ledger: early enough to answer, and never later than half of a short budget.
fn answer_by(deadline: Instant) -> Instant {
    let remaining = deadline.saturating_duration_since(Instant::now());
    deadline - ANSWER_MARGIN.min(remaining / 2)
}
