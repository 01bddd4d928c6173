//! How often a principal may call: one bucket for each principal and rate class, which holds what the class allows in its window
//! and fills evenly (GCRA). The edge judges by its own buckets and never waits; when a provider counts for all edges,
//! [`shared`] reports what was let through in the background, and what the others have used is taken from the bucket here.
//!
//! [`who`] names principals, [`address`] those without a name; [`limits`] is `[rate_limits]` made ready; [`buckets`] is the
//! memory, bounded and without a lock; [`fields`] tells clients how they stand. Requests are counted once the method and the
//! caller are known, whatever becomes of them afterwards; whoever fails to prove who they are is counted by address.

mod address;
mod buckets;
mod config;
mod fields;
mod limits;
mod metrics;
mod shared;
mod who;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderMap;

use crate::policy::RateClass;
use buckets::{Buckets, Charge};
use limits::{Limit, Limits};
use metrics::Metrics;

pub use config::{ClassQuotas, Config, Quota};
pub use fields::put as put_fields;
pub use shared::Reporter;
pub use who::{Kind, Who};

/// Counts requests. One for the whole edge, whatever its listeners.
pub struct Limiter {
    limits: ArcSwap<Limits>,
    buckets: Buckets,
    metrics: Metrics,
    /// Whether what is let through is kept for a report.
    reported: bool,
}

/// How a caller stands with the bucket its request was counted in.
#[derive(Clone, Debug)]
pub struct Standing {
    limit: Arc<Limit>,
    remaining: u64,
    /// Until the bucket is full; of a refusal, until the next request is admitted.
    after: Duration,
    refused_by: Option<Scope>,
}

/// Whose count refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What this edge has let through alone.
    Local,
    /// What all edges have let through together.
    Shared,
}

/// A bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rate class.
    pub class: &'static str,
    /// The kind of principal it is a limit of.
    pub principal: &'static str,
    /// "local" or "shared".
    pub scope: &'static str,
    /// When the next request will be admitted, if nobody else takes its place.
    pub retry_after: Duration,
}

impl Limiter {
    /// With the limits of `config`. `reported` says that a [`Reporter`] will run.
    #[must_use]
    pub fn new(config: &Config, reported: bool, metrics: &chassis::metrics::Metrics) -> Arc<Self> {
        let metrics = Metrics::register(metrics);
        let limits = ArcSwap::from_pointee(Limits::new(config, &metrics));
        Arc::new(Self { limits, buckets: Buckets::new(config.entries_max), metrics, reported })
    }

    /// Goes on with other limits. What was taken stays taken; the size of the memory stays what it was.
    pub fn adopt(&self, config: &Config) {
        self.limits.store(Arc::new(Limits::new(config, &self.metrics)));
    }

    /// Counts a request of `who`. None if there is no limit for it.
    #[must_use]
    pub fn take(&self, class: RateClass, who: Who, now: Instant) -> Option<Standing> {
        let limits = self.limits.load();
        let limit = limits.of(class, who.kind())?;
        Some(self.charge(limit, who, now))
    }

    /// Counts a request of nobody in particular, by the address it comes from: the peer's, or what a trusted proxy says.
    #[must_use]
    pub fn take_anonymous(
        &self,
        class: RateClass,
        peer: IpAddr,
        headers: &HeaderMap,
        now: Instant,
    ) -> Option<Standing> {
        let limits = self.limits.load();
        let limit = limits.of(class, Kind::Anonymous)?;
        let address = address::client(peer, headers, &limits.trusted_proxies);
        Some(self.charge(limit, Who::at(address), now))
    }

    fn charge(&self, limit: &Arc<Limit>, who: Who, now: Instant) -> Standing {
        let rate = limit.rate;
        let (remaining, after, refused_by) =
            match self.buckets.charge(who.key(limit.index), rate, self.buckets.time(now), self.reported) {
                Charge::Admitted { ahead, evicted } => {
                    if evicted {
                        self.metrics.evicted.inc();
                    }
                    (rate.left(ahead), ahead, None)
                }
                Charge::Refused { wait, shared } => {
                    let scope = if shared { Scope::Shared } else { Scope::Local };
                    limit.refused(scope);
                    (0, wait, Some(scope))
                }
            };
        Standing { limit: Arc::clone(limit), remaining, after: Duration::from_nanos(after), refused_by }
    }
}

impl Standing {
    /// Passes or refuses the request.
    ///
    /// # Errors
    /// When its bucket is empty.
    pub fn judge(&self) -> Result<(), Refusal> {
        let Some(scope) = self.refused_by else { return Ok(()) };
        Err(Refusal {
            class: self.limit.class,
            principal: self.limit.kind.as_str(),
            scope: scope.as_str(),
            retry_after: self.after,
        })
    }
}

impl Scope {
    /// The label in errors and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Shared => "shared",
        }
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("reported", &self.reported).finish_non_exhaustive()
    }
}
