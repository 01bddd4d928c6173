//! The hash chain over the journal: the rows of a batch form a Merkle tree as RFC 6962, section 2.1, describes it (so that one
//! row can be proven without showing its neighbours), and each batch commits to its tree and to the batch before it.

use sha2::{Digest as _, Sha256};

use super::journal::Row;

/// SHA-256.
pub type Hash = [u8; 32];

/// What the first batch follows.
pub const GENESIS: Hash = [0; 32];

/// Separates these hashes from any other use of SHA-256 on the same bytes.
const BATCH_DOMAIN: &[u8] = b"causeway.ledger.batch.v1";

/// One link: the rows of one transaction of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The sequence number of its first row.
    pub seq_from: i64,
    /// How many rows it has; at least one.
    pub rows: i32,
    /// The hash of the batch before.
    pub prev: Hash,
    /// The Merkle root over the canonical rows.
    pub root: Hash,
    /// What the next batch commits to.
    pub hash: Hash,
}

impl Batch {
    /// The link of `rows`, which follow the batch with the hash `prev`; `None` when there is no row.
    #[must_use]
    pub fn new(prev: Hash, rows: &[Row]) -> Option<Self> {
        let first = rows.first()?;
        let count = i32::try_from(rows.len()).ok()?;
        let root = merkle_root(rows.iter().map(|row| leaf(&row.canonical())));
        let hash = Sha256::new()
            .chain_update(BATCH_DOMAIN)
            .chain_update(prev)
            .chain_update(first.seq.to_be_bytes())
            .chain_update(count.to_be_bytes())
            .chain_update(root)
            .finalize()
            .into();
        Some(Self { seq_from: first.seq, rows: count, prev, root, hash })
    }
}

fn leaf(row: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(row).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over leaf hashes. A stack of complete subtrees, merged as soon as two have the same size, gives the same tree as
/// the recursive definition, whose left half is the largest power of two below the number of leaves.
#[must_use]
pub fn merkle_root(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut subtrees: Vec<(u32, Hash)> = Vec::new();
    for leaf in leaves {
        let mut top = (0, leaf);
        while let Some((height, left)) = subtrees.pop_if(|(height, _)| *height == top.0) {
            top = (height + 1, node(&left, &top.1));
        }
        subtrees.push(top);
    }
    subtrees
        .into_iter()
        .rev()
        .map(|(_, hash)| hash)
        .reduce(|right, left| node(&left, &right))
        .unwrap_or_else(|| Sha256::digest([]).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let split = (many.len() - 1).ilog2();
                let (left, right) = many.split_at(1 << split);
                node(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn root_is_that_of_the_definition() {
        let leaves: Vec<Hash> = (0_u32..70).map(|n| leaf(&n.to_be_bytes())).collect();
        for count in 0..=leaves.len() {
            assert_eq!(
                merkle_root(leaves[..count].iter().copied()),
                by_definition(&leaves[..count]),
                "{count}"
            );
        }
    }
}
