//! The tables that stand for the present, compared with what the journal says they must be: every row, every column, and none
//! that is missing or too many.

use std::collections::HashMap;
use std::hash::Hash;

use sqlx::PgConnection;
use uuid::Uuid;

use super::super::copy::{Copy, Milliseconds, Tuple};
use super::super::rows::{account_state, cap, chart, currency, purpose, scopes, transfer_state};
use crate::domain::account::{Account, Totals};
use crate::domain::grant::{Grant, Terms};
use crate::domain::journal::Kind;
use crate::domain::period::Period;
use crate::domain::replay::Replay;
use crate::domain::request::Scope;
use crate::domain::view::Hold;

/// Transfers looked up at once.
const CLAIMS: usize = 10_000;

/// Compares all of them.
pub(super) async fn compare(connection: &mut PgConnection, replay: &mut Replay) -> Result<(), sqlx::Error> {
    let accounts = std::mem::take(&mut replay.accounts);
    let changed_at = std::mem::take(&mut replay.changed_at);
    let accounts: HashMap<i64, (Account, i64)> = accounts
        .into_iter()
        .map(|(no, account)| (no, (account, changed_at.get(&no).copied().unwrap_or_default())))
        .collect();
    table(connection, replay, "account", ACCOUNTS, accounts, account).await?;
    let holds = std::mem::take(&mut replay.holds);
    table(connection, replay, "hold", HOLDS, holds, hold).await?;
    let grants = std::mem::take(&mut replay.grants);
    table(connection, replay, "grant", GRANTS, grants, grant).await?;
    let reversals = std::mem::take(&mut replay.reversals);
    let query = "SELECT transfer, reversed_by FROM ledger.reversal";
    table(connection, replay, "reversal", query, reversals, |tuple| {
        Ok((tuple.get::<Uuid>()?, tuple.get::<Uuid>()?))
    })
    .await?;
    let parties: HashMap<(i64, String), ()> = std::mem::take(&mut replay.parties)
        .into_iter()
        .flat_map(|(account, customers)| customers.into_iter().map(move |customer| ((account, customer), ())))
        .collect();
    let query = "SELECT account, customer FROM ledger.party";
    table(connection, replay, "party", query, parties, |tuple| Ok(((tuple.get()?, tuple.get()?), ())))
        .await?;
    let periods =
        std::mem::take(&mut replay.periods).into_iter().map(|period| (period.end_date, period)).collect();
    let query = "SELECT end_date, seq, trial_balance, booked_at FROM ledger.period";
    table(connection, replay, "period", query, periods, period).await
}

/// Looks up what reversals of direct transfers give back. Those that are reversals themselves, or half of a conversion, cannot be.
pub(super) async fn claims(connection: &mut PgConnection, replay: &mut Replay) -> Result<(), sqlx::Error> {
    let claims = std::mem::take(&mut replay.claims);
    for part in claims.chunks(CLAIMS) {
        let ids: Vec<Uuid> = part.iter().map(|claim| claim.transfer).collect();
        let rows = sqlx::query_as::<_, (Uuid, i64, i64, i64)>(
            "SELECT id, dr, cr, amount FROM ledger.journal WHERE id = ANY ($1) AND kind = $2 AND quote IS NULL \
             AND dr IS NOT NULL AND cr IS NOT NULL AND amount IS NOT NULL",
        )
        .bind(ids)
        .bind(Kind::Transfer as i16)
        .fetch_all(&mut *connection)
        .await?;
        let originals: HashMap<Uuid, (i64, i64, i64)> =
            rows.into_iter().map(|(id, debit, credit, amount)| (id, (debit, credit, amount))).collect();
        for claim in part {
            replay.claimed(claim, originals.get(&claim.transfer).copied());
        }
    }
    Ok(())
}

/// Compares one table with what its rows must be.
async fn table<K, V>(
    connection: &mut PgConnection,
    replay: &mut Replay,
    name: &str,
    query: &str,
    mut expected: HashMap<K, V>,
    read: impl Fn(&mut Tuple) -> Result<(K, V), sqlx::Error>,
) -> Result<(), sqlx::Error>
where
    K: Hash + Eq + std::fmt::Debug,
    V: PartialEq + std::fmt::Debug,
{
    let mut copy = Copy::begin(connection, query).await?;
    while let Some(mut tuple) = copy.next().await? {
        let (key, found) = read(&mut tuple)?;
        match expected.remove(&key) {
            Some(must_be) if must_be == found => {}
            Some(must_be) => {
                let (must_be, found) = differing(&format!("{must_be:?}"), &format!("{found:?}"));
                replay.find(0, format!("{name} {key:?}"), must_be, found);
            }
            None => replay.find(0, format!("{name} {key:?}"), "none", format!("{found:?}")),
        }
    }
    for (key, must_be) in expected {
        replay.find(0, format!("{name} {key:?}"), format!("{must_be:?}"), "none");
    }
    Ok(())
}

/// The fields in which two rows differ, of their printed forms.
fn differing(expected: &str, found: &str) -> (String, String) {
    let fields = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
    let (expected, found) = (fields(expected), fields(found));
    let differ = expected.iter().zip(&found).filter(|(one, other)| one != other);
    let (expected, found): (Vec<_>, Vec<_>) = differ.map(|(one, other)| (one.clone(), other.clone())).unzip();
    (expected.join(", "), found.join(", "))
}

const ACCOUNTS: &str = "SELECT no, id, currency, purpose, type, gl_code, min_available, max_balance, state, \
    state_revision, version, dr_posted, cr_posted, dr_pending, cr_pending, opened_at, booked_at FROM ledger.account";

/// An account, and when its version was booked.
fn account(tuple: &mut Tuple) -> Result<(i64, (Account, i64)), sqlx::Error> {
    let no = tuple.get()?;
    let account = Account {
        no,
        id: tuple.get()?,
        currency: currency(tuple.get()?)?,
        purpose: purpose(tuple.get()?)?,
        chart: chart(tuple.get()?, tuple.get()?)?,
        floor: tuple.optional()?,
        ceiling: tuple.optional()?,
        state: account_state(tuple.get()?)?,
        state_revision: tuple.get()?,
        version: tuple.get()?,
        totals: Totals {
            dr_posted: tuple.get()?,
            cr_posted: tuple.get()?,
            dr_pending: tuple.get()?,
            cr_pending: tuple.get()?,
        },
        opened_at: tuple.get::<Milliseconds>()?.0,
    };
    Ok((no, (account, tuple.get::<Milliseconds>()?.0)))
}

const HOLDS: &str = "SELECT id, creator, dr, cr, amount, remaining, captured, state, expires_at, value_date, link, \
    external, exchange, consent, resolved_by FROM ledger.hold";

fn hold(tuple: &mut Tuple) -> Result<(Uuid, Hold), sqlx::Error> {
    let id = tuple.get()?;
    let hold = Hold {
        creator: Scope::from_bytes(tuple.get()?),
        debit: tuple.get()?,
        credit: tuple.get()?,
        amount: tuple.get()?,
        remaining: tuple.get()?,
        captured: tuple.get()?,
        state: transfer_state(tuple.get()?)?,
        expires_at: tuple.optional::<Milliseconds>()?.map(|time| time.0),
        value_date: tuple.get()?,
        link: tuple.optional()?,
        external: tuple.get()?,
        exchange: tuple.get()?,
        consent: tuple.optional()?,
        resolved_by: tuple.optional()?,
    };
    Ok((id, hold))
}

const GRANTS: &str = "SELECT consent, account, partner, scopes, per_transfer_max, total_max, used, expires_at, \
    revision FROM ledger.\"grant\"";

fn grant(tuple: &mut Tuple) -> Result<(Uuid, Grant), sqlx::Error> {
    let (consent, account, partner) = (tuple.get()?, tuple.get()?, tuple.get()?);
    let scopes = scopes(tuple.get()?)?;
    let (per_transfer_max, total_max) = (cap(tuple.optional()?)?, cap(tuple.optional()?)?);
    let (used, expires_at) = (tuple.get()?, tuple.get::<Milliseconds>()?.0);
    let terms =
        Terms { consent, partner, scopes, per_transfer_max, total_max, expires_at, revision: tuple.get()? };
    Ok((consent, Grant { account, terms, used }))
}

fn period(tuple: &mut Tuple) -> Result<(chrono::NaiveDate, Period), sqlx::Error> {
    let end_date = tuple.get()?;
    let (seq, trial_balance) = (tuple.get()?, tuple.get()?);
    Ok((end_date, Period { end_date, seq, trial_balance, booked_at: tuple.get::<Milliseconds>()?.0 }))
}
