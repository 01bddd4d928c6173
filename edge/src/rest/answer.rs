//! An upstream's answer, message by message, up to the status in its trailers. It knows frames and statuses, not what the
//! messages mean.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use super::received::Received;
use crate::coding::Coding;
use crate::error::Error;
use crate::request::{Call, code};
use crate::transcode::frame::{PREFIX_BYTES, Prefix};
use crate::transcode::{Failed, decode_bin, http_status_of};
use crate::upstream::{StreamError, UpstreamStream};

/// How a call ended, in the upstream's words.
#[derive(Debug)]
pub(super) struct Status {
    pub code: Code,
    pub message: String,
    /// A serialized `google.rpc.Status`.
    pub details: Option<Vec<u8>>,
}

/// See the module.
pub(super) struct Answer {
    stream: UpstreamStream,
    /// The metadata that came before the messages.
    pub headers: HeaderMap,
    status: Option<Status>,
    received: Received,
    coding: Option<Coding>,
    message_bytes_max: usize,
    deadline: Instant,
    idle: Option<Duration>,
}

impl Answer {
    /// Waits for the head of the answer.
    pub(super) async fn begin(mut stream: UpstreamStream, call: &Call) -> Result<Self, Error> {
        let head = within(call.deadline, call.idle, stream.read_response_header()).await?;
        Self::new(stream, head, call)
    }

    /// An answer with this head.
    pub(super) fn new(stream: UpstreamStream, head: Parts, call: &Call) -> Result<Self, Error> {
        let status = Status::read(&head.headers);
        if head.status != StatusCode::OK && status.is_none() {
            return Err(Error::UpstreamStatus { status: head.status.as_u16() });
        }
        let grpc = head.headers.get(http::header::CONTENT_TYPE);
        if !grpc.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            return Err(Error::UpstreamBroken { problem: "not a gRPC content type" });
        }
        let coding = head.headers.get("grpc-encoding").and_then(|name| Coding::named(name.to_str().ok()?));
        let message_bytes_max = call.snapshot.limits.message_bytes_max;
        Ok(Self {
            stream,
            headers: head.headers,
            status,
            received: Received::default(),
            coding,
            message_bytes_max,
            deadline: call.deadline,
            idle: call.idle,
        })
    }

    /// The next message; `None` once there are no more, when [`Answer::status`] tells how it ended.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.status.is_some() {
                return self.whole();
            }
            bounded(self.deadline, self.idle, poll_fn(|cx| self.poll_receive(cx))).await?;
        }
    }

    /// Receives the next piece, or the status at the end.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(piece) = ready!(self.stream.poll_response_body(cx)) {
            let piece = piece?;
            self.received.push(piece);
            return Poll::Ready(Ok(()));
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        let status = trailers.as_ref().and_then(Status::read);
        self.status = Some(status.ok_or(Error::UpstreamBroken { problem: "no grpc-status" })?);
        Poll::Ready(Ok(()))
    }

    /// How many bytes have been received and not taken.
    pub(super) fn waiting(&self) -> usize {
        self.received.bytes().len()
    }

    /// Whether the status has come.
    pub(super) fn has_ended(&self) -> bool {
        self.status.is_some()
    }

    /// The other direction of the call.
    pub(super) fn stream(&mut self) -> &mut UpstreamStream {
        &mut self.stream
    }

    /// By when the call must have ended, and how long nothing may move.
    pub(super) fn bounds(&self) -> (Instant, Option<Duration>) {
        (self.deadline, self.idle)
    }

    /// A message that has been received already, without waiting for another.
    pub(super) fn take(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(prefix) = self.received.bytes().first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let broken = |problem: &str| Error::UpstreamMessage { problem: problem.to_owned() };
        let prefix = Prefix::parse(*prefix).ok_or_else(|| broken("unknown frame flags"))?;
        if prefix.length > self.message_bytes_max {
            return Err(broken("message too large"));
        }
        if self.received.bytes().len() < PREFIX_BYTES + prefix.length {
            return Ok(None);
        }
        let message = self.received.split_to(PREFIX_BYTES + prefix.length).slice(PREFIX_BYTES..);
        if !prefix.compressed {
            return Ok(Some(message));
        }
        // No coding was offered; some servers use one all the same.
        let coding = self.coding.ok_or_else(|| broken("compressed without saying how"))?;
        let decoded = coding.decode(&message, self.message_bytes_max);
        decoded.map(|decoded| Some(decoded.into())).map_err(|error| broken(&error.to_string()))
    }

    /// How the call ended, once there are no more messages.
    pub(super) fn status(&mut self) -> Status {
        self.status.take().unwrap_or(Status { code: Code::Unknown, message: String::new(), details: None })
    }

    /// No message more, unless the answer stopped inside a frame. A failed call may stop anywhere.
    pub(super) fn whole(&self) -> Result<Option<Bytes>, Error> {
        let failed = self.status.as_ref().is_some_and(|status| status.code != Code::Ok);
        if self.received.bytes().is_empty() || failed {
            return Ok(None);
        }
        Err(Error::UpstreamMessage { problem: "ends inside a frame".to_owned() })
    }
}

impl Status {
    /// The same for whoever prints it.
    pub(super) fn failed(&self) -> Failed<'_> {
        Failed {
            http_status: http_status_of(self.code as u32),
            grpc_code: self.code as u32,
            message: &self.message,
            details: self.details.as_deref(),
        }
    }

    /// The status in trailers, or in the header of an answer that is nothing but its status.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let number = headers.get("grpc-status")?;
        let number = number.to_str().ok().and_then(|number| number.parse().ok());
        let message = headers.get("grpc-message").map(|value| percent_decode(value.as_bytes()));
        Some(Self {
            code: number.map_or(Code::Unknown, code),
            message: message.map(|text| text.decode_utf8_lossy().into_owned()).unwrap_or_default(),
            details: headers.get("grpc-status-details-bin").and_then(|value| decode_bin(value.as_bytes())),
        })
    }
}

/// Waits for the upstream no longer than a stream may stand still, nor than it may live. A unary call has one deadline around
/// all of it and none here.
pub(super) async fn within<T>(
    deadline: Instant,
    idle: Option<Duration>,
    wait: impl Future<Output = Result<T, StreamError>>,
) -> Result<T, Error> {
    bounded(deadline, idle, async { wait.await.map_err(Error::from) }).await
}

/// As [`within`], whatever is waited for.
pub(super) async fn bounded<T, E: From<Error>>(
    deadline: Instant,
    idle: Option<Duration>,
    wait: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    bounded_since(Instant::now(), deadline, idle, wait).await
}

/// As [`bounded`], where nothing has moved since a moment ago.
pub(super) async fn bounded_since<T, E: From<Error>>(
    moved: Instant,
    deadline: Instant,
    idle: Option<Duration>,
    wait: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(idle) = idle else { return wait.await };
    if Instant::now() >= deadline {
        // A busy stream meets its end as well.
        return Err(Error::DeadlineExceeded.into());
    }
    let until = deadline.min(moved + idle);
    match timeout_at(until, wait).await {
        Ok(result) => result,
        Err(_) if until < deadline => Err(Error::StreamIdle.into()),
        Err(_) => Err(Error::DeadlineExceeded.into()),
    }
}
