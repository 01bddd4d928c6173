//! The error contract of `cache.v1`, and of the two services of `edge.v1` that are served here. A miss is an error by contract, and a cheap one; what Redis said stays in the log.
use std::time::Duration;

use chassis::error::{Failure, Kind, Violation};

use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the request is not valid")]
    Invalid { violations: Vec<Violation> },
    /// The edge lets only services in; one without a workload name has no namespace.
    #[error("only a service of the mesh has a namespace")]
    NoNamespace,
    /// What all edges share is theirs alone, whatever the policy that let the call through.
    #[error("only the edge may ask for this")]
    EdgeOnly,
    #[error("there is no entry under this key")]
    Miss { key: String },
    #[error("the lease is not held: it ran out, or an invalidation broke it")]
    LeaseLost,
    #[error("the cache is not available")]
    Unavailable {
        #[source]
        source: StoreError,
    },
    #[error("internal error")]
    Internal {
        #[source]
        source: StoreError,
    },
}

chassis::status_from!(Error);

impl Failure for Error {
    const DOMAIN: &'static str = "cache.v1";

    fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } => Kind::Invalid,
            Self::NoNamespace | Self::EdgeOnly => Kind::Forbidden,
            Self::Miss { .. } => Kind::NotFound,
            Self::LeaseLost => Kind::Precondition,
            Self::Unavailable { .. } => Kind::Unavailable,
            Self::Internal { .. } => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "INVALID_REQUEST",
            Self::NoNamespace | Self::EdgeOnly => "NOT_PERMITTED",
            Self::Miss { .. } => "ENTRY_NOT_FOUND",
            Self::LeaseLost => "LEASE_LOST",
            Self::Unavailable { .. } => "CACHE_UNAVAILABLE",
            Self::Internal { .. } => "INTERNAL",
        }
    }

    fn violations(&self) -> Vec<Violation> {
        match self {
            Self::Invalid { violations } => violations.clone(),
            Self::LeaseLost => vec![Violation::new("lease_id", "is not held")],
            Self::NoNamespace
            | Self::EdgeOnly
            | Self::Miss { .. }
            | Self::Unavailable { .. }
            | Self::Internal { .. } => vec![],
        }
    }

    fn resource(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Miss { key } => Some(("cache.v1.Entry", key.clone())),
            Self::Invalid { .. }
            | Self::NoNamespace
            | Self::EdgeOnly
            | Self::LeaseLost
            | Self::Unavailable { .. }
            | Self::Internal { .. } => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        // As long as it takes the monitor to see Redis come back.
        matches!(self, Self::Unavailable { .. }).then_some(Duration::from_secs(1))
    }
}

impl From<StoreError> for Error {
    fn from(source: StoreError) -> Self {
        if source.is_refusal() { Self::Internal { source } } else { Self::Unavailable { source } }
    }
}
