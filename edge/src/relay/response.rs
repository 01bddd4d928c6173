//! The response side of a call: from the upstream's stream to the client's. Header, parts as the client's window takes them,
//! trailers; an answer without a gRPC status is a failure of the upstream.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::v2::server::HttpSession;

use super::{Answer, End, Failure, Messages, Step, Traffic};
use crate::upstream::UpstreamStream;

/// Where the answer is.
#[derive(Default)]
pub(super) struct ResponseSide {
    state: State,
    messages: Messages,
    started: bool,
    grpc_code: Option<u32>,
}

#[derive(Default)]
enum State {
    #[default]
    Header,
    Body {
        writer: SendStream<Bytes>,
        /// What waits for the client's window.
        held: Bytes,
    },
    Trailers {
        writer: SendStream<Bytes>,
    },
    /// The last frame was written.
    Ended,
}

impl ResponseSide {
    pub(super) fn traffic(&self) -> Traffic {
        self.messages.traffic()
    }

    /// Whether anything was written downstream.
    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// What the upstream's status was, if it was sent on.
    pub(super) fn grpc_code(&self) -> Option<u32> {
        self.grpc_code
    }

    pub(super) fn writer(&mut self) -> Option<&mut SendStream<Bytes>> {
        match &mut self.state {
            State::Header | State::Ended => None,
            State::Body { writer, .. } | State::Trailers { writer } => Some(writer),
        }
    }

    /// The client's stream, if an answer has begun on it and has not ended.
    pub(super) fn into_writer(self) -> Option<SendStream<Bytes>> {
        match self.state {
            State::Header | State::Ended => None,
            State::Body { writer, .. } | State::Trailers { writer } => Some(writer),
        }
    }

    pub(super) fn step<A: Answer>(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut HttpSession,
        upstream: &mut UpstreamStream,
        answer: &mut A,
    ) -> Step {
        match &mut self.state {
            State::Header => match upstream.poll_response_header(cx) {
                Poll::Pending => Step::Waiting,
                Poll::Ready(Err(error)) => failed(Failure::Upstream(error)),
                Poll::Ready(Ok(header)) => self.header(header, downstream, upstream, answer),
            },
            State::Body { writer, held } if !held.is_empty() => send_held(cx, writer, held),
            State::Body { .. } => self.read(cx, upstream),
            State::Trailers { .. } => match upstream.poll_trailers(cx) {
                Poll::Pending => Step::Waiting,
                Poll::Ready(Err(error)) => failed(Failure::Upstream(error)),
                Poll::Ready(Ok(trailers)) => self.trailers(trailers, answer),
            },
            State::Ended => Step::Ended(End::Upstream),
        }
    }

    fn header<A: Answer>(
        &mut self,
        mut header: Parts,
        downstream: &mut HttpSession,
        upstream: &UpstreamStream,
        answer: &mut A,
    ) -> Step {
        if header.status != StatusCode::OK || !is_grpc(&header.headers) {
            return failed(Failure::NotGrpc { http_status: header.status.as_u16() });
        }
        let trailers_only = upstream.response_ended();
        let code = grpc_code(&header.headers);
        if trailers_only && code.is_none() {
            return failed(Failure::MissingStatus);
        }
        answer.header(&mut header.headers);
        if downstream.write_response_header(Box::new(ResponseHeader::from(header)), trailers_only).is_err() {
            return Step::Ended(End::Downstream);
        }
        self.started = true;
        if trailers_only {
            (self.state, self.grpc_code) = (State::Ended, code);
            return Step::Ended(End::Upstream);
        }
        // The stream itself instead of Pingora's writer: that one waits for the window, and the request would wait with it.
        let Some(writer) = downstream.take_response_body_writer() else {
            return Step::Ended(End::Downstream);
        };
        self.state = State::Body { writer, held: Bytes::new() };
        Step::Moved
    }

    fn read(&mut self, cx: &mut Context<'_>, upstream: &mut UpstreamStream) -> Step {
        let part = match upstream.poll_response_body(cx) {
            Poll::Pending => return Step::Waiting,
            Poll::Ready(Some(Err(error))) => return failed(Failure::Upstream(error)),
            Poll::Ready(part) => part.and_then(Result::ok),
        };
        let state = std::mem::take(&mut self.state);
        self.state = match (state, part) {
            (State::Body { writer, .. }, Some(part)) => {
                // Messages of the upstream have no limit of the edge's: nothing of them is kept here.
                let _unlimited = self.messages.pass(&part, u32::MAX);
                State::Body { writer, held: part }
            }
            (State::Body { writer, .. }, None) => State::Trailers { writer },
            (state, _) => state,
        };
        Step::Moved
    }

    fn trailers<A: Answer>(&mut self, trailers: Option<HeaderMap>, answer: &mut A) -> Step {
        let Some((mut trailers, code)) =
            trailers.and_then(|trailers| grpc_code(&trailers).map(|code| (trailers, code)))
        else {
            return failed(Failure::MissingStatus);
        };
        answer.trailers(&mut trailers);
        let sent = self.writer().is_some_and(|writer| writer.send_trailers(trailers).is_ok());
        self.state = State::Ended;
        if !sent {
            return Step::Ended(End::Downstream);
        }
        self.grpc_code = Some(code);
        Step::Ended(End::Upstream)
    }
}

fn failed(failure: Failure) -> Step {
    Step::Ended(End::Failure(failure))
}

/// Sends as much of what is held as the client's window takes.
fn send_held(cx: &mut Context<'_>, writer: &mut SendStream<Bytes>, held: &mut Bytes) -> Step {
    writer.reserve_capacity(held.len());
    // Asked first: `poll_capacity` speaks only of increases and would sleep on what was there before.
    let capacity = match writer.capacity() {
        0 => match writer.poll_capacity(cx) {
            Poll::Pending => return Step::Waiting,
            Poll::Ready(Some(Ok(capacity))) => capacity,
            Poll::Ready(_closed) => return Step::Ended(End::Downstream),
        },
        capacity => capacity,
    };
    let part = held.split_to(capacity.min(held.len()));
    match writer.send_data(part, false) {
        Ok(()) => Step::Moved,
        Err(_closed) => Step::Ended(End::Downstream),
    }
}

/// Whether an answer is in gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The `grpc-status` among headers or trailers.
pub(super) fn grpc_code(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
