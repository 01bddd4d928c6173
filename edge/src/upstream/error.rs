//! What can go wrong on the way to an upstream, as the edge's own errors need to tell it apart: whether the call was
//! certainly not processed (an [`OpenError`], safe to repeat) or may have been (a [`StreamError`]). How a client reads it is
//! decided by the gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use tonic::Code;

use super::limits::Limit;

/// No endpoint took the call. It was not processed, so that repeating it is safe.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{upstream} has no endpoint: no address of it resolves")]
    NoEndpoint { upstream: String },
    #[error("{upstream} cannot be reached")]
    Dial { upstream: String, source: Arc<DialError> },
    #[error("{upstream} has as much to do as it may have: {}", limit.as_str())]
    Busy { upstream: String, limit: Limit },
    #[error("{upstream} refused the call {attempts} times")]
    Refused { upstream: String, attempts: u32 },
    #[error("the call to {upstream} is malformed")]
    Malformed { upstream: String, source: Arc<h2::Error> },
}

impl OpenError {
    /// What a gRPC client is told.
    #[must_use]
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::NoEndpoint { .. } | Self::Dial { .. } | Self::Busy { .. } | Self::Refused { .. } => {
                Code::Unavailable
            }
            Self::Malformed { .. } => Code::Internal,
        }
    }
}

/// Why a connection did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot connect to {endpoint}")]
    Connect { endpoint: SocketAddr, source: std::io::Error },
    #[error("the TLS handshake with {endpoint} failed")]
    Tls { endpoint: SocketAddr, source: std::io::Error },
    #[error("{endpoint} does not speak h2 over TLS")]
    Alpn { endpoint: SocketAddr },
    #[error("the workload identity cannot be used")]
    Identity { source: anyhow::Error },
    #[error("the HTTP/2 handshake with {endpoint} failed")]
    Http2 { endpoint: SocketAddr, source: h2::Error },
    #[error("{endpoint} did not answer in {within_ms} ms")]
    Timeout { endpoint: SocketAddr, within_ms: u64 },
    #[error("the dial was given up")]
    Abandoned,
}

/// A call ended before its answer did. It may have been processed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The call was moved and found no other endpoint.
    #[error("the call was refused and found no other endpoint")]
    Open(#[from] OpenError),
    /// The call may have been processed, was to be made again and found no endpoint.
    #[error("the call failed and found no other endpoint")]
    NotRepeated(#[source] OpenError),
    /// The upstream ended the stream.
    #[error("the upstream reset the stream")]
    Reset(#[source] h2::Error),
    /// The connection went away under the stream.
    #[error("the connection to the upstream was lost")]
    Lost(#[source] h2::Error),
    /// The call had failed before.
    #[error("the call is over")]
    Over,
}

impl StreamError {
    /// What a gRPC client is told, by the table "Errors" of gRPC over HTTP/2, with one exception: a stream the upstream
    /// cancels is a service that broke off and not a client that changed its mind, hence UNAVAILABLE.
    #[must_use]
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Open(error) | Self::NotRepeated(error) => error.grpc_code(),
            Self::Lost(_) | Self::Over => Code::Unavailable,
            Self::Reset(error) => of_reset(error),
        }
    }
}

fn of_reset(error: &h2::Error) -> Code {
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM | h2::Reason::CANCEL) => Code::Unavailable,
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(h2::Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

/// Whether a lost call means that the endpoint is not there for calls.
pub(super) fn means_unavailable(error: &h2::Error) -> bool {
    !error.is_reset() || of_reset(error) == Code::Unavailable
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        if error.is_reset() { Self::Reset(error) } else { Self::Lost(error) }
    }
}

/// Whether the peer has said that it never looked at the call: it refused the stream, or went away having processed only
/// older ones (RFC 9113 section 8.7). h2 fails with a remote GOAWAY exactly the streams above the last processed id.
pub(super) fn never_processed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_read_as_the_grpc_table_says() {
        for (reason, code) in [
            (h2::Reason::NO_ERROR, Code::Internal),
            (h2::Reason::PROTOCOL_ERROR, Code::Internal),
            (h2::Reason::INTERNAL_ERROR, Code::Internal),
            (h2::Reason::REFUSED_STREAM, Code::Unavailable),
            (h2::Reason::CANCEL, Code::Unavailable),
            (h2::Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
            (h2::Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
        ] {
            assert_eq!(StreamError::Reset(reason.into()).grpc_code(), code, "{reason:?}");
        }
    }

    #[test]
    fn an_open_error_is_always_safe_to_repeat_and_says_unavailable() {
        let dial = Arc::new(DialError::Abandoned);
        assert_eq!(OpenError::Dial { upstream: "a".into(), source: dial }.grpc_code(), Code::Unavailable);
        assert!(!never_processed(&h2::Reason::CANCEL.into()), "a local reason proves nothing about the peer");
    }
}
