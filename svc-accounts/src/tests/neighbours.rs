//! The services that this one calls, as far as it calls them: a ledger that opens accounts and keeps grants, a cache with
//! leases and tags, and whoever keeps the audit. Each can be taken away. What they were told is kept for the test to read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use prost::Message;
use proto::cache::v1::{
    AcquireLeaseRequest, AcquireLeaseResponse, BatchGetEntriesRequest, BatchGetEntriesResponse, Entry,
    GetEntryRequest, InvalidateTagsRequest, InvalidateTagsResponse, SetEntryRequest, SetEntryResponse,
};
use proto::edge::v1::{AppendRequest, AppendResponse, AuditEvent};
use proto::ledger::v1::{
    CreateLedgerAccountRequest, Grant, LedgerAccount, LedgerAccountState, SetGrantRequest,
    SetLedgerAccountLimitsRequest, SetLedgerAccountStateRequest,
};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt as _};

/// How a neighbour is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Well,
    /// UNAVAILABLE, at once.
    Away,
    /// INVALID_ARGUMENT: a judgement.
    Refuses,
    /// Never answers.
    Hangs,
}

#[derive(Debug, Default)]
pub struct State {
    pub ledger: Mood,
    pub opened: Vec<CreateLedgerAccountRequest>,
    /// Accounts over which the ledger stumbles: INTERNAL.
    pub stumbles_over: HashSet<String>,
    /// Accounts with money on them.
    pub funded: HashSet<String>,
    /// Every state that was set, in order.
    pub states: Vec<SetLedgerAccountStateRequest>,
    /// Every limit that was set, in order.
    pub limits: Vec<SetLedgerAccountLimitsRequest>,
    /// The newest revision that was seen of each account, and whether it is closed.
    pub seen: HashMap<String, (i64, bool)>,
    /// Every grant that was set, in order.
    pub granted: Vec<Grant>,
    /// Whether a call to the ledger came with somebody's identity.
    pub impersonated: bool,
    pub keeper: Mood,
    /// Audit events by their ids, each as it first came.
    pub audit: BTreeMap<String, AuditEvent>,
    /// How many came, repeated ones too.
    pub audit_received: usize,
    pub cache: Mood,
    pub cache_calls: usize,
    pub entries: HashMap<String, SetEntryRequest>,
    /// Key to lease id and tags.
    pub leases: HashMap<String, (String, Vec<String>)>,
    /// Fills that came without the lease.
    pub late_fills: usize,
    leases_given: usize,
}

#[derive(Debug, Clone, Default)]
pub struct Neighbours(Arc<Mutex<State>>);

impl Neighbours {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let mood = if path.starts_with("/ledger.v1.LedgerService/") {
            let mut state = self.state();
            state.impersonated |= request.headers().contains_key("txn-token");
            state.ledger
        } else if path.starts_with("/edge.v1.AuditService/") {
            let mut state = self.state();
            state.impersonated |= request.headers().contains_key("txn-token");
            state.keeper
        } else {
            let mut state = self.state();
            state.cache_calls += 1;
            state.cache
        };
        match mood {
            Mood::Well => {}
            Mood::Away => return Status::unavailable("as told").into_http(),
            Mood::Refuses => return Status::invalid_argument("as told").into_http(),
            Mood::Hangs => std::future::pending::<()>().await,
        }
        match path.rsplit('/').next().unwrap_or_default() {
            "CreateLedgerAccount" => unary(request, move |body| self.create_ledger_account(body)).await,
            "SetLedgerAccountState" => unary(request, move |body| self.set_state(body)).await,
            "SetLedgerAccountLimits" => unary(request, move |body| self.set_limits(body)).await,
            "SetGrant" => unary(request, move |body| self.set_grant(body)).await,
            "Append" => unary(request, move |body| self.append(body)).await,
            "GetEntry" => unary(request, move |body| self.get_entry(&body)).await,
            "BatchGetEntries" => unary(request, move |body| self.batch_get_entries(&body)).await,
            "AcquireLease" => unary(request, move |body| self.acquire_lease(body)).await,
            "SetEntry" => unary(request, move |body| self.set_entry(body)).await,
            "InvalidateTags" => unary(request, move |body| self.invalidate_tags(&body)).await,
            _ => Status::unimplemented("no neighbour does this").into_http(),
        }
    }

    fn create_ledger_account(&self, request: CreateLedgerAccountRequest) -> Result<LedgerAccount, Status> {
        let mut state = self.state();
        if state.stumbles_over.contains(&request.account_id) {
            return Err(Status::internal("as told"));
        }
        state.opened.push(request.clone());
        Ok(LedgerAccount { account_id: request.account_id, ..LedgerAccount::default() })
    }

    fn set_state(&self, request: SetLedgerAccountStateRequest) -> Result<LedgerAccount, Status> {
        let mut state = self.state();
        let closes = request.state() == LedgerAccountState::Closed;
        let known = state.states.contains(&request);
        state.see(&request.account_id, request.state_revision)?;
        if closes && !known && state.funded.contains(&request.account_id) {
            return Err(refused("ACCOUNT_NOT_EMPTY"));
        }
        state.seen.insert(request.account_id.clone(), (request.state_revision, closes));
        state.states.push(request);
        Ok(LedgerAccount::default())
    }

    fn set_limits(&self, request: SetLedgerAccountLimitsRequest) -> Result<LedgerAccount, Status> {
        let mut state = self.state();
        state.see(&request.account_id, request.state_revision)?;
        if request.min_available_minor_units == 0 && state.funded.contains(&request.account_id) {
            return Err(refused("LIMIT_BREACHED"));
        }
        state.seen.insert(request.account_id.clone(), (request.state_revision, false));
        state.limits.push(request);
        Ok(LedgerAccount::default())
    }

    /// Keeps the newest grant of a consent, and refuses an older one.
    fn set_grant(&self, request: SetGrantRequest) -> Result<Grant, Status> {
        let grant = request.grant.ok_or_else(|| Status::invalid_argument("grant"))?;
        let mut state = self.state();
        if !state.opened.iter().any(|opened| opened.account_id == grant.account_id) {
            return Err(Status::not_found("the account"));
        }
        let known = state.granted.iter().rfind(|known| known.consent_id == grant.consent_id);
        if known.is_some_and(|known| known.revision > grant.revision) {
            return Err(Status::failed_precondition("STALE_REVISION"));
        }
        state.granted.push(grant.clone());
        Ok(grant)
    }

    fn append(&self, request: AppendRequest) -> Result<AppendResponse, Status> {
        let mut state = self.state();
        state.audit_received += request.events.len();
        for event in request.events {
            state.audit.entry(event.event_id.clone()).or_insert(event);
        }
        Ok(AppendResponse {})
    }

    fn get_entry(&self, request: &GetEntryRequest) -> Result<Entry, Status> {
        let state = self.state();
        let entry = state.entries.get(&request.key).ok_or_else(|| Status::not_found("a miss"))?;
        Ok(Entry { key: entry.key.clone(), value: entry.value.clone(), time_to_live: entry.time_to_live })
    }

    fn batch_get_entries(&self, request: &BatchGetEntriesRequest) -> Result<BatchGetEntriesResponse, Status> {
        let entry = |key: &String| self.get_entry(&GetEntryRequest { key: key.clone() }).ok();
        Ok(BatchGetEntriesResponse { entries: request.keys.iter().filter_map(entry).collect() })
    }

    fn acquire_lease(&self, request: AcquireLeaseRequest) -> Result<AcquireLeaseResponse, Status> {
        let mut state = self.state();
        if state.leases.contains_key(&request.key) {
            return Ok(AcquireLeaseResponse { lease_id: String::new(), retry_after: request.time_to_live });
        }
        state.leases_given += 1;
        let lease_id = format!("lease-{}", state.leases_given);
        state.leases.insert(request.key, (lease_id.clone(), request.tags));
        Ok(AcquireLeaseResponse { lease_id, retry_after: None })
    }

    fn set_entry(&self, request: SetEntryRequest) -> Result<SetEntryResponse, Status> {
        let mut state = self.state();
        let held = state.leases.get(&request.key).is_some_and(|(id, _tags)| *id == request.lease_id);
        if !held {
            state.late_fills += 1;
            return Err(Status::failed_precondition("LEASE_LOST"));
        }
        state.leases.remove(&request.key);
        state.entries.insert(request.key.clone(), request);
        Ok(SetEntryResponse {})
    }

    fn invalidate_tags(&self, request: &InvalidateTagsRequest) -> Result<InvalidateTagsResponse, Status> {
        let mut state = self.state();
        let before = state.entries.len();
        state.entries.retain(|_, entry| !entry.tags.iter().any(|tag| request.tags.contains(tag)));
        state.leases.retain(|_, (_, tags)| !tags.iter().any(|tag| request.tags.contains(tag)));
        Ok(InvalidateTagsResponse { removed: (before - state.entries.len()) as i64 })
    }
}

impl State {
    /// As the ledger judges an intent, before it looks at the account's money.
    fn see(&self, account_id: &str, revision: i64) -> Result<(), Status> {
        match self.seen.get(account_id) {
            Some((seen, _)) if *seen > revision => Err(refused("STALE_REVISION")),
            Some((seen, true)) if *seen < revision => Err(refused("ACCOUNT_CLOSED")),
            Some(_) | None => Ok(()),
        }
    }
}

fn refused(reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "ledger.v1", HashMap::new());
    Status::with_error_details(Code::FailedPrecondition, "as the ledger says it", details)
}

async fn unary<Q, A>(
    request: Request<Body>,
    answer: impl Fn(Q) -> Result<A, Status> + Clone + Send + 'static,
) -> Response<Body>
where
    Q: Message + Default + Send + 'static,
    A: Message + Default + Send + 'static,
{
    let handler = tower::service_fn(move |request: tonic::Request<Q>| {
        std::future::ready(answer(request.into_inner()).map(tonic::Response::new))
    });
    Grpc::new(ProstCodec::<A, Q>::default()).unary(handler, request).await
}

impl tower::Service<Request<Body>> for Neighbours {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let neighbours = self.clone();
        Box::pin(async move { Ok(neighbours.answer(request).await) })
    }
}
