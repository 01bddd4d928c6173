//! The body of an RPC's answer: it ends at the deadline with a status of its own, and tells the metrics how it ended.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::refusal::{deadline_exceeded, malformed_message};
use crate::deadline::Deadline;
use crate::drain::Guard;
use crate::metrics::Red;
use crate::spans;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_STATUS_DETAILS: &str = "grpc-status-details-bin";

/// What an RPC holds until its last byte.
pub(super) struct Held {
    _permit: OwnedSemaphorePermit,
    _guard: Guard,
}

impl Held {
    pub(super) const fn new(permit: OwnedSemaphorePermit, guard: Guard) -> Self {
        Self { _permit: permit, _guard: guard }
    }
}

/// Records an RPC exactly once: with the status it ended by, or as cancelled when it is dropped before.
pub(super) struct Ended {
    red: Red,
    rpc: Arc<str>,
    began: Instant,
    code: Code,
    span: Span,
}

impl Ended {
    pub(super) fn begin(red: Red, rpc: Arc<str>) -> Self {
        red.begin();
        Self { red, rpc, began: Instant::now(), code: Code::Cancelled, span: Span::none() }
    }

    /// The span that ends with the RPC.
    pub(super) fn within(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// Ends the RPC before its handler, or instead of it.
    pub(super) fn refuse(mut self, status: &Status) -> Response<Body> {
        self.code = status.code();
        status.clone().into_http()
    }

    fn with(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(GRPC_STATUS) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.red.end(&self.rpc, self.code, self.began.elapsed());
        self.span.set_attribute(spans::GRPC_STATUS_CODE, i64::from(self.code as i32));
        if spans::is_fault(self.code) {
            self.span.set_status(opentelemetry::trace::Status::error(""));
        }
    }
}

pin_project! {
    /// See the module.
    pub(super) struct ServedBody {
        #[pin]
        inner: Body,
        // Made at the first wait: most answers are there at once and need no timer.
        sleep: Option<Pin<Box<Sleep>>>,
        deadline: Deadline,
        over: bool,
        ended: Ended,
        held: Held,
    }
}

impl ServedBody {
    pub(super) fn wrap(
        response: Response<Body>,
        deadline: Deadline,
        mut ended: Ended,
        held: Held,
    ) -> Response<Body> {
        // Trailers-only: the status is in the head.
        ended.with(response.headers());
        // Errors of ours carry details always. One without is tonic's own: it could not decode the request, which it calls a
        // fault of the server's, telling the client of the types inside.
        if ended.code == Code::Internal && !response.headers().contains_key(GRPC_STATUS_DETAILS) {
            return ended.refuse(&malformed_message());
        }
        response.map(|inner| Body::new(Self { inner, sleep: None, deadline, over: false, ended, held }))
    }
}

impl http_body::Body for ServedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        let (span, inner) = (&this.ended.span, this.inner);
        if let Poll::Ready(frame) = span.in_scope(|| inner.poll_frame(cx)) {
            if let Some(Ok(frame)) = &frame
                && let Some(trailers) = frame.trailers_ref()
            {
                this.ended.with(trailers);
            }
            return Poll::Ready(frame);
        }
        let deadline = this.deadline.instant();
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.over = true;
        let status = deadline_exceeded();
        this.ended.code = status.code();
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
