//! What svc-cache counts beyond the RED metrics of the chassis: how often an answer was there, who got to compute it, and
//! how much invalidations remove. Labelled with the namespace, of which there are as many as services.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::domain::{Namespace, Taken};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    namespace: String,
    outcome: &'static str,
}

#[derive(Clone, Default)]
pub(crate) struct Metrics {
    lookups: Family<Labels, Counter>,
    leases: Family<Labels, Counter>,
    writes: Family<Labels, Counter>,
    invalidated: Family<Labels, Counter>,
}

impl Metrics {
    pub(crate) fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let own = Self::default();
        metrics.register("cache_lookups", "Keys looked up.", own.lookups.clone());
        metrics.register("cache_leases", "Leases asked for.", own.leases.clone());
        metrics.register(
            "cache_writes",
            "Entries written, or not for want of the lease.",
            own.writes.clone(),
        );
        metrics.register("cache_invalidated_entries", "Entries removed.", own.invalidated.clone());
        own
    }

    pub(crate) fn looked_up(&self, namespace: &Namespace, hits: usize, misses: usize) {
        count(&self.lookups, namespace, "hit", hits as u64);
        count(&self.lookups, namespace, "miss", misses as u64);
    }

    pub(crate) fn leased(&self, namespace: &Namespace, granted: bool) {
        count(&self.leases, namespace, if granted { "granted" } else { "held" }, 1);
    }

    pub(crate) fn written(&self, namespace: &Namespace, done: bool) {
        count(&self.writes, namespace, if done { "written" } else { "lease_lost" }, 1);
    }

    pub(crate) fn invalidated(&self, namespace: &Namespace, by_tag: bool, entries: u64) {
        count(&self.invalidated, namespace, if by_tag { "tag" } else { "key" }, entries);
    }
}

/// How many takes from the buckets of the edges were allowed.
#[derive(Clone)]
pub(crate) struct BucketMetrics {
    allowed: Counter,
    refused: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl BucketMetrics {
    pub(crate) fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let takes = Family::<OutcomeLabels, Counter>::default();
        metrics.register("cache_bucket_takes", "Takes from the buckets of rate limits.", takes.clone());
        let counter = |outcome| takes.get_or_create_owned(&OutcomeLabels { outcome });
        Self { allowed: counter("allowed"), refused: counter("refused") }
    }

    pub(crate) fn taken(&self, taken: &[Taken]) {
        let allowed = taken.iter().filter(|taken| taken.allowed).count();
        self.allowed.inc_by(allowed as u64);
        self.refused.inc_by((taken.len() - allowed) as u64);
    }
}

fn count(family: &Family<Labels, Counter>, namespace: &Namespace, outcome: &'static str, by: u64) {
    if by > 0 {
        family.get_or_create(&Labels { namespace: namespace.as_str().to_owned(), outcome }).inc_by(by);
    }
}
