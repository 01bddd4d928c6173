//! What the driver says when an operation fails, sorted into "try again later" and "this is a defect". Only the operation,
//! DynamoDB's code and its message are kept: the driver's own error may hold whole items, and what is in a fault is logged.

use aws_sdk_dynamodb::error::{BuildError, DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::error::Error;

/// A failed operation, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {code}: {message}")]
pub struct Fault {
    /// What was tried.
    pub operation: &'static str,
    /// DynamoDB's code, or where the driver gave up.
    pub code: String,
    /// DynamoDB's or the driver's words.
    pub message: String,
}

/// Codes that mean the table is well and the request is, but not now. The driver has spent its repeats on them already.
const TRANSIENT: &[&str] = &[
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ReplicatedWriteConflictException",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionInProgressException",
];

/// Sorts the driver's error.
pub fn sort<E>(operation: &'static str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let unanswered = |code: &str| Fault {
        operation,
        code: code.to_owned(),
        message: DisplayErrorContext(error).to_string(),
    };
    match error {
        SdkError::TimeoutError(_) => Error::StoreUnavailable(unanswered("timeout")),
        SdkError::DispatchFailure(_) => Error::StoreUnavailable(unanswered("not reached")),
        SdkError::ResponseError(_) => Error::StoreUnavailable(unanswered("unreadable answer")),
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or("unknown").to_owned();
            let message = answer.err().message().unwrap_or_default().to_owned();
            let transient = TRANSIENT.contains(&code.as_str()) || answer.raw().status().is_server_error();
            let fault = Fault { operation, code, message };
            if transient { Error::StoreUnavailable(fault) } else { Error::Store(fault) }
        }
        SdkError::ConstructionFailure(_) => Error::Store(unanswered("not built")),
        _ => Error::Store(unanswered("unknown")),
    }
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        let fault = Fault { operation: "build", code: "not built".to_owned(), message: error.to_string() };
        Self::Store(fault)
    }
}
