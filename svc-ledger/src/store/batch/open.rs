//! Opens a batch: locks the head, and turns what the server read under it into the [`View`] that is judged.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use chrono::NaiveDate;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, Row as _};
use uuid::Uuid;

use super::{call, memory::Memory};
use crate::domain::account::{Account, Totals};
use crate::domain::command::{Action, Command, Unit};
use crate::domain::grant::{Grant, Terms};
use crate::domain::period::{Line, TrialBalance};
use crate::domain::request::{BodyHash, Key};
use crate::domain::verdict::{Outcome, Refusal};
use crate::domain::view::{Accounts, Direct, Head, Hold, View};
use crate::store::rows::{
    account_state, cap, chart, corrupt, currency, hash, purpose, scope, scopes, transfer_state,
};

/// What the commands of a batch name.
#[derive(Default)]
struct Named {
    accounts: Vec<Uuid>,
    parties: Vec<Uuid>,
    holds: Vec<Uuid>,
    keys: Vec<Key>,
    consents: Vec<Uuid>,
    /// Accounts that partners debit, with the partner.
    debits: Vec<(Uuid, String)>,
    /// Holds whose whole chain is concerned.
    chains: Vec<Uuid>,
    /// Transfers to be reversed, or that may be direct ones.
    reversed: Vec<Uuid>,
    /// Whether a period is to be closed.
    closing: bool,
}

impl Named {
    fn by<'a>(units: impl IntoIterator<Item = &'a Unit>) -> Self {
        let mut named = Self::default();
        for command in units.into_iter().flat_map(|unit| &unit.commands) {
            named.add(command);
        }
        let Self { accounts, parties, holds, consents, chains, reversed, .. } = &mut named;
        for ids in [accounts, parties, holds, consents, chains, reversed] {
            ids.sort_unstable();
            ids.dedup();
        }
        named.debits.sort_unstable();
        named.debits.dedup();
        named
    }

    fn add(&mut self, command: &Command) {
        if let Some((request, _)) = command.action.request() {
            self.keys.push(request.key.clone());
        }
        match &command.action {
            Action::Open(open) => {
                self.accounts.push(open.id);
                self.parties.push(open.id);
            }
            Action::SetState(wanted) => self.accounts.push(wanted.account),
            Action::SetLimits(wanted) => self.accounts.push(wanted.account),
            Action::Grant(grant) => {
                self.accounts.push(grant.account);
                self.consents.push(grant.terms.consent);
            }
            Action::Transfer(_, transfer) => {
                if let Some(partner) = &command.actor.partner {
                    self.debits.push((transfer.debit, partner.clone()));
                }
                self.accounts.extend([transfer.debit, transfer.credit]);
                if !command.actor.staff {
                    self.parties.push(transfer.debit);
                }
            }
            Action::Resolve(_, resolve) => {
                self.holds.push(resolve.transfer);
                // Staff are told whether what is no hold is a transfer; others hear of neither.
                if command.actor.staff {
                    self.reversed.push(resolve.transfer);
                }
                if resolve.resolution.is_whole_chain() {
                    self.chains.push(resolve.transfer);
                }
            }
            Action::Reverse(_, reverse) => {
                self.holds.push(reverse.transfer);
                self.reversed.push(reverse.transfer);
            }
            Action::Expire(hold) => self.holds.push(*hold),
            Action::ClosePeriod(..) => self.closing = true,
        }
    }
}

/// Locks the head, to be held to the end of the transaction, and reads what the commands concern and is not remembered.
pub(super) async fn open<'a>(
    connection: &mut PgConnection,
    units: impl IntoIterator<Item = &'a Unit>,
    memory: Memory,
) -> Result<View, sqlx::Error> {
    let named = Named::by(units);
    let row = sqlx::query(OPEN.as_str())
        .bind(memory.hash)
        .bind(memory.unknown_accounts(&named.accounts))
        .bind(memory.unknown_parties(&named.parties))
        .bind(named.accounts)
        .bind(named.parties)
        .bind(named.holds)
        .bind(named.keys.iter().map(|key| *key.scope.as_bytes()).collect::<Vec<_>>())
        .bind(named.keys.iter().map(|key| key.request_id.clone()).collect::<Vec<_>>())
        .bind(named.consents)
        .bind(named.debits.iter().map(|(account, _)| *account).collect::<Vec<_>>())
        .bind(named.debits.into_iter().map(|(_, partner)| partner).collect::<Vec<_>>())
        .bind(named.chains)
        .bind(named.reversed)
        .bind(named.closing)
        .fetch_one(connection)
        .await?;
    let head = Head {
        seq: row.try_get("head_seq")?,
        hash: hash(row.try_get("head_hash")?)?,
        now: row.try_get("now_ms")?,
        closed_until: row.try_get("closed_until")?,
    };
    let Memory { mut accounts, mut parties, .. } = memory.at(head.hash);
    add_accounts(&row, &mut accounts)?;
    add_parties(&row, &mut parties)?;
    Ok(View {
        head,
        accounts,
        parties,
        grants: grants(&row)?,
        holds: holds(&row)?,
        directs: directs(&row)?,
        reversals: reversals(&row)?,
        trial_balance: if named.closing { Some(trial_balance(&row)?) } else { None },
        outcomes: outcomes(&row, named.keys)?,
    })
}

/// How many parameters `ledger.open_batch` has.
const PARAMETERS: usize = 14;
static OPEN: LazyLock<String> = LazyLock::new(|| call("SELECT * FROM ledger.open_batch", PARAMETERS));

/// An array column; absent stands for empty.
fn array<T>(row: &PgRow, name: &str) -> Result<Vec<T>, sqlx::Error>
where
    Vec<T>: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    Ok(row.try_get::<Option<Vec<T>>, _>(name)?.unwrap_or_default())
}

/// Adds those that were read. Of the accounts of holds and transfers that are named, some may be remembered.
fn add_accounts(row: &PgRow, accounts: &mut Accounts) -> Result<(), sqlx::Error> {
    let no: Vec<i64> = array(row, "account_no")?;
    let id: Vec<Uuid> = array(row, "account_id")?;
    let currencies: Vec<i16> = array(row, "account_currency")?;
    let purposes: Vec<i16> = array(row, "account_purpose")?;
    let types: Vec<i16> = array(row, "account_type")?;
    let gl_codes: Vec<i32> = array(row, "account_gl_code")?;
    let floor: Vec<Option<i64>> = array(row, "account_floor")?;
    let ceiling: Vec<Option<i64>> = array(row, "account_ceiling")?;
    let state: Vec<i16> = array(row, "account_state")?;
    let revision: Vec<i64> = array(row, "account_revision")?;
    let version: Vec<i64> = array(row, "account_version")?;
    let dr_posted: Vec<i64> = array(row, "account_dr_posted")?;
    let cr_posted: Vec<i64> = array(row, "account_cr_posted")?;
    let dr_pending: Vec<i64> = array(row, "account_dr_pending")?;
    let cr_pending: Vec<i64> = array(row, "account_cr_pending")?;
    let opened: Vec<i64> = array(row, "account_opened_ms")?;
    for place in 0..no.len() {
        if accounts.place_of_no(no[place]).is_some() {
            continue;
        }
        accounts.add(Account {
            no: no[place],
            id: id[place],
            currency: currency(currencies[place])?,
            purpose: purpose(purposes[place])?,
            chart: chart(types[place], gl_codes[place])?,
            floor: floor[place],
            ceiling: ceiling[place],
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
    Ok(())
}

/// Adds those that were read, each account's whole.
fn add_parties(row: &PgRow, parties: &mut HashMap<i64, Vec<String>>) -> Result<(), sqlx::Error> {
    let mut read: HashMap<i64, Vec<String>> = HashMap::new();
    let customers: Vec<String> = array(row, "party_customer")?;
    for (account, customer) in array::<i64>(row, "party_account")?.into_iter().zip(customers) {
        read.entry(account).or_default().push(customer);
    }
    parties.extend(read);
    Ok(())
}

fn holds(row: &PgRow) -> Result<BTreeMap<Uuid, Hold>, sqlx::Error> {
    let ids: Vec<Uuid> = array(row, "hold_id")?;
    let creator: Vec<Vec<u8>> = array(row, "hold_creator")?;
    let debit: Vec<i64> = array(row, "hold_dr")?;
    let credit: Vec<i64> = array(row, "hold_cr")?;
    let amount: Vec<i64> = array(row, "hold_amount")?;
    let remaining: Vec<i64> = array(row, "hold_remaining")?;
    let captured: Vec<i64> = array(row, "hold_captured")?;
    let state: Vec<i16> = array(row, "hold_state")?;
    let external: Vec<bool> = array(row, "hold_external")?;
    let exchange: Vec<bool> = array(row, "hold_exchange")?;
    let link: Vec<Option<i64>> = array(row, "hold_link")?;
    let value_date: Vec<NaiveDate> = array(row, "hold_value_date")?;
    let expires_at: Vec<Option<i64>> = array(row, "hold_expires_ms")?;
    let consent: Vec<Option<Uuid>> = array(row, "hold_consent")?;
    let resolved_by: Vec<Option<Uuid>> = array(row, "hold_resolved_by")?;
    let hold = |place: usize| -> Result<Hold, sqlx::Error> {
        Ok(Hold {
            creator: scope(&creator[place])?,
            debit: debit[place],
            credit: credit[place],
            amount: amount[place],
            remaining: remaining[place],
            captured: captured[place],
            state: transfer_state(state[place])?,
            expires_at: expires_at[place],
            value_date: value_date[place],
            link: link[place],
            external: external[place],
            exchange: exchange[place],
            consent: consent[place],
            resolved_by: resolved_by[place],
        })
    };
    ids.iter().enumerate().map(|(place, id)| Ok((*id, hold(place)?))).collect()
}

fn directs(row: &PgRow) -> Result<BTreeMap<Uuid, Direct>, sqlx::Error> {
    let ids: Vec<Uuid> = array(row, "direct_id")?;
    let debit: Vec<i64> = array(row, "direct_dr")?;
    let credit: Vec<i64> = array(row, "direct_cr")?;
    let amount: Vec<i64> = array(row, "direct_amount")?;
    let is_final: Vec<bool> = array(row, "direct_final")?;
    let direct = |place: usize| Direct {
        debit: debit[place],
        credit: credit[place],
        amount: amount[place],
        is_final: is_final[place],
    };
    Ok(ids.iter().enumerate().map(|(place, id)| (*id, direct(place))).collect())
}

fn reversals(row: &PgRow) -> Result<BTreeMap<Uuid, Uuid>, sqlx::Error> {
    let transfers: Vec<Uuid> = array(row, "reversal_transfer")?;
    Ok(transfers.into_iter().zip(array::<Uuid>(row, "reversal_by")?).collect())
}

fn trial_balance(row: &PgRow) -> Result<TrialBalance, sqlx::Error> {
    let currencies: Vec<i16> = array(row, "trial_currency")?;
    let types: Vec<i16> = array(row, "trial_type")?;
    let gl_codes: Vec<i32> = array(row, "trial_gl_code")?;
    let accounts: Vec<i64> = array(row, "trial_accounts")?;
    let debits: Vec<String> = array(row, "trial_debits")?;
    let credits: Vec<String> = array(row, "trial_credits")?;
    let sum = |text: &str| text.parse::<i128>().map_err(|_| corrupt("sum"));
    let mut balance = TrialBalance::default();
    for place in 0..currencies.len() {
        let line =
            Line { accounts: accounts[place], debits: sum(&debits[place])?, credits: sum(&credits[place])? };
        balance.add(currency(currencies[place])?, chart(types[place], gl_codes[place])?, line);
    }
    Ok(balance)
}

fn grants(row: &PgRow) -> Result<BTreeMap<Uuid, Grant>, sqlx::Error> {
    let consents: Vec<Uuid> = array(row, "grant_consent")?;
    let account: Vec<i64> = array(row, "grant_account")?;
    let partner: Vec<String> = array(row, "grant_partner")?;
    let bits: Vec<i16> = array(row, "grant_scopes")?;
    let per_transfer_max: Vec<Option<i64>> = array(row, "grant_per_transfer_max")?;
    let total_max: Vec<Option<i64>> = array(row, "grant_total_max")?;
    let used: Vec<i64> = array(row, "grant_used")?;
    let expires: Vec<i64> = array(row, "grant_expires_ms")?;
    let revision: Vec<i64> = array(row, "grant_revision")?;
    let grant = |place: usize| -> Result<Grant, sqlx::Error> {
        let terms = Terms {
            consent: consents[place],
            partner: partner[place].clone(),
            scopes: scopes(bits[place])?,
            per_transfer_max: cap(per_transfer_max[place])?,
            total_max: cap(total_max[place])?,
            expires_at: expires[place],
            revision: revision[place],
        };
        Ok(Grant { account: account[place], terms, used: used[place] })
    };
    consents.iter().enumerate().map(|(place, consent)| Ok((*consent, grant(place)?))).collect()
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
