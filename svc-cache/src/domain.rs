//! The words of the cache, as types that cannot be wrong: a namespace, a key, a value, tags, how long something is kept; and
//! of what the edges share, buckets and revoked tokens. Pure: what an invalidation does to an entry and a take to a bucket is
//! decided inside Redis, by the scripts beside `store`.
mod bucket;
mod lifetime;
mod name;
mod revocation;

pub use bucket::{BucketKey, BucketLimit, TAKES_MAX, Take, Taken};
pub use lifetime::{EntryLifetime, LeaseLifetime};
pub use name::{Key, LeaseId, Namespace, Tag, Tags};
pub use revocation::Revocation;

use bytes::Bytes;

/// The most bytes a value may have: larger ones belong into a store, and one of them would hold Redis up.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The most keys of one BatchGetEntries.
pub const BATCH_KEYS_MAX: usize = 100;

/// Why a part of a request is refused. The text is what the client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("must be given")]
    Missing,
    #[error("must have at most {max} bytes")]
    TooLong { max: usize },
    #[error("must have at most {max} items")]
    TooMany { max: usize },
    #[error("must be at least 1 ms")]
    TooShort,
    #[error("must be at most {max_s} s")]
    TooLasting { max_s: u64 },
    #[error("must be between {min} and {max}")]
    OutOfRange { min: i64, max: i64 },
    #[error("is there twice")]
    Twice,
    #[error("is not a lease id")]
    NotALease,
    #[error("was not among the tags of the lease")]
    NotCovered,
}

/// The bytes of an entry, within bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedValue(Bytes);

impl CachedValue {
    pub fn parse(bytes: Bytes) -> Result<Self, Fault> {
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(Fault::TooLong { max: VALUE_BYTES_MAX });
        }
        Ok(Self(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
