//! What the layer around the handlers refuses by itself.

use std::time::Duration;

use tonic::Status;

use crate::error::{Failure, Kind, Violation, outcome};

/// The status of a call whose budget is spent.
pub(super) fn deadline_exceeded() -> Status {
    ServeError::DeadlineExceeded.into_status()
}

/// The status of a call whose message could not be decoded.
pub(super) fn malformed_message() -> Status {
    ServeError::MalformedMessage.into_status()
}

/// What the layer itself refuses.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("the deadline has passed")]
    DeadlineExceeded,
    #[error("a message of the request is not in its encoding")]
    MalformedMessage,
    #[error("too many calls in flight")]
    TooManyInFlight { max: usize },
}

impl Failure for ServeError {
    const DOMAIN: &'static str = "causeway";

    fn kind(&self) -> Kind {
        match self {
            Self::DeadlineExceeded => Kind::Timeout,
            Self::MalformedMessage => Kind::Invalid,
            Self::TooManyInFlight { .. } => Kind::Exhausted,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::MalformedMessage => "MALFORMED_MESSAGE",
            Self::TooManyInFlight { .. } => "TOO_MANY_IN_FLIGHT",
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        let outcome = match self {
            // The handler was dropped wherever it was.
            Self::DeadlineExceeded => outcome::UNKNOWN,
            // tonic decodes a request with one message before its handler runs.
            Self::MalformedMessage => outcome::REFUSED,
            Self::TooManyInFlight { .. } => outcome::NOT_DONE,
        };
        vec![(outcome::KEY, outcome.to_owned())]
    }

    fn violations(&self) -> Vec<Violation> {
        match self {
            Self::DeadlineExceeded | Self::MalformedMessage => Vec::new(),
            Self::TooManyInFlight { max } => {
                vec![Violation::new("in_flight", format!("at most {max} at once"))]
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::DeadlineExceeded | Self::MalformedMessage => None,
            // Long enough for a batch of calls to end, short enough that a client still waits for it.
            Self::TooManyInFlight { .. } => Some(Duration::from_millis(200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_layer_refuses_says_what_became_of_the_call() {
        let check = |error: ServeError, expect: &str| {
            assert_eq!(error.metadata(), [(outcome::KEY, expect.to_owned())], "{error}");
        };
        check(ServeError::DeadlineExceeded, "unknown");
        check(ServeError::MalformedMessage, "refused");
        check(ServeError::TooManyInFlight { max: 1 }, "not_done");
    }
}
