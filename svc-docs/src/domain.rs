//! The words of svc-docs, as types that cannot be wrong: documents and who may touch them, their content, requests that may be
//! repeated, and statements. Pure: time and ids are arguments, and nothing here knows the contract or MongoDB.
pub mod access;
pub mod audit;
pub mod document;
pub mod head;
pub mod request;
pub mod statement;

/// Why a part of a request is refused. The text is what the client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("must be given")]
    Missing,
    #[error("must have at most {max} characters")]
    TooLong { max: usize },
    #[error("must not hold control characters")]
    Control,
    #[error("must be printable ASCII without spaces")]
    NotPrintable,
    #[error("must be a media type, such as application/pdf")]
    NotAMediaType,
    #[error("must be the id of an account")]
    NotAnAccount,
    #[error("must be a time in whole microseconds")]
    NotATime,
    #[error("must be after start_time")]
    NotAfterStart,
    #[error("must not be in the future")]
    InFuture,
    #[error("must be at most {days} days after start_time")]
    TooFar { days: i64 },
    #[error("must be one of the formats")]
    NoFormat,
    #[error("must not change after the first message")]
    Changed,
}
