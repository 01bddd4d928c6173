//! Why a request or a response cannot cross between REST and gRPC. No text here repeats a value from the message: values may
//! be personal, and these texts reach logs and clients.

/// One field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path in proto names: `amount.minor_units`, `entries[3].label`. Empty for the message itself.
    pub field: String,
    pub description: String,
}

/// A request that cannot become a message. All of them are the client's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Readable, but wrong: every violation that was found, at least one.
    #[error("request does not fit its schema")]
    Invalid { violations: Vec<Violation> },
    /// Not JSON at all.
    #[error("malformed JSON at byte {offset}: {reason}")]
    MalformedJson { offset: usize, reason: &'static str },
    /// One value of a stream is larger than a message may be.
    #[error("a value is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    /// A form that is not text.
    #[error("invalid UTF-8 at byte {offset}")]
    MalformedForm { offset: usize },
    /// An envelope of parts that cannot be taken apart: at its `part`th part, or as a whole.
    #[error("malformed multipart body at part {part}: {reason}")]
    MalformedMultipart { part: usize, reason: &'static str },
    /// The body's content type is none the method takes.
    #[error("unsupported media type")]
    UnsupportedMediaType,
}

impl RequestError {
    /// The same of one value in a stream: the `index`th, which begins at `offset`.
    #[must_use]
    pub fn in_stream(self, index: u64, offset: usize) -> Self {
        match self {
            Self::Invalid { violations } => {
                let place = |violation: Violation| {
                    let dot = if violation.field.is_empty() { "" } else { "." };
                    Violation { field: format!("[{index}]{dot}{}", violation.field), ..violation }
                };
                Self::Invalid { violations: violations.into_iter().map(place).collect() }
            }
            Self::MalformedJson { offset: inside, reason } => {
                Self::MalformedJson { offset: offset + inside, reason }
            }
            Self::TooLarge { .. }
            | Self::MalformedForm { .. }
            | Self::MalformedMultipart { .. }
            | Self::UnsupportedMediaType => self,
        }
    }
}

/// A response that cannot become JSON. All of them are the upstream's fault or the contract's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("malformed message")]
    Malformed,
    #[error("message nested deeper than {} levels", super::DEPTH_MAX)]
    TooDeep,
    /// A value that has no JSON form, such as a Timestamp out of range; names the type.
    #[error("value of type {type_name} has no JSON form")]
    Unprintable { type_name: &'static str },
}
