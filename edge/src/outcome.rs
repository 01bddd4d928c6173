//! What became of a call that moves money, said by every error of it: under `outcome` in the metadata of its `ErrorInfo`. The
//! words are the ledger's own. A service knows them best; the edge says them for its own errors, and for an upstream's error only
//! what the upstream cannot know: that the edge had made the call before.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
pub use chassis::error::outcome::KEY;
use chassis::error::outcome::{NOT_DONE, REFUSED, UNKNOWN};
use http::{HeaderMap, HeaderValue};
use prost::Message as _;
use tonic_types::pb::{ErrorInfo, Status};

use crate::contract::Method;
use crate::policy::RateClass;
use crate::transcode::decode_bin;

const STATUS: &str = "grpc-status";
const DETAILS: &str = "grpc-status-details-bin";
const ERROR_INFO: &str = "google.rpc.ErrorInfo";

/// What became of a call that was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing, and nothing ever will of this request as it stands.
    Refused,
    /// Nothing: it never reached the service, or that one has not begun with it. Sending it again is safe.
    NotDone,
    /// Nobody here knows. Sending it again with the same `request_id` tells.
    Unknown,
}

impl Outcome {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => REFUSED,
            Self::NotDone => NOT_DONE,
            Self::Unknown => UNKNOWN,
        }
    }
}

/// How far a call had come when the edge gave it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No byte of it has left the edge.
    Kept,
    /// It was sent, and is one message: a part of it does nothing.
    Sent,
    /// It was sent, and is a stream: what went before may have been done.
    Streamed,
}

impl Reach {
    /// How far a call of `method` has come.
    #[must_use]
    pub fn of(method: &Method, sent: bool) -> Self {
        match (sent, method.client_streaming) {
            (false, _) => Self::Kept,
            (true, false) => Self::Sent,
            (true, true) => Self::Streamed,
        }
    }
}

/// Whether the errors of a method say what became of the call: whether it moves money.
#[must_use]
pub fn is_told(method: &Arc<Method>) -> bool {
    method.policy.rate_class == RateClass::Money
}

/// Completes an upstream's error, in trailers or in a header that is all of an answer. What it says of itself stands, with one
/// exception: `in_doubt`, when the edge had made the call before and does not know what came of that, its `not_done` is true of
/// the last attempt only. An error that says nothing has an outcome nobody knows. A status without an `ErrorInfo` is left as it is.
pub fn complete(answer: &mut HeaderMap, in_doubt: bool) {
    let Some(mut status) = error(answer) else { return };
    let mut changed = false;
    for detail in &mut status.details {
        let Some(mut info) = info(detail) else { continue };
        let stands = match info.metadata.get(KEY) {
            Some(said) => !(in_doubt && said == NOT_DONE),
            None => false,
        };
        if !stands {
            info.metadata.insert(KEY.to_owned(), UNKNOWN.to_owned());
            detail.value = info.encode_to_vec();
            changed = true;
        }
    }
    if !changed {
        return;
    }
    let encoded = STANDARD_NO_PAD.encode(status.encode_to_vec());
    if let Ok(value) = HeaderValue::try_from(encoded) {
        answer.insert(DETAILS, value);
    }
}

/// Whether an upstream's error says that nothing was done.
#[must_use]
pub fn says_nothing_done(answer: &HeaderMap) -> bool {
    let said = error(answer)
        .and_then(|status| status.details.iter().find_map(info)?.metadata.get(KEY).cloned())
        .unwrap_or_default();
    said == NOT_DONE || said == REFUSED
}

/// The details of an answer that has failed.
fn error(answer: &HeaderMap) -> Option<Status> {
    answer.get(STATUS).filter(|status| *status != "0")?;
    Status::decode(&*decode_bin(answer.get(DETAILS)?.as_bytes())?).ok()
}

fn info(detail: &prost_types::Any) -> Option<ErrorInfo> {
    detail.type_url.ends_with(ERROR_INFO).then(|| ErrorInfo::decode(&*detail.value).ok())?
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    /// The headers of a status, with what its `ErrorInfo` says.
    fn answer(code: Code, said: Option<&str>) -> HeaderMap {
        let metadata =
            said.map(|said| (KEY.to_owned(), said.to_owned())).into_iter().collect::<HashMap<_, _>>();
        let mut details = ErrorDetails::with_error_info("AWAY", "a.v1", metadata);
        details.set_retry_info(Some(std::time::Duration::from_secs(3)));
        let mut headers = HeaderMap::new();
        tonic::Status::with_error_details(code, "away", details).add_header(&mut headers).unwrap();
        headers
    }

    #[test]
    fn an_upstream_is_only_corrected_where_it_cannot_know() {
        let check = |said: Option<&str>, in_doubt: bool, expect: &str| {
            let mut headers = answer(Code::Unavailable, said);
            complete(&mut headers, in_doubt);
            let status = tonic::Status::from_header_map(&headers).unwrap();
            assert_eq!(status.get_details_error_info().unwrap().metadata[KEY], expect, "{said:?} {in_doubt}");
            assert!(status.get_details_retry_info().is_some(), "the other details stand");
        };
        check(Some("not_done"), false, "not_done");
        check(Some("refused"), false, "refused");
        check(Some("unknown"), false, "unknown");
        check(Some("not_done"), true, "unknown");
        check(Some("refused"), true, "refused");
        check(None, false, "unknown");
        check(None, true, "unknown");
    }

    #[test]
    fn what_is_no_error_or_has_no_details_is_left_as_it_is() {
        let bare = HeaderMap::from_iter([(http::HeaderName::from_static(STATUS), "14".parse().unwrap())]);
        for headers in [HeaderMap::new(), bare, answer(Code::Ok, None)] {
            let mut completed = headers.clone();
            complete(&mut completed, true);
            assert_eq!(completed, headers);
        }
    }

    #[test]
    fn an_upstream_that_says_nothing_has_not_said_that_nothing_was_done() {
        for (said, nothing) in
            [(Some("not_done"), true), (Some("refused"), true), (Some("unknown"), false), (None, false)]
        {
            assert_eq!(says_nothing_done(&answer(Code::Unavailable, said)), nothing, "{said:?}");
        }
        assert!(!says_nothing_done(&HeaderMap::new()));
    }
}
