//! Every refusal of the edge, once: its code, its reason and what the client may read. REST sees it as AIP-193 JSON, gRPC as a
//! trailers-only answer; `gateway::refuse` writes either from the same value. What an upstream answered is not an error of the
//! edge and does not pass through here.

use std::time::Duration;

use chassis::error::{Failure, Kind, Violation};
use chassis::transaction_token::TokenError;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::authn::PROOF_ALGORITHMS;
use crate::outcome::{self as told, Outcome};
use crate::transcode::{Failed, http_status_of};
use crate::{rate, relay};

mod from;
mod outcome;

/// Why the edge did not answer a request with what the upstream said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no method answers this path")]
    UnknownPath,
    #[error("no such method")]
    UnknownMethod,
    #[error("the path does not answer to this verb")]
    MethodNotAllowed { allow: String },
    #[error("the request cannot be read as HTTP")]
    MalformedRequest,
    #[error("the path is malformed")]
    MalformedPath,
    #[error("the path is too long")]
    PathTooLong,
    #[error("the request header is larger than {bytes_max} bytes")]
    HeadersTooLarge { bytes_max: usize },
    #[error("the content type is not supported")]
    UnsupportedMediaType,
    #[error("the answer comes in no form that the client accepts")]
    NotAcceptable { available: &'static str },
    #[error("the body is not valid JSON: {problem}")]
    MalformedJson { problem: String },
    #[error("the request is invalid")]
    InvalidRequest { violations: Vec<Violation> },
    #[error("the request header is invalid: {header}")]
    InvalidHeader { header: &'static str },
    #[error("the body is larger than {bytes_max} bytes")]
    BodyTooLarge { bytes_max: usize },
    #[error("the body comes too slowly")]
    BodyTooSlow,
    #[error("there is no room for the request")]
    NoRoom { listener: &'static str },
    #[error("the version of WebSocket is not 13")]
    WebSocketVersion,
    #[error("a page of another origin may not open a WebSocket")]
    OriginRefused,
    #[error("the WebSocket frame is refused: {problem}")]
    FrameRefused { problem: String },
    #[error("credentials are required")]
    TokenMissing,
    #[error("the token is not valid: {cause}")]
    TokenInvalid { cause: &'static str },
    #[error("the token has expired")]
    TokenExpired,
    #[error("the token has been revoked")]
    TokenRevoked,
    #[error("the token is bound to a key that must be proven")]
    ProofRequired,
    #[error("the proof of possession is not valid: {cause}")]
    ProofInvalid { cause: &'static str },
    #[error("too many proofs of possession at once")]
    ProofsExhausted,
    #[error("the token's issuer is not available")]
    IssuerUnavailable,
    #[error("the keys of the token's issuer are not available")]
    KeysUnavailable,
    #[error("a client certificate is required")]
    CertificateRequired,
    #[error("the client certificate is not accepted: {cause}")]
    CertificateInvalid { cause: &'static str },
    #[error("the transaction token is not believed: {cause}")]
    TransactionTokenInvalid { cause: TokenError },
    #[error("the credentials lack a scope that the method asks for")]
    ScopeMissing { any_of: Vec<String> },
    #[error("the caller may not call this method")]
    PrincipalNotAdmitted { principal: &'static str },
    #[error("the call crossed the edge too often")]
    HopsExceeded { hops_max: u32 },
    #[error("too many requests of the caller are in flight")]
    TooManyInFlight { listener: &'static str },
    #[error("too many requests of the class {} in too short a time", refusal.class)]
    RateLimited { refusal: rate::Refusal },
    #[error("the gateway has more to do than it can")]
    Overloaded { listener: &'static str },
    #[error("the service is not available")]
    UpstreamUnavailable {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It may have been processed, as that which [`Error::UpstreamUnavailable`] ends certainly was not.
    #[error("the service went away before it had answered")]
    UpstreamLost {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the service has as much to do as it may have")]
    UpstreamBusy {
        limit: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the service broke off its answer")]
    UpstreamReset {
        code: Code,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the deadline has passed")]
    DeadlineExceeded,
    #[error("nothing moved for too long")]
    StreamIdle,
    #[error("the service did not answer in gRPC: {problem}")]
    UpstreamBroken { problem: &'static str },
    #[error("the service answered with plain HTTP status {status}")]
    UpstreamStatus { status: u16 },
    #[error("the answer of the service cannot be read: {problem}")]
    UpstreamMessage { problem: String },
    #[error("{problem}")]
    Internal { problem: &'static str },
}

impl Failure for Error {
    const DOMAIN: &'static str = "edge.v1";

    fn kind(&self) -> Kind {
        self.row().kind
    }

    fn reason(&self) -> &'static str {
        self.row().reason
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::MethodNotAllowed { allow } => vec![("allow", allow.clone())],
            Self::HeadersTooLarge { bytes_max } | Self::BodyTooLarge { bytes_max } => {
                vec![("bytes_max", bytes_max.to_string())]
            }
            Self::MalformedJson { problem } | Self::FrameRefused { problem } => {
                vec![("problem", problem.clone())]
            }
            Self::NotAcceptable { available } => vec![("available", (*available).to_owned())],
            Self::InvalidHeader { header } => vec![("header", (*header).to_owned())],
            Self::TokenInvalid { cause }
            | Self::ProofInvalid { cause }
            | Self::CertificateInvalid { cause } => {
                vec![("cause", (*cause).to_owned())]
            }
            Self::ScopeMissing { any_of } => vec![("any_scope", any_of.join(" "))],
            Self::PrincipalNotAdmitted { principal } => vec![("principal", (*principal).to_owned())],
            Self::HopsExceeded { hops_max } => vec![("hops_max", hops_max.to_string())],
            Self::TooManyInFlight { listener } | Self::Overloaded { listener } => {
                vec![("limit", format!("in_flight:{listener}"))]
            }
            Self::UpstreamBusy { limit, .. } => vec![("limit", (*limit).to_owned())],
            Self::RateLimited { refusal } => {
                vec![("limit", quota_name(refusal)), ("scope", refusal.scope.to_owned())]
            }
            Self::NoRoom { listener } => vec![("limit", format!("buffered:{listener}"))],
            Self::UpstreamStatus { status } => vec![("http_status", status.to_string())],
            Self::UnknownPath
            | Self::UnknownMethod
            | Self::MalformedRequest
            | Self::MalformedPath
            | Self::PathTooLong
            | Self::UnsupportedMediaType
            | Self::InvalidRequest { .. }
            | Self::BodyTooSlow
            | Self::WebSocketVersion
            | Self::OriginRefused
            | Self::TokenMissing
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::ProofRequired
            | Self::ProofsExhausted
            | Self::IssuerUnavailable
            | Self::KeysUnavailable
            | Self::CertificateRequired
            | Self::TransactionTokenInvalid { .. }
            | Self::UpstreamUnavailable { .. }
            | Self::UpstreamLost { .. }
            | Self::UpstreamReset { .. }
            | Self::DeadlineExceeded
            | Self::StreamIdle
            | Self::UpstreamBroken { .. }
            | Self::UpstreamMessage { .. }
            | Self::Internal { .. } => Vec::new(),
        }
    }

    fn violations(&self) -> Vec<Violation> {
        if let Self::InvalidRequest { violations } = self {
            return violations.clone();
        }
        if let Self::TooManyInFlight { listener } = self {
            return vec![Violation::new(format!("in_flight:{listener}"), "the caller is at its bound")];
        }
        if let Self::RateLimited { refusal } = self {
            let what = match refusal.scope {
                "shared" => "used up, by all edges together",
                _ => "used up",
            };
            return vec![Violation::new(quota_name(refusal), what)];
        }
        Vec::new()
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::RateLimited { refusal } = self {
            return Some(refusal.retry_after);
        }
        // One second: a shed request or a lost upstream is worth another try soon, and HTTP's Retry-After counts in seconds.
        let passes = matches!(
            self,
            Self::TooManyInFlight { .. }
                | Self::Overloaded { .. }
                | Self::UpstreamUnavailable { .. }
                | Self::UpstreamLost { .. }
                | Self::UpstreamBusy { .. }
                | Self::NoRoom { .. }
                | Self::KeysUnavailable
                | Self::IssuerUnavailable
                | Self::ProofsExhausted
        );
        passes.then_some(Duration::from_secs(1))
    }
}

/// Which quota refused: "rate:money:subject".
fn quota_name(refusal: &rate::Refusal) -> String {
    format!("rate:{}:{}", refusal.class, refusal.principal)
}

/// What a variant is called and how it is told.
struct Row {
    kind: Kind,
    reason: &'static str,
    /// Where gRPC has a better word than the kind's.
    code: Option<Code>,
    /// Where HTTP has a better word than the kind's.
    http_status: Option<u16>,
}

impl Row {
    const fn of(kind: Kind, reason: &'static str) -> Self {
        Self { kind, reason, code: None, http_status: None }
    }

    const fn code(self, code: Code) -> Self {
        Self { code: Some(code), ..self }
    }

    const fn http(self, status: u16) -> Self {
        Self { http_status: Some(status), ..self }
    }
}

impl Error {
    /// The one table of the edge's refusals.
    fn row(&self) -> Row {
        match self {
            Self::UnknownPath => Row::of(Kind::NotFound, "UNKNOWN_PATH"),
            Self::UnknownMethod => {
                Row::of(Kind::NotFound, "UNKNOWN_METHOD").code(Code::Unimplemented).http(501)
            }
            Self::MethodNotAllowed { .. } => {
                Row::of(Kind::Invalid, "METHOD_NOT_ALLOWED").code(Code::Unimplemented).http(405)
            }
            Self::MalformedRequest => Row::of(Kind::Invalid, "MALFORMED_REQUEST"),
            Self::MalformedPath => Row::of(Kind::Invalid, "MALFORMED_PATH"),
            Self::PathTooLong => Row::of(Kind::Invalid, "PATH_TOO_LONG").http(414),
            Self::HeadersTooLarge { .. } => Row::of(Kind::Exhausted, "HEADERS_TOO_LARGE").http(431),
            Self::UnsupportedMediaType => Row::of(Kind::Invalid, "UNSUPPORTED_MEDIA_TYPE").http(415),
            Self::NotAcceptable { .. } => Row::of(Kind::Invalid, "NOT_ACCEPTABLE").http(406),
            Self::MalformedJson { .. } => Row::of(Kind::Invalid, "MALFORMED_JSON"),
            Self::InvalidRequest { .. } => Row::of(Kind::Invalid, "INVALID_REQUEST"),
            Self::InvalidHeader { .. } => Row::of(Kind::Invalid, "INVALID_HEADER"),
            Self::BodyTooLarge { .. } => Row::of(Kind::Exhausted, "BODY_TOO_LARGE").http(413),
            // The client's time and not the call's: RFC 9110 section 15.5.9.
            Self::BodyTooSlow => Row::of(Kind::Timeout, "BODY_TOO_SLOW").http(408),
            Self::NoRoom { .. } => Row::of(Kind::Unavailable, "NO_ROOM"),
            Self::WebSocketVersion => Row::of(Kind::Invalid, "WEBSOCKET_VERSION").http(426),
            Self::OriginRefused => Row::of(Kind::Forbidden, "ORIGIN_REFUSED"),
            Self::FrameRefused { .. } => Row::of(Kind::Invalid, "FRAME_REFUSED"),
            Self::TokenMissing => Row::of(Kind::Unauthenticated, "TOKEN_MISSING"),
            Self::TokenInvalid { .. } => Row::of(Kind::Unauthenticated, "TOKEN_INVALID"),
            Self::TokenExpired => Row::of(Kind::Unauthenticated, "TOKEN_EXPIRED"),
            Self::TokenRevoked => Row::of(Kind::Unauthenticated, "TOKEN_REVOKED"),
            Self::ProofRequired => Row::of(Kind::Unauthenticated, "PROOF_REQUIRED"),
            Self::ProofInvalid { .. } => Row::of(Kind::Unauthenticated, "PROOF_INVALID"),
            Self::ProofsExhausted => Row::of(Kind::Exhausted, "PROOFS_EXHAUSTED"),
            Self::IssuerUnavailable => Row::of(Kind::Unavailable, "ISSUER_UNAVAILABLE"),
            Self::KeysUnavailable => Row::of(Kind::Unavailable, "KEYS_UNAVAILABLE"),
            Self::CertificateRequired => Row::of(Kind::Unauthenticated, "CERTIFICATE_REQUIRED"),
            Self::CertificateInvalid { .. } => Row::of(Kind::Unauthenticated, "CERTIFICATE_INVALID"),
            Self::TransactionTokenInvalid { .. } => {
                Row::of(Kind::Unauthenticated, "TRANSACTION_TOKEN_INVALID")
            }
            Self::ScopeMissing { .. } => Row::of(Kind::Forbidden, "SCOPE_MISSING"),
            Self::PrincipalNotAdmitted { .. } => Row::of(Kind::Forbidden, "PRINCIPAL_NOT_ADMITTED"),
            Self::HopsExceeded { .. } => Row::of(Kind::Precondition, "HOPS_EXCEEDED"),
            Self::TooManyInFlight { .. } => Row::of(Kind::Exhausted, "TOO_MANY_IN_FLIGHT"),
            Self::RateLimited { .. } => Row::of(Kind::Exhausted, "RATE_LIMITED"),
            Self::Overloaded { .. } => Row::of(Kind::Unavailable, "OVERLOADED"),
            Self::UpstreamUnavailable { .. } | Self::UpstreamLost { .. } => {
                Row::of(Kind::Unavailable, "UPSTREAM_UNAVAILABLE")
            }
            Self::UpstreamBusy { .. } => Row::of(Kind::Unavailable, "UPSTREAM_BUSY"),
            Self::UpstreamReset { code, .. } => {
                Row::of(Kind::Internal, "UPSTREAM_RESET").code(*code).http(http_status_of(*code as u32))
            }
            Self::DeadlineExceeded => Row::of(Kind::Timeout, "DEADLINE_EXCEEDED"),
            // As for a connection that died in silence: the client may come again.
            Self::StreamIdle => Row::of(Kind::Unavailable, "STREAM_IDLE"),
            Self::UpstreamBroken { .. } => {
                Row::of(Kind::Internal, "UPSTREAM_BROKEN").code(Code::Unknown).http(502)
            }
            // An upstream's plain HTTP error keeps its status; a success that is not gRPC is none.
            Self::UpstreamStatus { status } => Row::of(Kind::Internal, "UPSTREAM_BROKEN")
                .code(relay::Failure::NotGrpc { http_status: *status }.grpc_code())
                .http(if *status >= 400 { *status } else { 502 }),
            Self::UpstreamMessage { .. } => Row::of(Kind::Internal, "UPSTREAM_MESSAGE_BROKEN"),
            Self::Internal { .. } => Row::of(Kind::Internal, "INTERNAL"),
        }
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        let row = self.row();
        row.code.unwrap_or_else(|| row.kind.code())
    }

    /// The HTTP status.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        let row = self.row();
        row.http_status.unwrap_or_else(|| row.kind.http_status())
    }

    /// The refusal for whoever prints it as JSON; `status` is [`Error::status`].
    #[must_use]
    pub fn failed<'s>(&self, status: &'s Status) -> Failed<'s> {
        Failed {
            http_status: self.http_status(),
            grpc_code: status.code() as u32,
            message: status.message(),
            details: Some(status.details()),
        }
    }

    /// The header that belongs to the refusal whatever its body: `Allow`, the version that will do, the Bearer challenge or
    /// `Retry-After`.
    #[must_use]
    pub fn header(&self) -> Option<(http::HeaderName, String)> {
        if let Self::MethodNotAllowed { allow } = self {
            return Some((http::header::ALLOW, allow.clone()));
        }
        if matches!(self, Self::WebSocketVersion) {
            return Some((http::header::SEC_WEBSOCKET_VERSION, "13".to_owned()));
        }
        if let Some(challenge) = self.challenge() {
            return Some((http::header::WWW_AUTHENTICATE, challenge));
        }
        let after = self.retry_after()?;
        Some((http::header::RETRY_AFTER, after.as_secs_f64().ceil().max(1.0).to_string()))
    }

    /// RFC 6750 section 3: no error code when no token came, and never the reason inside. RFC 9449 section 7.1 where a proof is
    /// what is wrong.
    fn challenge(&self) -> Option<String> {
        if let Self::ScopeMissing { any_of } = self {
            return Some(format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", any_of.join(" ")));
        }
        let dpop = |error| Some(format!("DPoP error=\"{error}\", algs=\"{PROOF_ALGORITHMS}\""));
        if matches!(self, Self::ProofRequired) {
            return dpop("invalid_token");
        }
        if matches!(self, Self::ProofInvalid { .. }) {
            return dpop("invalid_dpop_proof");
        }
        if matches!(self, Self::TokenInvalid { .. } | Self::TokenExpired | Self::TokenRevoked) {
            return Some("Bearer error=\"invalid_token\"".to_owned());
        }
        // RFC 9110 section 11.6.1: a 401 always carries a challenge, also where a certificate was asked for.
        (self.kind() == Kind::Unauthenticated).then(|| "Bearer".to_owned())
    }

    /// The gRPC status with all its details. An internal error says nothing of its cause, but under which id to look for it. One
    /// of a call that moves money says what became of that.
    #[must_use]
    pub fn status(&self, transaction_id: Option<&str>, outcome: Option<Outcome>) -> Status {
        let mut details = self.details();
        if let Some(outcome) = outcome {
            let mut metadata = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
            metadata.insert(told::KEY.to_owned(), outcome.as_str().to_owned());
            details.set_error_info(self.reason(), Self::DOMAIN, metadata);
        }
        if let (Kind::Internal, Some(id)) = (self.kind(), transaction_id) {
            details.set_request_info(id, "");
        }
        Status::with_error_details(self.code(), self.client_message(), details)
    }
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_one_code_one_status_and_one_reason() {
        let check = |error: Error, code: Code, http_status: u16, reason: &str| {
            assert_eq!(
                (error.code(), error.http_status(), error.reason()),
                (code, http_status, reason),
                "{error}"
            );
            assert_eq!(error.status(None, None).code(), code);
        };
        check(Error::UnknownPath, Code::NotFound, 404, "UNKNOWN_PATH");
        check(Error::UnknownMethod, Code::Unimplemented, 501, "UNKNOWN_METHOD");
        check(
            Error::MethodNotAllowed { allow: "GET".into() },
            Code::Unimplemented,
            405,
            "METHOD_NOT_ALLOWED",
        );
        check(Error::PathTooLong, Code::InvalidArgument, 414, "PATH_TOO_LONG");
        check(Error::UnsupportedMediaType, Code::InvalidArgument, 415, "UNSUPPORTED_MEDIA_TYPE");
        check(Error::NotAcceptable { available: "a/b" }, Code::InvalidArgument, 406, "NOT_ACCEPTABLE");
        check(Error::BodyTooLarge { bytes_max: 1 }, Code::ResourceExhausted, 413, "BODY_TOO_LARGE");
        check(Error::HeadersTooLarge { bytes_max: 1 }, Code::ResourceExhausted, 431, "HEADERS_TOO_LARGE");
        check(Error::TokenMissing, Code::Unauthenticated, 401, "TOKEN_MISSING");
        check(Error::ScopeMissing { any_of: vec![] }, Code::PermissionDenied, 403, "SCOPE_MISSING");
        check(
            Error::TooManyInFlight { listener: "mesh" },
            Code::ResourceExhausted,
            429,
            "TOO_MANY_IN_FLIGHT",
        );
        check(
            Error::UpstreamUnavailable { source: "refused".into() },
            Code::Unavailable,
            503,
            "UPSTREAM_UNAVAILABLE",
        );
        let reset = Error::UpstreamReset { code: Code::ResourceExhausted, source: "calm".into() };
        check(reset, Code::ResourceExhausted, 429, "UPSTREAM_RESET");
        check(Error::DeadlineExceeded, Code::DeadlineExceeded, 504, "DEADLINE_EXCEEDED");
        check(Error::UpstreamBroken { problem: "no grpc-status" }, Code::Unknown, 502, "UPSTREAM_BROKEN");
        check(Error::UpstreamStatus { status: 503 }, Code::Unavailable, 503, "UPSTREAM_BROKEN");
        check(Error::UpstreamStatus { status: 200 }, Code::Unknown, 502, "UPSTREAM_BROKEN");
    }

    #[test]
    fn an_internal_refusal_tells_the_client_nothing() {
        let error = Error::UpstreamMessage { problem: "field 7 of secret.Message".into() };
        let status = error.status(Some("tx-1"), None);
        assert_eq!(status.message(), chassis::error::INTERNAL_MESSAGE);
        assert_eq!(status.get_details_request_info().unwrap().request_id, "tx-1");
    }

    #[test]
    fn a_challenge_names_the_scope_and_not_the_reason() {
        let challenge = |error: Error| error.header().map(|(_, value)| value);
        assert_eq!(challenge(Error::TokenMissing).as_deref(), Some("Bearer"));
        assert_eq!(challenge(Error::TokenExpired).as_deref(), Some("Bearer error=\"invalid_token\""));
        assert_eq!(
            challenge(Error::ScopeMissing { any_of: vec!["accounts.read".into(), "staff.read".into()] })
                .as_deref(),
            Some("Bearer error=\"insufficient_scope\", scope=\"accounts.read staff.read\"")
        );
    }
}
