//! The client's side of a WebSocket: Pingora moves the bytes, `frames` knows what they mean. Both directions are polled from one
//! task, and neither waits for the other: Pingora keeps what it has read, and what it has begun to write, between two polls.

use std::pin::pin;
use std::task::{Context, Poll, ready};

use pingora::protocols::http::HttpTask;
use pingora::protocols::http::ServerSession as Session;
use pingora::{Error as PingoraError, ErrorType};

use super::frames::Frames;

/// What is written at once, within the time that a client has for it.
const PIECE_BYTES: usize = 16 * 1024;

/// See the module.
pub(super) struct Socket<'s> {
    session: &'s mut Session,
    pub frames: Frames,
    /// Whether the piece that is being written has a message in it.
    says: bool,
}

impl<'s> Socket<'s> {
    /// The connection of a request that was answered with 101.
    pub(super) fn new(session: &'s mut Session, message_bytes_max: usize) -> Self {
        // The bounds of the call take its place; it would set a timer each time that nothing can be read.
        session.set_read_timeout(None);
        Self { session, frames: Frames::new(message_bytes_max), says: false }
    }

    /// The request that opened it.
    pub(super) const fn session(&self) -> &Session {
        self.session
    }

    /// Writes a piece of what waits. Returns whether a message was in it.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<pingora::Result<bool>> {
        let downstream = &mut *self.session;
        if !downstream.has_pending_downstream_proxy_tasks() {
            let (piece, says) = self.frames.take(PIECE_BYTES);
            if piece.is_empty() {
                return Poll::Pending;
            }
            self.says = says;
            downstream.send_downstream_proxy_task(HttpTask::UpgradedBody(Some(piece), false));
        }
        ready!(pin!(downstream.write_downstream_proxy_tasks()).poll(cx))?;
        Poll::Ready(Ok(self.says))
    }

    /// Whether a piece is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.session.has_pending_downstream_proxy_tasks()
    }

    /// Reads a piece, once the frames have nothing more to say of the one before.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<pingora::Result<()>> {
        let piece = ready!(pin!(self.session.read_request_body()).poll(cx))?;
        let gone = || PingoraError::explain(ErrorType::ConnectionClosed, "no closing handshake");
        self.frames.receive(piece.ok_or_else(gone)?);
        Poll::Ready(Ok(()))
    }
}
