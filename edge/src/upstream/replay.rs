//! A call as it was asked for, kept until its answer begins: what another attempt needs if the first one turns out never to
//! have been processed. Of the body only the first bytes are kept, as shared slices; a call that has sent more stays where
//! it is.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName};

use tokio::time::Instant;

use super::Terms;
use crate::headers::{self, GRPC_TIMEOUT};

/// gRFC A6: lets a service tell a retry from a first call.
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// How much of a request body is kept. Nearly every unary request fits, and a refusal usually arrives long before.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// A call and what it has sent.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) terms: Terms,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    /// Whether the header is all there is.
    pub(super) end_of_stream: bool,
    sent: Vec<Bytes>,
    sent_bytes: usize,
    ended: bool,
}

impl Call {
    pub(super) fn new(terms: Terms, path: PathAndQuery, headers: HeaderMap, end_of_stream: bool) -> Self {
        Self { terms, path, headers, end_of_stream, sent: Vec::new(), sent_bytes: 0, ended: end_of_stream }
    }

    /// Remembers a part of the body that was handed to a connection.
    pub(super) fn record(&mut self, part: &Bytes, end: bool) {
        self.ended |= end;
        self.sent_bytes = self.sent_bytes.saturating_add(part.len());
        if self.repeatable() {
            self.sent.push(part.clone());
        } else {
            self.sent = Vec::new();
        }
    }

    /// Whether the last part was sent.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Brings the header up to date for another attempt: what is left of the budget and, if the service may have seen the call
    /// before, how often.
    pub(super) fn again(&mut self, now: Instant, retries: u32) {
        if let (Some(deadline), Some(timeout)) = (self.terms.deadline, self.headers.get_mut(GRPC_TIMEOUT)) {
            *timeout = headers::timeout(deadline.saturating_duration_since(now));
        }
        if retries > 0 {
            self.headers.insert(PREVIOUS_ATTEMPTS, retries.into());
        }
    }

    /// Whether all that was sent is still known.
    pub(super) fn repeatable(&self) -> bool {
        self.sent_bytes <= KEPT_BYTES_MAX
    }

    /// The parts sent so far, each with whether it was the last.
    pub(super) fn sent(&self) -> impl Iterator<Item = (Bytes, bool)> {
        let last = self.sent.len().wrapping_sub(1);
        self.sent.iter().enumerate().map(move |(at, part)| (part.clone(), self.ended && at == last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        let terms = Terms {
            class: crate::upstream::StreamClass::Unary,
            idempotent: false,
            deadline: None,
            outcome: false,
        };
        Call::new(terms, PathAndQuery::from_static("/a.B/C"), HeaderMap::new(), false)
    }

    #[test]
    fn what_was_sent_is_repeated_as_it_was() {
        let mut call = call();
        assert_eq!(call.sent().count(), 0);
        call.record(&Bytes::from_static(b"ab"), false);
        call.record(&Bytes::from_static(b"c"), false);
        assert_eq!(call.sent().collect::<Vec<_>>(), [("ab".into(), false), ("c".into(), false)]);
        call.record(&Bytes::new(), true);
        assert_eq!(call.sent().last(), Some((Bytes::new(), true)));
    }

    #[test]
    fn another_attempt_has_less_time_and_says_which_it_is() {
        let (mut call, now) = (call(), Instant::now());
        call.terms.deadline = Some(now + std::time::Duration::from_secs(2));
        call.headers.insert(GRPC_TIMEOUT, "5S".parse().unwrap());
        let text =
            |call: &Call, name: &str| call.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        call.again(now, 0);
        assert_eq!(
            text(&call, "grpc-timeout"),
            Some(chassis::deadline::format(std::time::Duration::from_secs(2)))
        );
        assert_eq!(text(&call, "grpc-previous-rpc-attempts"), None, "the service has not seen it");
        call.again(now + std::time::Duration::from_secs(1), 2);
        assert_eq!(
            text(&call, "grpc-timeout"),
            Some(chassis::deadline::format(std::time::Duration::from_secs(1)))
        );
        assert_eq!(text(&call, "grpc-previous-rpc-attempts").as_deref(), Some("2"));
    }

    #[test]
    fn a_long_body_is_not_kept() {
        let mut call = call();
        call.record(&Bytes::from(vec![0; KEPT_BYTES_MAX]), false);
        assert!(call.repeatable());
        call.record(&Bytes::from_static(b"x"), false);
        assert!(!call.repeatable());
        assert_eq!(call.sent().count(), 0, "and gives its memory back");
    }
}
