//! Rows and links as they are copied.

use sqlx::PgConnection;

use super::super::copy::{Copy, Milliseconds, Tuple};
use super::super::rows::{cap, corrupt, currency, exchange, kind};
use crate::domain::chain::{Batch, Hash};
use crate::domain::journal::{Bounds, Kind, Row, Side, Taken};
use crate::domain::request::Scope;

/// The journal, in the order in which [`row`] reads it.
pub(super) const QUERY: &str = "SELECT id, seq, kind, currency, amount, remaining, \
    dr, dr_version, dr_posted, dr_held, dr_expected, cr, cr_version, cr_posted, cr_held, cr_expected, \
    floor, ceiling, link, ref, flags, gl_code, revision, party, consent, used, per_transfer_max, total_max, \
    expires_at, value_date, quote, rate, actor, detail_hash, salt, booked_at FROM ledger.journal ORDER BY id";

/// A row of the journal.
pub(super) fn row(tuple: &mut Tuple) -> Result<Row, sqlx::Error> {
    let (id, seq, kind) = (tuple.get()?, tuple.get()?, kind(tuple.get()?)?);
    let currency = tuple.optional()?.map(currency).transpose()?;
    let (amount, remaining) = (tuple.optional()?, tuple.optional()?);
    let (debit, credit) = (side(tuple)?, side(tuple)?);
    let (floor, ceiling, link) = (tuple.optional()?, tuple.optional()?, tuple.optional()?);
    let (reference, flags, gl_code) = (tuple.optional()?, tuple.get()?, tuple.optional()?);
    let (revision, party) = (tuple.optional()?, tuple.optional()?);
    let (consent, used) = (tuple.optional()?, tuple.optional()?);
    let (per_transfer_max, total_max) = (cap(tuple.optional()?)?, cap(tuple.optional()?)?);
    let ends = tuple.optional::<Milliseconds>()?.map(|time| time.0);
    let value_date = tuple.optional()?;
    let (quote, rate): (Option<String>, Option<String>) = (tuple.optional()?, tuple.optional()?);
    // What the row's type has no room for would be neither replayed nor hashed, and so must not be there.
    let caps = per_transfer_max.is_some() || total_max.is_some();
    for (what, is_stray) in [
        ("used without a consent, or the other way round", consent.is_some() != used.is_some()),
        ("per_transfer_max or total_max of what is no grant", caps && kind != Kind::Grant),
        ("quote without a rate, or the other way round", quote.is_some() != rate.is_some()),
    ] {
        if is_stray {
            return Err(corrupt(what));
        }
    }
    let exchange = exchange(quote, rate);
    let bounds = |expires_at| Bounds { per_transfer_max, total_max, expires_at };
    Ok(Row {
        id,
        seq,
        kind,
        currency,
        amount,
        remaining,
        debit,
        credit,
        floor,
        ceiling,
        link,
        reference,
        flags,
        gl_code,
        revision,
        party,
        consent: consent.zip(used).map(|(consent, used)| Taken { consent, used }),
        bounds: ends.filter(|_| kind == Kind::Grant).map(bounds),
        expires_at: ends.filter(|_| kind != Kind::Grant),
        value_date,
        exchange,
        actor: Scope::from_bytes(tuple.get()?),
        detail_hash: tuple.optional()?,
        salt: tuple.get()?,
        booked_at: tuple.get::<Milliseconds>()?.0,
    })
}

fn side(tuple: &mut Tuple) -> Result<Option<Side>, sqlx::Error> {
    let account = tuple.optional()?;
    let figures: [Option<i64>; 4] =
        [tuple.optional()?, tuple.optional()?, tuple.optional()?, tuple.optional()?];
    Ok(match (account, figures) {
        (Some(account), [Some(version), Some(posted), Some(held), Some(expected)]) => {
            Some(Side { account, version, posted, held, expected })
        }
        (None, [None, None, None, None]) => None,
        (Some(_) | None, [..]) => return Err(corrupt("side of an account: some of its figures are missing")),
    })
}

/// A link of the chain as it is stored.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) seq_from: i64,
    pub(super) rows: i32,
    pub(super) prev: Hash,
    pub(super) root: Hash,
    pub(super) hash: Hash,
    pub(super) booked_at: i64,
}

impl Link {
    /// The hash it must have, behind `prev` and over `root`.
    pub(super) fn hash_of(&self, prev: Hash, root: Hash) -> Hash {
        Batch::link(prev, self.seq_from, self.rows, root).hash
    }
}

/// The links, in order.
pub(super) struct Links<'c>(Copy<'c>);

impl<'c> Links<'c> {
    pub(super) async fn begin(connection: &'c mut PgConnection) -> Result<Self, sqlx::Error> {
        let query = "SELECT seq_from, n, prev, root, hash, booked_at FROM ledger.batch ORDER BY seq_from";
        Copy::begin(connection, query).await.map(Self)
    }

    pub(super) async fn next(&mut self) -> Result<Option<Link>, sqlx::Error> {
        let Some(mut tuple) = self.0.next().await? else { return Ok(None) };
        Ok(Some(Link {
            seq_from: tuple.get()?,
            rows: tuple.get()?,
            prev: tuple.get()?,
            root: tuple.get()?,
            hash: tuple.get()?,
            booked_at: tuple.get::<Milliseconds>()?.0,
        }))
    }
}
