//! What the edge itself asks of a service: shared rate limits, revocations, the keeping of audit events (`edge.v1`). A
//! [`Provider`] is a transport for the generated clients that goes by one of the edge's own upstreams, as the edge. Which
//! upstream provides what is said in `edge.toml`; without a provider the edge does without.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use chassis::call::{Caller, Principal};
use chassis::deadline;
use chassis::trace::TraceContext;
use chassis::transaction_token::Signer;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::authn::Authenticated;
use crate::error::Error;
use crate::headers::{GRPC_TIMEOUT, HOPS, TRACEPARENT, TRANSACTION_ID, TXN_TOKEN};
use crate::upstream::{StreamClass, Terms, Upstream, UpstreamStream, Upstreams};

/// The edge's own workload, as services hear of it.
pub const EDGE: &str = "edge";
/// The budget of a call that names none. Nobody waits for such a call at the door.
const BUDGET: Duration = Duration::from_secs(5);

/// `[providers]`: which upstream provides what the edge asks for. What is absent is not asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `edge.v1.RateLimitService`.
    pub rate_limit: Option<String>,
    /// `edge.v1.RevocationService`.
    pub revocation: Option<String>,
    /// `edge.v1.AuditService`.
    pub audit: Option<String>,
}

impl Config {
    /// The keys that are set, with the upstreams they name.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let Self { rate_limit, revocation, audit } = self;
        [("rate_limit", rate_limit), ("revocation", revocation), ("audit", audit)]
            .into_iter()
            .filter_map(|(key, name)| Some((key, name.as_ref()?)))
    }
}

/// The transports to the providers of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    /// To `edge.v1.RateLimitService`.
    pub rate_limit: Option<Provider>,
    /// To `edge.v1.RevocationService`.
    pub revocation: Option<Provider>,
    /// To `edge.v1.AuditService`.
    pub audit: Option<Provider>,
}

impl Providers {
    /// Finds the upstreams that `config` names; that they are there has been checked with the configuration.
    #[must_use]
    pub fn new(config: &Config, upstreams: &Upstreams, signer: &Signer) -> Self {
        let find = |name: &Option<String>| {
            let upstream = name.as_ref().and_then(|name| upstreams.get(name));
            upstream.map(|upstream| Provider::new(Arc::clone(upstream), signer))
        };
        Self {
            rate_limit: find(&config.rate_limit),
            revocation: find(&config.revocation),
            audit: find(&config.audit),
        }
    }

    /// Goes on by the upstreams of a configuration that has taken over; `config` names the same ones as before. What has been
    /// asked of the old ones is answered by them.
    pub fn follow(&self, config: &Config, upstreams: &Upstreams) {
        let Self { rate_limit, revocation, audit } = self;
        for (provider, name) in
            [(rate_limit, &config.rate_limit), (revocation, &config.revocation), (audit, &config.audit)]
        {
            let upstream = name.as_ref().and_then(|name| upstreams.get(name));
            if let (Some(provider), Some(upstream)) = (provider, upstream) {
                provider.upstream.store(Arc::clone(upstream));
            }
        }
    }
}

/// Calls an upstream as the edge itself. Any generated client takes it; `tonic::Request::set_timeout` sets the budget of a call,
/// which bounds it up to the end of its answer.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Shared by its clones: all of them follow when the configuration is replaced.
    upstream: Arc<ArcSwap<Upstream>>,
    class: StreamClass,
    edge: Authenticated,
}

impl Provider {
    /// A transport to `upstream`.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>, signer: &Signer) -> Self {
        let caller = Caller { principal: Principal::Service, service: Some(EDGE.to_owned()) };
        let edge = Authenticated::new(signer, Arc::new(caller), None);
        Self { upstream: Arc::new(ArcSwap::new(upstream)), class: StreamClass::Unary, edge }
    }

    /// The same for streams: they do not share connections with calls that somebody waits for, and have no budget but the one
    /// they are given.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.class = StreamClass::Streaming;
        self
    }

    fn stamp(
        &self,
        upstream: &Upstream,
        headers: &mut HeaderMap,
        left: Option<Duration>,
    ) -> Result<(), Error> {
        let value = |text: String| {
            HeaderValue::try_from(text).map_err(|_| Error::Internal { problem: "a stamp cannot be written" })
        };
        headers.insert(TXN_TOKEN, self.edge.stamp(upstream.audience(), SystemTime::now())?);
        headers.insert(TRANSACTION_ID, value(uuid::Uuid::now_v7().to_string())?);
        headers.insert(HOPS, HeaderValue::from_static("0"));
        headers.insert(TRACEPARENT, value(TraceContext::root().to_string())?);
        if let Some(left) = left {
            headers.insert(GRPC_TIMEOUT, value(deadline::format(left))?);
        }
        Ok(())
    }

    async fn send(self, request: Request<Body>) -> Result<Response<Answer>, Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let asked = deadline::from_headers(&parts.headers);
        let budget = match self.class {
            StreamClass::Unary => Some(asked.unwrap_or(BUDGET)),
            StreamClass::Streaming => asked,
        };
        let ends = budget.map(|budget| Instant::now() + budget);
        // One for both: a token is for the workload it goes to, whatever configuration comes in meanwhile.
        let upstream = self.upstream.load_full();
        self.stamp(&upstream, &mut parts.headers, budget)?;
        let sent = async {
            // These requests are small, and the edge's own: they are written whole.
            let body =
                body.collect().await.map_err(|_| Error::Internal { problem: "a request broke off" })?;
            // Whoever asks has a better idea than the upstream of what to do when nobody answers: it does without.
            let terms = Terms { class: self.class, idempotent: false, deadline: ends, outcome: false };
            let mut stream = upstream.open(terms, &path, parts.headers, false).await?;
            stream.write_request_body(body.to_bytes(), true).await?;
            let header = stream.read_response_header().await?;
            Ok::<_, Error>((header, stream))
        };
        // Of a stream too the header is awaited no longer than that: a provider that does not answer is away.
        let header_by = ends.unwrap_or_else(|| Instant::now() + BUDGET);
        let (header, stream) = timeout_at(header_by, sent).await.map_err(|_| Error::DeadlineExceeded)??;
        let ended = stream.response_ended();
        let deadline = ends.map(|ends| Box::pin(sleep_until(ends)));
        Ok(Response::from_parts(header, Answer { stream, deadline, ended }))
    }
}

impl Service<Request<Body>> for Provider {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Answer>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A connection is picked for each call; waiting happens there, within its budget.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let provider = self.clone();
        Box::pin(async move { provider.send(request).await.map_err(chassis::Failure::into_status) })
    }
}

/// The body of a provider's answer.
#[derive(Debug)]
pub struct Answer {
    stream: UpstreamStream,
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.ended = true;
            return Poll::Ready(Some(Err(chassis::Failure::into_status(Error::DeadlineExceeded))));
        }
        let failed = |error| chassis::Failure::into_status(Error::from(error));
        if let Some(part) = ready!(this.stream.poll_response_body(cx)) {
            this.ended = part.is_err();
            return Poll::Ready(Some(part.map(Frame::data).map_err(failed)));
        }
        let trailers = ready!(this.stream.poll_trailers(cx));
        this.ended = true;
        Poll::Ready(trailers.map_err(failed).map(|trailers| trailers.map(Frame::trailers)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests;
