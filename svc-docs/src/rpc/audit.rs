//! Audit events: those that others send (`edge.v1.AuditService`), those of the calls of this service, and the auditor's list.
use chassis::call::{Call, Principal};
use chassis::error::{Failure as _, Kind};
use proto::docs::v1 as pb;
use proto::edge::v1::audit_service_server::AuditService;
use proto::edge::v1::{AppendRequest, AppendResponse};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{DocsRpc, convert, now};
use crate::domain::audit::{Event, EventId, Outcome, Witness, may_speak};
use crate::error::Error;
use crate::store::Store;

/// This service, as the events of its own calls name their writer.
const OWN: &str = "svc-docs";
/// Of an auditor's token.
const AUDITOR: &str = "audit.read";

/// Keeps what others send. A clone shares the store.
#[derive(Clone)]
pub struct Keeper {
    store: Store,
}

impl Keeper {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    async fn keep(&self, call: &Call, request: AppendRequest) -> Result<(), Error> {
        // Whoever writes is believed by certificate, and only for itself: nobody writes events in somebody's name.
        let writer = call.caller.acting_service().filter(|_| call.caller.is_service()).unwrap_or_default();
        let events = convert::audit::append(request, writer)?;
        if !events.iter().all(|event| may_speak(writer, &event.call.rpc)) {
            return Err(Error::NotPermitted);
        }
        Ok(self.store.keep_events(&events).await?)
    }
}

#[tonic::async_trait]
impl AuditService for Keeper {
    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let call = Call::of(&request)?;
        self.keep(&call, request.into_inner()).await?;
        Ok(Response::new(AppendResponse {}))
    }
}

/// The event of a call that takes effect, to be kept with the effect.
pub(super) fn done(witness: &Witness, resource: String) -> Event {
    event(witness, Outcome::Done, Some(resource))
}

fn event(witness: &Witness, outcome: Outcome, resource: Option<String>) -> Event {
    let id = EventId(Uuid::now_v7());
    Event { id, time: now(), call: witness.clone(), outcome, resource, writer: OWN.to_owned() }
}

impl DocsRpc {
    /// Keeps the event of a call that was judged and refused. There is no effect to share a transaction with; and a caller is not
    /// told "unavailable" in the place of "no", so an event that cannot be kept is only logged.
    pub(super) async fn record_refusal(&self, witness: &Witness, error: &Error, resource: Option<String>) {
        if !is_refusal(error.kind()) {
            return;
        }
        let event = event(witness, Outcome::Refused(error.reason().to_owned()), resource);
        if let Err(error) = self.store.keep_events(&[event]).await {
            tracing::error!(%error, rpc = witness.rpc, "the audit event of a refusal is lost");
        }
    }

    pub(super) async fn list_events(
        &self,
        call: &Call,
        request: pb::ListAuditEventsRequest,
    ) -> Result<pb::ListAuditEventsResponse, Error> {
        let (filter, page) = convert::audit::list(request)?;
        let auditor =
            matches!(&call.caller.principal, Principal::Subject(subject) if subject.scopes.contains(AUDITOR));
        if !auditor {
            return Err(Error::NotPermitted);
        }
        let mut events = self.store.list_events(&filter, page.after().map(EventId), page.limit()).await?;
        let next_page_token = page.cut(&mut events, |event| event.id.0);
        Ok(pb::ListAuditEventsResponse {
            events: events.into_iter().map(convert::audit::event).collect(),
            next_page_token,
        })
    }
}

/// Whether somebody was told no. What cannot be read was not judged; and what failed was neither done nor refused.
fn is_refusal(kind: Kind) -> bool {
    match kind {
        Kind::Forbidden | Kind::NotFound | Kind::Exists | Kind::Precondition | Kind::Exhausted => true,
        Kind::Invalid
        | Kind::Unauthenticated
        | Kind::Conflict
        | Kind::Unavailable
        | Kind::Timeout
        | Kind::Internal => false,
    }
}
