//! The request's way up: messages go to the upstream as its window takes them. The next are made only when all before them have
//! been sent, so that a slow service slows its client down and nothing piles up here. It is driven by polling, because the answer
//! comes down at the same time.

use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pingora::protocols::http::ServerSession as Session;

use super::messages::{Frames, Messages};
use super::{Target, body};
use crate::request::{Call, Ended};
use crate::upstream::UpstreamStream;

/// See the module.
pub(super) struct Up<'a> {
    state: State<'a>,
    /// Frames that wait for the upstream's window.
    held: Bytes,
}

enum State<'a> {
    Reading(Box<Messages<'a>>),
    /// All has been read.
    Last,
    /// All has been sent, or the upstream takes no more.
    Done,
}

impl<'a> Up<'a> {
    /// A request that is one message: `frame`.
    pub(super) fn whole(frame: Bytes) -> Self {
        Self { state: State::Last, held: frame }
    }

    /// A request that is a stream of messages, cut from the body.
    pub(super) async fn stream(
        session: &mut Session,
        call: &'a Call,
        target: &'a Target<'a>,
    ) -> Result<Self, Ended> {
        let messages = Messages::begin(session, call, target).await?;
        Ok(Self { state: State::Reading(Box::new(messages)), held: Bytes::new() })
    }

    /// Whether the upstream has all it will get.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether there is something to send.
    pub(super) fn is_filled(&self) -> bool {
        !self.held.is_empty() || !matches!(self.state, State::Reading(_))
    }

    /// Takes one step. When all is sent it waits for the client to leave, which is an error.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        upstream: &mut UpstreamStream,
    ) -> Poll<Result<(), Ended>> {
        if !self.held.is_empty() {
            return match upstream.poll_capacity(cx, self.held.len()) {
                Poll::Ready(Some(granted)) => {
                    let now = self.held.split_to(granted.min(self.held.len()));
                    let last = matches!(self.state, State::Last) && self.held.is_empty();
                    upstream.send(now, last);
                    if last {
                        self.state = State::Done;
                    }
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(None) => {
                    // It has answered or broken off; its answer tells which.
                    (self.held, self.state) = (Bytes::new(), State::Done);
                    Poll::Ready(Ok(()))
                }
                Poll::Pending => watch(cx, session),
            };
        }
        match self.state {
            State::Reading(_) => self.poll_fill(cx, session),
            State::Last => {
                upstream.send(Bytes::new(), true);
                self.state = State::Done;
                Poll::Ready(Ok(()))
            }
            State::Done => watch(cx, session),
        }
    }

    /// Reads on, if what there is has been sent.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<Result<(), Ended>> {
        if let State::Reading(messages) = &mut self.state {
            let Frames { bytes, last } = ready!(messages.poll(cx, session))?;
            self.held = bytes;
            if last {
                self.state = State::Last;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits for the client to leave. On HTTP/1 that shows only behind the body: what comes before is the body.
fn watch(cx: &mut Context<'_>, session: &mut Session) -> Poll<Result<(), Ended>> {
    if !session.is_http2() && !session.is_body_done() {
        return Poll::Pending;
    }
    pin!(body::client_gone(session)).poll(cx).map(Err)
}
