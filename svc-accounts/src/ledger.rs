//! The ledger's side of accounts and consents, by svc-ledger across the edge. The service acts for itself: whether an account
//! may be opened or a partner let in was decided when it was asked for, and it must go on when the one who asked is long gone.

use std::time::Duration;

use chassis::EdgeChannel;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use proto::ledger::v1::{
    CreateLedgerAccountRequest, Grant, GrantScope, LedgerAccountState, SetGrantRequest,
    SetLedgerAccountLimitsRequest, SetLedgerAccountStateRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::domain::change::{Reason, Verdict};
use crate::domain::{AccountId, AccountState, Consent, ConsentScope, Intent};
use crate::store::Unopened;
use crate::timestamp;

/// Why the ledger's side is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No answer, or one that asks for patience: the same call may succeed later.
    #[error("the ledger did not answer: {0:?}")]
    Later(Code),
    /// A judgement. The same call gets it again until someone corrects what is wrong.
    #[error("the ledger refused: {0:?}")]
    Refused(Code),
}

/// The way to the ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    edge: EdgeChannel,
    budget: Duration,
}

impl Ledger {
    /// A way across `edge`, with a budget for each call.
    pub const fn new(edge: EdgeChannel, budget: Duration) -> Self {
        Self { edge, budget }
    }

    /// Opens the ledger's side. Repeating it changes nothing.
    pub async fn open(&self, unopened: &Unopened) -> Result<(), LedgerError> {
        let account = &unopened.account;
        let request = CreateLedgerAccountRequest {
            account_id: account.id.to_string(),
            currency_code: account.currency.as_str().to_owned(),
            customer_ids: unopened.holders.iter().map(ToString::to_string).collect(),
            min_available_minor_units: account.overdraft_limit_minor_units.saturating_neg(),
            state_revision: i64::from(account.state_revision.get()),
            ..CreateLedgerAccountRequest::default()
        };
        let mut client = LedgerServiceClient::new(self.edge.as_service(self.budget));
        match client.create_ledger_account(request).await {
            Ok(_account) => Ok(()),
            Err(status) => Err(sort(status.code())),
        }
    }

    /// Lets the partner act as the consent says in its newest intent: not at all once it was taken back. Repeating it changes
    /// nothing.
    pub async fn set_grant(&self, consent: &Consent) -> Result<(), LedgerError> {
        let terms = &consent.terms;
        let grant = Grant {
            consent_id: consent.id.to_string(),
            account_id: consent.account_id.to_string(),
            partner_id: terms.partner.as_str().to_owned(),
            scopes: consent.ledger_scopes().filter_map(scope).map(i32::from).collect(),
            per_transfer_max_minor_units: terms.caps.per_transfer_max(),
            total_max_minor_units: terms.caps.total_max(),
            expire_time: Some(timestamp::of(terms.expire_time)),
            revision: i64::from(consent.state_revision.get()),
            used_minor_units: 0,
        };
        let mut client = LedgerServiceClient::new(self.edge.as_service(self.budget));
        match client.set_grant(SetGrantRequest { grant: Some(grant) }).await {
            Ok(_grant) => Ok(()),
            Err(status) => Err(sort(status.code())),
        }
    }
}

impl Ledger {
    /// Lets the account take part as it is wished, or not. Repeating it changes nothing.
    pub async fn set_state(
        &self,
        account: AccountId,
        intent: Intent<AccountState>,
    ) -> Result<Verdict, LedgerError> {
        let request = SetLedgerAccountStateRequest {
            account_id: account.to_string(),
            state: state(intent.wanted).into(),
            state_revision: i64::from(intent.revision.get()),
        };
        let mut client = LedgerServiceClient::new(self.edge.as_service(self.budget));
        judge(client.set_ledger_account_state(request).await.map(drop))
    }

    /// Sets how far the account may be overdrawn. Repeating it changes nothing.
    pub async fn set_limit(&self, account: AccountId, intent: Intent<i64>) -> Result<Verdict, LedgerError> {
        let request = SetLedgerAccountLimitsRequest {
            account_id: account.to_string(),
            min_available_minor_units: intent.wanted.saturating_neg(),
            max_balance_minor_units: None,
            state_revision: i64::from(intent.revision.get()),
        };
        let mut client = LedgerServiceClient::new(self.edge.as_service(self.budget));
        judge(client.set_ledger_account_limits(request).await.map(drop))
    }
}

/// What an answer to an intent means: what the ledger refuses of itself is a verdict, and the rest an error.
fn judge(answer: Result<(), Status>) -> Result<Verdict, LedgerError> {
    let Err(status) = answer else { return Ok(Verdict::Done) };
    let info = status.get_details_error_info();
    match info.as_ref().map(|info| info.reason.as_str()) {
        Some("STALE_REVISION") => Ok(Verdict::Stale),
        Some("ACCOUNT_NOT_EMPTY") => Ok(Verdict::Refused(Reason::NotEmpty)),
        Some("LIMIT_BREACHED") => Ok(Verdict::Refused(Reason::LimitBreached)),
        Some("ACCOUNT_CLOSED") => Ok(Verdict::Refused(Reason::Closed)),
        Some(_) | None => Err(sort(status.code())),
    }
}

/// The ledger's name of a state. What is only asked for takes no part.
const fn state(state: AccountState) -> LedgerAccountState {
    match state {
        AccountState::Active => LedgerAccountState::Open,
        AccountState::DebitFrozen => LedgerAccountState::DebitFrozen,
        AccountState::Frozen | AccountState::Opening => LedgerAccountState::Frozen,
        AccountState::Closed => LedgerAccountState::Closed,
    }
}

/// The ledger's name of a scope, if it has one.
const fn scope(scope: ConsentScope) -> Option<GrantScope> {
    match scope {
        ConsentScope::ReadAccount => None,
        ConsentScope::ReadBalance => Some(GrantScope::ReadBalance),
        ConsentScope::ReadEntries => Some(GrantScope::ReadEntries),
        ConsentScope::CreateTransfers => Some(GrantScope::CreateTransfers),
    }
}

/// A judgement is what the ledger says about this record; everything else is about the moment.
const fn sort(code: Code) -> LedgerError {
    match code {
        Code::InvalidArgument
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound => LedgerError::Refused(code),
        // PERMISSION_DENIED and the like come from the edge and mean that the mesh is being configured.
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented
        | Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => LedgerError::Later(code),
    }
}
