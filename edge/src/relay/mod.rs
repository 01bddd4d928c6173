//! The gRPC relay: one call from a downstream HTTP/2 stream to an upstream stream and back, unary and all streaming kinds. Both
//! directions move independently in one task, so that a full window on one side never stops the other; at most one part a
//! direction is in hand, everything else waits in the windows of HTTP/2.
//!
//! The stock proxy of Pingora is not used for gRPC: it awaits the upstream's request window inside the loop that drains the
//! response, and deadlocks as soon as both sides of a stream are full.
//!
//! [`web`] carries the same calls for browsers, whose side of them is an ordinary body.
//!
//! Who may call, where to and with which headers is settled before a call comes here. REST is not relayed but transcoded.

mod failure;
mod messages;
mod request;
mod response;
mod timer;
pub mod web;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use pingora::protocols::http::v2::server::HttpSession;
use tokio::time::Instant;

use crate::upstream::UpstreamStream;

pub use failure::Failure;
use messages::Messages;
use request::RequestSide;
use response::ResponseSide;
use timer::Timer;

/// How many steps a call takes before others get their turn. A stream that is always ready on both sides would otherwise keep
/// its thread.
const STEPS_IN_A_TURN: usize = 64;

/// How far a call may go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// When the call ends, whatever its state: the budget of a unary call, the age or the credential's expiry of a stream.
    pub deadline: Option<Instant>,
    /// How long nothing at all may move.
    pub idle: Option<Duration>,
    /// The largest request message in bytes, without its prefix.
    pub request_message_bytes_max: u32,
}

/// What the gateway adds to an answer of the upstream.
pub trait Answer {
    /// Cleans and completes the header before it leaves; it is all of the answer if that is trailers-only.
    fn header(&mut self, headers: &mut HeaderMap);
    /// Cleans the trailers before they leave.
    fn trailers(&mut self, trailers: &mut HeaderMap);
    /// The trailers (`grpc-status` and what goes with it) of an answer that had begun and that the edge must end.
    fn failure(&mut self, failure: &Failure) -> HeaderMap;
}

/// How a call went.
#[derive(Debug)]
pub struct Outcome {
    pub ended_by: EndedBy,
    /// Set unless upstream or downstream ended the call.
    pub failure: Option<Failure>,
    /// Whether the answer had begun. If not, nothing was written downstream, and the caller tells the client of the failure.
    pub response_started: bool,
    /// Whether an answer that had begun broke off where nothing more could be said: what carries it must not look whole.
    pub cut: bool,
    /// The `grpc-status` that was sent, by the upstream or for a failure after the answer had begun.
    pub grpc_code: Option<u32>,
    pub request: Traffic,
    pub response: Traffic,
}

/// What moved in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Of message bodies and their prefixes.
    pub bytes: u64,
    /// Begun, complete or not.
    pub messages: u64,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    Upstream,
    Downstream,
    Deadline,
    Idle,
    Failure,
}

/// Relays a call until it has ended. Nothing may have been read from or written to `downstream` before. The upstream stream is
/// gone when this returns: ended, or reset.
pub async fn run<A: Answer>(
    downstream: &mut HttpSession,
    upstream: UpstreamStream,
    bounds: &Bounds,
    answer: &mut A,
) -> Outcome {
    let sleep = pin!(Timer::sleep(bounds));
    let mut timer = Timer::new(bounds, sleep);
    let mut relay = Relay {
        request: RequestSide::new(&upstream, bounds.request_message_bytes_max),
        response: ResponseSide::default(),
        downstream,
        upstream,
        answer,
    };
    let end = poll_fn(|cx| relay.poll(cx, &mut timer)).await;
    relay.finish(end)
}

/// Why a call has ended.
enum End {
    Upstream,
    Downstream,
    Failure(Failure),
}

/// What a side of the call is doing.
enum Step {
    /// Something went through; there may be more.
    Moved,
    /// Nothing to do until something wakes it.
    Waiting,
    /// The call has ended.
    Ended(End),
}

struct Relay<'a, A> {
    request: RequestSide,
    response: ResponseSide,
    downstream: &'a mut HttpSession,
    upstream: UpstreamStream,
    answer: &'a mut A,
}

impl<A: Answer> Relay<'_, A> {
    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer<'_>) -> Poll<End> {
        for _ in 0..STEPS_IN_A_TURN {
            // The response first: it is what moves a refused call elsewhere, and the request then finds the new place.
            let response = self.response.step(cx, self.downstream, &mut self.upstream, self.answer);
            if let Step::Ended(end) = response {
                return Poll::Ready(end);
            }
            let request = self.request.step(cx, self.downstream, self.response.writer(), &mut self.upstream);
            match (request, response) {
                (Step::Ended(end), _) => return Poll::Ready(end),
                (Step::Waiting, Step::Waiting) => return timer.poll(cx).map(End::Failure),
                _ => timer.moved(),
            }
        }
        // A busy stream meets its deadline as well.
        if let Poll::Ready(failure) = timer.poll(cx) {
            return Poll::Ready(End::Failure(failure));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn finish(self, end: End) -> Outcome {
        // Reset before the client is told: what the call still costs upstream ends at once.
        drop(self.upstream);
        let mut grpc_code = self.response.grpc_code();
        let (request, response) = (self.request.traffic(), self.response.traffic());
        let response_started = self.response.started();
        let failure = match end {
            End::Upstream | End::Downstream => None,
            End::Failure(ref failure) => {
                if let Some(mut writer) = self.response.into_writer() {
                    let trailers = self.answer.failure(failure);
                    grpc_code = response::grpc_code(&trailers);
                    // A client that has gone in the meantime needs no trailers.
                    let _gone = writer.send_trailers(trailers);
                }
                Some(failure)
            }
        };
        let ended_by = match failure {
            None if matches!(end, End::Upstream) => EndedBy::Upstream,
            None => EndedBy::Downstream,
            Some(Failure::Deadline) => EndedBy::Deadline,
            Some(Failure::Idle) => EndedBy::Idle,
            Some(_) => EndedBy::Failure,
        };
        let failure = if let End::Failure(failure) = end { Some(failure) } else { None };
        Outcome { ended_by, failure, response_started, cut: false, grpc_code, request, response }
    }
}
