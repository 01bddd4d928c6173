//! Between `edge.v1.RateLimitService` and the domain.
use std::collections::BTreeSet;

use proto::edge::v1 as pb;

use super::{Faults, duration, lifetime};
use crate::domain::{BucketKey, BucketLimit, Fault, TAKES_MAX, Take, Taken};
use crate::error::Error;

pub(in crate::rpc) fn take(request: pb::TakeRequest) -> Result<Vec<Take>, Error> {
    let mut faults = Faults::default();
    let count = match request.takes.len() {
        0 => Err(Fault::Missing),
        n if n > TAKES_MAX => Err(Fault::TooMany { max: TAKES_MAX }),
        _ => Ok(()),
    };
    if faults.take("takes", count).is_none() {
        return Err(faults.refusal());
    }
    let mut keys = BTreeSet::new();
    let takes: Vec<Option<Take>> = request
        .takes
        .into_iter()
        .enumerate()
        .map(|(n, bucket)| {
            let field = |name: &str| format!("takes[{n}].{name}");
            // Two takes from one bucket are one take of the sum, and whoever sends both does not know what it counts.
            let key = BucketKey::parse(&bucket.key).and_then(|key| match keys.insert(key.clone()) {
                true => Ok(key),
                false => Err(Fault::Twice),
            });
            let key = faults.take(field("key"), key);
            let limit = limit(&mut faults, n, bucket.limit.unwrap_or_default());
            faults.take(field("tokens"), Take::new(key?, bucket.tokens, limit?))
        })
        .collect();
    takes.into_iter().collect::<Option<_>>().ok_or_else(|| faults.refusal())
}

fn limit(faults: &mut Faults, n: usize, limit: pb::BucketLimit) -> Option<BucketLimit> {
    let field = |name: &str| format!("takes[{n}].limit.{name}");
    let tokens = BucketLimit::tokens_per_period(limit.tokens_per_period);
    let tokens = faults.take(field("tokens_per_period"), tokens);
    let period = faults.take(field("period"), lifetime(limit.period).and_then(BucketLimit::period));
    let burst = faults.take(field("burst"), BucketLimit::burst(limit.burst));
    Some(BucketLimit::new(tokens?, period?, burst?))
}

pub(in crate::rpc) fn taken(taken: Vec<Taken>) -> pb::TakeResponse {
    let taken = taken.into_iter().map(|taken| pb::BucketTaken {
        allowed: taken.allowed,
        remaining: taken.remaining,
        retry_after: duration(taken.retry_after),
        reset_after: duration(taken.reset_after),
    });
    pb::TakeResponse { taken: taken.collect() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fields;
    use super::*;

    #[test]
    fn every_fault_of_every_take_is_named_at_once() {
        let good = pb::BucketTake {
            key: "k".into(),
            tokens: 5,
            limit: Some(pb::BucketLimit {
                tokens_per_period: 10,
                period: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
                burst: 5,
            }),
        };
        let takes = |takes: Vec<pb::BucketTake>| take(pb::TakeRequest { takes });
        assert_eq!(takes(vec![good.clone()]).unwrap().len(), 1);
        assert_eq!(fields(takes(vec![]).unwrap_err()), ["takes"]);
        let distinct = |n: usize| pb::BucketTake { key: format!("k{n}"), ..good.clone() };
        assert!(takes((0..100).map(distinct).collect()).is_ok());
        assert_eq!(fields(takes((0..101).map(distinct).collect()).unwrap_err()), ["takes"]);
        let nothing = pb::BucketTake { key: "x".repeat(129), tokens: 1, limit: None };
        let large = pb::BucketTake { tokens: 6, ..distinct(1) };
        assert_eq!(
            fields(takes(vec![good.clone(), nothing, good.clone(), large]).unwrap_err()),
            [
                "takes[1].key",
                "takes[1].limit.tokens_per_period",
                "takes[1].limit.period",
                "takes[1].limit.burst",
                "takes[2].key",
                "takes[3].tokens"
            ]
        );
    }
}
