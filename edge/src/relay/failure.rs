//! Why the relay ended a call that neither side had ended. How a client reads it is decided by the gateway.

use tonic::Code;

use crate::upstream::StreamError;

/// A reason of the edge's own to end a call.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the deadline has passed")]
    Deadline,
    #[error("nothing moved for too long")]
    Idle,
    #[error("a request message is larger than {bytes_max} bytes")]
    MessageTooLarge { bytes_max: u32 },
    /// A gRPC-Web client's body is not in the form that it names.
    #[error("the request body is malformed: {problem}")]
    Malformed { problem: &'static str },
    /// The upstream answered, but not in gRPC.
    #[error("the upstream answered with plain HTTP status {http_status}")]
    NotGrpc { http_status: u16 },
    #[error("the upstream ended its answer without a status")]
    MissingStatus,
    #[error("the upstream failed")]
    Upstream(#[from] StreamError),
}

impl Failure {
    /// What a gRPC client is told.
    #[must_use]
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Deadline => Code::DeadlineExceeded,
            // As for a connection that died in silence; the client may come again.
            Self::Idle => Code::Unavailable,
            Self::MessageTooLarge { .. } => Code::ResourceExhausted,
            Self::Malformed { .. } => Code::InvalidArgument,
            Self::NotGrpc { http_status } => of_http_status(*http_status),
            Self::MissingStatus => Code::Unknown,
            Self::Upstream(error) => error.grpc_code(),
        }
    }
}

/// "HTTP to gRPC Status Code Mapping" of the gRPC documentation, for answers that never were gRPC.
fn of_http_status(status: u16) -> Code {
    match status {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_http_answer_reads_as_the_grpc_table_says() {
        for (status, code) in [
            (200, Code::Unknown),
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (500, Code::Unknown),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
        ] {
            assert_eq!(Failure::NotGrpc { http_status: status }.grpc_code(), code, "{status}");
        }
    }
}
