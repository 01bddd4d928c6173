//! Which endpoint gets the next call: round robin over the healthy ones. When none is healthy all are tried, because a wrong
//! verdict must not turn a degraded service into an outage. The set changes as resolution answers; an endpoint that stays
//! keeps its connections and its health.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::dial::Dialer;
use super::endpoint::Endpoint;

/// The endpoints of an upstream.
#[derive(Debug)]
pub(super) struct Balance {
    dialer: Arc<Dialer>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    next: AtomicUsize,
}

impl Balance {
    pub(super) fn new(dialer: Arc<Dialer>) -> Self {
        Self { dialer, endpoints: ArcSwap::default(), next: AtomicUsize::new(0) }
    }

    /// The next endpoint that is not among `tried`, and not the one to `avoid` unless there is no other.
    pub(super) fn pick(&self, tried: &[SocketAddr], avoid: Option<SocketAddr>) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let candidates = || {
            let turn = (0..endpoints.len()).map(move |step| start.wrapping_add(step));
            turn.map(|at| &endpoints[at % endpoints.len()])
                .filter(|endpoint| !tried.contains(&endpoint.address()))
        };
        candidates()
            .find(|endpoint| endpoint.healthy() && Some(endpoint.address()) != avoid)
            .or_else(|| candidates().find(|endpoint| endpoint.healthy()))
            .or_else(|| candidates().next())
            .cloned()
    }

    /// All endpoints of this moment.
    pub(super) fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// Takes over the addresses of a resolution. None at all is taken for a resolver's fault, and the old set stays.
    pub(super) fn resolved(&self, addresses: &HashSet<SocketAddr>) {
        let old = self.endpoints.load();
        let unchanged = old.len() == addresses.len()
            && old.iter().all(|endpoint| addresses.contains(&endpoint.address()));
        if addresses.is_empty() || unchanged {
            return;
        }
        let mut sorted: Vec<_> = addresses.iter().copied().collect();
        sorted.sort_unstable();
        tracing::info!(upstream = self.dialer.upstream(), endpoints = ?sorted, "upstream resolved");
        let known = |address| old.iter().find(|endpoint| endpoint.address() == address).cloned();
        let new = sorted
            .into_iter()
            .map(|address| known(address).unwrap_or_else(|| Endpoint::new(address, &self.dialer)));
        // An endpoint that is gone drops with the last call that holds it; its connections close when their streams have ended.
        self.endpoints.store(Arc::new(new.collect()));
        self.count_healthy();
    }

    /// Lets go of connections made under an older identity.
    pub(super) fn retire_before(&self, generation: u64) {
        for endpoint in self.endpoints.load().iter() {
            endpoint.retire_before(generation);
        }
    }

    /// Takes over a verdict on an endpoint.
    pub(super) fn judge(&self, endpoint: &Endpoint, healthy: bool) {
        if endpoint.set_healthy(healthy) {
            let (upstream, address) = (self.dialer.upstream(), endpoint.address());
            tracing::warn!(upstream, endpoint = %address, healthy, "upstream endpoint changed");
            self.count_healthy();
        }
    }

    fn count_healthy(&self) {
        let endpoints = self.endpoints.load();
        let healthy = endpoints.iter().filter(|endpoint| endpoint.healthy()).count();
        self.dialer.metrics().endpoints(self.dialer.upstream(), healthy, endpoints.len() - healthy);
    }
}
