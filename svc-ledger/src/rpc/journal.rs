//! The journal as auditors and services see it.

use std::pin::Pin;

use chassis::call::Call;
use proto::ledger::v1 as pb;
use proto::ledger::v1::journal_service_server::JournalService;
use tonic::{Request, Response, Status};

use super::proof::is_auditor;
use super::{Rpc, convert};
use crate::error::Error;

/// What a stream of answers is.
pub(super) type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl JournalService for Rpc {
    async fn get_trial_balance(
        &self,
        request: Request<pb::GetTrialBalanceRequest>,
    ) -> Result<Response<pb::TrialBalance>, Status> {
        let call = Call::of(&request)?;
        let as_of = convert::as_of(request.get_ref().as_of.as_ref())?;
        if !is_auditor(&call) {
            return Err(Error::NotPermitted.into());
        }
        Ok(Response::new(convert::journal::totals(&self.store.totals(as_of).await?)))
    }

    async fn close_period(
        &self,
        request: Request<pb::ClosePeriodRequest>,
    ) -> Result<Response<pb::Period>, Status> {
        self.period(request).await
    }

    async fn list_periods(
        &self,
        request: Request<pb::ListPeriodsRequest>,
    ) -> Result<Response<pb::ListPeriodsResponse>, Status> {
        let page = convert::account::list_periods(request.get_ref())?;
        let mut periods = self.store.periods(page.after(), convert::limit(&page)).await?;
        let next_page_token = page.cut(&mut periods, |period| period.row);
        let periods = periods.iter().map(|sealed| convert::account::period(&sealed.period)).collect();
        Ok(Response::new(pb::ListPeriodsResponse { periods, next_page_token }))
    }

    type VerifyJournalStream = Stream<pb::VerifyJournalResponse>;

    async fn verify_journal(
        &self,
        request: Request<pb::VerifyJournalRequest>,
    ) -> Result<Response<Self::VerifyJournalStream>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.verify(&call)?))
    }

    async fn get_transfer_proof(
        &self,
        request: Request<pb::GetTransferProofRequest>,
    ) -> Result<Response<pb::TransferProof>, Status> {
        let call = Call::of(&request)?;
        let id = convert::transfer_id(&request.get_ref().transfer_id)?;
        let proof = self.store.proof(&self.viewer(&call), id).await?;
        Ok(Response::new(convert::proof::proof(proof)))
    }

    type WatchJournalStream = Stream<pb::WatchJournalResponse>;

    async fn watch_journal(
        &self,
        request: Request<pb::WatchJournalRequest>,
    ) -> Result<Response<Self::WatchJournalStream>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.watched_rows(&call, request.get_ref()).await?))
    }
}
