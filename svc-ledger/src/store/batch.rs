//! One batch against the server: [`open`] locks the head and reads what the commands concern, [`write`] writes what was judged.
//! Each is one statement, one round trip, with columns as arrays; the SQL is in the migrations.

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _};
use uuid::Uuid;

use super::rows::{account_state, corrupt, currency, hash, purpose, scope};
use crate::domain::account::{Account, Totals};
use crate::domain::command::{Action, Command};
use crate::domain::journal::{Row, Side};
use crate::domain::judge::Judged;
use crate::domain::request::{BodyHash, Key};
use crate::domain::verdict::{Outcome, Refusal, TransferState};
use crate::domain::view::{Accounts, Head, Hold, View};

type Bound = Query<'static, Postgres, PgArguments>;

// -- open ----------------------------------------------------------------------------------------------------------------------

/// What the commands of a batch name.
#[derive(Default)]
struct Named {
    accounts: Vec<Uuid>,
    parties: Vec<Uuid>,
    holds: Vec<Uuid>,
    keys: Vec<Key>,
}

impl Named {
    fn by<'a>(commands: impl IntoIterator<Item = &'a Command>) -> Self {
        let mut named = Self::default();
        for command in commands {
            match &command.action {
                Action::Open(open) => {
                    named.accounts.push(open.id);
                    named.parties.push(open.id);
                }
                Action::Transfer(request, transfer) => {
                    named.accounts.extend([transfer.debit, transfer.credit]);
                    if !command.actor.staff {
                        named.parties.push(transfer.debit);
                    }
                    named.keys.push(request.key.clone());
                }
                Action::Resolve(request, resolve) => {
                    named.holds.push(resolve.transfer);
                    named.keys.push(request.key.clone());
                }
            }
        }
        for ids in [&mut named.accounts, &mut named.parties, &mut named.holds] {
            ids.sort_unstable();
            ids.dedup();
        }
        named
    }
}

/// Locks the head, to be held to the end of the transaction, and reads what the commands concern.
pub(super) async fn open<'a>(
    connection: &mut PgConnection,
    commands: impl IntoIterator<Item = &'a Command>,
) -> Result<View, sqlx::Error> {
    let named = Named::by(commands);
    let row = sqlx::query("SELECT * FROM ledger.open_batch($1, $2, $3, $4, $5)")
        .bind(named.accounts)
        .bind(named.parties)
        .bind(named.holds)
        .bind(column(&named.keys, |key| *key.scope.as_bytes()))
        .bind(column(&named.keys, |key| key.request_id.clone()))
        .fetch_one(connection)
        .await?;
    Ok(View {
        head: Head {
            seq: row.try_get("head_seq")?,
            hash: hash(row.try_get("head_hash")?)?,
            now: row.try_get("now_ms")?,
        },
        accounts: accounts(&row)?,
        parties: parties(&row)?,
        holds: holds(&row)?,
        outcomes: outcomes(&row, named.keys)?,
    })
}

/// An array column; absent stands for empty.
fn array<T>(row: &PgRow, name: &str) -> Result<Vec<T>, sqlx::Error>
where
    Vec<T>: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    Ok(row.try_get::<Option<Vec<T>>, _>(name)?.unwrap_or_default())
}

fn accounts(row: &PgRow) -> Result<Accounts, sqlx::Error> {
    let no: Vec<i64> = array(row, "account_no")?;
    let id: Vec<Uuid> = array(row, "account_id")?;
    let currencies: Vec<i16> = array(row, "account_currency")?;
    let purposes: Vec<i16> = array(row, "account_purpose")?;
    let floor: Vec<Option<i64>> = array(row, "account_floor")?;
    let state: Vec<i16> = array(row, "account_state")?;
    let revision: Vec<i64> = array(row, "account_revision")?;
    let version: Vec<i64> = array(row, "account_version")?;
    let dr_posted: Vec<i64> = array(row, "account_dr_posted")?;
    let cr_posted: Vec<i64> = array(row, "account_cr_posted")?;
    let dr_pending: Vec<i64> = array(row, "account_dr_pending")?;
    let cr_pending: Vec<i64> = array(row, "account_cr_pending")?;
    let opened: Vec<i64> = array(row, "account_opened_ms")?;
    let mut accounts = Accounts::default();
    for place in 0..no.len() {
        accounts.add(Account {
            no: no[place],
            id: id[place],
            currency: currency(currencies[place])?,
            purpose: purpose(purposes[place])?,
            floor: floor[place],
            state: account_state(state[place])?,
            state_revision: revision[place],
            version: version[place],
            totals: Totals {
                dr_posted: dr_posted[place],
                cr_posted: cr_posted[place],
                dr_pending: dr_pending[place],
                cr_pending: cr_pending[place],
            },
            opened_at: opened[place],
        });
    }
    Ok(accounts)
}

fn parties(row: &PgRow) -> Result<HashMap<i64, Vec<String>>, sqlx::Error> {
    let mut parties: HashMap<i64, Vec<String>> = HashMap::new();
    let customers: Vec<String> = array(row, "party_customer")?;
    for (account, customer) in array::<i64>(row, "party_account")?.into_iter().zip(customers) {
        parties.entry(account).or_default().push(customer);
    }
    Ok(parties)
}

fn holds(row: &PgRow) -> Result<BTreeMap<Uuid, Hold>, sqlx::Error> {
    let ids: Vec<Uuid> = array(row, "hold_id")?;
    let creator: Vec<Vec<u8>> = array(row, "hold_creator")?;
    let debit: Vec<i64> = array(row, "hold_dr")?;
    let credit: Vec<i64> = array(row, "hold_cr")?;
    let amount: Vec<i64> = array(row, "hold_amount")?;
    let state: Vec<i16> = array(row, "hold_state")?;
    let resolved_by: Vec<Option<Uuid>> = array(row, "hold_resolved_by")?;
    let hold = |place: usize| -> Result<Hold, sqlx::Error> {
        Ok(Hold {
            creator: scope(&creator[place])?,
            debit: debit[place],
            credit: credit[place],
            amount: amount[place],
            state: TransferState::from_number(state[place]).ok_or_else(|| corrupt("hold state"))?,
            resolved_by: resolved_by[place],
        })
    };
    ids.iter().enumerate().map(|(place, id)| Ok((*id, hold(place)?))).collect()
}

fn outcomes(row: &PgRow, keys: Vec<Key>) -> Result<HashMap<Key, (BodyHash, Outcome)>, sqlx::Error> {
    let places: Vec<i64> = array(row, "outcome_place")?;
    let bodies: Vec<Vec<u8>> = array(row, "outcome_body")?;
    let verdicts: Vec<i16> = array(row, "outcome_verdict")?;
    let rows: Vec<Option<Uuid>> = array(row, "outcome_row")?;
    let mut outcomes = HashMap::with_capacity(places.len());
    for (((place, body), verdict), row) in places.into_iter().zip(bodies).zip(verdicts).zip(rows) {
        let outcome = match row {
            Some(row) => Outcome::Accepted(row),
            None => Outcome::Refused(Refusal::from_number(verdict).ok_or_else(|| corrupt("verdict"))?),
        };
        let key = usize::try_from(place - 1)
            .ok()
            .and_then(|place| keys.get(place))
            .ok_or_else(|| corrupt("outcome"))?;
        outcomes.insert(key.clone(), (BodyHash::from_bytes(body), outcome));
    }
    Ok(outcomes)
}

// -- write ---------------------------------------------------------------------------------------------------------------------

/// Writes a judged batch; `before` is the head it was judged on.
pub(super) async fn write(
    connection: &mut PgConnection,
    before: Head,
    judged: &Judged,
) -> Result<(), sqlx::Error> {
    let head_after = judged.rows.last().map_or(before.seq, |row| row.seq);
    let (root, hash_after) =
        judged.batch.as_ref().map_or(([0; 32], before.hash), |batch| (batch.root, batch.hash));
    let query = sqlx::query(WRITE)
        .bind(before.seq)
        .bind(head_after)
        .bind(before.hash)
        .bind(hash_after)
        .bind(root)
        .bind(before.now);
    let query = bind_journal(query, &judged.rows);
    let query = bind_changed(query, &judged.changed);
    let query = bind_outcomes(query, judged);
    let query = bind_opened(query, judged);
    let query = bind_holds(query, judged);
    query.execute(connection).await?;
    Ok(())
}

const WRITE: &str = "SELECT ledger.write_batch($1, $2, $3, $4, $5, $6, \
    $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, \
    $29, $30, $31, $32, $33, $34, $35, \
    $36, $37, $38, $39, $40, \
    $41, $42, $43, \
    $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, \
    $55, $56, \
    $57, $58, $59, $60, $61, $62, $63, $64, $65, \
    $66, $67, $68, $69, $70)";

fn column<T, U>(items: &[T], of: impl Fn(&T) -> U) -> Vec<U> {
    items.iter().map(of).collect()
}

fn bind_journal(query: Bound, rows: &[Row]) -> Bound {
    let debit = |of: fn(&Side) -> i64| column(rows, |row| row.debit.as_ref().map(of));
    let credit = |of: fn(&Side) -> i64| column(rows, |row| row.credit.as_ref().map(of));
    query
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.seq))
        .bind(column(rows, |row| row.kind as i16))
        .bind(column(rows, |row| row.currency.numeric()))
        .bind(column(rows, |row| row.flags))
        .bind(debit(|side| side.account))
        .bind(credit(|side| side.account))
        .bind(column(rows, |row| row.amount))
        .bind(debit(|side| side.version))
        .bind(debit(|side| side.posted))
        .bind(debit(|side| side.held))
        .bind(debit(|side| side.expected))
        .bind(credit(|side| side.version))
        .bind(credit(|side| side.posted))
        .bind(credit(|side| side.held))
        .bind(credit(|side| side.expected))
        .bind(column(rows, |row| row.floor))
        .bind(column(rows, |row| row.revision))
        .bind(column(rows, |row| row.reference))
        .bind(column(rows, |row| *row.actor.as_bytes()))
        .bind(column(rows, |row| row.party.clone()))
        .bind(column(rows, |row| row.detail_hash))
}

fn bind_changed(query: Bound, changed: &[(i64, Account)]) -> Bound {
    query
        .bind(column(changed, |(_, account)| account.no))
        .bind(column(changed, |(before, _)| *before))
        .bind(column(changed, |(_, account)| account.version))
        .bind(column(changed, |(_, account)| account.totals.dr_posted))
        .bind(column(changed, |(_, account)| account.totals.cr_posted))
        .bind(column(changed, |(_, account)| account.totals.dr_pending))
        .bind(column(changed, |(_, account)| account.totals.cr_pending))
}

fn bind_outcomes(query: Bound, judged: &Judged) -> Bound {
    let outcomes = &judged.outcomes;
    let number = |outcome: &Outcome| match outcome {
        Outcome::Accepted(_) => 0,
        Outcome::Refused(refusal) => *refusal as i16,
    };
    let row = |outcome: &Outcome| match outcome {
        Outcome::Accepted(row) => Some(*row),
        Outcome::Refused(_) => None,
    };
    query
        .bind(column(outcomes, |(key, ..)| *key.scope.as_bytes()))
        .bind(column(outcomes, |(key, ..)| key.request_id.clone()))
        .bind(column(outcomes, |(_, body, _)| body.as_bytes().to_vec()))
        .bind(column(outcomes, |(.., outcome)| number(outcome)))
        .bind(column(outcomes, |(.., outcome)| row(outcome)))
        .bind(column(&judged.details, |(transfer, _)| *transfer))
        .bind(column(&judged.details, |(_, detail)| detail.reference.clone()))
        .bind(column(&judged.details, |(_, detail)| detail.salt))
}

fn bind_opened(query: Bound, judged: &Judged) -> Bound {
    let opened = &judged.opened;
    query
        .bind(column(opened, |account| account.no))
        .bind(column(opened, |account| account.id))
        .bind(column(opened, |account| account.currency.numeric()))
        .bind(column(opened, |account| account.purpose as i16))
        .bind(column(opened, |account| account.floor))
        .bind(column(opened, |account| account.state_revision))
        .bind(column(opened, |account| account.version))
        .bind(column(opened, |account| account.totals.dr_posted))
        .bind(column(opened, |account| account.totals.cr_posted))
        .bind(column(opened, |account| account.totals.dr_pending))
        .bind(column(opened, |account| account.totals.cr_pending))
        .bind(column(&judged.parties, |(account, _)| *account))
        .bind(column(&judged.parties, |(_, customer)| customer.clone()))
}

/// What is left of a hold, and what of it was posted.
fn split(hold: &Hold) -> (i64, i64) {
    match hold.state {
        TransferState::Pending => (hold.amount, 0),
        TransferState::Posted => (0, hold.amount),
        TransferState::Voided => (0, 0),
    }
}

fn bind_holds(query: Bound, judged: &Judged) -> Bound {
    let (holds, resolved) = (&judged.holds, &judged.resolved);
    query
        .bind(column(holds, |(id, _)| *id))
        .bind(column(holds, |(_, hold)| *hold.creator.as_bytes()))
        .bind(column(holds, |(_, hold)| hold.debit))
        .bind(column(holds, |(_, hold)| hold.credit))
        .bind(column(holds, |(_, hold)| hold.amount))
        .bind(column(holds, |(_, hold)| split(hold).0))
        .bind(column(holds, |(_, hold)| split(hold).1))
        .bind(column(holds, |(_, hold)| hold.state as i16))
        .bind(column(holds, |(_, hold)| hold.resolved_by))
        .bind(column(resolved, |(id, _)| *id))
        .bind(column(resolved, |(_, hold)| split(hold).0))
        .bind(column(resolved, |(_, hold)| split(hold).1))
        .bind(column(resolved, |(_, hold)| hold.state as i16))
        .bind(column(resolved, |(_, hold)| hold.resolved_by))
}
