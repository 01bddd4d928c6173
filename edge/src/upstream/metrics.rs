//! The numbers of the upstream side. Labels are the upstream's name and a handful of words, never an address.

use std::sync::atomic::AtomicI64;

use chassis::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The metrics of all upstreams; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct UpstreamMetrics {
    connections: Family<UpstreamLabel, Gauge<i64, AtomicI64>>,
    dials: Family<ResultLabels, Counter>,
    endpoints: Family<StateLabels, Gauge<i64, AtomicI64>>,
    moved: Family<UpstreamLabel, Counter>,
    refused: Family<UpstreamLabel, Counter>,
    in_flight: Family<UpstreamLabel, Gauge<i64, AtomicI64>>,
    limited: Family<LimitLabels, Counter>,
    ejections: Family<CauseLabels, Counter>,
    retries: Family<OutcomeLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    upstream: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    upstream: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    upstream: String,
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    upstream: String,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    upstream: String,
    outcome: &'static str,
}

impl UpstreamMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register("upstream_connections", "Pooled connections", own.connections.clone());
        metrics.register("upstream_dials", "Attempts to make a connection", own.dials.clone());
        metrics.register("upstream_endpoints", "Resolved addresses by health", own.endpoints.clone());
        metrics.register(
            "upstream_moved",
            "Unprocessed calls moved to another connection or endpoint",
            own.moved.clone(),
        );
        metrics.register("upstream_refused", "Calls no endpoint took", own.refused.clone());
        metrics.register("upstream_in_flight", "Calls in flight", own.in_flight.clone());
        metrics.register(
            "upstream_limited",
            "Calls refused by a bound of their upstream",
            own.limited.clone(),
        );
        metrics.register("upstream_ejections", "Endpoints left alone for a while", own.ejections.clone());
        metrics.register("upstream_retries", "Failed calls made again, or not", own.retries.clone());
        own
    }

    /// The count of an upstream's calls, looked up once.
    pub(super) fn in_flight(&self, upstream: &str) -> Gauge<i64, AtomicI64> {
        self.in_flight.get_or_create_owned(&UpstreamLabel { upstream: upstream.to_owned() })
    }

    pub(super) fn limited(&self, upstream: &str, limit: &'static str) {
        self.limited.get_or_create(&LimitLabels { upstream: upstream.to_owned(), limit }).inc();
    }

    /// A failed call is `made` again, or why it is not.
    pub(super) fn retry(&self, upstream: &str, outcome: &'static str) {
        self.retries.get_or_create(&OutcomeLabels { upstream: upstream.to_owned(), outcome }).inc();
    }

    pub(super) fn ejected(&self, upstream: &str, cause: &'static str) {
        self.ejections.get_or_create(&CauseLabels { upstream: upstream.to_owned(), cause }).inc();
    }

    pub(super) fn connections_changed(&self, upstream: &str, before: usize, after: usize) {
        let gauge = self.connections.get_or_create(&UpstreamLabel { upstream: upstream.to_owned() });
        gauge.inc_by(i64::try_from(after).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX));
    }

    pub(super) fn dialled(&self, upstream: &str, connected: bool) {
        let result = if connected { "connected" } else { "failed" };
        self.dials.get_or_create(&ResultLabels { upstream: upstream.to_owned(), result }).inc();
    }

    /// `unhealthy` by a check's word, `ejected` by their calls'; who is both counts as ejected.
    pub(super) fn endpoints(&self, upstream: &str, healthy: usize, unhealthy: usize, ejected: usize) {
        for (state, count) in [("healthy", healthy), ("unhealthy", unhealthy), ("ejected", ejected)] {
            let labels = StateLabels { upstream: upstream.to_owned(), state };
            self.endpoints.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// An upstream is configured no more. The gauge of its connections stays: it falls to zero as their calls end.
    pub(super) fn forget(&self, upstream: &str) {
        for state in ["healthy", "unhealthy", "ejected"] {
            self.endpoints.remove(&StateLabels { upstream: upstream.to_owned(), state });
        }
    }

    pub(super) fn moved(&self, upstream: &str) {
        self.moved.get_or_create(&UpstreamLabel { upstream: upstream.to_owned() }).inc();
    }

    pub(super) fn refused(&self, upstream: &str) {
        self.refused.get_or_create(&UpstreamLabel { upstream: upstream.to_owned() }).inc();
    }
}
