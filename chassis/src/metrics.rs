//! The numbers of a process, and the RED metrics of every RPC it serves (rate and errors from the histogram's counts, duration
//! from its buckets). Labels are bounded: never an id, a path or a name a client chose.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Upper bounds of duration buckets in seconds: from a cache hit to the longest unary deadline.
pub const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Handle to the metrics of a process; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Adds a metric under `<area>_<name>_<unit>`; counters get their `_total` on the page.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric);
    }

    /// The page a scraper reads.
    ///
    /// # Errors
    /// When a label refuses to encode.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut page = String::with_capacity(16 * 1024);
        prometheus_client::encoding::text::encode(
            &mut page,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(page)
    }
}

/// Rate, errors and duration of the RPCs a process serves.
#[derive(Clone, Debug)]
pub struct Red {
    duration: Family<RpcLabels, Histogram>,
    in_flight: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc: String,
    code: &'static str,
}

impl Red {
    /// Registers the metrics of served RPCs.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let red = Self {
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            in_flight: Gauge::default(),
        };
        metrics.register(
            "rpc_server_call_duration_seconds",
            "Time from a request's head to its status",
            red.duration.clone(),
        );
        metrics.register("rpc_server_calls_in_flight", "RPCs being served", red.in_flight.clone());
        red
    }

    /// An RPC has begun.
    pub fn begin(&self) {
        self.in_flight.inc();
    }

    /// An RPC has ended. `rpc` is "ledger.v1.LedgerService/GetBalance"; one that is not implemented counts as "unknown",
    /// because its name is the caller's invention.
    pub fn end(&self, rpc: &str, code: tonic::Code, took: Duration) {
        self.in_flight.dec();
        let rpc = if code == tonic::Code::Unimplemented { "unknown" } else { rpc };
        let labels = RpcLabels { rpc: rpc.to_owned(), code: code_name(code) };
        self.duration.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// The name of a code as the gRPC specification spells it.
#[must_use]
pub const fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
