//! The ledger's side of an account, by svc-ledger across the edge. The service acts for itself: whether the account may be
//! opened was decided when it was asked for, and the opening must go on when the one who asked is long gone.

use std::time::Duration;

use chassis::EdgeChannel;
use proto::ledger::v1::CreateLedgerAccountRequest;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use tonic::Code;

use crate::store::Unopened;

/// Why the ledger's side is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No answer, or one that asks for patience: the same call may succeed later.
    #[error("the ledger did not answer: {0:?}")]
    Later(Code),
    /// A judgement. The same call gets it again until someone corrects what is wrong.
    #[error("the ledger refused the account: {0:?}")]
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
        };
        let mut client = LedgerServiceClient::new(self.edge.as_service(self.budget));
        match client.create_ledger_account(request).await {
            Ok(_account) => Ok(()),
            Err(status) => Err(sort(status.code())),
        }
    }
}

/// A judgement is what the ledger says about this account; everything else is about the moment.
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
