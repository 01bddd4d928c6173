//! Between `edge.v1.RevocationService` and the domain.
use proto::edge::v1 as pb;

use super::Faults;
use crate::domain::{Fault, Revocation};
use crate::error::Error;
use crate::store::Changes;

pub(in crate::rpc) fn revoke(request: pb::RevokeRequest, now_ms: u64) -> Result<Revocation, Error> {
    let mut faults = Faults::default();
    let issuer = faults.take("issuer", Revocation::name(request.issuer));
    let token_id = faults.take("token_id", Revocation::name(request.token_id));
    let expiry = request.expire_time.ok_or(Fault::Missing);
    let expiry = faults
        .take("expire_time", expiry.and_then(|expiry| Revocation::expiry(milliseconds(expiry), now_ms)));
    match (issuer, token_id, expiry) {
        (Some(issuer), Some(token_id), Some(expires_ms)) => Ok(Revocation { issuer, token_id, expires_ms }),
        _ => Err(faults.refusal()),
    }
}

/// A part of a millisecond counts as a whole one, so that no token is believed again before it expires. What is before 1970
/// has expired.
fn milliseconds(time: prost_types::Timestamp) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let nanos = u64::try_from(time.nanos).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanos.div_ceil(1_000_000))
}

/// One message of a watch; empty to show that it lives.
pub(in crate::rpc) fn changes(changes: Changes) -> pb::WatchResponse {
    let revocation = |revocation: Revocation| pb::Revocation {
        issuer: revocation.issuer,
        token_id: revocation.token_id,
        expire_time: Some(timestamp(revocation.expires_ms)),
    };
    pb::WatchResponse {
        revocations: changes.revocations.into_iter().map(revocation).collect(),
        complete: changes.complete,
    }
}

pub(super) fn timestamp(ms: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1000 * 1_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fields;
    use super::*;

    #[test]
    fn a_revocation_names_a_token_and_its_end() {
        let asked = |issuer: &str, seconds: Option<i64>| pb::RevokeRequest {
            issuer: issuer.into(),
            token_id: "t".into(),
            expire_time: seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 1 }),
        };
        let now_ms = 1_700_000_000_000;
        let revocation = revoke(asked("i", Some(1_700_000_060)), now_ms).unwrap();
        assert_eq!(revocation.expires_ms, 1_700_000_060_001, "rounded up");
        let told = changes(Changes { place: 1, revocations: vec![revocation], complete: true });
        assert_eq!(told.revocations[0].expire_time.unwrap().nanos, 1_000_000);
        assert_eq!(revoke(asked("i", Some(-1)), now_ms).unwrap().expires_ms, 1);
        let refused = revoke(asked(&"x".repeat(257), None), now_ms).unwrap_err();
        assert_eq!(fields(refused), ["issuer", "expire_time"]);
        let far = revoke(asked("i", Some(1_700_000_000 + 32 * 24 * 3600)), now_ms).unwrap_err();
        assert_eq!(fields(far), ["expire_time"]);
        assert_eq!(fields(revoke(asked("i", Some(i64::MAX)), now_ms).unwrap_err()), ["expire_time"]);
    }
}
