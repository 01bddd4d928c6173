//! Spans that are told whole, once they are over. `tracing` chooses the ids of its spans itself; the edge has told its span's id
//! to the upstream before it knows how the call ends, so it hands over the finished span with the id it has used. Without an
//! exporter nothing is built and nothing kept.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanEvents, SpanLinks, SpanProcessor};
use tonic::Code;

use crate::trace::TraceContext;

/// A name and a value, as the semantic conventions of OpenTelemetry spell them.
pub use opentelemetry::KeyValue as Attribute;

/// The attribute that says how an RPC ended, as gRPC's number.
pub const GRPC_STATUS_CODE: &str = "rpc.grpc.status_code";

/// What the conventions say of every RPC; `rpc` is "ledger.v1.LedgerService/GetBalance".
pub fn rpc_attributes(rpc: &str) -> impl Iterator<Item = (&'static str, String)> {
    let (service, method) = rpc.split_once('/').unwrap_or((rpc, ""));
    [("rpc.system", "grpc"), ("rpc.service", service), ("rpc.method", method)]
        .map(|(name, value)| (name, value.to_owned()))
        .into_iter()
}

/// Handle to the exporter's queue, if there is an exporter; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Spans(Option<Arc<BatchSpanProcessor>>);

/// One request served.
#[derive(Debug)]
pub struct ServerSpan<'a> {
    /// Its place in the trace.
    pub context: TraceContext,
    /// The caller's span.
    pub parent_id: Option<u64>,
    /// `tracestate` of the trace, if it is carried on.
    pub state: Option<&'a str>,
    /// What was called.
    pub name: Cow<'static, str>,
    /// From its first byte to this moment.
    pub took: Duration,
    /// What else is known.
    pub attributes: Vec<Attribute>,
    /// How it ended.
    pub code: Code,
}

impl Spans {
    pub(crate) fn new(mut queue: BatchSpanProcessor, resource: &Resource) -> Self {
        queue.set_resource(resource);
        Self(Some(Arc::new(queue)))
    }

    /// Whether a span with this context is wanted.
    #[must_use]
    pub fn want(&self, context: TraceContext) -> bool {
        context.sampled && self.0.is_some()
    }

    /// Hands a span that ends now to the exporter. Never waits: a span that finds the queue full is lost, and the exporter
    /// says how many were.
    pub fn export(&self, span: ServerSpan<'_>) {
        let Some(queue) = &self.0 else { return };
        let end_time = SystemTime::now();
        let parent_id = SpanId::from(span.parent_id.unwrap_or(0));
        let state = span.state.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
        let flags = if span.context.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace_id, span_id) = (TraceId::from(span.context.trace_id), SpanId::from(span.context.span_id));
        queue.on_end(SpanData {
            span_context: SpanContext::new(trace_id, span_id, flags, false, state),
            parent_span_id: parent_id,
            parent_span_is_remote: span.parent_id.is_some(),
            span_kind: SpanKind::Server,
            name: span.name,
            start_time: end_time.checked_sub(span.took).unwrap_or(end_time),
            end_time,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if is_fault(span.code) { Status::error("") } else { Status::Unset },
            instrumentation_scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME")).build(),
        });
    }
}

/// Whether the server is to blame for a code; the others are the caller's (semantic conventions for gRPC, server spans).
pub(crate) const fn is_fault(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// The queue as the tracer of `tracing`'s spans sees it: the same one.
impl SpanProcessor for Spans {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        if let Some(queue) = &self.0 {
            queue.on_start(span, cx);
        }
    }

    fn on_end(&self, span: SpanData) {
        if let Some(queue) = &self.0 {
            queue.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.as_ref().map_or(Ok(()), |queue| queue.force_flush())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.as_ref().map_or(Ok(()), |queue| queue.shutdown_with_timeout(timeout))
    }
}
