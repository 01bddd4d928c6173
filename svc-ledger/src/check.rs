//! `svc-ledger check-proof --key head.pub FILE.json`: checks a proof as `GET /v1/transfers/{transfer_id}/proof` answered it, with
//! nothing but the ledger's public key. Answers 0 when the transfer is proven, 1 when it is not, 2 when the files cannot be read.
//! Reads for `svc-ledger verify` the heads that were kept elsewhere, too.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use serde::{Deserialize, Deserializer};

use crate::domain::chain::Hash;
use crate::domain::journal::Which;
use crate::domain::proof::{Broken, Field, Head, Link, Proof, Side, SignedHead, side};
use crate::signing::PublicKeys;
use crate::store::verify::Evidence;

/// The proof does not prove its row.
const EXIT_BROKEN: u8 = 1;
/// The proof, or the key, could not be read.
const EXIT_UNREAD: u8 = 2;

/// Checks the proof of a file.
#[must_use]
pub fn run(key: &Path, file: &Path) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match read(key, file) {
        Ok((keys, proof)) => match check(&keys, &proof) {
            Ok(fields) => {
                for (name, value) in fields {
                    let _ = writeln!(out, "{name:<15} {value}");
                }
                let Head { seq, booked_at, .. } = proof.head.head;
                let _ = writeln!(
                    out,
                    "proven: in the journal that ended with row {seq}, booked at {booked_at} ms"
                );
                ExitCode::SUCCESS
            }
            Err(broken) => {
                let _ = writeln!(err, "not proven: {broken}");
                ExitCode::from(EXIT_BROKEN)
            }
        },
        Err(error) => {
            let _ = writeln!(err, "svc-ledger check-proof: {error:#}");
            ExitCode::from(EXIT_UNREAD)
        }
    }
}

fn read(key: &Path, file: &Path) -> anyhow::Result<(PublicKeys, Proof)> {
    let proof = parse(&bytes(file)?).with_context(|| format!("{} is no proof", file.display()))?;
    Ok((keys(key)?, proof))
}

fn keys(file: &Path) -> anyhow::Result<PublicKeys> {
    PublicKeys::of_pem(&bytes(file)?).with_context(|| format!("in {}", file.display()))
}

fn bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// What a verification is held against: the public keys of a PEM file, and the heads of answers in JSON.
///
/// # Errors
/// When a file cannot be read, or is not that, or when the files hold no head.
pub fn evidence(key: Option<&Path>, files: &[PathBuf]) -> anyhow::Result<Evidence> {
    let mut kept = Vec::new();
    for file in files {
        let page = || -> anyhow::Result<Vec<SignedHead>> {
            let HeadsAnswer { heads } = serde_json::from_slice(&bytes(file)?)?;
            heads.into_iter().map(HeadAnswer::read).collect()
        };
        kept.extend(page().with_context(|| format!("{} is no page of heads", file.display()))?);
    }
    // A keeper that has lost all heads would else prove everything.
    anyhow::ensure!(files.is_empty() || !kept.is_empty(), "there is no head in the files");
    Ok(Evidence { keys: key.map(keys).transpose()?, kept })
}

/// Everything that the proof says of its row, if all of it follows.
///
/// # Errors
/// The first thing that does not.
pub fn check(keys: &PublicKeys, proof: &Proof) -> Result<Vec<Field>, Broken> {
    let mut fields = proof.check()?;
    keys.verify(&proof.head)?;
    for (shown, which, name) in
        [(&proof.debit, Which::Debit, "debit side"), (&proof.credit, Which::Credit, "credit side")]
    {
        let said = match shown {
            Side::Shown(bytes) => {
                let fields = side(bytes, which).ok_or(Broken::Unreadable)?;
                fields.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
            }
            Side::Hidden(_) => "another's, not shown".to_owned(),
        };
        fields.push((name, said));
    }
    Ok(fields)
}

/// The proof of an answer in JSON.
///
/// # Errors
/// When it is not one.
pub fn parse(json: &[u8]) -> anyhow::Result<Proof> {
    let Answer {
        row,
        debit_side,
        credit_side,
        debit_side_hash,
        credit_side_hash,
        leaf_index,
        audit_path,
        batches,
        head,
    } = serde_json::from_slice(json)?;
    let side = |shown: Bytes, hash: Bytes| -> anyhow::Result<Side> {
        Ok(if shown.0.is_empty() { Side::Hidden(hash.hash()?) } else { Side::Shown(shown.0) })
    };
    let link = |batch: Batch| -> anyhow::Result<Link> {
        Ok(Link {
            seq_from: batch.seq_from.0,
            rows: i32::try_from(batch.rows.0)?,
            prev: batch.prev.hash()?,
            root: batch.root.hash()?,
        })
    };
    Ok(Proof {
        public: row.0,
        debit: side(debit_side, debit_side_hash)?,
        credit: side(credit_side, credit_side_hash)?,
        index: u64::try_from(leaf_index.0)?,
        path: audit_path.iter().map(Bytes::hash).collect::<Result<_, _>>()?,
        batches: batches.into_iter().map(link).collect::<Result<_, _>>()?,
        head: head.read()?,
    })
}

/// `ledger.v1.TransferProof` in JSON. What is empty may be left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    row: Bytes,
    #[serde(default)]
    debit_side: Bytes,
    #[serde(default)]
    credit_side: Bytes,
    #[serde(default)]
    debit_side_hash: Bytes,
    #[serde(default)]
    credit_side_hash: Bytes,
    #[serde(default)]
    leaf_index: Number,
    #[serde(default)]
    audit_path: Vec<Bytes>,
    batches: Vec<Batch>,
    head: HeadAnswer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    seq_from: Number,
    rows: Number,
    prev: Bytes,
    root: Bytes,
}

/// `docs.v1.ListJournalHeadsResponse` in JSON.
#[derive(Deserialize)]
struct HeadsAnswer {
    heads: Vec<HeadAnswer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadAnswer {
    seq: Number,
    hash: Bytes,
    book_time: String,
    key_id: String,
    signature: Bytes,
}

impl HeadAnswer {
    fn read(self) -> anyhow::Result<SignedHead> {
        let Self { seq, hash, book_time, key_id, signature } = self;
        let booked_at = DateTime::parse_from_rfc3339(&book_time).context("bookTime")?.timestamp_millis();
        let head = Head { seq: seq.0, hash: hash.hash()?, booked_at };
        Ok(SignedHead { head, key_id, signature: signature.0 })
    }
}

/// Base64, as JSON has bytes.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn hash(&self) -> anyhow::Result<Hash> {
        self.0.as_slice().try_into().context("a hash has 32 bytes")
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A number, or the text that JSON has for one of 64 bits.
#[derive(Clone, Copy, Default)]
struct Number(i64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(i64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Self(number)),
            Either::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}
