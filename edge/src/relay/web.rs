//! The relay of gRPC-Web: the same call as the other relay's, with a client that reads its trailers from the body and that may
//! come by HTTP/1. The request goes up while the answer comes down, in one task. Over HTTP/1 the answer waits for the end of the
//! request, because clients of HTTP/1 mostly read only then; beyond a bound it begins, for a service that waits for it to be read
//! would otherwise wait for ever.
//!
//! What has arrived together leaves together: a unary answer is one write of message and trailers, and in the text form one piece.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::ServerSession as Session;

use super::response::{grpc_code, is_grpc};
use super::{Answer, Bounds, End, EndedBy, Failure, Messages, Outcome, Timer};
use crate::grpc_web::{self, Dialect, Form};
use crate::request::read_away;
use crate::upstream::UpstreamStream;

/// Up to how many bytes of an answer leave with one write.
const GATHER_BYTES: usize = 16 * 1024;
/// How much of an answer waits for the end of an HTTP/1 request.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// Relays a call until it has ended. Nothing may have been read from or written to `session` before. After an
/// answer that was cut, an HTTP/1 connection must not be used again.
pub async fn run<A: Answer>(
    session: &mut Session,
    upstream: UpstreamStream,
    dialect: Dialect,
    bounds: &Bounds,
    answer: &mut A,
) -> Outcome {
    let sleep = pin!(Timer::sleep(bounds));
    let timer = Timer::new(bounds, sleep);
    let up = Up {
        state: UpState::Reading,
        held: Bytes::new(),
        decoder: match dialect.request {
            Form::Binary => None,
            Form::Text => Some(grpc_web::Decoder::default()),
        },
        messages: Messages::default(),
        message_bytes_max: bounds.request_message_bytes_max,
    };
    let down = Down {
        state: DownState::Header,
        head: None,
        out: Vec::new(),
        form: dialect.answer,
        started: false,
        messages: Messages::default(),
        grpc_code: None,
    };
    let mut relay = Relay { session, upstream, up, down, answer };
    let end = relay.drive(timer).await;
    relay.finish(end).await
}

struct Relay<'a, A> {
    session: &'a mut Session,
    upstream: UpstreamStream,
    up: Up,
    down: Down,
    answer: &'a mut A,
}

impl<A: Answer> Relay<'_, A> {
    async fn drive(&mut self, mut timer: Timer<'_>) -> End {
        let in_turn = !self.session.is_http2();
        loop {
            let waits = in_turn
                && !self.up.is_done()
                && !self.down.has_ended()
                && self.down.out.len() < HELD_BYTES_MAX;
            if !waits && self.down.has_something() {
                if self.down.write(self.session).await.is_err() {
                    return End::Downstream;
                }
                if self.down.has_ended() {
                    return End::Upstream;
                }
            }
            let room = if waits { HELD_BYTES_MAX } else { GATHER_BYTES };
            let Self { session, upstream, up, down, answer } = self;
            let step = poll_fn(|cx| {
                // First, so that a busy stream meets its deadline as well.
                if let Poll::Ready(failure) = timer.poll(cx) {
                    return Poll::Ready(Err(End::Failure(failure)));
                }
                // The answer is what moves a refused call elsewhere, and the request then finds the new place.
                match down.poll(cx, upstream, room, *answer) {
                    Poll::Ready(moved) => Poll::Ready(moved),
                    Poll::Pending => up.poll(cx, session, upstream),
                }
            });
            if let Err(end) = step.await {
                return end;
            }
            timer.moved();
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn finish(self, end: End) -> Outcome {
        let Self { session, upstream, up, mut down, answer } = self;
        // Reset before the client is told: what the call still costs upstream ends at once.
        drop(upstream);
        let ended_by = match &end {
            End::Upstream => EndedBy::Upstream,
            End::Downstream => EndedBy::Downstream,
            End::Failure(Failure::Deadline) => EndedBy::Deadline,
            End::Failure(Failure::Idle) => EndedBy::Idle,
            End::Failure(_) => EndedBy::Failure,
        };
        let failure = if let End::Failure(failure) = end { Some(failure) } else { None };
        let mut cut = ended_by == EndedBy::Downstream;
        if let Some(failure) = failure.as_ref().filter(|_| down.started) {
            // Inside a message trailers would be read as a part of it.
            cut = !down.messages.is_whole();
            if !cut {
                down.end(&answer.failure(failure));
                cut = down.write(session).await.is_err();
            }
        }
        if down.started && !cut {
            read_away(session).await;
        }
        Outcome {
            ended_by,
            failure,
            response_started: down.started,
            cut,
            grpc_code: down.grpc_code,
            request: up.messages.traffic(),
            response: down.messages.traffic(),
        }
    }
}

/// The request's way up.
struct Up {
    state: UpState,
    /// What waits for the upstream's window.
    held: Bytes,
    decoder: Option<grpc_web::Decoder>,
    messages: Messages,
    message_bytes_max: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UpState {
    Reading,
    /// All has been read.
    Last,
    /// All was sent, or the upstream takes no more.
    Done,
}

impl Up {
    fn is_done(&self) -> bool {
        self.state == UpState::Done
    }

    /// Takes one step. When all is sent it waits for the client to leave.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        upstream: &mut UpstreamStream,
    ) -> Poll<Result<(), End>> {
        if !self.held.is_empty() {
            match upstream.poll_capacity(cx, self.held.len()) {
                Poll::Ready(Some(granted)) => {
                    let now = self.held.split_to(granted.min(self.held.len()));
                    let last = self.state == UpState::Last && self.held.is_empty();
                    upstream.send(now, last);
                    if last {
                        self.state = UpState::Done;
                    }
                }
                // It has answered or broken off; its answer tells which.
                Poll::Ready(None) => (self.held, self.state) = (Bytes::new(), UpState::Done),
                Poll::Pending => return watch(cx, session),
            }
            return Poll::Ready(Ok(()));
        }
        match self.state {
            UpState::Reading => {
                let read = ready!(pin!(session.read_request_body()).poll(cx));
                let part = read.map_err(|_gone| End::Downstream)?;
                self.take(part, session.is_body_done()).map_err(End::Failure)?;
            }
            UpState::Last => {
                upstream.send(Bytes::new(), true);
                self.state = UpState::Done;
            }
            UpState::Done => return watch(cx, session),
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in a part of the body; `None` at its end.
    fn take(&mut self, part: Option<Bytes>, last: bool) -> Result<(), Failure> {
        let last = last || part.is_none();
        let mut part = part.unwrap_or_default();
        if let Some(decoder) = &mut self.decoder {
            let mut frames = Vec::with_capacity(part.len() / 4 * 3 + 3);
            let decoded = decoder.decode(&part, &mut frames);
            let decoded = decoded.and_then(|()| if last { decoder.finish() } else { Ok(()) });
            decoded.map_err(|_| Failure::Malformed { problem: "the body is not base64" })?;
            part = frames.into();
        }
        let bytes_max = self.message_bytes_max;
        self.messages.pass(&part, bytes_max).map_err(|_| Failure::MessageTooLarge { bytes_max })?;
        self.held = part;
        if last {
            self.state = UpState::Last;
        }
        Ok(())
    }
}

/// Waits for the client to leave. On HTTP/1 that shows only behind the body: what comes before is the body.
fn watch(cx: &mut Context<'_>, session: &mut Session) -> Poll<Result<(), End>> {
    if !session.is_http2() && !session.is_body_done() {
        return Poll::Pending;
    }
    pin!(session.read_body_or_idle(true)).poll(cx).map(|_gone| Err(End::Downstream))
}

/// The answer's way down.
struct Down {
    state: DownState,
    /// Not written so far.
    head: Option<Box<ResponseHeader>>,
    /// Frames that were not written so far.
    out: Vec<u8>,
    form: Form,
    started: bool,
    messages: Messages,
    grpc_code: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DownState {
    Header,
    Body,
    Trailers,
    /// All is there. The flag: there is no body, the header says it all.
    Ended {
        bare: bool,
    },
}

impl Down {
    fn has_ended(&self) -> bool {
        matches!(self.state, DownState::Ended { .. })
    }

    fn has_something(&self) -> bool {
        self.head.is_some() || !self.out.is_empty() || self.has_ended()
    }

    /// Takes in what has arrived, as far as there is `room`; pending if that is nothing.
    fn poll<A: Answer>(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut UpstreamStream,
        room: usize,
        answer: &mut A,
    ) -> Poll<Result<(), End>> {
        let mut moved = false;
        while self.out.len() < room && !self.has_ended() {
            match self.step(cx, upstream, answer) {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(End::Failure(failure))),
                Poll::Pending => break,
            }
        }
        if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn step<A: Answer>(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut UpstreamStream,
        answer: &mut A,
    ) -> Poll<Result<(), Failure>> {
        match self.state {
            DownState::Header => {
                let header = ready!(upstream.poll_response_header(cx))?;
                self.header(header, upstream.response_ended(), answer)?;
            }
            DownState::Body => match ready!(upstream.poll_response_body(cx)).transpose()? {
                Some(part) => {
                    // Messages of the upstream have no limit of the edge's: nothing of them is kept here.
                    let _unlimited = self.messages.pass(&part, u32::MAX);
                    self.out.extend_from_slice(&part);
                }
                None => self.state = DownState::Trailers,
            },
            DownState::Trailers => {
                let mut trailers = ready!(upstream.poll_trailers(cx))?.ok_or(Failure::MissingStatus)?;
                if grpc_code(&trailers).is_none() {
                    return Poll::Ready(Err(Failure::MissingStatus));
                }
                answer.trailers(&mut trailers);
                self.end(&trailers);
            }
            DownState::Ended { .. } => (),
        }
        Poll::Ready(Ok(()))
    }

    fn header<A: Answer>(&mut self, mut header: Parts, bare: bool, answer: &mut A) -> Result<(), Failure> {
        if header.status != StatusCode::OK || !is_grpc(&header.headers) {
            return Err(Failure::NotGrpc { http_status: header.status.as_u16() });
        }
        let code = grpc_code(&header.headers);
        if bare && code.is_none() {
            return Err(Failure::MissingStatus);
        }
        answer.header(&mut header.headers);
        header.headers.insert(CONTENT_TYPE, self.form.content_type());
        header.headers.remove(CONTENT_LENGTH);
        self.head = Some(Box::new(ResponseHeader::from(header)));
        self.state = if bare { DownState::Ended { bare } } else { DownState::Body };
        if bare {
            self.grpc_code = code;
        }
        Ok(())
    }

    /// Ends the answer with these trailers.
    fn end(&mut self, trailers: &HeaderMap) {
        grpc_web::put_trailers(trailers, &mut self.out);
        self.grpc_code = grpc_code(trailers);
        self.state = DownState::Ended { bare: false };
    }

    /// Writes what there is.
    async fn write(&mut self, session: &mut Session) -> pingora::Result<()> {
        if let Some(mut head) = self.head.take() {
            self.started = true;
            if !session.is_http2() {
                // Upstream it was HTTP/2's.
                head.set_version(Version::HTTP_11);
            }
            if self.state == (DownState::Ended { bare: true }) {
                // A status without messages stands in the header, as in gRPC itself.
                head.insert_header(CONTENT_LENGTH, HeaderValue::from_static("0"))?;
                session.response_duplex_vec(vec![HttpTask::Header(head, true)]).await?;
                return Ok(());
            }
            if !session.is_http2() {
                head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
            }
            session.write_response_header(head).await?;
        }
        let frames = std::mem::take(&mut self.out);
        let piece = match self.form {
            Form::Binary => frames,
            Form::Text => grpc_web::encode(&frames),
        };
        session.write_response_body(piece.into(), self.has_ended()).await
    }
}
