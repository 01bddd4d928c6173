//! Reading a request body: whole or piece by piece, out of its coding and bounded; and noticing a client that leaves while it
//! waits.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chassis::error::Violation;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue};
use pingora::protocols::http::ServerSession as Session;
use pingora::{Error as PingoraError, ErrorType};
use tokio::time::{Instant, timeout_at};

use super::pace::Pace;
use crate::coding::{Coding, DecodeError, Decoder};
use crate::config::Limits;
use crate::error::Error;
use crate::request::{Call, Ended, ask_for_body};

/// What is decoded at a time: a few bytes of a bomb are gigabytes, of which no more than this exist at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// A request body out of its coding, piece by piece. What is received and what is decoded are bounded alike.
pub(super) struct Body {
    coded: Option<Coded>,
    received: u64,
    bytes_max: u64,
    pace: Option<Pace>,
}

/// What comes in a coding.
struct Coded {
    decoder: Decoder,
    /// What was received and is not decoded.
    waiting: Bytes,
    /// Room for a piece.
    room: Vec<u8>,
    /// Whether the last piece filled the room: there may be more without reading on.
    full: bool,
    decoded: u64,
}

impl Body {
    /// Prepares to read a body: refuses one that announces itself as too large or in a coding that is unknown, and asks for one
    /// that waits to be asked.
    pub(super) async fn begin(session: &mut Session, bytes_max: u64) -> Result<Self, Ended> {
        let coding = content_coding(&session.req_header().headers)?;
        let has_body = begin(session, bytes_max).await?;
        let coded = match coding.filter(|_| has_body) {
            None => None,
            Some(coding) => {
                let decoder = Decoder::new(coding).map_err(|error| refusal(error, bytes_max))?;
                let (waiting, room) = (Bytes::new(), vec![0; PIECE_BYTES_MAX]);
                Some(Coded { decoder, waiting, room, full: false, decoded: 0 })
            }
        };
        Ok(Self { coded, received: 0, bytes_max, pace: None })
    }

    /// The same for a body that must come at a rate.
    pub(super) fn paced(self, limits: &Limits) -> Self {
        let bytes_per_s = limits.body_bytes_per_s_min;
        let pace = (bytes_per_s > 0).then(|| Pace::new(limits.body_grace(), bytes_per_s));
        Self { pace, ..self }
    }

    /// By when the next piece must have come; none if the body may take its time.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pace.as_ref().map(|pace| pace.due(self.received, Instant::now()))
    }

    /// The next piece, not empty; `None` at the end.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<Result<Option<Bytes>, Ended>> {
        loop {
            if let Some(coded) = &mut self.coded
                && let Some(piece) = coded.next(self.bytes_max)?
            {
                return Poll::Ready(Ok(Some(piece)));
            }
            // Pingora keeps what it has read when this is dropped: it may be asked anew each time.
            let piece = match (pin!(session.read_request_body()).poll(cx), &mut self.pace) {
                (Poll::Pending, Some(pace)) => {
                    pace.waits(Instant::now());
                    return Poll::Pending;
                }
                (Poll::Ready(piece), Some(pace)) => {
                    pace.arrived(Instant::now);
                    piece?
                }
                (piece, None) => ready!(piece)?,
            };
            let Some(piece) = piece else {
                let ended = self.coded.as_ref().map_or(Ok(()), |coded| coded.decoder.finish());
                ended.map_err(|error| refusal(error, self.bytes_max))?;
                return Poll::Ready(Ok(None));
            };
            self.received += piece.len() as u64;
            if self.received > self.bytes_max {
                return Poll::Ready(Err(too_large(self.bytes_max).into()));
            }
            match &mut self.coded {
                Some(coded) => coded.waiting = piece,
                None if piece.is_empty() => {}
                None => return Poll::Ready(Ok(Some(piece))),
            }
        }
    }

    /// As [`Body::poll_piece`], in bounded time.
    async fn read_piece(&mut self, session: &mut Session, idle: Duration) -> Result<Option<Bytes>, Ended> {
        let patience = Instant::now() + idle;
        let due = self.due().filter(|due| *due < patience);
        match timeout_at(due.unwrap_or(patience), poll_fn(|cx| self.poll_piece(cx, session))).await {
            Ok(piece) => piece,
            Err(_) if due.is_some() => Err(Error::BodyTooSlow.into()),
            Err(_) => Err(Error::DeadlineExceeded.into()),
        }
    }
}

impl Coded {
    /// Decodes the next piece of what was received; `None` when there is nothing left to be made of it.
    fn next(&mut self, bytes_max: u64) -> Result<Option<Bytes>, Error> {
        if self.waiting.is_empty() && !self.full {
            return Ok(None);
        }
        let decoded = self.decoder.decode(&self.waiting, &mut self.room);
        let (read, written) = decoded.map_err(|error| refusal(error, bytes_max))?;
        let _ = self.waiting.split_to(read);
        self.full = written == self.room.len();
        self.decoded += written as u64;
        if self.decoded > bytes_max {
            return Err(too_large(bytes_max));
        }
        Ok((written > 0).then(|| Bytes::copy_from_slice(&self.room[..written])))
    }
}

/// Reads the whole body of a call.
pub(super) async fn read_whole(session: &mut Session, call: &Call) -> Result<Bytes, Ended> {
    let limits = &call.snapshot.limits;
    let idle = limits.body_idle();
    let mut body = Body::begin(session, limits.message_bytes_max as u64).await?.paced(limits);
    if session.is_body_empty() {
        return Ok(Bytes::new());
    }
    let Some(first) = body.read_piece(session, idle).await? else { return Ok(Bytes::new()) };
    // Twice: as it comes, and as the message made of it.
    call.held.take(first.len() * 2)?;
    if body.coded.is_none() && session.is_body_done() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while let Some(piece) = body.read_piece(session, idle).await? {
        call.held.take(piece.len() * 2)?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// A body that exceeds its bound.
pub(super) fn too_large(bytes_max: u64) -> Error {
    Error::BodyTooLarge { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX) }
}

fn refusal(error: DecodeError, bytes_max: u64) -> Error {
    let problem = match error {
        DecodeError::TooLarge => return too_large(bytes_max),
        DecodeError::Malformed => "the body is not in the coding that content-encoding names",
        DecodeError::Truncated => "the body ends before its content coding does",
        DecodeError::Trailing => "the body goes on behind the end of its content coding",
    };
    Error::InvalidRequest { violations: vec![Violation::new("", problem)] }
}

/// The coding of a request's body. One that is unknown is refused, and one within another.
fn content_coding(headers: &HeaderMap) -> Result<Option<Coding>, Error> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.to_str().unwrap_or_default().trim();
    match (Coding::named(name), values.next()) {
        (Some(coding), None) => Ok(Some(coding)),
        (None, None) if name.is_empty() || name.eq_ignore_ascii_case("identity") => Ok(None),
        _ => Err(Error::UnsupportedMediaType),
    }
}

/// See [`Body::begin`]. Returns whether there is a body.
async fn begin(session: &mut Session, bytes_max: u64) -> Result<bool, Ended> {
    if session.is_body_empty() {
        return Ok(false);
    }
    let headers = &session.req_header().headers;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_large(bytes_max).into());
    }
    // RFC 9110 section 10.1.1 knows one expectation, and what is not known cannot be met.
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get(EXPECT).is_some_and(|value| !known(value)) {
        return Err(Error::InvalidHeader { header: "expect" }.into());
    }
    ask_for_body(session).await?;
    Ok(true)
}

/// Resolves when the client has gone. The request body must have been read.
pub(super) async fn client_gone(session: &mut Session) -> Ended {
    match session.read_body_or_idle(true).await {
        Ok(_) => Ended::Aborted(PingoraError::explain(
            ErrorType::ConnectionClosed,
            "the client sent more than its body",
        )),
        Err(error) => Ended::Aborted(error),
    }
}
