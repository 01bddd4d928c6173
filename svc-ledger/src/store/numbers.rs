//! The writer's numbers: how large batches are, how long they take, how often callers were turned away.

use std::time::Duration;

use chassis::metrics::{DURATION_BUCKETS, Metrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of batch sizes: powers of four up to beyond the default maximum.
const SIZE_BUCKETS: [f64; 7] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// The writer's numbers; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    size: Histogram,
    duration: Histogram,
    refused: Counter,
}

impl Numbers {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let numbers = Self {
            size: Histogram::new(SIZE_BUCKETS),
            duration: Histogram::new(DURATION_BUCKETS),
            refused: Counter::default(),
        };
        metrics.register("ledger_batch_writes", "Writes in a batch", numbers.size.clone());
        metrics.register(
            "ledger_batch_duration_seconds",
            "Time from locking the head to the end of COMMIT",
            numbers.duration.clone(),
        );
        metrics.register(
            "ledger_queue_refused",
            "Writes turned away because too many were waiting",
            numbers.refused.clone(),
        );
        numbers
    }

    #[allow(clippy::cast_precision_loss, reason = "a batch has at most ten thousand writes")]
    pub(super) fn batch(&self, writes: usize, took: Duration) {
        self.size.observe(writes as f64);
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn refused_full(&self) {
        self.refused.inc();
    }
}
