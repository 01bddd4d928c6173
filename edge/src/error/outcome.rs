//! What each refusal of the edge means for a call that moves money, by how far the call had come.

use super::Error;
use crate::outcome::{Outcome, Reach};

impl Error {
    /// What became of a call that ended with this error.
    ///
    /// Refused is what the request itself is at fault for: sent again as it stands, it is refused again. Not done is what passes
    /// or what other credentials help against. A stream is never refused once it has begun: what went before the fault may have
    /// been done.
    #[must_use]
    pub fn outcome(&self, reach: Reach) -> Outcome {
        match self {
            Self::UnknownPath
            | Self::UnknownMethod
            | Self::MethodNotAllowed { .. }
            | Self::MalformedRequest
            | Self::MalformedPath
            | Self::PathTooLong
            | Self::HeadersTooLarge { .. }
            | Self::UnsupportedMediaType
            | Self::NotAcceptable { .. }
            | Self::MalformedJson { .. }
            | Self::InvalidRequest { .. }
            | Self::InvalidHeader { .. }
            | Self::BodyTooLarge { .. }
            | Self::WebSocketVersion
            | Self::OriginRefused
            | Self::FrameRefused { .. }
            | Self::ScopeMissing { .. }
            | Self::PrincipalNotAdmitted { .. }
            | Self::HopsExceeded { .. } => match reach {
                Reach::Kept | Reach::Sent => Outcome::Refused,
                Reach::Streamed => Outcome::Unknown,
            },
            Self::BodyTooSlow
            | Self::NoRoom { .. }
            | Self::TokenMissing
            | Self::TokenInvalid { .. }
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::ProofRequired
            | Self::ProofInvalid { .. }
            | Self::ProofsExhausted
            | Self::IssuerUnavailable
            | Self::KeysUnavailable
            | Self::CertificateRequired
            | Self::CertificateInvalid { .. }
            | Self::TransactionTokenInvalid { .. }
            | Self::TooManyInFlight { .. }
            | Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::DeadlineExceeded
            | Self::StreamIdle
            | Self::Internal { .. } => match reach {
                Reach::Kept => Outcome::NotDone,
                Reach::Sent | Reach::Streamed => Outcome::Unknown,
            },
            // However often it moved: these are errors of calls that no service has seen.
            Self::UpstreamUnavailable { .. } | Self::UpstreamBusy { .. } => Outcome::NotDone,
            Self::UpstreamLost { .. }
            | Self::UpstreamReset { .. }
            | Self::UpstreamBroken { .. }
            | Self::UpstreamStatus { .. }
            | Self::UpstreamMessage { .. } => Outcome::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::upstream::{OpenError, StreamError};

    #[test]
    fn what_became_of_a_call_depends_on_how_far_it_had_come() {
        let check = |error: Error, expect: [Outcome; 3]| {
            let got = [Reach::Kept, Reach::Sent, Reach::Streamed].map(|reach| error.outcome(reach));
            assert_eq!(got, expect, "{error}");
        };
        let (refused, not_done, unknown) = (Outcome::Refused, Outcome::NotDone, Outcome::Unknown);
        check(Error::MalformedJson { problem: String::new() }, [refused, refused, unknown]);
        check(Error::BodyTooLarge { bytes_max: 1 }, [refused, refused, unknown]);
        check(Error::ScopeMissing { any_of: Vec::new() }, [refused, refused, unknown]);
        check(Error::TokenMissing, [not_done, unknown, unknown]);
        check(Error::TokenRevoked, [not_done, unknown, unknown]);
        check(Error::Overloaded { listener: "public" }, [not_done, unknown, unknown]);
        check(Error::DeadlineExceeded, [not_done, unknown, unknown]);
        check(Error::Internal { problem: "" }, [not_done, unknown, unknown]);
        check(Error::UpstreamUnavailable { source: "refused".into() }, [not_done; 3]);
        check(Error::UpstreamBusy { limit: "upstream_pending", source: "full".into() }, [not_done; 3]);
        check(Error::UpstreamLost { source: "gone".into() }, [unknown; 3]);
        check(Error::UpstreamReset { code: Code::Internal, source: "reset".into() }, [unknown; 3]);
        check(Error::UpstreamStatus { status: 503 }, [unknown; 3]);
    }

    #[test]
    fn a_call_that_found_no_second_place_is_not_done_only_if_the_first_has_not_seen_it() {
        let nowhere = || OpenError::NoEndpoint { upstream: "a".into() };
        let outcome = |error: StreamError| Error::from(error).outcome(Reach::Sent);
        assert_eq!(outcome(StreamError::Open(nowhere())), Outcome::NotDone);
        assert_eq!(outcome(StreamError::NotRepeated(nowhere())), Outcome::Unknown);
        assert_eq!(outcome(StreamError::Over), Outcome::Unknown);
    }
}
