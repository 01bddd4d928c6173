//! A call to an upstream as its user sees it: one stream, whatever connections it took. Until the answer begins, an attempt
//! that the peer never processed is replaced by another, with the same header and the same bytes; so is one that failed, if the
//! call may be processed twice and the retry budget pays for it. The polling functions are for the relay, which moves both directions from one task; the async ones for a caller that takes turns.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use tokio::time::{Instant, sleep};

use super::attempt::Attempt;
use super::error::{OpenError, StreamError, means_unavailable, never_processed};
use super::fault::{Fault, heard, lost};
use super::limits::Seat;
use super::replay::Call;
use super::retry::{Pushback, Retrying, is_unavailable};
use super::{StreamClass, Terms, Upstream, place};
use crate::outcome;

/// How often a call moves after it was sent. Two: a restart of the server may cost one on each of two connections; more would
/// lengthen an outage.
const MOVES_MAX: u32 = 2;

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
    /// Attempts that were never processed.
    moves: u32,
    /// Attempts that may have been.
    retries: u32,
    /// The retry that stands, until its answer begins.
    retrying: Option<Retrying>,
    /// Whether an attempt that is over may have been processed: what a later one says of itself is then not all there is to say.
    in_doubt: bool,
    /// The answer that a retry is to replace: should there be no retry after all, it is the one.
    instead: Option<Box<Parts>>,
}

enum State {
    Open(Attempt),
    Moving(Moving),
    /// The answer was nothing but its header, and that is no attempt's any more.
    Answered,
    Over,
}

/// The search for another place; gives the call back.
type Moving = Pin<Box<dyn Future<Output = (Call, Result<Attempt, OpenError>)> + Send>>;

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Moving(_) => "Moving",
            Self::Answered => "Answered",
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
        let waited = !attempt.header_arrived() && self.terms.class == StreamClass::Unary;
        if waited && self.terms.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.seat.upstream().fault(attempt.endpoint(), Fault::Unanswered);
        }
    }
}

impl UpstreamStream {
    pub(super) async fn open(upstream: &Arc<Upstream>, call: Call) -> Result<Self, OpenError> {
        let seat = Seat::take(upstream).map_err(|limit| place::busy(upstream, limit))?;
        upstream.retries.call();
        let attempt = place::find(upstream, &call, None).await?;
        let request_ended = call.end_of_stream;
        Ok(Self {
            seat,
            terms: call.terms,
            call: Some(call),
            state: State::Open(attempt),
            header: None,
            request_ended,
            moves: 0,
            retries: 0,
            retrying: None,
            in_doubt: false,
            instead: None,
        })
    }

    /// The endpoint of the attempt that stands, for the access log.
    #[must_use]
    pub fn endpoint(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Open(attempt) => Some(attempt.address()),
            State::Moving(_) | State::Answered | State::Over => None,
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
        match &mut self.state {
            State::Open(attempt) => {
                attempt.poll_body(cx).map(|part| part.map(|part| part.map_err(StreamError::from)))
            }
            State::Answered => Poll::Ready(None),
            State::Moving(_) | State::Over => Poll::Ready(Some(Err(StreamError::Over))),
        }
    }

    /// The trailers, once the body has ended.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>> {
        match &mut self.state {
            State::Open(attempt) => {
                let mut trailers = ready!(attempt.poll_trailers(cx))?;
                if let (true, Some(trailers)) = (self.terms.outcome, &mut trailers) {
                    outcome::complete(trailers, self.in_doubt);
                }
                Poll::Ready(Ok(trailers))
            }
            State::Answered => Poll::Ready(Ok(None)),
            State::Moving(_) | State::Over => Poll::Ready(Err(StreamError::Over)),
        }
    }

    /// Whether the answer has ended in good order and was read to its end. Right after the header: the answer is nothing
    /// but that (trailers-only).
    #[must_use]
    pub fn response_ended(&self) -> bool {
        match &self.state {
            State::Open(attempt) => attempt.ended(),
            State::Answered => true,
            State::Moving(_) | State::Over => false,
        }
    }

    /// How many of `wanted` bytes the upstream's window takes; `None` when it reads no more of the request. Before the answer
    /// has begun this may wait for its header: poll that as well.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
        let attempt = match &mut self.state {
            State::Open(attempt) => attempt,
            State::Answered => return Poll::Ready(None),
            State::Moving(_) | State::Over => return Poll::Pending,
        };
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

    /// Sends a part of the request body, of a length that `poll_capacity` has granted. While the call moves nothing is granted, but
    /// the request may end.
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
                        if !(attempt.ended() && is_unavailable(&header.headers)) {
                            return self.arrived(header);
                        }
                        let pushback = Pushback::read(&header.headers);
                        let Some((pause, address)) = self.may_repeat(pushback) else {
                            return self.arrived(header);
                        };
                        self.in_doubt |= !outcome::says_nothing_done(&header.headers);
                        self.instead = Some(Box::new(header));
                        self.repeat(address, pause);
                    }
                    Err(error) => self.failed(error)?,
                },
                State::Moving(moving) => {
                    let (call, attempt) = ready!(moving.as_mut().poll(cx));
                    self.state = State::Over;
                    match (attempt, self.instead.take()) {
                        (Ok(attempt), _) => self.landed(call, attempt),
                        (Err(_), Some(header)) => {
                            self.state = State::Answered;
                            return self.arrived(*header);
                        }
                        (Err(error), None) => return Poll::Ready(Err(self.nowhere(error))),
                    }
                }
                State::Answered => return Poll::Ready(Ok(())),
                State::Over => return Poll::Ready(Err(StreamError::Over)),
            }
        }
    }

    /// The answer has begun, and is the one.
    fn arrived(&mut self, mut header: Parts) -> Poll<Result<(), StreamError>> {
        if self.terms.outcome {
            // A status in the header is all there is to the answer.
            outcome::complete(&mut header.headers, self.in_doubt);
        }
        self.header = Some(header);
        (self.call, self.retrying) = (None, None);
        Poll::Ready(Ok(()))
    }

    /// The call has a new place. What of the request ended meanwhile ends there as well.
    fn landed(&mut self, mut call: Call, mut attempt: Attempt) {
        if self.request_ended && !call.has_ended() {
            call.record(&Bytes::new(), true);
            attempt.send(Bytes::new(), true);
        }
        self.state = State::Open(attempt);
        self.call = Some(call);
    }

    /// Moves the call elsewhere if the failed attempt was never processed, or may be processed twice, and everything sent is still
    /// known.
    fn failed(&mut self, error: h2::Error) -> Result<(), StreamError> {
        let State::Open(attempt) = &self.state else { return Err(error.into()) };
        let upstream = self.seat.upstream().clone();
        lost(&upstream, attempt, &error);
        let avoid = attempt.address();
        if error.is_go_away() {
            attempt.retire_connection();
        }
        if never_processed(&error) {
            return self.refused(avoid, error);
        }
        if means_unavailable(&error)
            && let Some((pause, address)) = self.may_repeat(Pushback::Nothing)
        {
            self.in_doubt = true;
            self.repeat(address, pause);
            return Ok(());
        }
        self.state = State::Over;
        Err(error.into())
    }

    /// No endpoint takes the call. That it was not processed is true of it only if no earlier attempt may have been.
    fn nowhere(&self, error: OpenError) -> StreamError {
        if self.in_doubt { StreamError::NotRepeated(error) } else { StreamError::Open(error) }
    }

    /// The attempt was never processed: another costs the service nothing.
    fn refused(&mut self, avoid: SocketAddr, error: h2::Error) -> Result<(), StreamError> {
        let upstream = self.seat.upstream();
        let name = upstream.name();
        if self.moves >= MOVES_MAX {
            upstream.metrics.refused(name);
            let refused = OpenError::Refused { upstream: name.to_owned(), attempts: self.moves + 1 };
            self.state = State::Over;
            return Err(self.nowhere(refused));
        }
        if !self.call.as_ref().is_some_and(Call::repeatable) {
            self.state = State::Over;
            return Err(error.into());
        }
        tracing::debug!(upstream = name, error = %error, "unprocessed call moves");
        upstream.metrics.moved(name);
        self.moves += 1;
        self.elsewhere(avoid, Duration::ZERO);
        Ok(())
    }

    /// Whether the call may be made again though it may have been processed: after which pause, and where it failed.
    fn may_repeat(&mut self, pushback: Pushback) -> Option<(Duration, SocketAddr)> {
        let upstream = self.seat.upstream();
        let rules = upstream.retries.rules();
        let State::Open(attempt) = &self.state else { return None };
        let allowed = self.terms.idempotent
            && self.terms.class == StreamClass::Unary
            && self.retries < rules.each_max
            && self.call.as_ref().is_some_and(Call::repeatable);
        if !allowed {
            return None;
        }
        let pause = pushback.pause(rules, self.retries, rand::random())?;
        let now = Instant::now();
        if self.terms.deadline.is_some_and(|deadline| now + pause >= deadline) {
            return None;
        }
        // One seat is enough for a call, however often it is made again.
        self.retrying = None;
        match Retrying::begin(upstream, now) {
            Ok(retrying) => self.retrying = Some(retrying),
            Err(why) => {
                upstream.metrics.retry(upstream.name(), why.as_str());
                return None;
            }
        }
        Some((pause, attempt.address()))
    }

    fn repeat(&mut self, avoid: SocketAddr, pause: Duration) {
        let upstream = self.seat.upstream();
        tracing::debug!(upstream = upstream.name(), "failed call is made again");
        upstream.metrics.retry(upstream.name(), "made");
        self.retries += 1;
        self.elsewhere(avoid, pause);
    }

    /// Begins the search for another place.
    fn elsewhere(&mut self, avoid: SocketAddr, pause: Duration) {
        // Given back before a new place is sought: the only free one may be this.
        self.state = State::Over;
        let Some(mut call) = self.call.take() else { return };
        let (upstream, retries) = (self.seat.upstream().clone(), self.retries);
        self.state = State::Moving(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            call.again(Instant::now(), retries);
            let attempt = place::find(&upstream, &call, Some(avoid)).await;
            (call, attempt)
        }));
    }
}
