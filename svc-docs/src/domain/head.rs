//! Heads of the ledger's journal. This service does not know whether one is right: it only keeps what it was given first.
use chrono::{DateTime, Utc};

/// A head that the ledger has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last sequence number of the journal; positive.
    pub seq: i64,
    /// The hash of the last batch.
    pub hash: [u8; 32],
    /// When that batch was booked, in whole milliseconds.
    pub booked: DateTime<Utc>,
    /// Which key signed it.
    pub key_id: String,
    /// Ed25519.
    pub signature: [u8; 64],
}
