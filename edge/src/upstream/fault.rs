//! What the edge learns about an endpoint from the calls it makes there, and what follows: an endpoint that fails leaves the
//! rotation and is asked, until it answers, whether it is back. It is asked over grpc.health.v1 whatever the configuration says of
//! health checks, since a server without that service answers as well; nobody's call is spent on finding out.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::response::Parts;
use tokio::time::{Instant, sleep};

use super::attempt::Attempt;
use super::endpoint::Endpoint;
use super::error::{DialError, means_unavailable};
use super::{Upstream, health};

/// What an endpoint did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No connection to it comes to be. Proof enough: each further call would only be late.
    Unreachable,
    /// A connection to it gave no sign of life. The same.
    Silent,
    /// A call was lost with its connection, or refused by the transport. Counts with others.
    Failed,
    /// The deadline of a call passed without any answer. Counts with others.
    Unanswered,
}

impl Fault {
    /// The label in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
        }
    }
}

impl Upstream {
    /// An endpoint could not be connected to, for whatever reason that is its own.
    pub(super) fn not_dialled(self: &Arc<Self>, endpoint: &Arc<Endpoint>, error: &DialError) {
        match error {
            DialError::Connect { .. }
            | DialError::Tls { .. }
            | DialError::Alpn { .. }
            | DialError::Http2 { .. }
            | DialError::Timeout { .. } => self.fault(endpoint, Fault::Unreachable),
            // The edge's own doing.
            DialError::Identity { .. } | DialError::Abandoned => (),
        }
    }

    /// Takes note of a fault, and lets the endpoint go if that is one too many.
    pub(super) fn fault(self: &Arc<Self>, endpoint: &Arc<Endpoint>, fault: Fault) {
        let enough = match fault {
            Fault::Unreachable | Fault::Silent => {
                if self.checked {
                    // Also the last ones of an upstream, whom ejection spares: the next check brings them back.
                    self.balance.judge(endpoint, false);
                }
                self.ejection.failures > 0
            }
            Fault::Failed | Fault::Unanswered => endpoint.breaker().failed(&self.ejection),
        };
        if !enough {
            return;
        }
        let Some(time) = self.balance.eject(endpoint, &self.ejection, Instant::now(), rand::random()) else {
            return;
        };
        let (upstream, cause, ms) = (self.name(), fault.as_str(), time.as_millis());
        tracing::warn!(upstream, endpoint = %endpoint.address(), cause, ms, "upstream endpoint ejected");
        self.metrics.ejected(upstream, cause);
        // Its connections may be dead without knowing it; what is open on them goes on.
        endpoint.retire_before(u64::MAX);
        self.until_it_answers(endpoint.clone(), time);
    }

    /// Brings an endpoint back after `time`, or as soon after that as it answers.
    fn until_it_answers(self: &Arc<Self>, endpoint: Arc<Endpoint>, time: Duration) {
        let (weak, again) = (Arc::downgrade(self), Duration::from_millis(self.ejection.ms));
        let stopping = self.drain.stopping();
        let probing = async move {
            sleep(time).await;
            while let Some(upstream) = weak.upgrade().filter(|upstream| upstream.balance.holds(&endpoint)) {
                if health::answers(&upstream, &endpoint).await {
                    let name = upstream.name();
                    tracing::info!(upstream = name, endpoint = %endpoint.address(), "upstream endpoint is back");
                    upstream.balance.readmit(&endpoint, &upstream.ejection, Instant::now());
                    return;
                }
                drop(upstream);
                sleep(again).await;
            }
        };
        self.drain.spawn("upstream probe", async move {
            tokio::select! {
                () = stopping => (),
                () = probing => (),
            }
        });
    }
}

/// What an answer that has begun says about its endpoint: a proxy before it may answer that it is not there.
pub(super) fn heard(upstream: &Arc<Upstream>, attempt: &Attempt, header: &Parts) {
    match header.status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            upstream.fault(attempt.endpoint(), Fault::Failed);
        }
        _ => attempt.endpoint().breaker().succeeded(),
    }
}

/// What the loss of a call says about its endpoint. One that goes away says so, and has done nothing wrong.
pub(super) fn lost(upstream: &Arc<Upstream>, attempt: &Attempt, error: &h2::Error) {
    if attempt.was_silent() {
        upstream.fault(attempt.endpoint(), Fault::Silent);
    } else if !error.is_go_away() && means_unavailable(error) {
        upstream.fault(attempt.endpoint(), Fault::Failed);
    }
}
