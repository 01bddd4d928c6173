//! W3C Trace Context: the place of a call in a trace. A trace id is continued from anyone, for a partner wants to find their
//! call; the sampling bit and the `tracestate` are believed from the mesh only, else any client could fill the trace store.
//! `baggage` is not carried at all.

use chassis::trace::TraceContext;
use http::{HeaderMap, HeaderValue};

use super::{TRACESTATE, single};
use crate::policy::Listener;

/// W3C Trace Context section 3.3.1.5: what a vendor must at least carry, and all that we do.
const STATE_BYTES_MAX: usize = 512;

/// The edge's own span of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The edge's span: the parent of what happens upstream.
    pub context: TraceContext,
    /// The caller's span, if it named one.
    pub parent_id: Option<u64>,
    /// Vendor data of a trace continued from the mesh.
    pub state: Option<HeaderValue>,
}

impl Trace {
    /// Continues the caller's trace, or starts one. A malformed or repeated `traceparent` counts as none (W3C section 4.3).
    /// `fresh` gives the span id always, the trace id when the trace starts here, and the sampling bit unless the mesh has
    /// decided it.
    #[must_use]
    pub fn of(headers: &HeaderMap, listener: Listener, fresh: TraceContext) -> Self {
        let Some(parent) = TraceContext::from_headers(headers) else {
            return Self { context: fresh, parent_id: None, state: None };
        };
        let trusted = listener == Listener::Mesh;
        let state = single(headers, &TRACESTATE).ok().flatten();
        Self {
            context: TraceContext {
                trace_id: parent.trace_id,
                span_id: fresh.span_id,
                sampled: if trusted { parent.sampled } else { fresh.sampled },
            },
            parent_id: Some(parent.span_id),
            state: state
                .filter(|value| trusted && value.len() <= STATE_BYTES_MAX && value.to_str().is_ok())
                .cloned(),
        }
    }

    /// `traceparent` for the upstream.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        // Hexadecimal digits and dashes are always a header value; the fallback is never read.
        HeaderValue::from_bytes(&self.context.text()).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: TraceContext = TraceContext { trace_id: 7, span_id: 9, sampled: false };
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(listener: Listener, pairs: &[(&'static str, &str)]) -> Trace {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        Trace::of(&headers, listener, FRESH)
    }

    #[test]
    fn a_trace_is_continued_with_a_span_of_our_own() {
        let trace = of(Listener::Mesh, &[("traceparent", PARENT), ("tracestate", "a=1")]);
        assert_eq!(trace.parent_id, Some(0x00f0_67aa_0ba9_02b7));
        assert_eq!(trace.header(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-01");
        assert_eq!(trace.state.unwrap(), "a=1");
    }

    #[test]
    fn outside_callers_choose_neither_sampling_nor_vendor_data() {
        for listener in [Listener::Public, Listener::Partner] {
            let trace = of(listener, &[("traceparent", PARENT), ("tracestate", "tenant=other")]);
            assert_eq!(trace.header(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-00");
            assert_eq!(trace.state, None);
        }
    }

    #[test]
    fn a_malformed_or_repeated_parent_counts_as_none() {
        for pairs in
            [&[("traceparent", "soon")][..], &[("traceparent", PARENT), ("traceparent", PARENT)], &[]]
        {
            assert_eq!(of(Listener::Mesh, pairs), Trace { context: FRESH, parent_id: None, state: None });
        }
    }

    #[test]
    fn oversized_vendor_data_is_dropped() {
        let trace = of(Listener::Mesh, &[("traceparent", PARENT), ("tracestate", &"a".repeat(513))]);
        assert_eq!(trace.state, None);
    }
}
