//! A call that has been admitted: what `rest` and the relay need to serve it, and the way to its upstream.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chassis::drain::Drain;
use http::{HeaderMap, HeaderValue};
use pingora::protocols::http::ServerSession as Session;
use tokio::time::{Instant, timeout_at};

use super::{Record, finish_connection};
use crate::authn::Credentials;
use crate::contract::{Idempotency, Method};
use crate::error::Error;
use crate::extras::Extras;
use crate::headers::{self, Received, Wire};
use crate::outcome;
use crate::rate::Standing;
use crate::room::Held;
use crate::snapshot::Snapshot;
use crate::upstream::{StreamClass, Terms, Upstream, UpstreamStream};

/// A call that may be made.
pub struct Call {
    /// The configuration it is served by.
    pub snapshot: Arc<Snapshot>,
    /// What is called.
    pub method: Arc<Method>,
    /// By when it must have ended.
    pub deadline: Instant,
    /// How long nothing may move, for streams.
    pub idle: Option<Duration>,
    /// What it holds of what is sent and answered.
    pub(crate) held: Held,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) token: HeaderValue,
    /// What its caller was believed by.
    pub(crate) credentials: Credentials,
    pub(crate) received: Received,
    /// How the caller stands with its bucket.
    pub(crate) standing: Option<Standing>,
    pub(crate) wire: Wire,
    pub(crate) extras: Extras,
    pub(crate) drain: Drain,
    /// How long after the stop the call may go on.
    pub(crate) grace: Duration,
}

impl Call {
    /// Whether it may last: a unary call is over before anything about its caller changes.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.method.client_streaming || self.method.server_streaming
    }

    /// Lets a kept-alive HTTP/1 connection end with this answer if the process is stopping. Must precede the answer's header.
    pub fn finish_connection(&self, session: &mut Session) {
        finish_connection(session, &self.drain);
    }

    /// Opens the stream to the upstream, with what of the request's header may reach it, and writes down that it did.
    ///
    /// # Errors
    /// When no endpoint takes the call in time.
    pub async fn open(&self, from: &HeaderMap, record: &mut Record) -> Result<UpstreamStream, Error> {
        record.upstream_begins();
        let path = self.snapshot.path(&self.method);
        let path = path.ok_or(Error::Internal { problem: "a method without a path" })?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let pass = &self.snapshot.request_headers;
        let headers = headers::upstream(from, self.wire, pass, &self.token, &self.received, left);
        let class = if self.streams() { StreamClass::Streaming } else { StreamClass::Unary };
        let idempotent = self.method.idempotency != Idempotency::Unknown;
        let terms = Terms {
            class,
            idempotent,
            deadline: Some(self.deadline),
            outcome: outcome::is_told(&self.method),
        };
        let opened = pin!(self.upstream.open(terms, path, headers, false));
        let opened = timeout_at(self.deadline, opened).await.map_err(|_| Error::DeadlineExceeded)??;
        record.upstream_opens();
        Ok(opened)
    }
}
