//! Proofs of transfers, from the store to two readers that know nothing but the ledger's public key: this crate's own and one in
//! Python, written from `docs/proof.md`.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sqlx::{Executor as _, PgConnection};
use svc_ledger::check;
use svc_ledger::domain::chain::part;
use svc_ledger::domain::command::Resolution;
use svc_ledger::domain::proof::{Broken, Head, Proof, Side, SignedHead};
use svc_ledger::domain::verdict::Verdict;
use svc_ledger::error::Error;
use svc_ledger::signing::{PublicKeys, Signer};
use svc_ledger::store::heads::{Heads, NotSigned};
use svc_ledger::store::read::Viewer;
use svc_ledger::store::verify::{self, Evidence};
use uuid::Uuid;

use crate::bank::{Bank, booked, check_invariants, customer, direct, eventually, hold};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_is_proven_to_whoever_has_the_public_key() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    assert!(eventually(async || bank.health.is_ready()).await);
    let key = Key::new();
    let heads = Heads::new(&server.config()).unwrap();
    let (ada, bob) = (bank.open("ada", 0).await, bank.open("bob", 0).await);
    bank.fund(ada, 10_000).await;
    assert!(heads.sign(&key.signer).await.unwrap().is_some());
    assert!(heads.sign(&key.signer).await.unwrap().is_none(), "the head has not moved");

    let direct = booked(bank.transfer(customer("ada"), "1", &direct(ada, bob, 700)).await.unwrap()).id;
    let held = booked(bank.transfer(customer("ada"), "2", &hold(ada, bob, 70)).await.unwrap()).id;
    let early = bank.store.proof(&Viewer::Staff, direct).await;
    assert!(matches!(early, Err(Error::HeadNotSigned)), "{early:?}");
    let posted = match bank.resolve(customer("ada"), "3", held, Resolution::POST_ALL).await.unwrap() {
        Verdict::Recorded(row) => row,
        other => panic!("not posted: {other:?}"),
    };
    heads.sign(&key.signer).await.unwrap().unwrap();

    for id in [direct, held, posted] {
        every_party_sees_its_own_side(&bank, &key, id).await;
    }
    who_has_no_part_in_it_is_told_nothing(&bank, direct).await;
    heads_are_shipped_once(&heads).await;
    let mut root = server.superuser("ledger").await;
    check_invariants(&bank, &mut root).await;

    heads_are_held_against_the_key(&server, &key, &mut root).await;

    // Whoever rewrites the journal does not get the ledger's name under it.
    booked(bank.transfer(customer("ada"), "4", &crate::bank::direct(ada, bob, 1)).await.unwrap());
    root.execute("SET session_replication_role = replica; UPDATE ledger.batch SET root = prev WHERE seq_from = (SELECT max(seq_from) FROM ledger.batch)")
        .await
        .unwrap();
    let refused = heads.sign(&key.signer).await;
    assert!(matches!(refused, Err(NotSigned::Broken { .. })), "{refused:?}");
    bank.stop().await;
}

/// Whoever can write the tables but has no key can sign nothing that a verification believes.
async fn heads_are_held_against_the_key(server: &Postgres, key: &Key, root: &mut PgConnection) {
    let source = verify::source(&server.config()).unwrap();
    let found = async |evidence: Evidence| {
        let mut found = Vec::new();
        let tell = |progress: verify::Progress| {
            found.extend(progress.findings.into_iter().map(|finding| finding.what));
            true
        };
        verify::verify(&source, &evidence, tell).await.unwrap().unwrap();
        found
    };
    let keys = Some(key.public.clone());
    let kept = key.signer.sign(Head { seq: 1, hash: [7; 32], booked_at: 1 });
    let forged = SignedHead { signature: vec![0; 64], ..kept.clone() };
    let unsigned = vec!["signed head".to_owned(); 2];
    assert_eq!(found(Evidence { keys: keys.clone(), kept: Vec::new() }).await, [""; 0]);
    assert_eq!(found(Evidence { keys: Some(Key::new().public), kept: Vec::new() }).await, unsigned);
    // Another journal's, rightly signed.
    assert_eq!(found(Evidence { keys: keys.clone(), kept: vec![kept] }).await, ["kept head"]);
    assert_eq!(found(Evidence { keys: keys.clone(), kept: vec![forged] }).await, ["kept head", "kept head"]);

    root.execute(
        "BEGIN; SET LOCAL session_replication_role = replica; \
                  UPDATE ledger.signed_head SET booked_at = booked_at + interval '1 ms' \
                  WHERE seq = (SELECT max(seq) FROM ledger.signed_head); COMMIT",
    )
    .await
    .unwrap();
    assert_eq!(found(Evidence { keys, kept: Vec::new() }).await, ["signed head", "signed head"]);
}

async fn every_party_sees_its_own_side(bank: &Bank, key: &Key, id: Uuid) {
    let viewers = [
        (Viewer::Customer("ada".to_owned()), true, false),
        (Viewer::Customer("bob".to_owned()), false, true),
        (Viewer::Staff, true, true),
    ];
    for (viewer, debit, credit) in viewers {
        let proof = bank.store.proof(&viewer, id).await.unwrap();
        let shown = |side: &Side| matches!(side, Side::Shown(_));
        assert_eq!((shown(&proof.debit), shown(&proof.credit)), (debit, credit), "{viewer:?}");
        let json = answer(&proof);
        assert_eq!(check::parse(json.to_string().as_bytes()).unwrap(), proof);
        let fields = check::check(&key.public, &proof).unwrap();
        assert!(fields.contains(&("id", id.to_string())), "{fields:?}");
        assert_eq!(key.by_python(&json), Some(true), "{json}");
        let foreign = Key::new();
        assert_eq!(check::check(&foreign.public, &proof), Err(Broken::Key));
        assert_eq!(foreign.by_python(&json), Some(false));
        let mut changed = json.clone();
        changed["head"]["bookTime"] = json!("2020-01-01T00:00:00Z");
        let other = check::parse(changed.to_string().as_bytes()).unwrap();
        assert_eq!(check::check(&key.public, &other), Err(Broken::Signature));
        assert_eq!(key.by_python(&changed), Some(false));
    }
}

async fn who_has_no_part_in_it_is_told_nothing(bank: &Bank, id: Uuid) {
    bank.open("eve", 0).await;
    let strangers = [
        Viewer::Customer("eve".to_owned()),
        Viewer::Nobody,
        Viewer::Partner { partner: "psp".to_owned(), customer: "ada".to_owned() },
    ];
    for viewer in strangers {
        for id in [id, Uuid::now_v7()] {
            let told = bank.store.proof(&viewer, id).await;
            assert!(matches!(told, Err(Error::NotPermitted)), "{viewer:?}: {told:?}");
        }
    }
    let missing = bank.store.proof(&Viewer::Staff, Uuid::now_v7()).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

async fn heads_are_shipped_once(heads: &Heads) {
    let pending = heads.pending(10).await.unwrap();
    let seqs: Vec<i64> = pending.iter().map(|signed| signed.head.seq).collect();
    assert!(seqs.len() == 2 && seqs.is_sorted(), "{seqs:?}");
    heads.remove(&pending).await.unwrap();
    assert_eq!(heads.pending(10).await.unwrap(), []);
}

/// A key of the ledger's, and what others are given of it.
struct Key {
    signer: Signer,
    public: PublicKeys,
    pem: String,
}

impl Key {
    fn new() -> Self {
        let private = chassis::transaction_token::generate().unwrap();
        let pem = chassis::transaction_token::public_half(&private).unwrap();
        let signer = Signer::of_pem(private.as_bytes()).unwrap();
        Self { signer, public: PublicKeys::of_pem(pem.as_bytes()).unwrap(), pem }
    }

    /// Whether the checker in Python is convinced; none if there is no Python here.
    fn by_python(&self, json: &Value) -> Option<bool> {
        let folder = tempfile::tempdir().unwrap();
        let (key, file) = (folder.path().join("head.pub"), folder.path().join("proof.json"));
        std::fs::write(&key, &self.pem).unwrap();
        std::fs::write(&file, json.to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/proof/check.py");
        let output = Command::new("python3").arg(script).args([key, file]).output().unwrap();
        match output.status.code() {
            Some(0) => Some(true),
            Some(1) if String::from_utf8_lossy(&output.stderr).starts_with("not proven") => Some(false),
            _ => panic!("{output:?}"),
        }
    }
}

/// The answer as the edge writes it in JSON.
fn answer(proof: &Proof) -> Value {
    let base64 = |bytes: &[u8]| Value::from(BASE64_STANDARD.encode(bytes));
    let side = |side: &Side| match side {
        Side::Shown(bytes) => (base64(bytes), base64(&part(bytes))),
        Side::Hidden(hash) => (base64(&[]), base64(hash)),
    };
    let ((debit, debit_hash), (credit, credit_hash)) = (side(&proof.debit), side(&proof.credit));
    let batches = proof.batches.iter().map(|link| {
        json!({
            "seqFrom": link.seq_from.to_string(), "rows": link.rows,
            "prev": base64(&link.prev), "root": base64(&link.root),
        })
    });
    let head = &proof.head.head;
    let book_time = chrono::DateTime::from_timestamp_millis(head.booked_at).unwrap();
    json!({
        "row": base64(&proof.public),
        "debitSide": debit,
        "creditSide": credit,
        "debitSideHash": debit_hash,
        "creditSideHash": credit_hash,
        "leafIndex": proof.index.to_string(),
        "auditPath": proof.path.iter().map(|hash| base64(hash)).collect::<Vec<_>>(),
        "batches": batches.collect::<Vec<_>>(),
        "head": {
            "seq": head.seq.to_string(), "hash": base64(&head.hash),
            "bookTime": book_time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "keyId": proof.head.key_id, "signature": base64(&proof.head.signature),
        },
    })
}
