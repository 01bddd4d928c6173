//! The hash chain over the journal: the rows of a batch form a Merkle tree as RFC 6962, section 2.1, describes it (so that one
//! row can be proven without showing its neighbours), and each batch commits to its tree and to the batch before it. A leaf commits
//! to a row's three parts one by one, so that the row can be shown to one party without the other's balances.
//! `docs/proof.md` has the formats.

use sha2::{Digest as _, Sha256};

use super::journal::{Row, Which};

/// SHA-256.
pub type Hash = [u8; 32];

/// What the first batch follows.
pub const GENESIS: Hash = [0; 32];

/// Separates these hashes from any other use of SHA-256 on the same bytes.
const BATCH_DOMAIN: &[u8] = b"causeway.ledger.batch.v1";

/// One link: the rows of one transaction of the store, or of one part of a large one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The sequence number of its first row.
    pub seq_from: i64,
    /// How many rows it has; at least one.
    pub rows: i32,
    /// The hash of the batch before.
    pub prev: Hash,
    /// The Merkle root over its rows.
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
        Some(Self::link(prev, first.seq, count, merkle_root(rows.iter().map(leaf))))
    }

    /// The link of `rows` rows from `seq_from` on whose tree has the root `root`.
    #[must_use]
    pub fn link(prev: Hash, seq_from: i64, rows: i32, root: Hash) -> Self {
        let hash = Sha256::new()
            .chain_update(BATCH_DOMAIN)
            .chain_update(prev)
            .chain_update(seq_from.to_be_bytes())
            .chain_update(rows.to_be_bytes())
            .chain_update(root)
            .finalize()
            .into();
        Self { seq_from, rows, prev, root, hash }
    }

    /// The sequence number of the row behind its last.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.seq_from.saturating_add(i64::from(self.rows))
    }
}

/// The leaf of a row.
#[must_use]
pub fn leaf(row: &Row) -> Hash {
    leaf_of(part(&row.public()), part(&row.side(Which::Debit)), part(&row.side(Which::Credit)))
}

/// The hash of one part of a row, which stands for the part where it is not shown.
#[must_use]
pub fn part(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// The leaf over the hashes of a row's parts.
#[must_use]
pub fn leaf_of(public: Hash, debit: Hash, credit: Hash) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(public)
        .chain_update(debit)
        .chain_update(credit)
        .finalize()
        .into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A Merkle tree that grows leaf by leaf: a stack of complete subtrees, merged as soon as two have the same size. That gives the
/// same tree as the recursive definition, whose left half is the largest power of two below the number of leaves.
#[derive(Debug, Default)]
pub struct Tree(Vec<(u32, Hash)>);

impl Tree {
    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut top = (0, leaf);
        while let Some((height, left)) = self.0.pop_if(|(height, _)| *height == top.0) {
            top = (height + 1, node(&left, &top.1));
        }
        self.0.push(top);
    }

    /// The root; the tree is empty afterwards.
    pub fn take_root(&mut self) -> Hash {
        self.0
            .drain(..)
            .rev()
            .map(|(_, hash)| hash)
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(|| Sha256::digest([]).into())
    }
}

/// The root over leaf hashes.
#[must_use]
pub fn merkle_root(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(leaf);
    }
    tree.take_root()
}

/// The audit path of the leaf at `index` (RFC 6962, section 2.1.1): what leads from it to the root, nearest first. `None` if there
/// is no such leaf.
#[must_use]
pub fn audit_path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
    let (mut path, sibling) = if index < left.len() {
        (audit_path(left, index)?, merkle_root(right.iter().copied()))
    } else {
        (audit_path(right, index - left.len())?, merkle_root(left.iter().copied()))
    };
    path.push(sibling);
    Some(path)
}

/// The root that an audit path leads to from a leaf at `index` of `size` (RFC 9162, section 2.1.3.2). `None` if the path is not
/// one of such a tree.
#[must_use]
pub fn root_of_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut place, mut last, mut root) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            root = node(sibling, &root);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            root = node(&root, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
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

    fn leaves(count: u32) -> Vec<Hash> {
        (0..count).map(|n| part(&n.to_be_bytes())).collect()
    }

    #[test]
    fn root_is_that_of_the_definition() {
        let leaves = leaves(70);
        for count in 0..=leaves.len() {
            assert_eq!(
                merkle_root(leaves[..count].iter().copied()),
                by_definition(&leaves[..count]),
                "{count}"
            );
        }
    }

    #[test]
    fn every_leaf_of_every_tree_is_proven_by_its_path_and_by_no_other() {
        for count in 1..=35_u32 {
            let leaves = leaves(count);
            let root = merkle_root(leaves.iter().copied());
            for index in 0..count {
                let path = audit_path(&leaves, index as usize).unwrap();
                let (index, size) = (u64::from(index), u64::from(count));
                let leaf = leaves[index as usize];
                assert_eq!(root_of_path(leaf, index, size, &path), Some(root), "{index} of {count}");
                assert_ne!(root_of_path(part(b"other"), index, size, &path), Some(root));
                let mut longer = path.clone();
                longer.push(leaf);
                assert_eq!(root_of_path(leaf, index, size, &longer), None, "{index} of {count}");
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root_of_path(leaf, index, size, shorter), Some(root));
                }
                for place in 0..path.len() {
                    let mut bent = path.clone();
                    bent[place][0] ^= 1;
                    assert_ne!(root_of_path(leaf, index, size, &bent), Some(root));
                }
            }
            assert_eq!(audit_path(&leaves, count as usize), None);
            assert_eq!(root_of_path(leaves[0], u64::from(count), u64::from(count), &[]), None);
        }
    }
}
