//! Verifies the whole ledger at one moment: replays every row of the journal by the judge's rules, hashes it again and compares
//! the chain, and at the end compares what the rows say with the tables as they stand. Reads in one snapshot beside the running
//! service and stops nobody.

mod journal;
mod tables;

use std::collections::BTreeMap;

use chrono::NaiveDate;
use futures::TryStreamExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};

use self::journal::{Link, Links};
use super::connect;
use super::copy::Copy;
use super::rows::hash;
use crate::config;
use crate::domain::chain::{GENESIS, Hash, Tree, leaf};
use crate::domain::proof::{self, SignedHead};
use crate::domain::replay::{Finding, Replay};
use crate::signing::PublicKeys;

/// How findings name heads: those of the ledger itself, and those from outside.
const SIGNED: &str = "signed head";
const KEPT: &str = "kept head";
/// After how many rows progress is told.
const TELL_EVERY: i64 = 20_000;

/// How far a verification is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to this row has been verified.
    pub seq: i64,
    /// Where the journal ended when it began.
    pub head_seq: i64,
    /// What was found since the last time.
    pub findings: Vec<Finding>,
    /// Whether this is the last time.
    pub done: bool,
}

/// What a verification came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Rows verified.
    pub rows: i64,
    /// Links of the chain verified.
    pub batches: i64,
    /// Things that are not as they must be.
    pub found: usize,
    /// The hash of the last batch.
    pub head: Hash,
    /// Signatures of heads looked at; none without keys.
    pub signatures: usize,
}

/// What the ledger cannot have written anew by itself: heads count as signed only under these keys, and those that were kept elsewhere
/// must be heads of this journal.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The keys; signatures are not looked at without.
    pub keys: Option<PublicKeys>,
    /// Heads that somebody else has kept.
    pub kept: Vec<SignedHead>,
}

impl Evidence {
    /// The database's own word.
    pub const NONE: &'static Self = &Self { keys: None, kept: Vec::new() };
}

/// Where the ledger of a configuration is read.
///
/// # Errors
/// When the configuration names no server or no password.
pub fn source(config: &config::Store) -> anyhow::Result<PgConnectOptions> {
    connect::verifier(config)
}

/// Verifies the ledger that `options` lead to, with what `evidence` there is from outside. `tell` is told how far it is, and says
/// whether to go on.
///
/// # Errors
/// When the ledger cannot be read to its end. That something is wrong with it is a finding and no error.
pub async fn verify(
    options: &PgConnectOptions,
    evidence: &Evidence,
    mut tell: impl FnMut(Progress) -> bool,
) -> Result<Option<Report>, sqlx::Error> {
    // A statement may take as long as the journal is.
    let options = options.clone().application_name("svc-ledger/verify").options([
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("default_transaction_read_only", "on"),
    ]);
    let (mut rows, mut links) =
        (PgConnection::connect_with(&options).await?, PgConnection::connect_with(&options).await?);
    let head = one_moment(&mut rows, &mut links).await?;

    let mut replay = Replay::default();
    // Before the links are asked for: a server that nobody listens to for long ends the connection.
    let heads = Heads::read(&mut rows, evidence, &mut replay).await?;
    let signatures = heads.signatures;
    let mut chain = Chain { links: Links::begin(&mut links).await?, prev: GENESIS, batches: 0, heads };
    let mut copy = Copy::begin(&mut rows, journal::QUERY).await?;
    let mut link = chain.next(&mut replay).await?;
    let (mut tree, mut left) = (Tree::default(), link.map_or(0, |link| link.rows));
    while let Some(mut tuple) = copy.next().await? {
        match journal::row(&mut tuple) {
            Ok(row) => {
                tree.push(leaf(&row));
                replay.apply(&row);
            }
            Err(error) => {
                replay.seq += 1;
                replay.find(replay.seq, "row", "values that the ledger writes", error);
            }
        }
        left -= 1;
        match link {
            Some(of) if left <= 0 => {
                chain.close(&mut replay, of, tree.take_root());
                link = chain.next(&mut replay).await?;
                left = link.map_or(0, |link| link.rows);
            }
            Some(_) => {}
            None => replay.find(replay.seq, "batch", "one that the row is part of", "none"),
        }
        let told = Progress { seq: replay.seq, head_seq: head.seq, findings: Vec::new(), done: false };
        if replay.seq % TELL_EVERY == 0 && !tell(Progress { findings: replay.take_findings(), ..told }) {
            return Ok(None);
        }
    }
    drop(copy);
    if let Some(link) = link {
        replay.find(link.seq_from, "rows of the batch", link.rows, link.rows - left);
    }
    chain.end(&mut replay, &head);
    let batches = chain.batches;
    tables::claims(&mut rows, &mut replay).await?;
    tables::compare(&mut rows, &mut replay).await?;
    replay.finish();
    let report = Report { rows: replay.seq, batches, found: replay.found(), head: head.hash, signatures };
    tell(Progress { seq: replay.seq, head_seq: head.seq, findings: replay.take_findings(), done: true });
    Ok(Some(report))
}

/// Where the journal ends, as the head says.
struct Head {
    seq: i64,
    hash: Hash,
    booked_at: i64,
    closed_until: Option<NaiveDate>,
}

/// Has both connections see one moment of the ledger; where it ends then.
async fn one_moment(rows: &mut PgConnection, links: &mut PgConnection) -> Result<Head, sqlx::Error> {
    rows.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let head = sqlx::query(
        "SELECT seq, hash, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms, closed_until, \
         pg_export_snapshot() AS snapshot FROM ledger.head",
    )
    .fetch_one(rows)
    .await?;
    links.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    // The server made the name; it is hexadecimal digits and dashes.
    let snapshot: String = head.try_get("snapshot")?;
    let adopt = sqlx::AssertSqlSafe(format!("SET TRANSACTION SNAPSHOT '{snapshot}'"));
    sqlx::raw_sql(adopt).execute(links).await?;
    Ok(Head {
        seq: head.try_get("seq")?,
        hash: hash(head.try_get("hash")?)?,
        booked_at: head.try_get("booked_ms")?,
        closed_until: head.try_get("closed_until")?,
    })
}

/// What a head says of the batch it is of: its hash, and when it was booked.
type Said = (Hash, i64);

/// Heads whose batches have not come yet, by their sequence numbers: those that the ledger has signed, one every few seconds, and
/// those that somebody else has kept.
struct Heads {
    signed: BTreeMap<i64, Said>,
    kept: BTreeMap<i64, Said>,
    /// How many were looked at.
    signatures: usize,
}

impl Heads {
    /// All of them, each held against the keys if there are any.
    async fn read(
        connection: &mut PgConnection,
        evidence: &Evidence,
        replay: &mut Replay,
    ) -> Result<Self, sqlx::Error> {
        let mut heads = Self { signed: BTreeMap::new(), kept: BTreeMap::new(), signatures: 0 };
        let mut look = |what, head: &SignedHead| {
            if let Some(keys) = &evidence.keys {
                heads.signatures += 1;
                if let Err(broken) = keys.verify(head) {
                    replay.find(head.head.seq, what, "one that the ledger has signed", broken);
                }
            }
            (head.head.seq, (head.head.hash, head.head.booked_at))
        };
        let mut rows = sqlx::query(
            "SELECT seq, hash, (extract(epoch FROM booked_at) * 1000)::bigint AS booked_ms, key_id, signature \
             FROM ledger.signed_head",
        )
        .fetch(connection);
        while let Some(row) = rows.try_next().await? {
            let head = proof::Head {
                seq: row.try_get("seq")?,
                hash: hash(row.try_get("hash")?)?,
                booked_at: row.try_get("booked_ms")?,
            };
            let (key_id, signature) = (row.try_get("key_id")?, row.try_get("signature")?);
            let (seq, said) = look(SIGNED, &SignedHead { head, key_id, signature });
            heads.signed.insert(seq, said);
        }
        for (seq, said) in evidence.kept.iter().map(|head| look(KEPT, head)).collect::<Vec<_>>() {
            if heads.kept.insert(seq, said).is_some_and(|other| other != said) {
                replay.find(seq, KEPT, "one of this number", "another, too");
            }
        }
        Ok(heads)
    }

    /// Compares the heads that end with a batch with it.
    fn close(&mut self, replay: &mut Replay, ends: i64, is_so: Said) {
        for (what, heads) in [(SIGNED, &mut self.signed), (KEPT, &mut self.kept)] {
            if heads.remove(&ends).is_some_and(|said| said != is_so) {
                replay.find(ends, what, "that of the batch", "another");
            }
        }
    }

    /// What is left when there are no more batches.
    fn end(&self, replay: &mut Replay) {
        for (what, heads) in [(SIGNED, &self.signed), (KEPT, &self.kept)] {
            for seq in heads.keys() {
                replay.find(*seq, what, "a batch that ends there", "none");
            }
        }
    }
}

/// The chain while it is followed.
struct Chain<'c> {
    links: Links<'c>,
    prev: Hash,
    batches: i64,
    heads: Heads,
}

impl Chain<'_> {
    /// The next link, which must follow the last row.
    async fn next(&mut self, replay: &mut Replay) -> Result<Option<Link>, sqlx::Error> {
        let link = self.links.next().await?;
        if let Some(link) = link {
            replay.same(link.seq_from, "first row of the batch", &(replay.seq + 1), &link.seq_from);
        }
        Ok(link)
    }

    /// Compares the head with where the rows and the batches end.
    fn end(&self, replay: &mut Replay, head: &Head) {
        let (seq, booked_at) = (replay.seq, replay.booked_at);
        replay.same(0, "seq of the head", &seq, &head.seq);
        replay.same(0, "booked_at of the head", &booked_at, &head.booked_at);
        let closed_until = replay.periods.last().map(|period| period.end_date);
        replay.same(0, "closed_until of the head", &closed_until, &head.closed_until);
        self.heads.end(replay);
        if self.prev != head.hash {
            replay.find(0, "hash of the head", "that of the last batch", "another");
        }
    }

    /// Compares a link with what its rows come to.
    fn close(&mut self, replay: &mut Replay, link: Link, root: Hash) {
        let seq = link.seq_from;
        for (what, is_so) in [
            ("batch.prev", link.prev == self.prev),
            ("batch.root", link.root == root),
            ("batch.hash", link.hash == link.hash_of(self.prev, root)),
        ] {
            if !is_so {
                replay.find(seq, what, "what follows from the rows", "another");
            }
        }
        if replay.booked_at != link.booked_at {
            replay.find(seq, "batch.booked_at", replay.booked_at, link.booked_at);
        }
        let ends = seq + i64::from(link.rows) - 1;
        self.heads.close(replay, ends, (link.hash, link.booked_at));
        self.prev = link.hash;
        self.batches += 1;
    }
}
