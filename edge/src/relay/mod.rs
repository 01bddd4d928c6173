//! The gRPC relay: one call from a downstream HTTP/2 stream to an upstream stream and back, unary and all streaming kinds. Both
//! directions move independently, so that a full window on one side never stops the other; at most one chunk a direction is
//! in hand. Who may call, where to and with which headers is settled before; REST is not relayed but transcoded.

use std::time::Duration;

use http::HeaderMap;
use pingora::protocols::http::v2::server::HttpSession;
use tokio::time::Instant;

use crate::upstream::UpstreamStream;

/// How far a call may go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// When the call ends, whatever its state: the budget of a unary call, maximal age or credential expiry of a stream.
    pub deadline: Option<Instant>,
    /// How long nothing may move in either direction.
    pub idle: Option<Duration>,
    /// The largest request message in bytes (of one gRPC message, not of the stream).
    pub request_message_bytes_max: u32,
}

/// What the gateway says in an answer besides what the upstream said.
pub trait Answer {
    /// Cleans and completes the header of the answer before it leaves.
    fn header(&mut self, headers: &mut HeaderMap);
    /// Cleans the trailers before they leave.
    fn trailers(&mut self, trailers: &mut HeaderMap);
    /// The trailers (grpc-status and its details) of an answer that had begun and that the relay must end by itself.
    fn failure(&mut self, failure: &Failure) -> HeaderMap;
}

/// Relays a call until it has ended. The downstream session must not have been written to. When `response_started` is false
/// nothing was written downstream: the caller answers `failure` (trailers-only) by itself.
pub async fn run(downstream: &mut HttpSession, upstream: UpstreamStream, bounds: &Bounds, answer: &mut impl Answer) -> Outcome;

/// How a relayed call went.
pub struct Outcome {
    pub ended_by: EndedBy,
    pub failure: Option<Failure>,
    pub response_started: bool,
    /// The status the client was sent; `None` while nothing was sent or the client has gone.
    pub grpc_code: Option<u32>,
    pub request: Traffic,
    pub response: Traffic,
}

pub struct Traffic {
    pub bytes: u64,
    pub messages: u64,
}

pub enum EndedBy { Upstream, Downstream, Deadline, Idle, Failure }

/// Why the relay ended a call by itself.
pub enum Failure {
    Deadline,
    Idle,
    MessageTooLarge { bytes_max: u32 },
    NotGrpc { http_status: u16 },
    MissingStatus,
    Upstream(crate::upstream::StreamError),
}
