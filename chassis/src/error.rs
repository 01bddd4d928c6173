//! Errors as the mesh speaks them: eleven kinds, total mappings to gRPC and HTTP, and one trait that a crate's error enum
//! implements. What a client may read is the `Display` of the error; what only the log gets is its `source()`. Which errors
//! exist is the business of each crate.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::transaction;

/// What sort of refusal an error is. Code, HTTP status and details follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request could not be parsed into a command.
    Invalid,
    /// Nobody, or not the one they claim to be. The edge only.
    Unauthenticated,
    /// Known, but not allowed; answered before existence is revealed.
    Forbidden,
    /// There is no such thing, and the caller may know that.
    NotFound,
    /// The same id with other fields.
    Exists,
    /// Understood, allowed, and refused by the state of things.
    Precondition,
    /// Somebody else was first: an etag mismatch, or transaction retries used up.
    Conflict,
    /// A rate, an in-flight bound or a quota; the error says which.
    Exhausted,
    /// A store or an upstream is away.
    Unavailable,
    /// The budget is spent.
    Timeout,
    /// Everything else; the client reads a constant.
    Internal,
}

impl Kind {
    /// The gRPC code.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Invalid => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Exists => Code::AlreadyExists,
            Self::Precondition => Code::FailedPrecondition,
            Self::Conflict => Code::Aborted,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::Timeout => Code::DeadlineExceeded,
            Self::Internal => Code::Internal,
        }
    }

    /// The HTTP status of the REST rendering.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid | Self::Precondition => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Exists | Self::Conflict => 409,
            Self::Exhausted => 429,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::Internal => 500,
        }
    }
}

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in proto spelling ("amount.minor_units"), or the subject of a precondition or quota.
    pub field: String,
    /// What is wrong with it, as a lowercase fragment ("must be positive").
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// What became of a call that ended with an error, for those that must know: whoever moves money. A service says it of its own
/// errors, the edge of its own, and the chassis of what it refuses around any RPC; it knows no RPC and so says it always.
pub mod outcome {
    /// The key in an error's metadata.
    pub const KEY: &str = "outcome";
    /// Nothing, and nothing ever will of this request as it stands.
    pub const REFUSED: &str = "refused";
    /// Nothing: sending it again is safe.
    pub const NOT_DONE: &str = "not_done";
    /// Not known: sending it again with the same `request_id` tells.
    pub const UNKNOWN: &str = "unknown";
}

/// The message of every internal error: it tells nothing, the log tells all.
pub const INTERNAL_MESSAGE: &str = "internal error";

/// A crate's error enum. `Display` is for the client, `source()` for the log.
pub trait Failure: Error + Send + Sync + 'static {
    /// The package that owns the reasons: "ledger.v1".
    const DOMAIN: &'static str;

    /// What sort of refusal it is.
    fn kind(&self) -> Kind;

    /// The reason, UPPER_SNAKE, stable for ever: "INSUFFICIENT_FUNDS".
    fn reason(&self) -> &'static str;

    /// Every dynamic part of the message. The client reads it: nothing secret or personal.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What is wrong, for `Invalid`, `Precondition` and `Exhausted`.
    fn violations(&self) -> Vec<Violation> {
        Vec::new()
    }

    /// The type and name of the resource, for `NotFound` and `Exists`.
    fn resource(&self) -> Option<(&'static str, String)> {
        None
    }

    /// When to try again, for `Exhausted` and `Unavailable`.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// What the client reads: the `Display`, or a constant for `Internal`.
    fn client_message(&self) -> String {
        if self.kind() == Kind::Internal { INTERNAL_MESSAGE.to_owned() } else { self.to_string() }
    }

    /// The details of `google.rpc` that go with it.
    fn details(&self) -> ErrorDetails {
        let metadata: HashMap<String, String> =
            self.metadata().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(self.reason(), Self::DOMAIN, metadata);
        add_violations(&mut details, self.kind(), self.reason(), self.violations());
        if let Some((kind, name)) = self.resource() {
            details.set_resource_info(kind, name, "", self.client_message());
        }
        if let Some(after) = self.retry_after() {
            details.set_retry_info(Some(after));
        }
        if self.kind() == Kind::Internal
            && let Some(id) = transaction::current()
        {
            details.set_request_info(&*id, "");
        }
        details
    }

    /// The status to answer with. Logs the error once: what is our fault loudly, what is the caller's quietly.
    fn into_status(self) -> Status
    where
        Self: Sized,
    {
        log(&self);
        Status::with_error_details(self.kind().code(), self.client_message(), self.details())
    }
}

fn add_violations(details: &mut ErrorDetails, kind: Kind, reason: &str, violations: Vec<Violation>) {
    for Violation { field, description } in violations {
        match kind {
            Kind::Precondition => details.add_precondition_failure_violation(reason, field, description),
            Kind::Exhausted => details.add_quota_failure_violation(field, description),
            Kind::Invalid
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::Exists
            | Kind::Conflict
            | Kind::Unavailable
            | Kind::Timeout
            | Kind::Internal => details.add_bad_request_violation(field, description),
        };
    }
}

fn log<F: Failure>(failure: &F) {
    let cause = failure.source().map(chain);
    let cause = cause.as_deref();
    match failure.kind() {
        Kind::Internal => {
            tracing::error!(reason = failure.reason(), error = %failure, cause, "internal error")
        }
        Kind::Unavailable | Kind::Timeout => tracing::warn!(reason = failure.reason(), cause, "unavailable"),
        Kind::Invalid
        | Kind::Unauthenticated
        | Kind::Forbidden
        | Kind::NotFound
        | Kind::Exists
        | Kind::Precondition
        | Kind::Conflict
        | Kind::Exhausted => tracing::debug!(reason = failure.reason(), cause, "refused"),
    }
}

/// An error and its sources on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        line.push_str(": ");
        line.push_str(&source.to_string());
        next = source.source();
    }
    line
}

/// Lets `?` turn a crate's error into the status it means.
#[macro_export]
macro_rules! status_from {
    ($error:ty) => {
        impl From<$error> for ::tonic::Status {
            fn from(error: $error) -> Self {
                $crate::error::Failure::into_status(error)
            }
        }
    };
}
