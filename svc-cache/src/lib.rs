//! svc-cache: the shared cache of the services, and what the edges share, on Redis.
//!
//! It owns nothing that cannot be recomputed, and promises two things. A service reaches only its own namespace, which is
//! the workload that called. And a value read before an invalidation is never served after it: entries are written under
//! leases that an invalidation breaks, in one atomic script. Only the loss of acknowledged writes by Redis itself (a failover
//! to a replica that lags) can bring an old value back, and then for no longer than its time to live.
//!
//! For the edges it keeps what they share: the buckets of rate limits, and the tokens that are no longer believed. A revocation is
//! told to every edge that watches any replica, and is forgotten when the token has expired; the audit event of it is written with
//! it and shipped to its keeper.
//!
//! Read `domain` for the words, `store/*.lua` for the rules, then `store` and `rpc`.
pub mod config;
pub mod domain;
pub mod error;
mod metrics;
pub mod rpc;
pub mod store;

use anyhow::Context as _;
use proto::cache::v1::cache_service_server::CacheServiceServer;
use proto::edge::v1::rate_limit_service_server::RateLimitServiceServer;
use proto::edge::v1::revocation_service_server::RevocationServiceServer;

/// The service, as the chassis runs it.
pub struct Cache {
    cache: rpc::CacheRpc,
    rate_limits: rpc::RateLimitRpc,
    revocations: rpc::RevocationRpc,
}

impl chassis::run::Service for Cache {
    const NAME: &'static str = "svc-cache";
    type Config = config::Config;

    /// Redis being away is no reason not to start: callers are told UNAVAILABLE and go to their own store, and readiness
    /// keeps them away meanwhile. A URL or certificate that cannot be right is.
    async fn start(config: &Self::Config, start: chassis::run::Start) -> anyhow::Result<Self> {
        let (store, monitor) = store::Store::open(&config.store).context("redis")?;
        start.health.set_ready("store", false);
        let health = start.health.clone();
        let stopping = start.drain.clone();
        start.drain.spawn("redis monitor", async move {
            tokio::select! {
                () = monitor.run(|up| health.set_ready("store", up)) => {}
                _ = stopping.stopping() => {}
            }
        });
        let shipper = rpc::audit::Shipper { store: store.clone(), edge: start.edge };
        let events = chassis::outbox::start(shipper, &start.drain, &start.metrics);
        Ok(Self {
            cache: rpc::CacheRpc::new(store.clone(), &start.metrics),
            rate_limits: rpc::RateLimitRpc::new(store.clone(), &start.metrics),
            revocations: rpc::RevocationRpc::new(store, events, start.drain, rpc::Pace::default()),
        })
    }

    fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(CacheServiceServer::new(self.cache.clone()))
            .add_service(RateLimitServiceServer::new(self.rate_limits.clone()))
            .add_service(RevocationServiceServer::new(self.revocations.clone()))
    }
}
