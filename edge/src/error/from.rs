//! The refusals of the edge's parts in the words of [`Error`]. Each part knows why it refuses; only here is decided what the
//! client hears.

use chassis::error::Violation;
use tonic::Code;

use super::Error;
use crate::transcode::{RequestError, ResponseError};
use crate::upstream::{OpenError, StreamError};
use crate::{authn, authz, headers, rate, relay, route};

impl From<route::Refusal> for Error {
    fn from(refusal: route::Refusal) -> Self {
        match refusal {
            route::Refusal::UnknownPath => Self::UnknownPath,
            route::Refusal::MethodNotAllowed { allow } => Self::MethodNotAllowed { allow },
            route::Refusal::Malformed => Self::MalformedPath,
            route::Refusal::TooLong => Self::PathTooLong,
        }
    }
}

impl From<authn::Refusal> for Error {
    fn from(refusal: authn::Refusal) -> Self {
        match refusal {
            authn::Refusal::TokenInvalid { cause } => Self::TokenInvalid { cause: cause.as_str() },
            authn::Refusal::TokenExpired => Self::TokenExpired,
            authn::Refusal::TokenRevoked => Self::TokenRevoked,
            authn::Refusal::ProofRequired => Self::ProofRequired,
            authn::Refusal::ProofInvalid { cause } => Self::ProofInvalid { cause: cause.as_str() },
            authn::Refusal::ProofsExhausted => Self::ProofsExhausted,
            authn::Refusal::IssuerUnavailable => Self::IssuerUnavailable,
            authn::Refusal::KeysUnavailable => Self::KeysUnavailable,
            authn::Refusal::CertificateRequired => Self::CertificateRequired,
            authn::Refusal::CertificateInvalid { cause } => {
                Self::CertificateInvalid { cause: cause.as_str() }
            }
            authn::Refusal::TransactionToken(cause) => Self::TransactionTokenInvalid { cause },
        }
    }
}

impl From<authz::Refusal> for Error {
    fn from(refusal: authz::Refusal) -> Self {
        match refusal {
            authz::Refusal::CredentialsRequired => Self::TokenMissing,
            authz::Refusal::NotAdmitted { principal } => Self::PrincipalNotAdmitted { principal },
            authz::Refusal::ScopeMissing { any_of } => Self::ScopeMissing { any_of },
        }
    }
}

impl From<headers::Refusal> for Error {
    fn from(refusal: headers::Refusal) -> Self {
        match refusal {
            headers::Refusal::Malformed { header } => Self::InvalidHeader { header },
            headers::Refusal::HopsExceeded => Self::HopsExceeded { hops_max: headers::HOPS_MAX },
        }
    }
}

impl From<rate::Refusal> for Error {
    fn from(refusal: rate::Refusal) -> Self {
        Self::RateLimited { refusal }
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Invalid { violations } => {
                let violations =
                    violations.into_iter().map(|found| Violation::new(found.field, found.description));
                Self::InvalidRequest { violations: violations.collect() }
            }
            RequestError::MalformedJson { offset, reason } => {
                Self::MalformedJson { problem: format!("{reason} at byte {offset}") }
            }
            RequestError::TooLarge { bytes_max } => Self::BodyTooLarge { bytes_max },
            RequestError::MalformedForm { .. } => {
                let violation = Violation::new("", "the form is not UTF-8");
                Self::InvalidRequest { violations: vec![violation] }
            }
            RequestError::MalformedMultipart { part, reason } => {
                let place = if part == 0 { String::new() } else { format!(" at part {part}") };
                let problem = format!("the multipart body is malformed{place}: {reason}");
                Self::InvalidRequest { violations: vec![Violation::new("", problem)] }
            }
            RequestError::UnsupportedMediaType => Self::UnsupportedMediaType,
        }
    }
}

impl From<ResponseError> for Error {
    fn from(error: ResponseError) -> Self {
        Self::UpstreamMessage { problem: error.to_string() }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Busy { limit, .. } => {
                Self::UpstreamBusy { limit: limit.as_str(), source: Box::new(error) }
            }
            OpenError::NoEndpoint { .. }
            | OpenError::Dial { .. }
            | OpenError::Refused { .. }
            | OpenError::Malformed { .. } => Self::UpstreamUnavailable { source: Box::new(error) },
        }
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Open(error) => error.into(),
            StreamError::NotRepeated(_)
            | StreamError::Reset(_)
            | StreamError::Lost(_)
            | StreamError::Over => Self::broken_off(error.grpc_code(), Box::new(error)),
        }
    }
}

/// By reference: the relay keeps its failure for the log, and a lost stream cannot be cloned.
impl From<&relay::Failure> for Error {
    fn from(failure: &relay::Failure) -> Self {
        match failure {
            relay::Failure::Deadline => Self::DeadlineExceeded,
            relay::Failure::Idle => Self::StreamIdle,
            relay::Failure::MessageTooLarge { bytes_max } => {
                Self::BodyTooLarge { bytes_max: *bytes_max as usize }
            }
            relay::Failure::Malformed { problem } => {
                Self::InvalidRequest { violations: vec![Violation::new("", *problem)] }
            }
            relay::Failure::NotGrpc { http_status } => Self::UpstreamStatus { status: *http_status },
            relay::Failure::MissingStatus => Self::UpstreamBroken { problem: "no grpc-status" },
            relay::Failure::Upstream(StreamError::Open(error)) => error.clone().into(),
            relay::Failure::Upstream(error) => {
                Self::broken_off(error.grpc_code(), chassis::error::chain(error).into())
            }
        }
    }
}

impl Error {
    /// A stream that ended without its answer, by the code it means.
    fn broken_off(code: Code, source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        if code == Code::Unavailable {
            return Self::UpstreamLost { source };
        }
        Self::UpstreamReset { code, source }
    }
}

impl From<chassis::transaction_token::TokenError> for Error {
    /// Of minting, which fails only on what `authn` let through and should not have.
    fn from(_: chassis::transaction_token::TokenError) -> Self {
        Self::Internal { problem: "a transaction token cannot be minted" }
    }
}
