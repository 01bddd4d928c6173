//! The error contract of `docs.v1`. What MongoDB or another service said stays in the log.
use std::time::Duration;

use chassis::error::{Failure, Kind, Violation};

use crate::domain::Fault;
use crate::domain::access::Denial;
use crate::domain::statement::proof::Discrepancy;
use crate::domain::statement::render::RenderError;
use crate::store::StoreError;

/// How long a caller should wait before it tries again when something behind us is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the request is not valid")]
    Invalid { violations: Vec<Violation> },
    #[error("not permitted for this caller")]
    NotPermitted,
    #[error("there is no such {what}")]
    Missing { what: Resource, id: String },
    #[error("the document has no content")]
    NoContent { document_id: String },
    #[error("the request_id was used with another {field}")]
    RequestReused { field: String },
    #[error("the content is larger than {bytes_max} bytes")]
    ContentTooLarge { bytes_max: u64 },
    #[error("the period has more than {entries_max} entries")]
    TooManyEntries { entries_max: u64 },
    #[error("the content of a statement is never replaced")]
    StatementFixed { document_id: String },
    #[error("another head is kept under the sequence number {seq}")]
    HeadConflict { seq: i64 },
    #[error("the document keeps changing")]
    Contended,
    #[error("{service} is not available")]
    UpstreamUnavailable {
        service: &'static str,
        #[source]
        source: Box<tonic::Status>,
    },
    #[error("the time for the request is spent")]
    OutOfTime,
    #[error("the document store is not available")]
    Unavailable {
        #[source]
        source: StoreError,
    },
    #[error("internal error")]
    Internal {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ledger's answers contradict each other. Somebody must look.
    #[error("internal error")]
    Unproven {
        #[source]
        source: Discrepancy,
    },
}

/// What can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Document,
    Account,
}

impl Resource {
    fn type_name(self) -> &'static str {
        match self {
            Self::Document => "docs.v1.Document",
            Self::Account => "ledger.v1.LedgerAccount",
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Document => "document",
            Self::Account => "account",
        })
    }
}

chassis::status_from!(Error);

impl Failure for Error {
    const DOMAIN: &'static str = "docs.v1";

    fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } => Kind::Invalid,
            Self::NotPermitted => Kind::Forbidden,
            Self::Missing { .. } | Self::NoContent { .. } => Kind::NotFound,
            Self::RequestReused { .. } | Self::HeadConflict { .. } => Kind::Exists,
            Self::ContentTooLarge { .. } | Self::TooManyEntries { .. } => Kind::Exhausted,
            Self::StatementFixed { .. } => Kind::Precondition,
            Self::Contended => Kind::Conflict,
            Self::UpstreamUnavailable { .. } | Self::Unavailable { .. } => Kind::Unavailable,
            Self::OutOfTime => Kind::Timeout,
            Self::Internal { .. } | Self::Unproven { .. } => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "INVALID_REQUEST",
            Self::NotPermitted => "NOT_PERMITTED",
            Self::Missing { what: Resource::Document, .. } => "DOCUMENT_NOT_FOUND",
            Self::Missing { what: Resource::Account, .. } => "ACCOUNT_NOT_FOUND",
            Self::NoContent { .. } => "NO_CONTENT",
            Self::RequestReused { .. } => "REQUEST_ID_REUSED",
            Self::HeadConflict { .. } => "HEAD_CONFLICT",
            Self::ContentTooLarge { .. } => "CONTENT_TOO_LARGE",
            Self::TooManyEntries { .. } => "TOO_MANY_ENTRIES",
            Self::StatementFixed { .. } => "STATEMENT_FIXED",
            Self::Contended => "CONTENDED",
            Self::UpstreamUnavailable { .. } => "UPSTREAM_UNAVAILABLE",
            Self::OutOfTime => "OUT_OF_TIME",
            Self::Unavailable { .. } => "STORE_UNAVAILABLE",
            Self::Internal { .. } => "INTERNAL",
            Self::Unproven { .. } => "STATEMENT_UNPROVEN",
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::RequestReused { field } => vec![("field", field.clone())],
            Self::HeadConflict { seq } => vec![("seq", seq.to_string())],
            Self::ContentTooLarge { bytes_max } => vec![("bytes_max", bytes_max.to_string())],
            Self::TooManyEntries { entries_max } => vec![("entries_max", entries_max.to_string())],
            Self::UpstreamUnavailable { service, .. } => vec![("service", (*service).to_owned())],
            Self::NoContent { document_id } | Self::StatementFixed { document_id } => {
                vec![("document_id", document_id.clone())]
            }
            Self::Invalid { .. }
            | Self::NotPermitted
            | Self::Missing { .. }
            | Self::Contended
            | Self::OutOfTime
            | Self::Unavailable { .. }
            | Self::Internal { .. }
            | Self::Unproven { .. } => vec![],
        }
    }

    fn violations(&self) -> Vec<Violation> {
        match self {
            Self::Invalid { violations } => violations.clone(),
            Self::ContentTooLarge { bytes_max } => {
                vec![Violation::new("content", format!("at most {bytes_max} bytes"))]
            }
            Self::TooManyEntries { entries_max } => {
                vec![Violation::new("end_time", format!("at most {entries_max} entries in one statement"))]
            }
            Self::StatementFixed { .. } => vec![Violation::new("document_id", "is a statement")],
            Self::NotPermitted
            | Self::Missing { .. }
            | Self::NoContent { .. }
            | Self::RequestReused { .. }
            | Self::HeadConflict { .. }
            | Self::Contended
            | Self::UpstreamUnavailable { .. }
            | Self::OutOfTime
            | Self::Unavailable { .. }
            | Self::Internal { .. }
            | Self::Unproven { .. } => vec![],
        }
    }

    fn resource(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Missing { what, id } => Some((what.type_name(), id.clone())),
            Self::NoContent { document_id } => Some((Resource::Document.type_name(), document_id.clone())),
            Self::Invalid { .. }
            | Self::NotPermitted
            | Self::RequestReused { .. }
            | Self::HeadConflict { .. }
            | Self::ContentTooLarge { .. }
            | Self::TooManyEntries { .. }
            | Self::StatementFixed { .. }
            | Self::Contended
            | Self::UpstreamUnavailable { .. }
            | Self::OutOfTime
            | Self::Unavailable { .. }
            | Self::Internal { .. }
            | Self::Unproven { .. } => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        (self.kind() == Kind::Unavailable).then_some(RETRY_AFTER)
    }
}

impl Error {
    pub(crate) fn internal(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal { source: Box::new(source) }
    }

    pub(crate) fn denied(denial: Denial, document_id: &str) -> Self {
        match denial {
            Denial::Forbidden => Self::NotPermitted,
            Denial::Missing => Self::Missing { what: Resource::Document, id: document_id.to_owned() },
        }
    }

    /// What the answer of another service about an account means for our caller.
    pub(crate) fn upstream(service: &'static str, account_id: &str, status: tonic::Status) -> Self {
        use tonic::Code;
        match status.code() {
            Code::PermissionDenied => Self::NotPermitted,
            // All else in the request is ours; which ids are well-formed is the other service's to say.
            Code::InvalidArgument => {
                let violation = Violation::new("account_id", Fault::NotAnAccount.to_string());
                Self::Invalid { violations: vec![violation] }
            }
            Code::NotFound => Self::Missing { what: Resource::Account, id: account_id.to_owned() },
            Code::DeadlineExceeded => Self::OutOfTime,
            Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::Cancelled => {
                Self::UpstreamUnavailable { service, source: Box::new(status) }
            }
            Code::Ok
            | Code::Unknown
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Self::internal(status),
        }
    }
}

impl From<StoreError> for Error {
    fn from(source: StoreError) -> Self {
        if source.is_outage() { Self::Unavailable { source } } else { Self::internal(source) }
    }
}

impl From<Discrepancy> for Error {
    fn from(source: Discrepancy) -> Self {
        Self::Unproven { source }
    }
}

impl From<RenderError> for Error {
    fn from(source: RenderError) -> Self {
        Self::internal(source)
    }
}
