//! Between `cache.v1` and the domain; beside it, between `edge.v1` and the domain. Every fault of a request is found before one
//! is answered, each with the path of its field.
pub(super) mod audit;
pub(super) mod rate_limit;
pub(super) mod revocation;

use std::time::Duration;

use chassis::error::Violation;
use proto::cache::v1 as pb;

use crate::domain::{
    BATCH_KEYS_MAX, CachedValue, EntryLifetime, Fault, Key, LeaseId, LeaseLifetime, Tag, Tags,
};
use crate::error::Error;
use crate::store::{Acquired, Found};

/// A SetEntry that makes sense.
pub(super) struct Set {
    pub(super) key: Key,
    pub(super) value: CachedValue,
    pub(super) lifetime: EntryLifetime,
    pub(super) tags: Tags,
    pub(super) lease: Option<LeaseId>,
}

/// An AcquireLease that makes sense.
pub(super) struct Acquire {
    pub(super) key: Key,
    pub(super) lifetime: LeaseLifetime,
    pub(super) tags: Tags,
}

/// The faults found so far.
#[derive(Default)]
struct Faults(Vec<Violation>);

impl Faults {
    /// Takes the value, or notes what is wrong with the field.
    fn take<T>(&mut self, field: impl Into<String>, parsed: Result<T, Fault>) -> Option<T> {
        parsed.map_err(|fault| self.0.push(Violation::new(field, fault.to_string()))).ok()
    }

    fn tags(&mut self, tags: Vec<String>) -> Option<Tags> {
        let parsed: Vec<Option<Tag>> = tags
            .into_iter()
            .enumerate()
            .map(|(n, tag)| self.take(format!("tags[{n}]"), Tag::parse(tag)))
            .collect();
        let tags = Tags::collect(parsed.into_iter().collect::<Option<_>>()?);
        self.take("tags", tags)
    }

    fn refusal(self) -> Error {
        Error::Invalid { violations: self.0 }
    }
}

fn lifetime(duration: Option<prost_types::Duration>) -> Result<Duration, Fault> {
    Duration::try_from(duration.ok_or(Fault::Missing)?).map_err(|_| Fault::TooShort)
}

fn key(given: String) -> Result<Key, Error> {
    let mut faults = Faults::default();
    faults.take("key", Key::parse(given)).ok_or_else(|| faults.refusal())
}

pub(super) fn get_entry(request: pb::GetEntryRequest) -> Result<Key, Error> {
    key(request.key)
}

pub(super) fn delete_entry(request: pb::DeleteEntryRequest) -> Result<Key, Error> {
    key(request.key)
}

pub(super) fn batch_get_entries(request: pb::BatchGetEntriesRequest) -> Result<Vec<Key>, Error> {
    let mut faults = Faults::default();
    let count = match request.keys.len() {
        0 => Err(Fault::Missing),
        n if n > BATCH_KEYS_MAX => Err(Fault::TooMany { max: BATCH_KEYS_MAX }),
        _ => Ok(()),
    };
    if faults.take("keys", count).is_none() {
        return Err(faults.refusal());
    }
    let keys: Vec<Option<Key>> = request
        .keys
        .into_iter()
        .enumerate()
        .map(|(n, key)| faults.take(format!("keys[{n}]"), Key::parse(key)))
        .collect();
    keys.into_iter().collect::<Option<_>>().ok_or_else(|| faults.refusal())
}

pub(super) fn set_entry(request: pb::SetEntryRequest) -> Result<Set, Error> {
    let mut faults = Faults::default();
    let key = faults.take("key", Key::parse(request.key));
    let value = faults.take("value", CachedValue::parse(request.value));
    let kept = faults.take("time_to_live", lifetime(request.time_to_live).and_then(EntryLifetime::parse));
    let tags = faults.tags(request.tags);
    let lease = match request.lease_id {
        none if none.is_empty() => Some(None),
        id => faults.take("lease_id", LeaseId::parse(id)).map(Some),
    };
    match (key, value, kept, tags, lease) {
        (Some(key), Some(value), Some(lifetime), Some(tags), Some(lease)) => {
            Ok(Set { key, value, lifetime, tags, lease })
        }
        _ => Err(faults.refusal()),
    }
}

pub(super) fn acquire_lease(request: pb::AcquireLeaseRequest) -> Result<Acquire, Error> {
    let mut faults = Faults::default();
    let key = faults.take("key", Key::parse(request.key));
    let held = faults.take("time_to_live", lifetime(request.time_to_live).and_then(LeaseLifetime::parse));
    let tags = faults.tags(request.tags);
    match (key, held, tags) {
        (Some(key), Some(lifetime), Some(tags)) => Ok(Acquire { key, lifetime, tags }),
        _ => Err(faults.refusal()),
    }
}

pub(super) fn invalidate_tags(request: pb::InvalidateTagsRequest) -> Result<Tags, Error> {
    let mut faults = Faults::default();
    if request.tags.is_empty() {
        faults.take::<()>("tags", Err(Fault::Missing));
        return Err(faults.refusal());
    }
    faults.tags(request.tags).ok_or_else(|| faults.refusal())
}

/// The refusal of an entry whose `n`-th tag the lease was not taken for. Tags were sorted, so it is named, not counted.
pub(super) fn tag_not_covered(tags: &Tags, n: usize) -> Error {
    let tag = tags.iter().nth(n).unwrap_or_default();
    let description = format!("{tag:?} {}", Fault::NotCovered);
    Error::Invalid { violations: vec![Violation::new("tags", description)] }
}

pub(super) fn entry(key: Key, found: Found) -> pb::Entry {
    pb::Entry { key: key.into_string(), value: found.value, time_to_live: duration(found.left) }
}

pub(super) fn acquired(acquired: Acquired, fresh: LeaseId) -> pb::AcquireLeaseResponse {
    match acquired {
        Acquired::Granted => pb::AcquireLeaseResponse { lease_id: fresh.into_string(), retry_after: None },
        Acquired::Wait(wait) => {
            pb::AcquireLeaseResponse { lease_id: String::new(), retry_after: duration(wait) }
        }
    }
}

/// Lives are bounded by days, far within what proto can say.
fn duration(std: Duration) -> Option<prost_types::Duration> {
    std.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn fields(error: Error) -> Vec<String> {
        let Error::Invalid { violations } = error else { panic!("{error:?}") };
        violations.into_iter().map(|v| v.field).collect()
    }

    fn second(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos })
    }

    #[test]
    fn every_fault_of_a_request_is_named_at_once() {
        let refused = set_entry(pb::SetEntryRequest {
            key: String::new(),
            value: vec![0; (1 << 20) + 1].into(),
            time_to_live: second(-1, 0),
            tags: vec!["good".into(), String::new()],
            lease_id: "mine".into(),
        });
        assert_eq!(fields(refused.err().unwrap()), ["key", "value", "time_to_live", "tags[1]", "lease_id"]);
    }

    #[test]
    fn counts_are_checked() {
        let keys = |n: usize| batch_get_entries(pb::BatchGetEntriesRequest { keys: vec!["k".into(); n] });
        assert_eq!(fields(keys(0).unwrap_err()), ["keys"]);
        assert_eq!(keys(100).unwrap().len(), 100);
        assert_eq!(fields(keys(101).unwrap_err()), ["keys"]);
        let tags = |n: usize| invalidate_tags(pb::InvalidateTagsRequest { tags: vec!["t".into(); n] });
        assert_eq!(fields(tags(0).unwrap_err()), ["tags"]);
        assert!(tags(16).is_ok());
        assert_eq!(fields(tags(17).unwrap_err()), ["tags"]);
    }

    #[test]
    fn a_write_needs_neither_tags_nor_a_lease() {
        let set = set_entry(pb::SetEntryRequest {
            key: "k".into(),
            time_to_live: second(0, 1_000_000),
            ..Default::default()
        });
        let set = set.unwrap();
        assert!(set.tags.is_empty() && set.lease.is_none() && set.value.as_bytes().is_empty());
        assert_eq!(set.lifetime.as_millis(), 1);
    }
}
