//! The request's way up: the body's pieces become messages, and messages go to the upstream as its window takes them. A piece is
//! read only when everything before it has been sent, so that a slow service slows its client down and nothing piles up here.
//! It is driven by polling, because the answer comes down at the same time.

use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pingora::proxy::Session;

use super::{Target, body};
use crate::error::Error;
use crate::request::{Call, Ended};
use crate::transcode::{RequestError, Splitter, frame};
use crate::upstream::UpstreamStream;

/// What one message of raw bytes carries. Large enough that frames cost nothing, small enough that many uploads fit into memory.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Messages that have arrived together are sent together, up to this many bytes.
const GATHER_BYTES: usize = 16 * 1024;

/// See the module.
pub(super) struct Up<'a> {
    target: &'a Target<'a>,
    source: Source,
    state: State,
    /// Frames that wait for the upstream's window.
    held: Bytes,
    messages: u64,
    message_bytes_max: usize,
}

enum Source {
    /// One JSON value a message.
    Json(Splitter),
    /// Raw bytes, each piece a message.
    Raw { rest: Bytes, bytes: u64, bytes_max: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// All has been read.
    Last,
    /// All has been sent, or the upstream takes no more.
    Done,
}

impl<'a> Up<'a> {
    /// A request that is one message: `frame`.
    pub(super) fn whole(target: &'a Target<'a>, frame: Bytes) -> Self {
        let source = Source::Raw { rest: Bytes::new(), bytes: 0, bytes_max: 0 };
        Self { target, source, state: State::Last, held: frame, messages: 1, message_bytes_max: 0 }
    }

    /// A request that is a stream of messages, cut from the body.
    pub(super) async fn stream(
        session: &mut Session,
        call: &Call,
        target: &'a Target<'a>,
    ) -> Result<Self, Ended> {
        let limits = &call.snapshot.limits;
        let message_bytes_max = limits.message_bytes_max;
        let (source, bytes_max) = if target.binding.request_is_http_body() {
            let bytes_max = limits.upload_bytes_max;
            (Source::Raw { rest: Bytes::new(), bytes: 0, bytes_max }, bytes_max)
        } else {
            // A stream of messages may be as long as it lives; only each of them has a bound.
            (Source::Json(Splitter::new(message_bytes_max)), u64::MAX)
        };
        if body::content_coding(&session.req_header().headers)?.is_some() {
            // A stream has no size that what it decodes to could be held against.
            return Err(Error::UnsupportedMediaType.into());
        }
        body::begin(session, bytes_max).await?;
        Ok(Self { target, source, state: State::Reading, held: Bytes::new(), messages: 0, message_bytes_max })
    }

    /// Whether the upstream has all it will get.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether there is something to send.
    pub(super) fn is_filled(&self) -> bool {
        !self.held.is_empty() || self.state != State::Reading
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
                    let last = self.state == State::Last && self.held.is_empty();
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
            State::Reading => self.poll_fill(cx, session),
            State::Last => {
                upstream.send(Bytes::new(), true);
                self.state = State::Done;
                Poll::Ready(Ok(()))
            }
            State::Done => watch(cx, session),
        }
    }

    /// Reads a piece, or makes frames of what has been read.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<Result<(), Ended>> {
        let mut frames = Vec::new();
        while frames.len() < GATHER_BYTES && self.append_frame(session, &mut frames)? {}
        if !frames.is_empty() {
            self.held = frames.into();
            return Poll::Ready(Ok(()));
        }
        // Pingora keeps what it has read when this is dropped: it may be asked anew each time.
        let piece = ready!(pin!(session.as_downstream_mut().read_request_body()).poll(cx))?;
        match piece {
            Some(piece) => self.source.push(piece)?,
            None => {
                self.state = State::Last;
                self.append_last_frame(session, &mut frames)?;
                self.held = frames.into();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Appends the next message that has arrived whole. Returns whether there was one.
    fn append_frame(&mut self, session: &Session, out: &mut Vec<u8>) -> Result<bool, Error> {
        match &mut self.source {
            Source::Json(splitter) => {
                let Some(part) = splitter.next_part()? else { return Ok(false) };
                self.append_json(session, part.offset, &part.json, out)?;
            }
            Source::Raw { rest, .. } if rest.is_empty() => return Ok(false),
            Source::Raw { rest, .. } => {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
                self.append_raw(session, &piece, out)?;
            }
        }
        Ok(true)
    }

    /// Appends what only the end of the body tells to be a message. A body without any is an empty stream, unless path, query
    /// or headers say something: then it is that one message.
    fn append_last_frame(&mut self, session: &Session, out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.source {
            Source::Json(splitter) => {
                if let Some(part) = splitter.finish()? {
                    return self.append_json(session, part.offset, &part.json, out);
                }
                if self.messages == 0 {
                    self.append_json(session, 0, &[], out)?;
                    if out.len() == frame::PREFIX_BYTES {
                        out.clear();
                    }
                }
                Ok(())
            }
            Source::Raw { .. } if self.messages == 0 => self.append_raw(session, &[], out),
            Source::Raw { .. } => Ok(()),
        }
    }

    fn append_json(
        &mut self,
        session: &Session,
        offset: usize,
        json: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let index = self.messages;
        let place = |error: RequestError| error.in_stream(index, offset);
        let binding = self.target.binding;
        let start = frame::begin(out);
        if index == 0 {
            self.target
                .with_request(session, json, |request| binding.encode_request(request, out).map_err(place))?;
        } else {
            binding.encode_next(json, out).map_err(place)?;
        }
        if out.len() - start - frame::PREFIX_BYTES > self.message_bytes_max {
            return Err(Error::BodyTooLarge { bytes_max: self.message_bytes_max });
        }
        frame::end(out, start);
        self.messages += 1;
        Ok(())
    }

    fn append_raw(&mut self, session: &Session, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let binding = self.target.binding;
        out.reserve(piece.len() + 128);
        let start = frame::begin(out);
        if self.messages == 0 {
            self.target.with_request(session, piece, |request| binding.upload_first(request, out))?;
        } else {
            binding.upload_next(piece, out);
        }
        frame::end(out, start);
        self.messages += 1;
        Ok(())
    }
}

impl Source {
    fn push(&mut self, piece: Bytes) -> Result<(), Error> {
        match self {
            Self::Json(splitter) => splitter.push(piece),
            Self::Raw { rest, bytes, bytes_max } => {
                *bytes += piece.len() as u64;
                if *bytes > *bytes_max {
                    let bytes_max = usize::try_from(*bytes_max).unwrap_or(usize::MAX);
                    return Err(Error::BodyTooLarge { bytes_max });
                }
                *rest = piece;
            }
        }
        Ok(())
    }
}

/// Waits for the client to leave. On HTTP/1 that shows only behind the body: what comes before is the body.
fn watch(cx: &mut Context<'_>, session: &mut Session) -> Poll<Result<(), Ended>> {
    if !session.is_http2() && !session.as_downstream_mut().is_body_done() {
        return Poll::Pending;
    }
    pin!(body::client_gone(session)).poll(cx).map(Err)
}
