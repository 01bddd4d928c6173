//! Proofs that a row is in the journal: the row as far as its reader may know it, the way from it to the root of its batch, the
//! batches from there to a head, and the ledger's signature under that head. Checking one needs nothing but the public key.
//! `docs/proof.md` publishes the formats, and `tests/proof/check.py` is a second reader of them.

mod read;
#[cfg(test)]
mod tests;

pub use read::{Field, open, side};

use super::chain::{Batch, Hash, leaf_of, part, root_of_path};
use super::journal::Which;

/// Separates these signatures from any other use of the key.
const HEAD_DOMAIN: &[u8] = b"causeway.ledger.head.v1";

/// Where the journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last sequence number.
    pub seq: i64,
    /// The hash of the last batch.
    pub hash: Hash,
    /// When that batch was booked, in milliseconds of the Unix time.
    pub booked_at: i64,
}

impl Head {
    /// What is signed: the domain, the sequence number, the hash and the time, integers big endian.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let mut message = HEAD_DOMAIN.to_vec();
        message.extend_from_slice(&self.seq.to_be_bytes());
        message.extend_from_slice(&self.hash);
        message.extend_from_slice(&self.booked_at.to_be_bytes());
        message
    }
}

/// A head that the ledger has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// What is signed.
    pub head: Head,
    /// Which key has signed it.
    pub key_id: String,
    /// Ed25519 (RFC 8032), 64 bytes.
    pub signature: Vec<u8>,
}

/// One side of a row, as its reader may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// All of it: it is the reader's own.
    Shown(Vec<u8>),
    /// Its hash: it is another's.
    Hidden(Hash),
}

impl Side {
    fn hash(&self) -> Hash {
        match self {
            Self::Shown(bytes) => part(bytes),
            Self::Hidden(hash) => *hash,
        }
    }
}

/// A link of the chain, without the hash that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The sequence number of its first row.
    pub seq_from: i64,
    /// How many rows it has.
    pub rows: i32,
    /// The hash of the batch before.
    pub prev: Hash,
    /// The root of its tree.
    pub root: Hash,
}

/// A proof for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What everybody may know who may know of the row.
    pub public: Vec<u8>,
    /// The debited side.
    pub debit: Side,
    /// The credited side.
    pub credit: Side,
    /// The row's place in its batch, from 0.
    pub index: u64,
    /// From the leaf to the root of the batch's tree.
    pub path: Vec<Hash>,
    /// The batch of the row first, then every one after it up to the head.
    pub batches: Vec<Link>,
    /// The head that the last batch leads to.
    pub head: SignedHead,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The row's bytes are not those of a row.
    #[error("the row cannot be read")]
    Unreadable,
    /// There is no batch.
    #[error("there is no batch")]
    NoBatch,
    /// The row says another sequence number than its place in the batch.
    #[error("the row is not at this place of the batch")]
    Misplaced,
    /// The path does not lead from the row to the root.
    #[error("the audit path does not lead to the root of the batch")]
    Path,
    /// A batch does not follow the one before it.
    #[error("the batch of row {0} does not follow the one before it")]
    Chain(i64),
    /// The last batch does not lead to the head.
    #[error("the batches do not lead to the head")]
    Head,
    /// The head was signed by nobody whose key is known.
    #[error("the key of the signature is not known")]
    Key,
    /// The signature is not that of the head.
    #[error("the signature is not that of the head")]
    Signature,
}

impl Proof {
    /// Checks everything but the signature; the fields of the public part if the row is in a journal that ends with the head.
    ///
    /// # Errors
    /// The first thing that does not follow from what is before it.
    pub fn check(&self) -> Result<Vec<Field>, Broken> {
        let row = open(&self.public).ok_or(Broken::Unreadable)?;
        for (shown, which) in [(&self.debit, Which::Debit), (&self.credit, Which::Credit)] {
            if let Side::Shown(bytes) = shown {
                side(bytes, which).ok_or(Broken::Unreadable)?;
            }
        }
        let first = self.batches.first().ok_or(Broken::NoBatch)?;
        let size = u64::try_from(first.rows).map_err(|_| Broken::Path)?;
        let leaf = leaf_of(part(&self.public), self.debit.hash(), self.credit.hash());
        if root_of_path(leaf, self.index, size, &self.path) != Some(first.root) {
            return Err(Broken::Path);
        }
        if i64::try_from(self.index).ok().and_then(|index| first.seq_from.checked_add(index)) != Some(row.seq)
        {
            return Err(Broken::Misplaced);
        }
        let mut before: Option<Batch> = None;
        for link in &self.batches {
            if before
                .as_ref()
                .is_some_and(|before| link.prev != before.hash || link.seq_from != before.next())
            {
                return Err(Broken::Chain(link.seq_from));
            }
            before = Some(Batch::link(link.prev, link.seq_from, link.rows, link.root));
        }
        let head = &self.head.head;
        let leads =
            before.is_some_and(|last| last.hash == head.hash && last.next() == head.seq.saturating_add(1));
        if leads { Ok(row.fields) } else { Err(Broken::Head) }
    }
}
