//! Heads of the ledger's journal (`docs.v1.JournalHeadService`): kept where the ledger cannot change them, and listed for auditors.
use chassis::call::{Call, Principal};
use proto::docs::v1 as pb;
use proto::docs::v1::journal_head_service_server::JournalHeadService;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::convert;
use crate::error::Error;
use crate::store::Store;

/// Whose heads these are.
const LEDGER: &str = "svc-ledger";
/// Of an auditor's token.
const AUDITOR: &str = "audit.read";

/// The handlers. A clone shares the store.
#[derive(Clone)]
pub struct Heads {
    store: Store,
}

impl Heads {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    async fn append(&self, call: &Call, request: pb::AppendJournalHeadsRequest) -> Result<(), Error> {
        let heads = convert::heads::append(request)?;
        if !call.caller.is_service() || call.caller.acting_service() != Some(LEDGER) {
            return Err(Error::NotPermitted);
        }
        let conflicts = self.store.keep_heads(&heads).await?;
        for (kept, other) in &conflicts {
            // Two heads of one journal cannot differ: somebody has rewritten it, or has the key.
            tracing::error!(
                seq = kept.seq,
                kept = convert::heads::hex(&kept.hash),
                other = convert::heads::hex(&other.hash),
                key_id = other.key_id,
                "A SECOND HEAD OF THE JOURNAL: what was signed once is not what is signed now"
            );
        }
        conflicts.first().map_or(Ok(()), |(kept, _)| Err(Error::HeadConflict { seq: kept.seq }))
    }

    async fn list(
        &self,
        call: &Call,
        request: &pb::ListJournalHeadsRequest,
    ) -> Result<pb::ListJournalHeadsResponse, Error> {
        let page = convert::heads::list(request)?;
        let auditor =
            matches!(&call.caller.principal, Principal::Subject(subject) if subject.scopes.contains(AUDITOR));
        if !auditor {
            return Err(Error::NotPermitted);
        }
        let before = page.after().and_then(|id| i64::try_from(id.as_u128()).ok());
        let mut heads = self.store.list_heads(before, page.limit()).await?;
        // Tokens hold an id of 16 bytes; a sequence number fits into one.
        let id = |seq: i64| Uuid::from_u128(u128::from(seq.unsigned_abs()));
        let next_page_token = page.cut(&mut heads, |head| id(head.seq));
        let heads = heads.into_iter().map(convert::heads::head).collect();
        Ok(pb::ListJournalHeadsResponse { heads, next_page_token })
    }
}

#[tonic::async_trait]
impl JournalHeadService for Heads {
    async fn append_journal_heads(
        &self,
        request: Request<pb::AppendJournalHeadsRequest>,
    ) -> Result<Response<pb::AppendJournalHeadsResponse>, Status> {
        let call = Call::of(&request)?;
        self.append(&call, request.into_inner()).await?;
        Ok(Response::new(pb::AppendJournalHeadsResponse {}))
    }

    async fn list_journal_heads(
        &self,
        request: Request<pb::ListJournalHeadsRequest>,
    ) -> Result<Response<pb::ListJournalHeadsResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.list(&call, request.get_ref()).await?))
    }
}
