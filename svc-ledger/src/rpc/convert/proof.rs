//! Proofs, heads and verifications between the contract and the domain.

use proto::docs::v1 as docs;
use proto::ledger::v1 as pb;

use super::timestamp;
use crate::domain::chain::part;
use crate::domain::proof::{Link, Proof, Side, SignedHead};
use crate::domain::replay::Finding;
use crate::store::verify::Progress;

/// A proof as it is answered. The hash of a side stands there in any case, so that a checker has one way to go.
pub(in crate::rpc) fn proof(proof: Proof) -> pb::TransferProof {
    let Proof { public, debit, credit, index, path, batches, head } = proof;
    let ((debit_side, debit_side_hash), (credit_side, credit_side_hash)) = (side(debit), side(credit));
    pb::TransferProof {
        row: public,
        debit_side,
        credit_side,
        debit_side_hash,
        credit_side_hash,
        leaf_index: i64::try_from(index).unwrap_or(i64::MAX),
        audit_path: path.into_iter().map(Vec::from).collect(),
        batches: batches.into_iter().map(batch).collect(),
        head: Some(head_of_proof(head)),
    }
}

fn side(side: Side) -> (Vec<u8>, Vec<u8>) {
    match side {
        Side::Shown(bytes) => {
            let hash = part(&bytes).to_vec();
            (bytes, hash)
        }
        Side::Hidden(hash) => (Vec::new(), hash.to_vec()),
    }
}

fn batch(link: Link) -> pb::JournalBatch {
    let Link { seq_from, rows, prev, root } = link;
    pb::JournalBatch { seq_from, rows, prev: prev.to_vec(), root: root.to_vec() }
}

fn head_of_proof(signed: SignedHead) -> pb::JournalHead {
    pb::JournalHead {
        seq: signed.head.seq,
        hash: signed.head.hash.to_vec(),
        book_time: Some(timestamp(signed.head.booked_at)),
        key_id: signed.key_id,
        signature: signed.signature,
    }
}

/// A head as its keeper takes it.
pub(in crate::rpc) fn head(signed: &SignedHead) -> docs::JournalHead {
    docs::JournalHead {
        seq: signed.head.seq,
        hash: signed.head.hash.to_vec(),
        book_time: Some(timestamp(signed.head.booked_at)),
        key_id: signed.key_id.clone(),
        signature: signed.signature.clone(),
    }
}

/// How far a verification is.
pub(in crate::rpc) fn progress(progress: Progress) -> pb::VerifyJournalResponse {
    let Progress { seq, head_seq, findings, done } = progress;
    let finding = |Finding { seq, what, expected, found }| pb::JournalFinding { seq, what, expected, found };
    pb::VerifyJournalResponse { seq, head_seq, findings: findings.into_iter().map(finding).collect(), done }
}
