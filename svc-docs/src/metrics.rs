//! What svc-docs counts beyond the RED metrics of the chassis: bytes of content by direction, and what became of statements.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Default)]
pub(crate) struct Metrics {
    content: Family<Direction, Counter>,
    statements: Family<Outcome, Counter>,
}

impl Metrics {
    pub(crate) fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let own = Self::default();
        metrics.register("docs_content_bytes", "Bytes of content moved.", own.content.clone());
        metrics.register("docs_statements", "Statements asked for.", own.statements.clone());
        own
    }

    pub(crate) fn uploaded(&self, bytes: u64) {
        self.content.get_or_create(&Direction { direction: "upload" }).inc_by(bytes);
    }

    /// For a stream that outlives the handler.
    pub(crate) fn downloads(&self) -> Counter {
        self.content.get_or_create(&Direction { direction: "download" }).clone()
    }

    pub(crate) fn stated(&self, outcome: &'static str) {
        self.statements.get_or_create(&Outcome { outcome }).inc();
    }
}
