//! `edge.v1.RateLimitService`: what all edges let through, counted in one place.
use proto::edge::v1 as pb;
use proto::edge::v1::rate_limit_service_server::RateLimitService;
use tonic::{Request, Response, Status};

use super::{convert, edge_only};
use crate::error::Error;
use crate::metrics::BucketMetrics;
use crate::store::Store;

/// The handlers. A clone shares everything.
#[derive(Clone)]
pub struct RateLimitRpc {
    store: Store,
    metrics: BucketMetrics,
}

impl RateLimitRpc {
    /// Takes from the store's buckets and counts into the registry.
    pub fn new(store: Store, registry: &chassis::metrics::Metrics) -> Self {
        Self { store, metrics: BucketMetrics::register(registry) }
    }
}

#[tonic::async_trait]
impl RateLimitService for RateLimitRpc {
    async fn take(&self, request: Request<pb::TakeRequest>) -> Result<Response<pb::TakeResponse>, Status> {
        edge_only(&request)?;
        let takes = convert::rate_limit::take(request.into_inner())?;
        let taken = self.store.take(&takes).await.map_err(Error::from)?;
        self.metrics.taken(&taken);
        Ok(Response::new(convert::rate_limit::taken(taken)))
    }
}
