//! The shapes that a failure has over REST: AIP-193, and the problem details of RFC 9457 for clients that prefer them. Both are
//! printed from the same value and say the same.

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::json::put_string;
use super::print::{Habits, Printer};
use super::status::{Failed, code_name, details, google_rpc, put_details, status_json};
use super::types::Types;
use super::wire;

/// Field numbers of `google.rpc.ErrorInfo`.
const REASON: u32 = 1;
const DOMAIN: u32 = 2;
const METADATA: u32 = 3;

/// What begins the URN of a problem's type; domain and reason follow, which name it for ever.
const TYPE: &str = "urn:causeway:error:";

/// What a part of a URN may hold as it is (RFC 8141), the colon left out because it parts them.
const URN_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The shape of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{"error": {...}}`, as AIP-193 has it.
    Plain,
    /// RFC 9457.
    Problem,
}

impl ErrorShape {
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "application/json",
            Self::Problem => "application/problem+json",
        }
    }

    /// Appends a failure. Types of `google.rpc` are always known, those of `types` if given.
    pub fn put(self, failed: &Failed<'_>, types: Option<&Types>, out: &mut Vec<u8>) {
        match self {
            Self::Plain => status_json(failed, types, out),
            Self::Problem => put_problem(failed, types, out),
        }
    }
}

/// What an `ErrorInfo` says.
struct Info<'m> {
    reason: &'m str,
    domain: &'m str,
    /// The whole message.
    bytes: &'m [u8],
}

impl<'m> Info<'m> {
    /// The first among the details, if it names a reason.
    fn of(failed: &Failed<'m>) -> Option<Self> {
        details(failed.details.unwrap_or_default()).find_map(|detail| {
            let type_url = wire::last_bytes(detail, 1).ok()??;
            if !type_url.ends_with(b"/google.rpc.ErrorInfo") {
                return None;
            }
            let bytes = wire::last_bytes(detail, 2).ok()??;
            let text =
                |number| std::str::from_utf8(wire::last_bytes(bytes, number).ok()?.unwrap_or_default()).ok();
            let (reason, domain) = (text(REASON)?, text(DOMAIN)?);
            (!reason.is_empty()).then_some(Self { reason, domain, bytes })
        })
    }

    fn put_metadata(&self, out: &mut Vec<u8>) {
        let types = google_rpc();
        let Some(id) = types.find("google.rpc.ErrorInfo") else { return };
        let Some(place) = types.message(id).by_number(METADATA) else { return };
        let start = out.len();
        out.extend_from_slice(b",\"metadata\":");
        if Printer::new(types, Habits::default(), out).only(id, place, self.bytes).is_err() {
            out.truncate(start);
        }
    }
}

/// `type`, `title`, `status` and `detail`, and beside them what AIP-193 has: `code` is the name of the gRPC code.
fn put_problem(failed: &Failed<'_>, types: Option<&Types>, out: &mut Vec<u8>) {
    let info = Info::of(failed);
    out.extend_from_slice(b"{\"type\":");
    match &info {
        Some(Info { reason, domain, .. }) => {
            let part = |text| utf8_percent_encode(text, URN_PART);
            put_string(out, &format!("{TYPE}{}:{}", part(domain), part(reason)));
        }
        None => put_string(out, "about:blank"),
    }
    out.extend_from_slice(b",\"title\":");
    put_string(out, &title(info.as_ref(), failed.http_status));
    out.extend_from_slice(b",\"status\":");
    out.extend_from_slice(itoa::Buffer::new().format(failed.http_status).as_bytes());
    out.extend_from_slice(b",\"detail\":");
    put_string(out, failed.message);
    out.extend_from_slice(b",\"code\":");
    put_string(out, code_name(failed.grpc_code));
    if let Some(info) = &info {
        out.extend_from_slice(b",\"reason\":");
        put_string(out, info.reason);
        out.extend_from_slice(b",\"domain\":");
        put_string(out, info.domain);
        info.put_metadata(out);
    }
    put_details(failed, types, out);
    out.push(b'}');
}

/// The type in words, always the same ones: those of its reason, and of the status where there is no type.
fn title(info: Option<&Info<'_>>, http_status: u16) -> String {
    let Some(info) = info else {
        let phrase = StatusCode::from_u16(http_status).ok().and_then(|status| status.canonical_reason());
        return phrase.unwrap_or("Unknown").to_owned();
    };
    let words = info.reason.replace('_', " ").to_lowercase();
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn problem(code: Code, http_status: u16, details: ErrorDetails) -> Value {
        let status = tonic::Status::with_error_details(code, "not \"enough\"", details);
        let failed = Failed {
            http_status,
            grpc_code: code as u32,
            message: status.message(),
            details: Some(status.details()),
        };
        let mut out = Vec::new();
        ErrorShape::Problem.put(&failed, None, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_problem_says_what_the_error_says() {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "INSUFFICIENT_FUNDS",
            "ledger.v1",
            HashMap::from([("field".to_owned(), "debit".to_owned())]),
        );
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "INSUFFICIENT_FUNDS",
            "domain": "ledger.v1",
            "metadata": {"field": "debit"},
        });
        assert_eq!(
            problem(Code::FailedPrecondition, 400, details),
            json!({
                "type": "urn:causeway:error:ledger.v1:INSUFFICIENT_FUNDS",
                "title": "Insufficient funds",
                "status": 400,
                "detail": "not \"enough\"",
                "code": "FAILED_PRECONDITION",
                "reason": "INSUFFICIENT_FUNDS",
                "domain": "ledger.v1",
                "metadata": {"field": "debit"},
                "details": [info],
            })
        );
    }

    #[test]
    fn a_problem_without_a_reason_has_no_type() {
        assert_eq!(
            problem(Code::NotFound, 404, ErrorDetails::new()),
            json!({
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "not \"enough\"",
                "code": "NOT_FOUND",
                "details": [],
            })
        );
        assert_eq!(problem(Code::Cancelled, 499, ErrorDetails::new())["title"], "Unknown");
    }

    #[test]
    fn a_foreign_domain_makes_no_other_urn() {
        let mut details = ErrorDetails::new();
        details.set_error_info("A B", "x:y/é", HashMap::new());
        let problem = problem(Code::Unknown, 500, details);
        assert_eq!(problem["type"], "urn:causeway:error:x%3Ay%2F%C3%A9:A%20B");
        assert_eq!(problem["metadata"], json!({}));
    }
}
