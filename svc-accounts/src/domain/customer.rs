//! A customer: a person or a company that holds accounts.

use super::{CustomerId, CustomerName, Email, UnixMillis, etag};

/// A customer as the table keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Made by this service.
    pub id: CustomerId,
    /// The legal name.
    pub display_name: CustomerName,
    /// Unique in the bank, whatever its case.
    pub email: Email,
    /// When it was created.
    pub create_time: UnixMillis,
    /// When it last changed.
    pub update_time: UnixMillis,
    /// Raised by one with every write, from 1.
    pub revision: u64,
}

impl Customer {
    /// A customer at its first revision.
    pub const fn new(id: CustomerId, display_name: CustomerName, email: Email, now: UnixMillis) -> Self {
        Self { id, display_name, email, create_time: now, update_time: now, revision: 1 }
    }

    /// Changes with every write.
    pub fn etag(&self) -> String {
        etag::of(self.id.bytes(), self.revision, self.update_time)
    }
}
