//! One attempt at a call: a stream of one connection, from its request header to its trailers. It knows nothing of other
//! attempts; that is the business of `stream`.

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Uri, Version};

use super::Upstream;
use super::connection::Slot;
use super::endpoint::{Endpoint, Visit};
use super::replay::Call;

/// A stream in use. The order of fields is the order of their end: the stream first, then its place on the connection.
#[derive(Debug)]
pub(super) struct Attempt {
    send: SendStream<Bytes>,
    receive: Receive,
    slot: Slot,
    visit: Visit,
}

#[derive(Debug)]
enum Receive {
    Header(ResponseFuture),
    Body(RecvStream),
}

/// Why a connection did not take a call.
pub(super) enum NotSent {
    /// It takes no more streams; another one may.
    ConnectionGone,
    /// No connection would take it.
    Malformed(h2::Error),
}

impl Attempt {
    /// Sends the header, and what was sent of the body before.
    pub(super) fn begin(upstream: &Upstream, visit: Visit, slot: Slot, call: &Call) -> Result<Self, NotSent> {
        let request = request(upstream, call)
            .map_err(|_invalid| NotSent::Malformed(h2::Reason::PROTOCOL_ERROR.into()))?;
        match slot.sender().send_request(request, call.end_of_stream) {
            Ok((response, send)) => {
                let mut attempt = Self { send, receive: Receive::Header(response), slot, visit };
                for (part, end) in call.sent() {
                    attempt.send(part, end);
                }
                Ok(attempt)
            }
            Err(error) if error.is_io() || error.is_go_away() || error.is_reset() => {
                slot.retire_connection();
                Err(NotSent::ConnectionGone)
            }
            Err(error) => Err(NotSent::Malformed(error)),
        }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.visit.endpoint()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.endpoint().address()
    }

    /// The peer goes away: no further stream belongs on this connection.
    pub(super) fn retire_connection(&self) {
        self.slot.retire_connection();
    }

    /// Whether the attempt failed because nothing was heard of the endpoint.
    pub(super) fn was_silent(&self) -> bool {
        self.slot.was_silent()
    }

    pub(super) fn header_arrived(&self) -> bool {
        matches!(self.receive, Receive::Body(_))
    }

    /// The header of the answer; to be called until it has arrived, and not again.
    pub(super) fn poll_header(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<http::response::Parts, h2::Error>> {
        let Receive::Header(response) = &mut self.receive else { return Poll::Pending };
        let (header, body) = ready!(Pin::new(response).poll(cx))?.into_parts();
        self.receive = Receive::Body(body);
        self.slot.heard();
        self.visit.answered(!header.status.is_success());
        Poll::Ready(Ok(header))
    }

    /// The next part of the answer's body.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let Receive::Body(body) = &mut self.receive else { return Poll::Pending };
        match ready!(body.poll_data(cx)) {
            Some(Ok(data)) => {
                self.slot.heard();
                // The window opens as soon as the part is taken, because whoever takes it holds one part at a time.
                let released = body.flow_control().release_capacity(data.len());
                Poll::Ready(Some(released.map(|()| data)))
            }
            end => Poll::Ready(end),
        }
    }

    /// The trailers, once the body has ended.
    pub(super) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        let Receive::Body(body) = &mut self.receive else { return Poll::Pending };
        body.poll_trailers(cx)
    }

    /// Whether the answer has ended in good order and was read to its end.
    pub(super) fn ended(&self) -> bool {
        matches!(&self.receive, Receive::Body(body) if body.is_end_stream())
    }

    /// How many of `wanted` bytes may be sent, at least one; `None` when the upstream takes no more.
    pub(super) fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
        self.send.reserve_capacity(wanted);
        // Asked first: `poll_capacity` speaks only of increases and would sleep on what was there before.
        let capacity = self.send.capacity();
        if capacity > 0 {
            return Poll::Ready(Some(capacity));
        }
        self.send.poll_capacity(cx).map(|capacity| capacity.and_then(Result::ok))
    }

    /// Ends the stream at once, in both directions.
    pub(super) fn reset(&mut self, reason: h2::Reason) {
        self.send.send_reset(reason);
    }

    /// Sends a part of the body. A stream that takes no more ignores it; its answer says why.
    pub(super) fn send(&mut self, part: Bytes, end: bool) {
        if let Err(error) = self.send.send_data(part, end) {
            tracing::debug!(%error, "request body not sent");
        }
    }
}

fn request(upstream: &Upstream, call: &Call) -> Result<Request<()>, http::Error> {
    let uri = Uri::builder()
        .scheme(upstream.scheme.clone())
        .authority(upstream.authority.clone())
        .path_and_query(call.path.clone())
        .build()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = call.headers.clone();
    Ok(request)
}
