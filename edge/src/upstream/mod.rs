//! The services behind the edge, and a stream to one of them. An [`Upstream`] is a name with a set of endpoints: addresses
//! resolved in the background, checked by grpc.health.v1, reached over pooled HTTP/2 connections. [`Upstream::open`] picks an
//! endpoint and opens a stream; whatever was certainly never processed is tried again without the caller's help.
//! What is said on a stream is the business of `relay` and `rest`; who may open one has been decided before.

mod config;
mod error;
mod stream;

use std::sync::Arc;

use http::HeaderMap;
use http::uri::PathAndQuery;

pub use config::{Security, UpstreamConfig};
pub use error::{OpenError, StreamError};
pub use stream::UpstreamStream;

/// Which connections a call travels on. A stream may move bulk for minutes; it never shares a socket with calls that are
/// waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamClass {
    /// One request, one answer.
    Unary,
    /// Streams in either direction.
    Streaming,
}

/// Every upstream of a configuration, by name.
pub struct Upstreams {
    // filled by the implementation
}

impl Upstreams {
    /// Begins to resolve, check and connect. Returns at once: readiness of the edge does not depend on upstreams.
    ///
    /// # Errors
    /// When an upstream asks for the workload identity and there is none, or a name is given twice.
    pub fn start(
        config: &[UpstreamConfig],
        identity: Option<&chassis::Identity>,
        drain: &chassis::Drain,
        metrics: &chassis::Metrics,
    ) -> anyhow::Result<Self>;

    /// The upstream of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Upstream>>;
}

/// A service behind the edge.
pub struct Upstream {
    // filled by the implementation
}

impl Upstream {
    /// Opens a gRPC call: POST `path` with these headers (`:authority` and `:scheme` are the upstream's own, `te` and
    /// `content-type` the caller's). Unsent calls (connection refused, GOAWAY, REFUSED_STREAM) move to another connection or
    /// endpoint, also after this function has returned, as long as the answer has not begun.
    ///
    /// # Errors
    /// When no endpoint takes the call. It was never processed: the caller may safely try again later (UNAVAILABLE).
    pub async fn open(
        self: &Arc<Self>,
        class: StreamClass,
        path: &PathAndQuery,
        headers: HeaderMap,
        end_of_stream: bool,
    ) -> Result<UpstreamStream, OpenError>;
}

// In stream.rs. Dropping it gives the slot back and resets the stream (CANCEL) unless it has ended.
impl UpstreamStream {
    /// Sends a part of the request body, waiting for the upstream's window.
    pub async fn write_request_body(&mut self, data: bytes::Bytes, end_of_stream: bool) -> Result<(), StreamError>;
    /// The head of the answer; the body follows by `read_response_body` unless `response_ended`.
    pub async fn read_response_header(&mut self) -> Result<http::response::Parts, StreamError>;
    /// The next part of the answer's body, `None` at its end.
    pub async fn read_response_body(&mut self) -> Result<Option<bytes::Bytes>, StreamError>;
    /// The trailers, once the body has ended.
    pub async fn read_trailers(&mut self) -> Result<Option<HeaderMap>, StreamError>;
    /// Address of the endpoint, for the access log.
    pub fn endpoint(&self) -> std::net::SocketAddr;
}
// StreamError::grpc_code() -> tonic::Code: what a client is told (UNAVAILABLE for a lost connection, by the gRPC table for resets).
