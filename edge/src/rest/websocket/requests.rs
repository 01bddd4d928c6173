//! The way up: each text becomes a message, and messages go to the upstream as its window takes them. When enough waits, nothing
//! more is read, so that a slow service slows its client down and nothing piles up here.

use std::mem::take;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pingora::protocols::http::ServerSession as Session;

use super::super::Target;
use crate::error::Error;
use crate::transcode::{RequestError, frame};
use crate::upstream::UpstreamStream;

/// Messages that have arrived together are sent together, up to this many bytes.
const GATHER_BYTES: usize = 16 * 1024;

/// See the module.
pub(super) struct Requests<'a> {
    target: &'a Target<'a>,
    /// Frames that are being sent.
    held: Bytes,
    /// Frames behind them.
    gathered: Vec<u8>,
    messages: u64,
    message_bytes_max: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The client has said that no more comes.
    Last,
    /// All has been sent.
    Done,
    /// The upstream takes no more; its answer tells why.
    Refused,
}

impl<'a> Requests<'a> {
    pub(super) const fn new(target: &'a Target<'a>, message_bytes_max: usize) -> Self {
        Self {
            target,
            held: Bytes::new(),
            gathered: Vec::new(),
            messages: 0,
            message_bytes_max,
            state: State::Open,
        }
    }

    /// Whether another text may be taken.
    pub(super) const fn has_room(&self) -> bool {
        self.gathered.len() < GATHER_BYTES
    }

    /// Takes a text: a message, or if it is empty the end of them.
    pub(super) fn take(&mut self, session: &Session, json: &[u8]) -> Result<(), Error> {
        match self.state {
            State::Open if json.is_empty() => {
                self.state = State::Last;
                self.append_only(session)
            }
            State::Open => self.append(session, json),
            State::Refused => Ok(()),
            State::Last | State::Done => {
                Err(Error::FrameRefused { problem: "a message after the end of the request".to_owned() })
            }
        }
    }

    /// Sends a part of what waits.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, upstream: &mut UpstreamStream) -> Poll<()> {
        if self.held.is_empty() {
            self.held = take(&mut self.gathered).into();
        }
        if self.held.is_empty() {
            if self.state != State::Last {
                return Poll::Pending;
            }
            upstream.send(Bytes::new(), true);
            self.state = State::Done;
            return Poll::Ready(());
        }
        if let Some(granted) = ready!(upstream.poll_capacity(cx, self.held.len())) {
            let now = self.held.split_to(granted.min(self.held.len()));
            upstream.send(now, false);
        } else {
            (self.held, self.gathered, self.state) = (Bytes::new(), Vec::new(), State::Refused);
        }
        Poll::Ready(())
    }

    /// A request without any message is an empty one, unless path, query or headers say something: then it is that one message.
    fn append_only(&mut self, session: &Session) -> Result<(), Error> {
        if self.messages == 0 {
            self.append(session, &[])?;
            if self.gathered.len() == frame::PREFIX_BYTES {
                self.gathered.clear();
            }
        }
        Ok(())
    }

    fn append(&mut self, session: &Session, json: &[u8]) -> Result<(), Error> {
        let Self { target, gathered: out, messages, message_bytes_max, .. } = self;
        let place = |error: RequestError| error.in_stream(*messages, 0);
        let start = frame::begin(out);
        if *messages == 0 {
            target.with_request(session, json, |request| {
                target.binding.encode_request(request, out).map_err(place)
            })?;
        } else {
            target.binding.encode_next(json, out).map_err(place)?;
        }
        if out.len() - start - frame::PREFIX_BYTES > *message_bytes_max {
            return Err(Error::BodyTooLarge { bytes_max: *message_bytes_max });
        }
        frame::end(out, start);
        *messages += 1;
        Ok(())
    }
}
