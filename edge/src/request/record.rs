//! What is known about one request while it runs, written down as it becomes known, and turned into an access log line and
//! numbers at the end. It decides nothing.

use std::sync::Arc;
use std::time::Duration;

use chassis::call::Caller;
use chassis::metrics::code_name;
use chassis::spans::{Attribute, GRPC_STATUS_CODE, ServerSpan, Spans, rpc_attributes};
use http::{HeaderValue, Method as Verb};
use pingora::protocols::http::ServerSession as Session;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::access_log::{AccessLog, Entry};
use crate::contract::Method;
use crate::error::Error;
use crate::extras::Extras;
use crate::headers::{Received, Trace, Wire};
use crate::metrics::ListenerMetrics;
use crate::outcome::{self, Outcome, Reach};
use crate::policy::Listener;
use crate::rate::Standing;

/// See the module.
#[derive(Debug)]
pub struct Record {
    /// When its header was parsed.
    pub started: Instant,
    /// The language it speaks.
    pub wire: Wire,
    /// What its answer carries besides what it says.
    pub extras: Extras,
    /// What it calls.
    pub method: Option<Arc<Method>>,
    /// The path template it matched.
    pub template: Option<Arc<str>>,
    /// Who asks.
    pub caller: Option<Arc<Caller>>,
    /// How they stand with the bucket it was counted in.
    pub standing: Option<Standing>,
    trace: Option<Trace>,
    transaction_id: Option<HeaderValue>,
    routed: bool,
    sent: bool,
    upstream_began: Option<Instant>,
    upstream_took: Option<Duration>,
    outcome: Option<Code>,
    reason: Option<&'static str>,
    cut_by: Option<&'static str>,
    moved: Option<(u64, u64)>,
}

impl Record {
    /// A request that has just begun.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            started: Instant::now(),
            wire: Wire::Rest,
            extras: Extras::default(),
            method: None,
            template: None,
            caller: None,
            standing: None,
            trace: None,
            transaction_id: None,
            routed: false,
            sent: false,
            upstream_began: None,
            upstream_took: None,
            outcome: None,
            reason: None,
            cut_by: None,
            moved: None,
        }
    }

    /// Its place in a trace and a transaction.
    pub fn received(&mut self, received: &Received) {
        self.trace = Some(received.trace.clone());
        self.transaction_id = Some(received.transaction_id.clone());
    }

    /// Names the transaction, for whoever looks for it later.
    #[must_use]
    pub fn transaction_id(&self) -> Option<&str> {
        self.transaction_id.as_ref()?.to_str().ok()
    }

    /// It is fit to be routed. Whatever was refused before might have been meant for any method.
    pub fn routed(&mut self) {
        self.routed = true;
    }

    /// What became of the call that `error` ends, where the client is told: where it moves money, and where nobody knows yet
    /// whether it does.
    #[must_use]
    pub fn told(&self, error: &Error) -> Option<Outcome> {
        match &self.method {
            Some(method) if outcome::is_told(method) => Some(error.outcome(Reach::of(method, self.sent))),
            Some(_) => None,
            None => (!self.routed).then(|| error.outcome(Reach::Kept)),
        }
    }

    /// The refusal of this request for whoever puts it on the wire.
    #[must_use]
    pub fn status(&self, error: &Error) -> Status {
        error.status(self.transaction_id(), self.told(error))
    }

    /// The upstream is being called.
    pub fn upstream_begins(&mut self) {
        self.upstream_began = Some(Instant::now());
    }

    /// The upstream has taken the call: from here on it may have been processed.
    pub fn upstream_opens(&mut self) {
        self.sent = true;
    }

    /// Whether the call has left for its service: from then on what becomes of it is the service's to know.
    #[must_use]
    pub fn upstream_called(&self) -> bool {
        self.upstream_began.is_some()
    }

    /// The upstream has said all it will say.
    pub fn upstream_ends(&mut self) {
        self.upstream_took = self.upstream_began.map(|began| began.elapsed());
    }

    /// How the call ended.
    pub fn ended(&mut self, code: Code) {
        self.outcome = Some(code);
    }

    /// The edge refused it itself.
    pub fn refused(&mut self, error: &Error) {
        use chassis::error::Failure as _;
        self.outcome = Some(error.code());
        self.reason = Some(error.reason());
    }

    /// The answer was cut short. Whoever did so first is to blame.
    pub fn cut(&mut self, by: &'static str) {
        self.cut_by.get_or_insert(by);
        if self.outcome.is_none() {
            self.outcome = Some(Code::Cancelled);
        }
    }

    /// What moved, when the session does not know.
    pub fn moved(&mut self, request: u64, response: u64) {
        self.moved = Some((request, response));
    }

    /// Writes it all down.
    pub fn finish(&self, listener: Listener, session: &Session, log: &AccessLog, metrics: &ListenerMetrics) {
        let took = self.started.elapsed();
        let code = code_name(self.outcome.unwrap_or(Code::Unknown));
        let (bytes_in, bytes_out) = self.moved.unwrap_or_else(|| {
            let downstream = session;
            (downstream.body_bytes_read() as u64, downstream.body_bytes_sent() as u64)
        });
        metrics.request_ended(self.method.as_ref().map(|method| &method.path), code, took);
        metrics.bytes(bytes_in, bytes_out);
        if let Some(reason) = self.reason {
            metrics.refused(reason);
        }
        if !log.is_on() {
            return;
        }
        let upstream = self.upstream_took.or_else(|| self.upstream_began.map(|began| began.elapsed()));
        log.write(&Entry {
            time: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            target: "access",
            listener: listener.as_str(),
            protocol: match self.wire {
                Wire::Grpc => "grpc",
                Wire::GrpcWeb(_) => "grpc-web",
                Wire::Rest => "rest",
            },
            http_version: if session.is_http2() { "h2" } else { "h1" },
            verb: verb(&session.req_header().method),
            route: self.template.as_deref(),
            rpc: self.method.as_ref().map(|method| method.path.trim_start_matches('/')),
            code,
            status: session.response_written().map_or(0, |response| response.status.as_u16()),
            reason: self.reason,
            principal: self.caller.as_ref().map(|caller| caller.kind()),
            service: self.caller.as_ref().and_then(|caller| caller.acting_service()),
            duration_ms: milliseconds(took),
            upstream_ms: upstream.map(milliseconds),
            bytes_in,
            bytes_out,
            trace_id: self.trace.as_ref().map(|trace| format!("{:032x}", trace.context.trace_id)),
            transaction_id: self.transaction_id(),
            cut_by: self.cut_by,
        });
    }
}

impl Record {
    /// Hands the span over, if its trace is recorded: the one whose id the upstream was told. What called no method has none.
    pub fn export(&self, session: &Session, spans: &Spans) {
        let (Some(trace), Some(method)) = (&self.trace, &self.method) else { return };
        if !spans.want(trace.context) {
            return;
        }
        let rpc = method.path.trim_start_matches('/');
        let code = self.outcome.unwrap_or(Code::Unknown);
        let mut attributes: Vec<_> =
            rpc_attributes(rpc).map(|(name, value)| Attribute::new(name, value)).collect();
        attributes.push(Attribute::new(GRPC_STATUS_CODE, i64::from(code as i32)));
        if let Some(template) = &self.template {
            attributes.push(Attribute::new("http.route", Arc::clone(template)));
            attributes.push(Attribute::new("http.request.method", verb(&session.req_header().method)));
            if let Some(response) = session.response_written() {
                let status = i64::from(response.status.as_u16());
                attributes.push(Attribute::new("http.response.status_code", status));
            }
        }
        if let Some(reason) = self.reason {
            attributes.push(Attribute::new("error.type", reason));
        }
        spans.export(ServerSpan {
            context: trace.context,
            parent_id: trace.parent_id,
            state: trace.state.as_ref().and_then(|state| state.to_str().ok()),
            name: rpc.to_owned().into(),
            took: self.started.elapsed(),
            attributes,
            code,
        });
    }
}

/// With three decimals: microseconds are as fine as the clock is worth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A verb as a bounded label: a client may invent any.
fn verb(verb: &Verb) -> &'static str {
    const KNOWN: [(Verb, &str); 7] = [
        (Verb::GET, "GET"),
        (Verb::POST, "POST"),
        (Verb::PUT, "PUT"),
        (Verb::PATCH, "PATCH"),
        (Verb::DELETE, "DELETE"),
        (Verb::HEAD, "HEAD"),
        (Verb::OPTIONS, "OPTIONS"),
    ];
    KNOWN.iter().find(|(known, _)| known == verb).map_or("OTHER", |(_, name)| name)
}
