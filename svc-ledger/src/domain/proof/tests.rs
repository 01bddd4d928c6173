//! A proof that was made proves its row, and nothing else does.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::chain::{GENESIS, audit_path, leaf};
use crate::domain::currency::Currency;
use crate::domain::exchange::Exchange;
use crate::domain::journal;
use crate::domain::journal::{Kind, Row, Taken, row_id};
use crate::domain::request::Scope;

fn row(seq: i64) -> Row {
    let side = |account| journal::Side { account, version: 3, posted: seq * 10, held: 2, expected: 1 };
    Row {
        id: row_id(1_700_000_000_000, seq, 7),
        seq,
        kind: Kind::Transfer,
        currency: Currency::parse("EUR"),
        amount: Some(seq),
        remaining: None,
        debit: Some(side(1)),
        credit: Some(side(2)),
        floor: Some(-500),
        ceiling: None,
        link: Some(seq),
        reference: None,
        flags: 0,
        gl_code: None,
        revision: None,
        party: None,
        consent: Some(Taken { consent: Uuid::from_u128(9), used: 40 }),
        bounds: None,
        expires_at: None,
        value_date: chrono::NaiveDate::from_ymd_opt(2024, 2, 29),
        exchange: Some(Exchange { quote: "q1".to_owned(), rate: "1.25".to_owned() }),
        actor: Scope::of("subject:somebody"),
        detail_hash: Some([5; 32]),
        salt: [seq as u8; 16],
        booked_at: 1_700_000_000_000,
    }
}

/// The journal of three batches, and the proof for the row at `index` of the one at `batch`, as its payer sees it.
fn proof(batch: usize, index: usize) -> Proof {
    let mut prev = GENESIS;
    let mut batches = Vec::new();
    for (from, count) in [(1, 5), (6, 1), (7, 8)] {
        let rows: Vec<Row> = (from..from + count).map(row).collect();
        let link = Batch::new(prev, &rows).unwrap();
        prev = link.hash;
        batches.push((link, rows));
    }
    let rows = &batches[batch].1;
    let leaves: Vec<Hash> = rows.iter().map(leaf).collect();
    let of = &rows[index];
    Proof {
        public: of.public(),
        debit: Side::Shown(of.side(Which::Debit)),
        credit: Side::Hidden(part(&of.side(Which::Credit))),
        index: index as u64,
        path: audit_path(&leaves, index).unwrap(),
        batches: batches[batch..]
            .iter()
            .map(|(link, _)| Link {
                seq_from: link.seq_from,
                rows: link.rows,
                prev: link.prev,
                root: link.root,
            })
            .collect(),
        head: SignedHead {
            head: Head { seq: 14, hash: prev, booked_at: 1_700_000_000_000 },
            key_id: "key".to_owned(),
            signature: Vec::new(),
        },
    }
}

#[test]
fn every_row_can_be_proven_and_read() {
    for (batch, rows) in [5, 1, 8].into_iter().enumerate() {
        for index in 0..rows {
            let fields = proof(batch, index).check().unwrap();
            assert!(fields.contains(&("kind", "Transfer".to_owned())));
        }
    }
    let fields = proof(0, 2).check().unwrap();
    let shown: Vec<String> = fields.iter().skip(1).map(|(name, value)| format!("{name}={value}")).collect();
    let hash = "05".repeat(32);
    assert_eq!(
        shown.join(" "),
        format!(
            "seq=3 kind=Transfer currency=EUR amount=3 debit_account=1 credit_account=2 link=3 flags=0 \
             value_date=2024-02-29 exchange=quote q1, rate 1.25 detail_hash={hash} booked_at=1700000000000"
        )
    );
}

#[test]
fn what_one_party_is_shown_says_nothing_of_the_other() {
    let row = row(3);
    let other = Row { credit: row.credit.map(|side| journal::Side { posted: 4_711, ..side }), ..row.clone() };
    assert_eq!(row.public(), other.public());
    assert_eq!(row.side(Which::Debit), other.side(Which::Debit));
    assert_ne!(row.side(Which::Credit), other.side(Which::Credit));
    // The same figures under another salt have another hash: it cannot be tried against guesses.
    let salted = Row { salt: [9; 16], ..row.clone() };
    assert_ne!(part(&row.side(Which::Credit)), part(&salted.side(Which::Credit)));
    let shown = side(&row.side(Which::Debit), Which::Debit).unwrap();
    let names: Vec<&str> = shown.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["version", "posted", "held", "expected", "floor", "consent", "actor"]);
}

#[test]
fn what_does_not_follow_is_named() {
    type Case = (fn(&mut Proof), Broken);
    let cases: [Case; 9] = [
        (|proof| proof.public.push(0), Broken::Unreadable),
        (|proof| proof.debit = Side::Shown(vec![0; 3]), Broken::Unreadable),
        (|proof| proof.credit = Side::Hidden([0; 32]), Broken::Path),
        (|proof| proof.path.clear(), Broken::Path),
        (|proof| proof.batches.clear(), Broken::NoBatch),
        (|proof| proof.batches[0].seq_from += 1, Broken::Misplaced),
        (|proof| proof.batches[0].prev = [1; 32], Broken::Chain(6)),
        (|proof| proof.batches.truncate(2), Broken::Head),
        (|proof| proof.head.head.seq += 1, Broken::Head),
    ];
    for (change, expect) in cases {
        let mut proof = proof(0, 2);
        change(&mut proof);
        assert_eq!(proof.check(), Err(expect));
    }
}

proptest! {
    /// No byte of what is shown can be another.
    #[test]
    fn no_changed_byte_passes(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut proof = proof(0, 2);
        let mut bytes: Vec<&mut u8> = proof.public.iter_mut().collect();
        if let Side::Shown(side) = &mut proof.debit {
            bytes.extend(side);
        }
        bytes.extend(proof.path.iter_mut().flatten());
        bytes.extend(proof.batches.iter_mut().flat_map(|link| link.prev.iter_mut().chain(&mut link.root)));
        bytes.extend(&mut proof.head.head.hash);
        let place = at.index(bytes.len());
        *bytes[place] ^= 1 << bit;
        prop_assert!(proof.check().is_err());
    }
}
