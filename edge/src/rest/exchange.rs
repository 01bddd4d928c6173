//! A call with both directions open: the request goes up while the answer comes down, in one task. Over HTTP/1 the answer waits
//! for the end of the request, as most clients of HTTP/1 read only then.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use pingora::proxy::Session;

use super::answer::{Answer, bounded};
use super::up::Up;
use super::{Target, body, unary};
use crate::error::Error;
use crate::request::{Call, Ended, Record};
use crate::transcode::BindingKind;

/// How much of an answer waits for the end of an HTTP/1 request. Beyond it the answer begins: a service that waits for it to
/// be read would otherwise wait for ever.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
pub(super) struct Exchange<'a> {
    pub answer: Answer,
    up: Up<'a>,
    /// Whether the answer waits for the request's end.
    waits: bool,
}

impl<'a> Exchange<'a> {
    /// Calls the upstream, and waits for the head of its answer.
    pub(super) async fn begin(
        session: &mut Session,
        call: &Call,
        target: &'a Target<'a>,
        record: &mut Record,
    ) -> Result<Self, Ended> {
        let mut up = match target.binding.kind() {
            BindingKind::Unary | BindingKind::ServerStream | BindingKind::HttpBodyDownload => {
                let limits = &call.snapshot.limits;
                let reading = body::read_whole(session, limits.message_bytes_max, limits.body_idle());
                let reading = tokio::time::timeout_at(call.deadline, reading).await;
                let body = reading.map_err(|_| Error::DeadlineExceeded)??;
                Up::whole(unary::request(session, target, &body, limits.message_bytes_max)?)
            }
            // The service may speak first: it is called before anything was said.
            BindingKind::Bidi => Up::stream(session, call, target).await?,
            // What is refused at once never reaches the service.
            BindingKind::ClientStream | BindingKind::HttpBodyUpload => {
                let mut up = Up::stream(session, call, target).await?;
                while !up.is_filled() {
                    bounded(call.deadline, call.idle, poll_fn(|cx| up.poll_fill(cx, session))).await?;
                    // A few bytes in their coding can be very long.
                    tokio::task::coop::consume_budget().await;
                }
                up
            }
        };
        record.upstream_begins();
        let mut upstream = call.open(&session.req_header().headers).await?;
        let head = loop {
            let step = poll_fn(|cx| {
                if let Poll::Ready(head) = upstream.poll_response_header(cx) {
                    return Poll::Ready(head.map(Some).map_err(|error| Error::from(error).into()));
                }
                up.poll(cx, session, &mut upstream).map_ok(|()| None)
            });
            if let Some(head) = bounded(call.deadline, call.idle, step).await? {
                break head;
            }
            tokio::task::coop::consume_budget().await;
        };
        let answer = Answer::new(upstream, head, call)?;
        Ok(Self { answer, up, waits: !session.is_http2() })
    }

    /// The next message of the answer; `None` once there are no more. An answer that has ended ends the call, whatever of the
    /// request is left.
    pub(super) async fn next(&mut self, session: &mut Session) -> Result<Option<Bytes>, Ended> {
        loop {
            let waits = self.waits && !self.up.is_done() && self.answer.waiting() < HELD_BYTES_MAX;
            if !waits || self.answer.has_ended() {
                if let Some(message) = self.answer.take()? {
                    return Ok(Some(message));
                }
                if self.answer.has_ended() {
                    return Ok(self.answer.whole()?);
                }
            }
            let Self { answer, up, .. } = self;
            let (deadline, idle) = answer.bounds();
            let step = poll_fn(|cx| {
                if let Poll::Ready(received) = answer.poll_receive(cx) {
                    return Poll::Ready(received.map_err(Ended::from));
                }
                up.poll(cx, session, answer.stream())
            });
            bounded(deadline, idle, step).await?;
            // A stream that is always ready on both sides would otherwise keep its thread.
            tokio::task::coop::consume_budget().await;
        }
    }
}
