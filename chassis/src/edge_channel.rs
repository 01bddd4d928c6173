//! The only way out to another service: the mesh listener of the edge, over mutual TLS, balanced over its replicas. A call
//! carries the subject it is made for, the trace, what is left of the budget and one more hop; none of that can be left out.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};
use uuid::Uuid;

use crate::call::{Call, HOPS, TRANSACTION_ID};
use crate::config;
use crate::deadline::{self, Deadline};
use crate::drain::Drain;
use crate::error::{Failure, Kind};
use crate::identity::Identity;
use crate::trace::{TRACEPARENT, TraceContext};
use crate::transaction_token::TXN_TOKEN;

mod pool;

use pool::Pool;

/// The workload every service calls.
const EDGE: &str = "edge";

/// Handle to the edge; clones share its connections.
#[derive(Clone, Debug)]
pub struct EdgeChannel {
    pool: Arc<Pool>,
}

impl EdgeChannel {
    /// A channel to the edges of `config`. Nothing is dialled before the first call; a task resolves their names and replaces
    /// old connections until the drain.
    ///
    /// # Errors
    /// When the identity or an address cannot be used.
    pub fn start(config: &config::Edge, identity: &Identity, drain: &Drain) -> anyhow::Result<Self> {
        Ok(Self { pool: Pool::start(config, identity.clone(), EDGE, drain)? })
    }

    /// Calls on behalf of the caller of `call`, within its deadline.
    #[must_use]
    pub fn for_call(&self, call: &Call) -> EdgeCall {
        EdgeCall {
            pool: self.pool.clone(),
            deadline: call.deadline,
            // The workload itself has nobody's word to hand back: the edge sees who it is.
            token: if call.caller.is_service() { None } else { call.token.clone() },
            transaction_id: call.transaction_id.clone(),
            hops: call.hops.saturating_add(1),
            trace: call.trace,
        }
    }

    /// Calls as the service itself, within `budget`, in a transaction of its own.
    #[must_use]
    pub fn as_service(&self, budget: Duration) -> EdgeCall {
        EdgeCall {
            pool: self.pool.clone(),
            deadline: Deadline::after(budget),
            token: None,
            transaction_id: Uuid::now_v7().to_string().into(),
            hops: 0,
            trace: TraceContext::root(),
        }
    }
}

/// One caller's view of the channel; any generated client takes it.
#[derive(Clone, Debug)]
pub struct EdgeCall {
    pool: Arc<Pool>,
    deadline: Deadline,
    token: Option<HeaderValue>,
    transaction_id: Arc<str>,
    hops: u8,
    trace: TraceContext,
}

impl EdgeCall {
    fn stamp(&self, request: &mut Request<Body>) -> Result<(), EdgeCallError> {
        if self.deadline.expired() {
            return Err(EdgeCallError::DeadlineExceeded);
        }
        let mut set = |name: &'static str, value: String| {
            HeaderValue::try_from(value)
                .map(|value| request.headers_mut().insert(HeaderName::from_static(name), value))
                .map_err(|_| EdgeCallError::BadMetadata { name })
        };
        set(deadline::GRPC_TIMEOUT, deadline::format(self.deadline.remaining()))?;
        set(TRANSACTION_ID, self.transaction_id.to_string())?;
        set(HOPS, self.hops.to_string())?;
        set(TRACEPARENT, self.trace.or_current().to_string())?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(TXN_TOKEN, token.clone());
        }
        Ok(())
    }
}

impl Service<Request<Body>> for EdgeCall {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A connection is picked for each call; waiting happens there, under the call's deadline.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let stamped = self.stamp(&mut request);
        let (pool, deadline) = (self.pool.clone(), self.deadline);
        Box::pin(async move {
            stamped.map_err(Failure::into_status)?;
            let sent = pool.pick().oneshot(request);
            match tokio::time::timeout_at(deadline.instant(), sent).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(source)) => Err(EdgeCallError::Unreachable { source }.into_status()),
                Err(_) => Err(EdgeCallError::DeadlineExceeded.into_status()),
            }
        })
    }
}

/// Why a call did not reach the edge, or its answer not us.
#[derive(Debug, thiserror::Error)]
enum EdgeCallError {
    #[error("the edge cannot be reached")]
    Unreachable { source: tonic::transport::Error },
    #[error("the deadline has passed")]
    DeadlineExceeded,
    #[error("the call cannot carry its {name}")]
    BadMetadata { name: &'static str },
}

impl Failure for EdgeCallError {
    const DOMAIN: &'static str = "causeway";

    fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } => Kind::Unavailable,
            Self::DeadlineExceeded => Kind::Timeout,
            Self::BadMetadata { .. } => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "EDGE_UNREACHABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::BadMetadata { .. } => "BAD_METADATA",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            // A replica that was restarted is back in about a second.
            Self::Unreachable { .. } => Some(Duration::from_secs(1)),
            Self::DeadlineExceeded | Self::BadMetadata { .. } => None,
        }
    }
}
