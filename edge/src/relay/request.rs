//! The request side of a call: from the client's stream to the upstream's. It reads the next part only when the one before has
//! found room upstream, and otherwise watches for the client to leave.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use pingora::protocols::http::v2::server::HttpSession;

use super::{End, Failure, Messages, Step, Traffic};
use crate::upstream::UpstreamStream;

/// Where the request is.
#[derive(Debug)]
pub(super) struct RequestSide {
    state: State,
    messages: Messages,
    message_bytes_max: u32,
}

#[derive(Debug)]
enum State {
    Reading,
    /// A part waits for room upstream; the flag says whether it is the last.
    Holding(Bytes, bool),
    /// All was sent, or the upstream takes no more.
    Done,
}

impl RequestSide {
    pub(super) fn new(upstream: &UpstreamStream, message_bytes_max: u32) -> Self {
        let state = if upstream.request_ended() { State::Done } else { State::Reading };
        Self { state, messages: Messages::default(), message_bytes_max }
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.messages.traffic()
    }

    /// `writer` is the response's, once that has begun; the client's reset is seen on it.
    pub(super) fn step(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut HttpSession,
        writer: Option<&mut SendStream<Bytes>>,
        upstream: &mut UpstreamStream,
    ) -> Step {
        match &mut self.state {
            State::Reading => self.read(cx, downstream, upstream),
            State::Holding(part, last) => match upstream.poll_capacity(cx, part.len()) {
                Poll::Ready(Some(granted)) => {
                    let now = part.split_to(granted.min(part.len()));
                    let last = *last;
                    let all = part.is_empty();
                    upstream.send(now, last && all);
                    if all {
                        self.state = if last { State::Done } else { State::Reading };
                    }
                    Step::Moved
                }
                Poll::Ready(None) => {
                    self.state = State::Done;
                    Step::Moved
                }
                Poll::Pending => watch(cx, downstream, writer),
            },
            State::Done => watch(cx, downstream, writer),
        }
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut HttpSession,
        upstream: &mut UpstreamStream,
    ) -> Step {
        match downstream.poll_read_body_bytes(cx) {
            Poll::Pending => return Step::Waiting,
            // The client has reset its stream, or its connection is gone.
            Poll::Ready(Some(Err(_reset))) => return Step::Ended(End::Downstream),
            Poll::Ready(Some(Ok(part))) => {
                if self.messages.pass(&part, self.message_bytes_max).is_err() {
                    let bytes_max = self.message_bytes_max;
                    return Step::Ended(End::Failure(Failure::MessageTooLarge { bytes_max }));
                }
                let last = downstream.is_body_done();
                if !part.is_empty() {
                    self.state = State::Holding(part, last);
                } else if last {
                    upstream.send(part, true);
                    self.state = State::Done;
                }
                // An empty part that is not the last is not sent on: peers count those and lose patience.
            }
            Poll::Ready(None) => {
                upstream.send(Bytes::new(), true);
                self.state = State::Done;
            }
        }
        Step::Moved
    }
}

/// Waits for the client to leave.
fn watch(cx: &mut Context<'_>, downstream: &mut HttpSession, writer: Option<&mut SendStream<Bytes>>) -> Step {
    let gone = match writer {
        Some(writer) => writer.poll_reset(cx).is_ready(),
        None => Pin::new(&mut downstream.idle()).poll(cx).is_ready(),
    };
    if gone { Step::Ended(End::Downstream) } else { Step::Waiting }
}
