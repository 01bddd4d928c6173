//! What stands between tonic's transport and a service's handlers, once for every RPC.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tower::Service;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::refusal::{ServeError, deadline_exceeded};
use super::response::{Ended, Held, ServedBody};
use crate::call::{Call, CallError};
use crate::config;
use crate::deadline::{self, Deadline};
use crate::drain::Drain;
use crate::error::Failure;
use crate::metrics::{Metrics, Red};
use crate::spans;
use crate::transaction_token::Verifier;

/// Health is asked by the edge itself, before there is any caller.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// tonic's transport reads the same `grpc-timeout` and answers CANCELLED when it has passed. Ours ends this much earlier, so
/// that the caller reads DEADLINE_EXCEEDED.
const AHEAD_OF_TRANSPORT: Duration = Duration::from_millis(5);

/// What all RPCs of a process share.
pub(super) struct Shared {
    red: Red,
    drain: Drain,
    in_flight: Arc<Semaphore>,
    in_flight_max: usize,
    budget: Duration,
    callers: Callers,
}

/// Whose word a service takes, and for whom it must have been given.
#[derive(Clone, Debug)]
pub struct Callers {
    /// Verifies the edge's tokens.
    pub verifier: Verifier,
    /// The service's own SPIFFE id.
    pub own: Arc<str>,
}

impl Shared {
    pub(super) fn new(config: &config::Server, callers: Callers, metrics: &Metrics, drain: &Drain) -> Self {
        Self {
            callers,
            red: Red::register(metrics),
            drain: drain.clone(),
            in_flight: Arc::new(Semaphore::new(config.in_flight_max)),
            in_flight_max: config.in_flight_max,
            budget: Duration::from_millis(config.deadline_ms),
        }
    }

    fn admit(&self, request: &Request<Body>) -> Result<(Call, OwnedSemaphorePermit), Status> {
        let permit = self
            .in_flight
            .clone()
            .try_acquire_owned()
            .map_err(|_| ServeError::TooManyInFlight { max: self.in_flight_max }.into_status())?;
        let budget = deadline::from_headers(request.headers()).unwrap_or(self.budget);
        let deadline = Deadline::after(budget.saturating_sub(AHEAD_OF_TRANSPORT));
        let Callers { verifier, own } = &self.callers;
        let call = Call::from_headers(request.headers(), deadline, verifier, own);
        let call = call.map_err(CallError::into_status)?;
        Ok((call, permit))
    }
}

/// The tower service around a process's routes.
#[derive(Clone)]
pub(super) struct CallService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> CallService<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(HEALTH) {
            return Box::pin(self.inner.call(request));
        }
        let rpc: Arc<str> = request.uri().path().trim_start_matches('/').into();
        let ended = Ended::begin(self.shared.red.clone(), rpc.clone());
        match self.shared.admit(&request) {
            Err(status) => Box::pin(std::future::ready(Ok(ended.refuse(&status)))),
            Ok((call, permit)) => {
                let held = Held::new(permit, self.shared.drain.guard());
                request.extensions_mut().insert(call.clone());
                let span = span(&call, &rpc);
                let ended = ended.within(span.clone());
                Box::pin(handle(self.inner.call(request), call, ended, held).instrument(span))
            }
        }
    }
}

async fn handle<F>(handler: F, call: Call, ended: Ended, held: Held) -> Result<Response<Body>, Infallible>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let deadline = call.deadline;
    let handled = tokio::time::timeout_at(deadline.instant(), call.scope(handler)).await;
    Ok(match handled {
        Ok(Ok(response)) => ServedBody::wrap(response, deadline, ended, held),
        Err(_) => ended.refuse(&deadline_exceeded()),
    })
}

/// The span of an RPC, a child of the edge's. Its fields are what every log line within it shows.
fn span(call: &Call, rpc: &Arc<str>) -> Span {
    let span = tracing::info_span!(
        "rpc",
        rpc = &**rpc,
        otel.kind = "server",
        otel.name = &**rpc,
        trace_id = format_args!("{:032x}", call.trace.trace_id),
        transaction_id = &*call.transaction_id,
        principal = call.caller.kind(),
        caller = call.caller.acting_service().unwrap_or(""),
    );
    // Without an exporter there is no span to attach to, and that is no error.
    if span.set_parent(call.trace.to_otel()).is_ok() {
        for (name, value) in spans::rpc_attributes(rpc) {
            span.set_attribute(name, value);
        }
    }
    span
}
