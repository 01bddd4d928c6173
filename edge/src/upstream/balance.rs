//! Which endpoint gets the next call: of two drawn at random the one with less to do ("power of two choices", Mitzenmacher). Two
//! draws are enough to keep all evenly busy, need no shared order, and never send a herd to whoever looks best, as picking the
//! least loaded of all would. Only endpoints fit for calls are drawn. When none is, all are, because a wrong verdict must not
//! turn a degraded service into an outage. The set changes as resolution answers; an endpoint that stays keeps its connections,
//! its load and its verdicts.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::StreamClass;
use super::config::Ejection;
use super::dial::Dialer;
use super::endpoint::Endpoint;

/// The endpoints of an upstream.
#[derive(Debug)]
pub(super) struct Balance {
    dialer: Arc<Dialer>,
    rotation: ArcSwap<Rotation>,
    /// Keeps those apart who change the rotation; nobody who picks takes it.
    changing: Mutex<()>,
}

/// Made anew with every change, so that a pick looks nothing up.
#[derive(Debug, Default)]
struct Rotation {
    all: Vec<Arc<Endpoint>>,
    fit: Vec<Arc<Endpoint>>,
}

impl Balance {
    pub(super) fn new(dialer: Arc<Dialer>) -> Self {
        Self { dialer, rotation: ArcSwap::default(), changing: Mutex::default() }
    }

    /// The endpoint for the next call that is not among `tried`, and not the one to `avoid` unless there is no other.
    pub(super) fn pick(
        &self,
        class: StreamClass,
        now: Instant,
        tried: &[SocketAddr],
        avoid: Option<SocketAddr>,
    ) -> Option<Arc<Endpoint>> {
        let rotation = self.rotation.load();
        let Rotation { all, fit } = &**rotation;
        if tried.is_empty() && avoid.is_none() {
            let pool = if fit.is_empty() { all } else { fit };
            return of_two(pool, class, now).cloned();
        }
        // A call that has failed elsewhere: rare enough for lists of its own.
        let but = |pool: &[Arc<Endpoint>], avoid: Option<SocketAddr>| {
            let left = pool
                .iter()
                .filter(|endpoint| !tried.contains(&endpoint.address()) && Some(endpoint.address()) != avoid);
            let left: Vec<_> = left.cloned().collect();
            of_two(&left, class, now).cloned()
        };
        but(fit, avoid).or_else(|| but(fit, None)).or_else(|| but(all, avoid)).or_else(|| but(all, None))
    }

    /// All endpoints of this moment.
    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.rotation.load().all.clone()
    }

    /// Whether an endpoint is still one of them.
    pub(super) fn holds(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.rotation.load().all.iter().any(|held| Arc::ptr_eq(held, endpoint))
    }

    /// Takes over the addresses of a resolution. None at all is taken for a resolver's fault, and the old set stays.
    pub(super) fn resolved(&self, addresses: &HashSet<SocketAddr>) {
        let changing = self.changing();
        let rotation = self.rotation.load();
        let old = &rotation.all;
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
        self.store(new.collect(), &changing);
    }

    /// Lets go of connections made under an older identity.
    pub(super) fn retire_before(&self, generation: u64) {
        for endpoint in &self.rotation.load().all {
            endpoint.retire_before(generation);
        }
    }

    /// Takes over a health check's verdict on an endpoint.
    pub(super) fn judge(&self, endpoint: &Endpoint, healthy: bool) {
        let changing = self.changing();
        if endpoint.set_healthy(healthy) {
            let (upstream, address) = (self.dialer.upstream(), endpoint.address());
            tracing::warn!(upstream, endpoint = %address, healthy, "upstream endpoint changed");
            self.store(self.endpoints(), &changing);
        }
    }

    /// Takes an endpoint out for the time that is returned, unless it is out already, the last that is fit, or one too many.
    pub(super) fn eject(
        &self,
        endpoint: &Arc<Endpoint>,
        rules: &Ejection,
        now: Instant,
        luck: f64,
    ) -> Option<Duration> {
        let changing = self.changing();
        let rotation = self.rotation.load();
        let Rotation { all, fit } = &**rotation;
        let ejected = all.iter().filter(|endpoint| endpoint.breaker().is_ejected()).count();
        let too_many = (ejected + 1) * 100 > all.len() * usize::from(rules.percent_max);
        let last = matches!(&fit[..], [only] if Arc::ptr_eq(only, endpoint));
        if endpoint.breaker().is_ejected() || too_many || last || !self.holds(endpoint) {
            return None;
        }
        let time = endpoint.breaker().eject(rules, now, luck);
        self.store(all.clone(), &changing);
        Some(time)
    }

    /// Brings an endpoint back.
    pub(super) fn readmit(&self, endpoint: &Arc<Endpoint>, rules: &Ejection, now: Instant) {
        let changing = self.changing();
        endpoint.breaker().readmit(rules, now);
        endpoint.load().forget();
        self.store(self.endpoints(), &changing);
    }

    fn store(&self, all: Vec<Arc<Endpoint>>, _changing: &MutexGuard<'_, ()>) {
        let fit: Vec<_> = all.iter().filter(|endpoint| endpoint.is_fit()).cloned().collect();
        let ejected = all.iter().filter(|endpoint| endpoint.breaker().is_ejected()).count();
        let (upstream, unhealthy) = (self.dialer.upstream(), all.len() - fit.len() - ejected);
        self.dialer.metrics().endpoints(upstream, fit.len(), unhealthy, ejected);
        self.rotation.store(Arc::new(Rotation { all, fit }));
    }

    /// Nothing is half done in between, so a panic elsewhere spoils nothing.
    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of two different ones drawn at random, the one with less to do.
fn of_two(pool: &[Arc<Endpoint>], class: StreamClass, now: Instant) -> Option<&Arc<Endpoint>> {
    let count = pool.len() as u64;
    if count < 2 {
        return pool.first();
    }
    let random: u64 = rand::random();
    let first = below(random >> 32, count);
    let second = below(random & u64::from(u32::MAX), count - 1);
    // The second is drawn from the others.
    let second = if second >= first { second + 1 } else { second };
    let (first, second) = (pool.get(first)?, pool.get(second)?);
    Some(if second.load().cost(class, now) < first.load().cost(class, now) { second } else { first })
}

/// Makes of 32 random bits a number below `count`, without a division.
#[allow(clippy::cast_possible_truncation, reason = "below count, which is the length of a list")]
const fn below(bits: u64, count: u64) -> usize {
    ((bits * count) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_the_pool_and_reach_all_of_it() {
        for count in 1..=5_u64 {
            let drawn: HashSet<usize> =
                (0..1_000_u64).map(|step| below(step * u64::from(u32::MAX) / 999, count)).collect();
            assert_eq!(drawn, (0..usize::try_from(count).unwrap()).collect());
        }
    }
}
