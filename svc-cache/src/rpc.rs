//! `cache.v1.CacheService`: decode, ask the store, encode. The namespace is the workload that called, which the edge took from
//! its certificate; no field of a request can name another. What the edges share is beside it: `rate_limit`, `revocation`.
pub mod audit;
mod convert;
mod rate_limit;
mod revocation;

pub use rate_limit::RateLimitRpc;
pub use revocation::{Pace, RevocationRpc};

use proto::cache::v1 as pb;
use proto::cache::v1::cache_service_server::CacheService;
use tonic::{Request, Response, Status};

use crate::domain::{LeaseId, Namespace};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::{Acquired, Store, Written};

/// The handlers. A clone shares everything.
#[derive(Clone)]
pub struct CacheRpc {
    store: Store,
    metrics: Metrics,
}

impl CacheRpc {
    /// Serves the store and counts into the registry.
    pub fn new(store: Store, registry: &chassis::metrics::Metrics) -> Self {
        Self { store, metrics: Metrics::register(registry) }
    }
}

/// The namespace of whoever called.
fn namespace_of<T>(request: &Request<T>) -> Result<Namespace, Status> {
    let call = chassis::call::Call::of(request)?;
    let namespace = call.caller.acting_service().and_then(Namespace::of);
    Ok(namespace.ok_or(Error::NoNamespace)?)
}

/// Refuses whoever is not the edge. Its policy says the same; but a mistake in a policy would let a service close the buckets of
/// everybody.
fn edge_only<T>(request: &Request<T>) -> Result<(), Status> {
    let call = chassis::call::Call::of(request)?;
    if call.caller.is_service() && call.caller.acting_service() == Some("edge") {
        return Ok(());
    }
    Err(Error::EdgeOnly.into())
}

#[tonic::async_trait]
impl CacheService for CacheRpc {
    async fn get_entry(&self, request: Request<pb::GetEntryRequest>) -> Result<Response<pb::Entry>, Status> {
        let namespace = namespace_of(&request)?;
        let key = convert::get_entry(request.into_inner())?;
        let found = self.store.get(&namespace, &key).await.map_err(Error::from)?;
        self.metrics.looked_up(&namespace, usize::from(found.is_some()), usize::from(found.is_none()));
        match found {
            Some(found) => Ok(Response::new(convert::entry(key, found))),
            None => Err(Error::Miss { key: key.into_string() }.into()),
        }
    }

    async fn set_entry(
        &self,
        request: Request<pb::SetEntryRequest>,
    ) -> Result<Response<pb::SetEntryResponse>, Status> {
        let namespace = namespace_of(&request)?;
        let set = convert::set_entry(request.into_inner())?;
        let written = self
            .store
            .set(&namespace, &set.key, &set.value, set.lifetime, &set.tags, set.lease.as_ref())
            .await
            .map_err(Error::from)?;
        self.metrics.written(&namespace, written == Written::Done);
        match written {
            Written::Done => Ok(Response::new(pb::SetEntryResponse {})),
            Written::LeaseLost => Err(Error::LeaseLost.into()),
            Written::TagNotCovered(n) => Err(convert::tag_not_covered(&set.tags, n).into()),
        }
    }

    async fn delete_entry(
        &self,
        request: Request<pb::DeleteEntryRequest>,
    ) -> Result<Response<pb::DeleteEntryResponse>, Status> {
        let namespace = namespace_of(&request)?;
        let key = convert::delete_entry(request.into_inner())?;
        let removed = self.store.delete(&namespace, &key).await.map_err(Error::from)?;
        self.metrics.invalidated(&namespace, false, u64::from(removed));
        Ok(Response::new(pb::DeleteEntryResponse {}))
    }

    async fn batch_get_entries(
        &self,
        request: Request<pb::BatchGetEntriesRequest>,
    ) -> Result<Response<pb::BatchGetEntriesResponse>, Status> {
        let namespace = namespace_of(&request)?;
        let keys = convert::batch_get_entries(request.into_inner())?;
        let found = self.store.get_many(&namespace, &keys).await.map_err(Error::from)?;
        let asked = keys.len();
        let entries: Vec<_> = keys
            .into_iter()
            .zip(found)
            .filter_map(|(key, found)| Some(convert::entry(key, found?)))
            .collect();
        self.metrics.looked_up(&namespace, entries.len(), asked - entries.len());
        Ok(Response::new(pb::BatchGetEntriesResponse { entries }))
    }

    async fn acquire_lease(
        &self,
        request: Request<pb::AcquireLeaseRequest>,
    ) -> Result<Response<pb::AcquireLeaseResponse>, Status> {
        let namespace = namespace_of(&request)?;
        let asked = convert::acquire_lease(request.into_inner())?;
        let fresh = LeaseId::new(rand::random());
        let acquired = self
            .store
            .acquire(&namespace, &asked.key, &fresh, asked.lifetime, &asked.tags)
            .await
            .map_err(Error::from)?;
        self.metrics.leased(&namespace, acquired == Acquired::Granted);
        Ok(Response::new(convert::acquired(acquired, fresh)))
    }

    async fn invalidate_tags(
        &self,
        request: Request<pb::InvalidateTagsRequest>,
    ) -> Result<Response<pb::InvalidateTagsResponse>, Status> {
        let namespace = namespace_of(&request)?;
        let tags = convert::invalidate_tags(request.into_inner())?;
        let removed = self.store.invalidate(&namespace, &tags).await.map_err(Error::from)?;
        self.metrics.invalidated(&namespace, true, removed);
        Ok(Response::new(pb::InvalidateTagsResponse { removed: i64::try_from(removed).unwrap_or(i64::MAX) }))
    }
}
