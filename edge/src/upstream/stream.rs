//! A call to an upstream as its user sees it: one stream, whatever connections it took. Until the answer begins, an attempt
//! that the peer never processed is replaced by another, with the same header and the same bytes. The polling functions are
//! for the relay, which moves both directions from one task; the async ones for a caller that takes turns.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::attempt::{Attempt, NotSent};
use super::endpoint::Visit;
use super::error::{OpenError, StreamError, means_unavailable, never_processed};
use super::fault::Fault;
use super::group::NoSlot;
use super::limits::{Limit, Seat};
use super::replay::Call;
use super::{StreamClass, Terms, Upstream};

/// How often a call moves after it was sent. Two: a restart of the server may cost one on each of two connections; more would
/// lengthen an outage.
const MOVES_MAX: u32 = 2;
/// How many connections may turn out closed when a call is about to be sent on them, before it is given up.
const CLOSED_MAX: u32 = 8;

/// A call under way. Dropping it gives its place back and, unless both directions have ended, resets the stream.
#[derive(Debug)]
pub struct UpstreamStream {
    seat: Seat,
    terms: Terms,
    /// `None` from the first byte of the answer on, and while the call moves.
    call: Option<Call>,
    state: State,
    /// The header, if it arrived while the request was being written.
    header: Option<Parts>,
    request_ended: bool,
    moves: u32,
}

enum State {
    Open(Attempt),
    Moving(Moving),
    Over,
}

/// The search for another place; gives the call back.
type Moving = Pin<Box<dyn Future<Output = (Call, Result<Attempt, OpenError>)> + Send>>;

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Moving(_) => "Moving",
            Self::Over => "Over",
        })
    }
}

/// A request that breaks off must not look like one that has ended: tonic reads a stream that was reset with CANCEL as a
/// complete one, and would store half an upload. Whole requests are cancelled as gRPC says, by h2 itself, with CANCEL.
impl Drop for UpstreamStream {
    fn drop(&mut self) {
        let State::Open(attempt) = &mut self.state else { return };
        if !self.request_ended {
            attempt.reset(h2::Reason::INTERNAL_ERROR);
        }
        // A client may leave as it likes; who lets its deadline pass has waited for this endpoint. Streams begin when they please.
        let late = self.terms.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late && !attempt.header_arrived() && self.terms.class == StreamClass::Unary {
            self.seat.upstream().fault(attempt.endpoint(), Fault::Unanswered);
        }
    }
}

impl UpstreamStream {
    pub(super) async fn open(upstream: &Arc<Upstream>, call: Call) -> Result<Self, OpenError> {
        let seat = Seat::take(upstream).map_err(|limit| busy(upstream, limit))?;
        let attempt = attempt(upstream, &call, None).await?;
        let request_ended = call.end_of_stream;
        Ok(Self {
            seat,
            terms: call.terms,
            call: Some(call),
            state: State::Open(attempt),
            header: None,
            request_ended,
            moves: 0,
        })
    }

    /// The endpoint of the attempt that stands, for the access log.
    #[must_use]
    pub fn endpoint(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Open(attempt) => Some(attempt.address()),
            State::Moving(_) | State::Over => None,
        }
    }

    /// The header of the answer, once.
    pub fn poll_response_header(&mut self, cx: &mut Context<'_>) -> Poll<Result<Parts, StreamError>> {
        loop {
            if let Some(header) = self.header.take() {
                return Poll::Ready(Ok(header));
            }
            ready!(self.poll_arrival(cx))?;
        }
    }

    /// The next part of the answer's body, `None` at its end.
    pub fn poll_response_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        let State::Open(attempt) = &mut self.state else { return Poll::Ready(Some(Err(StreamError::Over))) };
        attempt.poll_body(cx).map(|part| part.map(|part| part.map_err(StreamError::from)))
    }

    /// The trailers, once the body has ended.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>> {
        let State::Open(attempt) = &mut self.state else { return Poll::Ready(Err(StreamError::Over)) };
        attempt.poll_trailers(cx).map_err(StreamError::from)
    }

    /// Whether the answer has ended in good order and was read to its end. Right after the header: the answer is nothing
    /// but that (trailers-only).
    #[must_use]
    pub fn response_ended(&self) -> bool {
        matches!(&self.state, State::Open(attempt) if attempt.ended())
    }

    /// How many of `wanted` bytes the upstream's window takes; `None` when it reads no more of the request. Before the answer
    /// has begun this may wait for its header: poll that as well.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
        let State::Open(attempt) = &mut self.state else { return Poll::Pending };
        match attempt.poll_capacity(cx, wanted) {
            // A closed stream without an answer was refused or lost. Which of the two, the answer will tell.
            Poll::Ready(None) if !attempt.header_arrived() => Poll::Pending,
            Poll::Ready(granted) => Poll::Ready(granted),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether the last part of the request was sent.
    #[must_use]
    pub fn request_ended(&self) -> bool {
        self.request_ended
    }

    /// Sends a part of the request body, of a length that `poll_capacity` has granted.
    pub fn send(&mut self, part: Bytes, end_of_stream: bool) {
        self.request_ended |= end_of_stream;
        if let Some(call) = &mut self.call {
            call.record(&part, end_of_stream);
        }
        if let State::Open(attempt) = &mut self.state {
            attempt.send(part, end_of_stream);
        }
    }

    /// Sends a part of the request body, waiting for the upstream's window. A part the upstream no longer wants is dropped:
    /// its answer says why.
    ///
    /// # Errors
    /// When the call has failed.
    pub async fn write_request_body(
        &mut self,
        mut part: Bytes,
        end_of_stream: bool,
    ) -> Result<(), StreamError> {
        while !part.is_empty() {
            let granted = poll_fn(|cx| {
                if let Poll::Ready(Err(error)) = self.poll_arrival(cx) {
                    return Poll::Ready(Err(error));
                }
                self.poll_capacity(cx, part.len()).map(Ok)
            });
            let Some(granted) = granted.await? else { return Ok(()) };
            let now = part.split_to(granted.min(part.len()));
            let last = end_of_stream && part.is_empty();
            self.send(now, last);
            if last {
                return Ok(());
            }
        }
        if end_of_stream {
            self.send(Bytes::new(), true);
        }
        Ok(())
    }

    /// See [`Self::poll_response_header`].
    ///
    /// # Errors
    /// When the call has failed.
    pub async fn read_response_header(&mut self) -> Result<Parts, StreamError> {
        poll_fn(|cx| self.poll_response_header(cx)).await
    }

    /// See [`Self::poll_response_body`].
    ///
    /// # Errors
    /// When the call has failed.
    pub async fn read_response_body(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.poll_response_body(cx)).await.transpose()
    }

    /// See [`Self::poll_trailers`].
    ///
    /// # Errors
    /// When the call has failed.
    pub async fn read_trailers(&mut self) -> Result<Option<HeaderMap>, StreamError> {
        poll_fn(|cx| self.poll_trailers(cx)).await
    }

    /// Drives the call until the header of an answer is there, moving it where that is safe.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        loop {
            match &mut self.state {
                State::Open(attempt) if attempt.header_arrived() => return Poll::Ready(Ok(())),
                State::Open(attempt) => match ready!(attempt.poll_header(cx)) {
                    Ok(header) => {
                        heard(self.seat.upstream(), attempt, &header);
                        self.header = Some(header);
                        self.call = None;
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) => self.failed(error)?,
                },
                State::Moving(moving) => {
                    let (call, attempt) = ready!(moving.as_mut().poll(cx));
                    self.state = State::Over;
                    self.state = State::Open(attempt?);
                    self.call = Some(call);
                }
                State::Over => return Poll::Ready(Err(StreamError::Over)),
            }
        }
    }

    /// Moves the call elsewhere if the failed attempt was never processed and everything sent is still known.
    fn failed(&mut self, error: h2::Error) -> Result<(), StreamError> {
        let State::Open(attempt) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(error.into());
        };
        let upstream = self.seat.upstream().clone();
        lost(&upstream, &attempt, &error);
        if !never_processed(&error) {
            return Err(error.into());
        }
        if error.is_go_away() {
            attempt.retire_connection();
        }
        let name = upstream.name();
        if self.moves >= MOVES_MAX {
            upstream.metrics.refused(name);
            return Err(OpenError::Refused { upstream: name.to_owned(), attempts: self.moves + 1 }.into());
        }
        let Some(call) = self.call.take().filter(Call::repeatable) else { return Err(error.into()) };
        tracing::debug!(upstream = name, error = %error, "unprocessed call moves");
        upstream.metrics.moved(name);
        self.moves += 1;
        let avoid = Some(attempt.address());
        // Given back before a new place is sought: the only free one may be this.
        drop(attempt);
        self.state = State::Moving(Box::pin(async move {
            let attempt = self::attempt(&upstream, &call, avoid).await;
            (call, attempt)
        }));
        Ok(())
    }
}

/// What an answer that has begun says about its endpoint: a proxy before it may answer that it is not there.
fn heard(upstream: &Arc<Upstream>, attempt: &Attempt, header: &Parts) {
    match header.status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            upstream.fault(attempt.endpoint(), Fault::Failed);
        }
        _ => attempt.endpoint().breaker().succeeded(),
    }
}

/// What the loss of a call says about its endpoint. One that goes away says so, and has done nothing wrong.
fn lost(upstream: &Arc<Upstream>, attempt: &Attempt, error: &h2::Error) {
    if attempt.was_silent() {
        upstream.fault(attempt.endpoint(), Fault::Silent);
    } else if !error.is_go_away() && means_unavailable(error) {
        upstream.fault(attempt.endpoint(), Fault::Failed);
    }
}

/// A bound of the upstream is met.
fn busy(upstream: &Upstream, limit: Limit) -> OpenError {
    upstream.metrics.limited(upstream.name(), limit.as_str());
    OpenError::Busy { upstream: upstream.name().to_owned(), limit }
}

/// Finds a place for a call and sends it there. `avoid` has just refused it and is asked again only if there is no other.
async fn attempt(
    upstream: &Arc<Upstream>,
    call: &Call,
    avoid: Option<SocketAddr>,
) -> Result<Attempt, OpenError> {
    let name = || upstream.name().to_owned();
    let until = Instant::now() + upstream.ready;
    let mut tried = Vec::new();
    let mut failure = None;
    let mut closed = 0;
    loop {
        let now = Instant::now();
        let Some(endpoint) = upstream.balance.pick(call.terms.class, now, &tried, avoid) else { break };
        let address = endpoint.address();
        let visit = Visit::new(endpoint, call.terms.class, now);
        let endpoint = visit.endpoint();
        match endpoint.group(call.terms.class).slot(until).await {
            Ok(slot) => match Attempt::begin(upstream, visit, slot, call) {
                Ok(attempt) => return Ok(attempt),
                Err(NotSent::ConnectionGone) if closed < CLOSED_MAX => closed += 1,
                Err(NotSent::ConnectionGone) => tried.push(address),
                Err(NotSent::Malformed(source)) => {
                    return Err(OpenError::Malformed { upstream: name(), source: Arc::new(source) });
                }
            },
            Err(NoSlot::Dial(source)) => {
                upstream.not_dialled(endpoint, &source);
                failure = Some(OpenError::Dial { upstream: name(), source });
                tried.push(address);
            }
            Err(NoSlot::Full(limit)) => {
                failure = Some(busy(upstream, limit));
                break;
            }
        }
    }
    upstream.metrics.refused(upstream.name());
    Err(failure.unwrap_or_else(|| OpenError::NoEndpoint { upstream: name() }))
}
