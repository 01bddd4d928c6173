//! What the rate limits count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Kind, Scope};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    class: &'static str,
    principal: &'static str,
    scope: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReportLabels {
    result: &'static str,
}

/// See the module.
pub(super) struct Metrics {
    refused: Family<RefusedLabels, Counter>,
    /// Buckets that were forgotten before they were full.
    pub(super) evicted: Counter,
    /// Requests the provider has counted.
    pub(super) counted: Counter,
    /// Requests the provider was not there for: only this edge has counted them.
    pub(super) lost: Counter,
}

impl Metrics {
    pub(super) fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let refused = Family::<RefusedLabels, Counter>::default();
        metrics.register("edge_rate_refused", "Requests refused for their rate", refused.clone());
        let evicted = Counter::default();
        metrics.register("edge_rate_evicted", "Buckets forgotten before they were full", evicted.clone());
        let reported = Family::<ReportLabels, Counter>::default();
        metrics.register(
            "edge_rate_reported",
            "Requests told to the provider of shared limits",
            reported.clone(),
        );
        let report = |result| reported.get_or_create_owned(&ReportLabels { result });
        Self { evicted, counted: report("counted"), lost: report("lost"), refused }
    }

    pub(super) fn refused(&self, class: &'static str, kind: Kind, scope: Scope) -> Counter {
        let labels = RefusedLabels { class, principal: kind.as_str(), scope: scope.as_str() };
        self.refused.get_or_create_owned(&labels)
    }
}
