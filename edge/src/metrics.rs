//! The numbers of the edge's front: calls by RPC and code, refusals by reason, connections and what is in flight by listener.
//! Labels are bounded by the contract: an RPC that no descriptor names has none. The numbers of upstreams and of the key sets
//! are registered where they arise.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chassis::metrics::DURATION_BUCKETS;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::policy::Listener;

/// Handle to the front's metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    duration: Family<CallLabels, Histogram>,
    refusals: Family<RefusalLabels, Counter>,
    in_flight: Family<ListenerLabels, Gauge>,
    connections: Family<ListenerLabels, Gauge>,
    handshakes_failed: Family<ListenerLabels, Counter>,
    cut: Family<CutLabels, Counter>,
    request_bytes: Family<ListenerLabels, Counter>,
    response_bytes: Family<ListenerLabels, Counter>,
    access_log_dropped: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    listener: &'static str,
    rpc: Rpc,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    listener: &'static str,
    bound: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

/// The gRPC path of a method, printed as the name of the RPC; none for what no descriptor names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rpc(Option<Arc<str>>);

impl EncodeLabelValue for Rpc {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let path = self.0.as_deref().unwrap_or("unknown");
        EncodeLabelValue::encode(&path.trim_start_matches('/'), encoder)
    }
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let own = Self {
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            refusals: Family::default(),
            in_flight: Family::default(),
            connections: Family::default(),
            handshakes_failed: Family::default(),
            cut: Family::default(),
            request_bytes: Family::default(),
            response_bytes: Family::default(),
            access_log_dropped: Counter::default(),
        };
        let add = |name: &str, help: &str, family: &Family<ListenerLabels, Gauge>| {
            metrics.register(name, help, family.clone())
        };
        add("edge_requests_in_flight", "Requests being served", &own.in_flight);
        add("edge_connections", "Open connections past their handshake", &own.connections);
        let add = |name: &str, help: &str, family: &Family<ListenerLabels, Counter>| {
            metrics.register(name, help, family.clone())
        };
        add(
            "edge_handshakes_failed",
            "Connections lost before the end of their handshake",
            &own.handshakes_failed,
        );
        add("edge_request_bytes", "Request body bytes read", &own.request_bytes);
        add("edge_response_bytes", "Response body bytes written", &own.response_bytes);
        metrics.register(
            "edge_connections_cut",
            "Connections ended because their client broke a bound",
            own.cut.clone(),
        );
        metrics.register("edge_refusals", "Requests the edge refused itself", own.refusals.clone());
        metrics.register(
            "rpc_server_call_duration_seconds",
            "Time from a request's head to the end of its answer",
            own.duration.clone(),
        );
        metrics.register(
            "edge_access_log_dropped",
            "Access log lines lost to a full queue",
            own.access_log_dropped.clone(),
        );
        own
    }

    /// The handles of one listener, looked up once.
    #[must_use]
    pub fn of(&self, listener: Listener) -> ListenerMetrics {
        let labels = ListenerLabels { listener: listener.as_str() };
        ListenerMetrics {
            listener: listener.as_str(),
            in_flight: self.in_flight.get_or_create_owned(&labels),
            connections: self.connections.get_or_create_owned(&labels),
            handshakes_failed: self.handshakes_failed.get_or_create_owned(&labels),
            request_bytes: self.request_bytes.get_or_create_owned(&labels),
            response_bytes: self.response_bytes.get_or_create_owned(&labels),
            duration: self.duration.clone(),
            refusals: self.refusals.clone(),
            cut: self.cut.clone(),
        }
    }

    /// Counts access log lines that found the queue full.
    #[must_use]
    pub fn access_log_dropped(&self) -> Counter {
        self.access_log_dropped.clone()
    }
}

/// The numbers of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    listener: &'static str,
    in_flight: Gauge,
    connections: Gauge,
    handshakes_failed: Counter,
    request_bytes: Counter,
    response_bytes: Counter,
    duration: Family<CallLabels, Histogram>,
    refusals: Family<RefusalLabels, Counter>,
    cut: Family<CutLabels, Counter>,
}

impl ListenerMetrics {
    /// A request has begun. The guard ends it.
    #[must_use]
    pub fn request_begins(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A connection is past its handshake. The guard ends it.
    #[must_use]
    pub fn connection_begins(&self) -> InFlight {
        self.connections.inc();
        InFlight(self.connections.clone())
    }

    /// A connection was lost before the end of its handshake.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// A connection was ended because its client broke this bound.
    pub fn connection_cut(&self, bound: &'static str) {
        self.cut.get_or_create(&CutLabels { listener: self.listener, bound }).inc();
    }

    /// A request was answered. `rpc` is the gRPC path of its method.
    pub fn request_ended(&self, rpc: Option<&Arc<str>>, code: &'static str, took: Duration) {
        let labels = CallLabels { listener: self.listener, rpc: Rpc(rpc.cloned()), code };
        self.duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// What a request moved.
    pub fn bytes(&self, request: u64, response: u64) {
        self.request_bytes.inc_by(request);
        self.response_bytes.inc_by(response);
    }

    /// The edge refused a request itself.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&RefusalLabels { listener: self.listener, reason }).inc();
    }
}

/// One more of something until it is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_named_as_the_contract_names_them_and_gauges_come_back() {
        let chassis = chassis::metrics::Metrics::default();
        let metrics = Metrics::register(&chassis);
        let path: Arc<str> = "/ledger.v1.LedgerService/GetBalance".into();
        let (public, mesh) = (metrics.of(Listener::Public), metrics.of(Listener::Mesh));
        let guard = public.request_begins();
        public.request_ended(Some(&path), "OK", Duration::from_millis(2));
        mesh.request_ended(None, "UNIMPLEMENTED", Duration::from_millis(2));
        mesh.refused("UNKNOWN_METHOD");
        let page = chassis.render().unwrap();
        assert!(
            page.contains(
                r#"_count{listener="public",rpc="ledger.v1.LedgerService/GetBalance",code="OK"} 1"#
            ),
            "{page}"
        );
        assert!(page.contains(r#"_count{listener="mesh",rpc="unknown",code="UNIMPLEMENTED"} 1"#), "{page}");
        assert!(page.contains(r#"edge_refusals_total{listener="mesh",reason="UNKNOWN_METHOD"} 1"#), "{page}");
        assert!(page.contains(r#"edge_requests_in_flight{listener="public"} 1"#), "{page}");
        drop(guard);
        assert!(chassis.render().unwrap().contains(r#"edge_requests_in_flight{listener="public"} 0"#));
    }
}
