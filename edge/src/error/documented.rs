//! `docs/errors.md` says of every refusal of the edge what the code says. A variant that is added has to be added here, for the
//! match below knows them all.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::error::Failure as _;
use chassis::metrics::code_name;
use tonic::Code;

use super::Error;
use crate::rate;

/// One of each.
fn all() -> Vec<Error> {
    let source = || "gone".into();
    vec![
        Error::UnknownPath,
        Error::UnknownMethod,
        Error::MethodNotAllowed { allow: "GET".into() },
        Error::MalformedRequest,
        Error::MalformedPath,
        Error::PathTooLong,
        Error::HeadersTooLarge { bytes_max: 1 },
        Error::UnsupportedMediaType,
        Error::NotAcceptable { available: "application/json" },
        Error::MalformedJson { problem: String::new() },
        Error::InvalidRequest { violations: Vec::new() },
        Error::InvalidHeader { header: "te" },
        Error::BodyTooLarge { bytes_max: 1 },
        Error::WebSocketVersion,
        Error::BodyTooSlow,
        Error::NoRoom { listener: "public" },
        Error::OriginRefused,
        Error::FrameRefused { problem: String::new() },
        Error::TokenMissing,
        Error::TokenInvalid { cause: "malformed" },
        Error::TokenExpired,
        Error::TokenRevoked,
        Error::ProofRequired,
        Error::ProofInvalid { cause: "seen before" },
        Error::ProofsExhausted,
        Error::IssuerUnavailable,
        Error::KeysUnavailable,
        Error::CertificateRequired,
        Error::CertificateInvalid { cause: "unknown name" },
        Error::TransactionTokenInvalid { cause: chassis::transaction_token::TokenError::Audience },
        Error::ScopeMissing { any_of: Vec::new() },
        Error::PrincipalNotAdmitted { principal: "subject" },
        Error::HopsExceeded { hops_max: 4 },
        Error::TooManyInFlight { listener: "public" },
        Error::RateLimited {
            refusal: rate::Refusal {
                class: "money",
                principal: "subject",
                scope: "local",
                retry_after: Duration::from_secs(1),
            },
        },
        Error::Overloaded { listener: "public" },
        Error::UpstreamUnavailable { source: source() },
        Error::UpstreamLost { source: source() },
        Error::UpstreamBusy { limit: "upstream_in_flight", source: source() },
        Error::UpstreamReset { code: Code::Aborted, source: source() },
        Error::DeadlineExceeded,
        Error::StreamIdle,
        Error::UpstreamBroken { problem: "" },
        Error::UpstreamStatus { status: 404 },
        Error::UpstreamMessage { problem: String::new() },
        Error::Internal { problem: "" },
    ]
}

/// Whether the document gives the code and status of a reason as "varies": they are what the upstream's failure makes them.
const fn varies(error: &Error) -> bool {
    match error {
        Error::UpstreamReset { .. } | Error::UpstreamBroken { .. } | Error::UpstreamStatus { .. } => true,
        Error::UnknownPath
        | Error::UnknownMethod
        | Error::MethodNotAllowed { .. }
        | Error::MalformedRequest
        | Error::MalformedPath
        | Error::PathTooLong
        | Error::HeadersTooLarge { .. }
        | Error::UnsupportedMediaType
        | Error::NotAcceptable { .. }
        | Error::MalformedJson { .. }
        | Error::InvalidRequest { .. }
        | Error::InvalidHeader { .. }
        | Error::BodyTooLarge { .. }
        | Error::BodyTooSlow
        | Error::NoRoom { .. }
        | Error::WebSocketVersion
        | Error::OriginRefused
        | Error::FrameRefused { .. }
        | Error::TokenMissing
        | Error::TokenInvalid { .. }
        | Error::TokenExpired
        | Error::TokenRevoked
        | Error::ProofRequired
        | Error::ProofInvalid { .. }
        | Error::ProofsExhausted
        | Error::IssuerUnavailable
        | Error::KeysUnavailable
        | Error::CertificateRequired
        | Error::CertificateInvalid { .. }
        | Error::TransactionTokenInvalid { .. }
        | Error::ScopeMissing { .. }
        | Error::PrincipalNotAdmitted { .. }
        | Error::HopsExceeded { .. }
        | Error::TooManyInFlight { .. }
        | Error::RateLimited { .. }
        | Error::Overloaded { .. }
        | Error::UpstreamUnavailable { .. }
        | Error::UpstreamLost { .. }
        | Error::UpstreamBusy { .. }
        | Error::DeadlineExceeded
        | Error::StreamIdle
        | Error::UpstreamMessage { .. }
        | Error::Internal { .. } => false,
    }
}

/// The rows of the edge's table by reason: kind, gRPC code, HTTP status.
fn documented() -> BTreeMap<String, [String; 3]> {
    let text = include_str!("../../../docs/errors.md");
    let section = text.split("\n## ").find_map(|section| section.strip_prefix("edge.v1\n")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")).map(|line| {
        let mut cells = line.split(" | ").map(str::to_owned);
        let mut cell = || cells.next().unwrap();
        (cell(), [cell(), cell(), cell()])
    });
    rows.filter(|(reason, _)| reason != "reason").collect()
}

#[test]
fn the_list_of_refusals_is_true() {
    let code = all().into_iter().map(|error| {
        let [grpc, http] = if varies(&error) {
            ["varies".to_owned(), "varies".to_owned()]
        } else {
            [code_name(error.code()).to_owned(), error.http_status().to_string()]
        };
        (error.reason().to_owned(), [format!("{:?}", error.kind()), grpc, http])
    });
    assert_eq!(documented(), code.collect());
}
