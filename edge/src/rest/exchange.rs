//! A call with both directions open: the request goes up while the answer comes down, in one task. Over HTTP/1 the answer waits
//! for the end of the request, as most clients of HTTP/1 read only then.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use http::response::Parts;
use pingora::protocols::http::ServerSession as Session;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, bounded, bounded_since};
use super::up::Up;
use super::{Target, body, unary};
use crate::error::Error;
use crate::request::{Call, Ended, Record};
use crate::transcode::BindingKind;
use crate::upstream::UpstreamStream;

/// How much of an answer waits for the end of an HTTP/1 request. Beyond it the answer begins: a service that waits for it to
/// be read would otherwise wait for ever.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// A call whose answer has not begun.
pub(super) struct Opening<'a> {
    upstream: UpstreamStream,
    up: Up<'a>,
    waits: bool,
    waiting_since: Option<Instant>,
}

/// See the module.
pub(super) struct Exchange<'a> {
    pub answer: Answer,
    up: Up<'a>,
    /// Whether the answer waits for the request's end.
    waits: bool,
    /// Since when nothing has moved: whoever loses patience and comes back waits on, not anew.
    waiting_since: Option<Instant>,
}

/// What came of waiting with patience.
pub(super) enum Heard<T> {
    Something(T),
    /// Nothing worth passing on, until patience ran out.
    Nothing,
}

impl<'a> Opening<'a> {
    /// Calls the upstream.
    pub(super) async fn begin(
        session: &mut Session,
        call: &'a Call,
        target: &'a Target<'a>,
        record: &mut Record,
    ) -> Result<Self, Ended> {
        let up = match target.binding.kind() {
            BindingKind::Unary | BindingKind::ServerStream | BindingKind::HttpBodyDownload => {
                let reading = tokio::time::timeout_at(call.deadline, body::read_whole(session, call)).await;
                let body = reading.map_err(|_| Error::DeadlineExceeded)??;
                Up::whole(unary::request(session, target, &body, call.snapshot.limits.message_bytes_max)?)
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
        let upstream = call.open(&session.req_header().headers, record).await?;
        Ok(Self { upstream, up, waits: !session.is_http2(), waiting_since: None })
    }

    /// Waits for the head of the answer, with patience until a moment or for as long as a stream may stand still.
    pub(super) async fn head(
        &mut self,
        session: &mut Session,
        call: &Call,
        patience: Option<Instant>,
    ) -> Result<Heard<Parts>, Ended> {
        loop {
            let patience = patience.filter(|_| !self.waits || self.up.is_done());
            let Self { upstream, up, .. } = self;
            let step = poll_fn(|cx| {
                if let Poll::Ready(head) = upstream.poll_response_header(cx) {
                    return Poll::Ready(head.map(Some).map_err(|error| Error::from(error).into()));
                }
                up.poll(cx, session, upstream).map_ok(|()| None)
            });
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let step = bounded_since(since, call.deadline, call.idle, step);
            let Heard::Something(head) = patiently(patience, step).await? else { return Ok(Heard::Nothing) };
            self.waiting_since = None;
            if let Some(head) = head {
                return Ok(Heard::Something(head));
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// The answer that begins with this head.
    pub(super) fn answered(self, head: Parts, call: &Call) -> Result<Exchange<'a>, Ended> {
        let Self { upstream, up, waits, .. } = self;
        Ok(Exchange { answer: Answer::new(upstream, head, call)?, up, waits, waiting_since: None })
    }
}

impl<'a> Exchange<'a> {
    /// Calls the upstream, and waits for the head of its answer.
    pub(super) async fn begin(
        session: &mut Session,
        call: &'a Call,
        target: &'a Target<'a>,
        record: &mut Record,
    ) -> Result<Self, Ended> {
        let mut opening = Opening::begin(session, call, target, record).await?;
        loop {
            if let Heard::Something(head) = opening.head(session, call, None).await? {
                return opening.answered(head, call);
            }
        }
    }

    /// The next message of the answer; `None` once there are no more. An answer that has ended ends the call, whatever of the
    /// request is left.
    pub(super) async fn next(&mut self, session: &mut Session) -> Result<Option<Bytes>, Ended> {
        loop {
            if let Heard::Something(message) = self.next_until(session, None).await? {
                return Ok(message);
            }
        }
    }

    /// As [`Exchange::next`], with patience until a moment.
    pub(super) async fn next_until(
        &mut self,
        session: &mut Session,
        patience: Option<Instant>,
    ) -> Result<Heard<Option<Bytes>>, Ended> {
        loop {
            let waits = self.waits && !self.up.is_done() && self.answer.waiting() < HELD_BYTES_MAX;
            if !waits || self.answer.has_ended() {
                if let Some(message) = self.answer.take()? {
                    return Ok(Heard::Something(Some(message)));
                }
                if self.answer.has_ended() {
                    return Ok(Heard::Something(self.answer.whole()?));
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
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let step = bounded_since(since, deadline, idle, step);
            let Heard::Something(()) = patiently(patience.filter(|_| !waits), step).await? else {
                return Ok(Heard::Nothing);
            };
            self.waiting_since = None;
            // A stream that is always ready on both sides would otherwise keep its thread.
            tokio::task::coop::consume_budget().await;
        }
    }
}

/// Waits until a moment and no longer, also for what is always ready. Nothing is lost: what is waited for is polled anew.
async fn patiently<T>(
    patience: Option<Instant>,
    wait: impl Future<Output = Result<T, Ended>>,
) -> Result<Heard<T>, Ended> {
    let Some(patience) = patience else { return wait.await.map(Heard::Something) };
    if Instant::now() >= patience {
        return Ok(Heard::Nothing);
    }
    match timeout_at(patience, wait).await {
        Ok(heard) => heard.map(Heard::Something),
        Err(_) => Ok(Heard::Nothing),
    }
}
