//! One request on its way through the edge: what is known about it, what it may do once it is admitted, and how it can end without
//! an answer. `gateway` leads it through its phases; `rest` and the relay serve it.

mod call;
mod record;
mod whole;

use tonic::Code;

pub use call::Call;
pub use record::Record;
pub(crate) use whole::{ask_for_body, finish_connection, read_away, write_whole};

use crate::error::Error;

/// Why a request ended without its answer.
pub enum Ended {
    /// The edge refused it, and the client is told why.
    Refused(Error),
    /// Nothing more can or may be written: the client has gone, or an answer that had begun broke off.
    Aborted(pingora::BError),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<pingora::BError> for Ended {
    fn from(error: pingora::BError) -> Self {
        Self::Aborted(error)
    }
}

/// A code by its number; those gRPC does not have are UNKNOWN.
#[must_use]
pub fn code(number: u32) -> Code {
    i32::try_from(number).map_or(Code::Unknown, Code::from_i32)
}
