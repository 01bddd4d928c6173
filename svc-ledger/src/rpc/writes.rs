//! The writes about one transfer, one account or one period: judged, committed and answered.

use std::time::SystemTime;

use chassis::call::Call;
use proto::ledger::v1 as pb;
use tonic::{Request, Response, Status};

use super::payee::Payee;
use super::several::became;
use super::{Rpc, command, convert, only_accounts, refused, terms};
use crate::domain::command::{Action, Command};
use crate::domain::verdict::{self, Standing, Verdict};
use crate::error::{Error, Resource};

impl Rpc {
    pub(super) async fn transfer(
        &self,
        call: &Call,
        mut request: pb::CreateTransferRequest,
    ) -> Result<pb::Transfer, Error> {
        let actor = self.actor(call);
        let validate_only = request.validate_only;
        let alone = [("linked", request.linked), ("exchange", request.exchange.is_some())];
        if let Some((field, _)) = alone.into_iter().find(|(_, set)| *set) {
            return Err(convert::only_in_a_batch(field));
        }
        let payee = Payee::of(&mut request, self.payees.as_ref(), SystemTime::now())?;
        let parsed =
            convert::transfer::create_transfer(actor.scope, request, rand::random(), &terms(&self.bank));
        let (action, mut named) = parsed?;
        let command =
            Command { validate_only, ..command(call, "LedgerService/CreateTransfer", actor, action) };
        let command = payee.command(command, &mut named);
        let verdict = payee.verdict(self.submit(call, command).await?)?;
        self.booked(verdict, &named).await
    }

    pub(super) async fn post(
        &self,
        call: &Call,
        request: pb::PostTransferRequest,
    ) -> Result<pb::Transfer, Error> {
        let actor = self.actor(call);
        let validate_only = request.validate_only;
        let (action, named) = convert::transfer::post(actor.scope, request)?;
        self.book(
            call,
            Command { validate_only, ..command(call, "LedgerService/PostTransfer", actor, action) },
            &named,
        )
        .await
    }

    pub(super) async fn void(
        &self,
        call: &Call,
        request: pb::VoidTransferRequest,
    ) -> Result<pb::Transfer, Error> {
        let actor = self.actor(call);
        let validate_only = request.validate_only;
        let (action, named) = convert::transfer::void(actor.scope, request)?;
        self.book(
            call,
            Command { validate_only, ..command(call, "LedgerService/VoidTransfer", actor, action) },
            &named,
        )
        .await
    }

    pub(super) async fn increment(
        &self,
        call: &Call,
        request: pb::IncrementTransferRequest,
    ) -> Result<pb::Transfer, Error> {
        let actor = self.actor(call);
        let validate_only = request.validate_only;
        let (action, named) = convert::transfer::increment(actor.scope, request)?;
        let command =
            Command { validate_only, ..command(call, "LedgerService/IncrementTransfer", actor, action) };
        self.book(call, command, &named).await
    }

    pub(super) async fn reverse(
        &self,
        call: &Call,
        request: pb::ReverseTransferRequest,
    ) -> Result<pb::Transfer, Error> {
        let actor = self.actor(call);
        let validate_only = request.validate_only;
        let (action, named) = convert::transfer::reverse(actor.scope, request, rand::random())?;
        let command =
            Command { validate_only, ..command(call, "LedgerService/ReverseTransfer", actor, action) };
        self.book(call, command, &named).await
    }

    /// Has a transfer command judged and answers the transfer.
    async fn book(
        &self,
        call: &Call,
        command: Command,
        named: &convert::Names,
    ) -> Result<pb::Transfer, Error> {
        self.booked(self.submit(call, command).await?, named).await
    }

    /// Answers the transfer of a verdict.
    async fn booked(&self, verdict: Verdict, named: &convert::Names) -> Result<pb::Transfer, Error> {
        if let Verdict::WouldBecome(standing) = verdict {
            return self.would_become(standing, named).await;
        }
        let read = match verdict.recorded() {
            Some(row) => Some(self.store.transfer_of_row(row).await?),
            None => None,
        };
        let transfer = became(verdict, named, |_| read.ok_or(Error::Corrupt("outcome")))?;
        Ok(convert::transfer(&transfer))
    }

    /// The transfer as a validated command would leave it. Whoever was found to be permitted to command it may read of it what the
    /// one who made it was told, which is the row with the transfer's own id.
    async fn would_become(&self, standing: Standing, named: &convert::Names) -> Result<pb::Transfer, Error> {
        let id = convert::transfer_id(&named.transfer)?;
        let made = self.store.transfer_of_row(id).await?;
        let Standing { amount, posted, held, state } = standing;
        Ok(convert::transfer(&verdict::Transfer { amount, posted, held, state, ..made }))
    }

    pub(super) async fn set_state(
        &self,
        call: &Call,
        request: pb::SetLedgerAccountStateRequest,
    ) -> Result<pb::LedgerAccount, Error> {
        let wanted = convert::account::set_state(&request)?;
        only_accounts(call)?;
        self.set(call, "LedgerService/SetLedgerAccountState", Action::SetState(wanted), request.account_id)
            .await
    }

    pub(super) async fn set_limits(
        &self,
        call: &Call,
        request: pb::SetLedgerAccountLimitsRequest,
    ) -> Result<pb::LedgerAccount, Error> {
        let wanted = convert::account::set_limits(&request)?;
        only_accounts(call)?;
        self.set(call, "LedgerService/SetLedgerAccountLimits", Action::SetLimits(wanted), request.account_id)
            .await
    }

    async fn set(
        &self,
        call: &Call,
        method: &str,
        action: Action,
        account_id: String,
    ) -> Result<pb::LedgerAccount, Error> {
        match self.submit(call, command(call, method, self.actor(call), action)).await? {
            Verdict::Set(account) => Ok(convert::account(&account)),
            Verdict::NoAccount => Err(Error::NotFound { resource: Resource::Account, name: account_id }),
            Verdict::StaleRevision => Err(Error::StaleRevision { field: "state_revision" }),
            Verdict::AccountExists(fields) => Err(Error::AccountExists { account_id, fields }),
            Verdict::AccountClosed => Err(Error::AccountClosed),
            Verdict::AccountNotEmpty => Err(Error::AccountNotEmpty),
            Verdict::LimitBreached(field) => Err(Error::LimitBreached { field }),
            Verdict::Opened(_)
            | Verdict::Granted(_)
            | Verdict::Booked(_)
            | Verdict::Recorded(_)
            | Verdict::WouldBecome(_)
            | Verdict::Closed(_)
            | Verdict::Expired
            | Verdict::NotAttempted
            | Verdict::Refused(_)
            | Verdict::BodyChanged(_)
            | Verdict::GrantExists(_) => Err(Error::Corrupt("verdict")),
        }
    }

    pub(super) async fn period(
        &self,
        request: Request<pb::ClosePeriodRequest>,
    ) -> Result<Response<pb::Period>, Status> {
        let call = Call::of(&request)?;
        let actor = self.actor(&call);
        let (action, named) = convert::account::close_period(actor.scope, request.into_inner())?;
        let command = command(&call, "JournalService/ClosePeriod", actor, action);
        let period = match self.submit(&call, command).await? {
            Verdict::Closed(period) => period,
            Verdict::Recorded(row) => self.store.period_of_row(row).await?,
            Verdict::Refused(refusal) => return Err(refused(refusal, &named).into()),
            Verdict::BodyChanged(fields) => {
                return Err(Error::BodyChanged { request_id: named.request_id, fields }.into());
            }
            // Another command came into the same batch before it.
            Verdict::NotAttempted => return Err(Error::NotDone.into()),
            Verdict::Opened(_)
            | Verdict::Set(_)
            | Verdict::Granted(_)
            | Verdict::Booked(_)
            | Verdict::WouldBecome(_)
            | Verdict::Expired
            | Verdict::AccountExists(_)
            | Verdict::NoAccount
            | Verdict::AccountClosed
            | Verdict::AccountNotEmpty
            | Verdict::LimitBreached(_)
            | Verdict::GrantExists(_)
            | Verdict::StaleRevision => return Err(Error::Corrupt("verdict").into()),
        };
        Ok(Response::new(convert::account::period(&period)))
    }
}
