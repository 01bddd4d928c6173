//! What holds of a ledger after every batch, said of the tables and, once more, of the journal alone: money is conserved, totals
//! are never negative, holds and grants add up, no row left an account beyond a limit it was judged by, and the rows from the
//! first on lead to every account, party, hold, grant, reversal and closed period as they stand. The replay is this file's own.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use uuid::Uuid;

use super::domain::account::{Account, AccountType, Chart, Purpose, State, Totals};
use super::domain::grant::{Grant, Scopes, Terms};
use super::domain::journal::{EXTERNAL, Kind, Row, Side};
use super::domain::verdict::{Outcome, TransferState};
use super::domain::view::Hold;
use super::memory::Memory;

/// Fails the test unless every promise holds.
pub(crate) fn check(memory: &Memory) {
    conserved(memory);
    holds_add_up(memory);
    grants_add_up(memory);
    outcomes_lead_to_rows(memory);
    let mut replayed = Replayed::default();
    for row in &memory.rows {
        replayed.row(row);
    }
    assert_eq!(replayed.accounts, memory.accounts);
    assert_eq!(replayed.parties, memory.parties);
    assert_eq!(replayed.grants, memory.grants);
    assert_eq!(replayed.holds, memory.holds);
    assert_eq!(replayed.reversals, memory.reversals);
    assert_eq!(replayed.closed_until, memory.head.closed_until);
}

fn conserved(memory: &Memory) {
    let mut sums: HashMap<&str, [i128; 2]> = HashMap::new();
    for account in memory.accounts.values() {
        let totals = account.totals;
        for total in [totals.dr_posted, totals.cr_posted, totals.dr_pending, totals.cr_pending] {
            assert!(total >= 0, "{account:?}");
        }
        assert!(totals.dr_posted.checked_add(totals.dr_pending).is_some(), "{account:?}");
        assert!(totals.cr_posted.checked_add(totals.cr_pending).is_some(), "{account:?}");
        let sum = sums.entry(account.currency.code()).or_default();
        sum[0] += i128::from(totals.cr_posted) - i128::from(totals.dr_posted);
        sum[1] += i128::from(totals.cr_pending) - i128::from(totals.dr_pending);
    }
    assert!(sums.values().all(|sum| *sum == [0, 0]), "money was made or lost: {sums:?}");
}

fn holds_add_up(memory: &Memory) {
    let mut pending: BTreeMap<i64, [i128; 2]> = BTreeMap::new();
    for (id, hold) in &memory.holds {
        let released = hold.amount - hold.captured - hold.remaining;
        assert!(hold.captured >= 0 && hold.remaining >= 0 && released >= 0, "{id} {hold:?}");
        let fits = match hold.state {
            TransferState::Pending => hold.remaining > 0 && released == 0,
            TransferState::Posted => hold.remaining == 0 && hold.captured > 0,
            TransferState::Voided | TransferState::Expired => hold.remaining == 0 && hold.captured == 0,
        };
        assert!(fits, "{id} {hold:?}");
        pending.entry(hold.debit).or_default()[0] += i128::from(hold.remaining);
        pending.entry(hold.credit).or_default()[1] += i128::from(hold.remaining);
    }
    for account in memory.accounts.values() {
        let [debits, credits] = pending.get(&account.no).copied().unwrap_or_default();
        let totals = [account.totals.dr_pending, account.totals.cr_pending].map(i128::from);
        assert_eq!(totals, [debits, credits], "{account:?}");
    }
}

/// What was taken of a consent is what moved by it and what is held by it. What was reversed stays taken.
fn grants_add_up(memory: &Memory) {
    let mut used: BTreeMap<Uuid, i128> = BTreeMap::new();
    for row in memory.rows.iter().filter(|row| row.kind == Kind::Transfer) {
        if let Some(taken) = row.consent {
            *used.entry(taken.consent).or_default() += i128::from(row.amount.unwrap());
        }
    }
    for hold in memory.holds.values() {
        if let Some(consent) = hold.consent {
            *used.entry(consent).or_default() += i128::from(hold.captured) + i128::from(hold.remaining);
        }
    }
    for (consent, grant) in &memory.grants {
        assert_eq!(i128::from(grant.used), used.remove(consent).unwrap_or_default(), "{grant:?}");
    }
    assert!(used.is_empty(), "taken of nothing: {used:?}");
}

fn outcomes_lead_to_rows(memory: &Memory) {
    let accepted = memory.outcomes.values().filter_map(|(_, outcome)| match outcome {
        Outcome::Accepted(row) => Some(*row),
        Outcome::Refused(_) => None,
    });
    for id in accepted {
        assert!(memory.rows.binary_search_by(|row| row.id.cmp(&id)).is_ok(), "{id}");
    }
}

#[derive(Default)]
struct Replayed {
    accounts: BTreeMap<i64, Account>,
    parties: BTreeMap<i64, Vec<String>>,
    grants: BTreeMap<Uuid, Grant>,
    holds: BTreeMap<Uuid, Hold>,
    reversals: BTreeMap<Uuid, Uuid>,
    closed_until: Option<NaiveDate>,
}

impl Replayed {
    fn row(&mut self, row: &Row) {
        match row.kind {
            Kind::Open => self.open(row),
            Kind::Limits => {
                let account = self.set(row);
                (account.floor, account.ceiling) = (row.floor, row.ceiling);
            }
            Kind::State => self.set(row).state = State::from_number(row.flags).unwrap(),
            Kind::Party => {
                let account = row.credit.unwrap().account;
                self.parties.entry(account).or_default().push(row.party.clone().unwrap());
            }
            Kind::Grant => self.grant(row),
            Kind::Transfer => {
                self.moved(
                    row,
                    |totals, amount, _| totals.dr_posted += amount,
                    |totals, amount, _| totals.cr_posted += amount,
                );
                self.taken(row, row.amount.unwrap());
            }
            Kind::Reverse => {
                self.moved(
                    row,
                    |totals, amount, _| totals.dr_posted += amount,
                    |totals, amount, _| totals.cr_posted += amount,
                );
                assert_eq!(self.reversals.insert(row.reference.unwrap(), row.id), None);
            }
            Kind::Hold => {
                self.moved(
                    row,
                    |totals, amount, _| totals.dr_pending += amount,
                    |totals, amount, _| totals.cr_pending += amount,
                );
                self.taken(row, row.amount.unwrap());
                self.hold(row);
            }
            Kind::Increment | Kind::Post | Kind::Void | Kind::Expire => self.resolved(row),
            Kind::ClosePeriod => self.closed_until = row.value_date,
        }
        self.limits_kept(row);
    }

    fn open(&mut self, row: &Row) {
        let side = row.credit.unwrap();
        let account = Account {
            no: row.seq,
            id: row.reference.unwrap(),
            currency: row.currency.unwrap(),
            purpose: Purpose::from_number(row.flags % 16).unwrap(),
            chart: Chart {
                kind: AccountType::from_number(row.flags / 16).unwrap(),
                gl_code: row.gl_code.unwrap(),
            },
            floor: row.floor,
            ceiling: row.ceiling,
            state: State::Open,
            state_revision: row.revision.unwrap(),
            version: 1,
            totals: Totals::default(),
            opened_at: row.booked_at,
        };
        assert_eq!(side, side_of(&account));
        assert_eq!(self.accounts.insert(row.seq, account), None);
    }

    fn set(&mut self, row: &Row) -> &mut Account {
        let side = row.credit.unwrap();
        let account = self.accounts.get_mut(&side.account).unwrap();
        account.version += 1;
        account.state_revision = row.revision.unwrap();
        assert_eq!(side, side_of(account), "{row:?}");
        account
    }

    fn grant(&mut self, row: &Row) {
        let (taken, bounds, side) = (row.consent.unwrap(), row.bounds.unwrap(), row.credit.unwrap());
        assert_eq!(side, side_of(&self.accounts[&side.account]), "a grant changes no account: {row:?}");
        let before = self.grants.get(&taken.consent);
        assert_eq!(taken.used, before.map_or(0, |grant| grant.used), "{row:?}");
        let terms = Terms {
            consent: taken.consent,
            partner: row.party.clone().unwrap(),
            scopes: Scopes::from_bits(row.flags).unwrap(),
            per_transfer_max: bounds.per_transfer_max,
            total_max: bounds.total_max,
            expires_at: bounds.expires_at,
            revision: row.revision.unwrap(),
        };
        self.grants.insert(taken.consent, Grant { account: side.account, terms, used: taken.used });
    }

    /// Applies to both sides what the row does to them, and compares what the row says of them.
    fn moved(
        &mut self,
        row: &Row,
        debit: impl Fn(&mut Totals, i64, i64),
        credit: impl Fn(&mut Totals, i64, i64),
    ) {
        let amount = row.amount.unwrap();
        let (from, to) = (row.debit.unwrap(), row.credit.unwrap());
        assert_ne!(from.account, to.account);
        let released = self.released(row);
        for (side, change) in [(from, &debit as &dyn Fn(&mut Totals, i64, i64)), (to, &credit)] {
            let account = self.accounts.get_mut(&side.account).unwrap();
            assert_eq!(Some(account.currency), row.currency);
            change(&mut account.totals, amount, released);
            account.version += 1;
            assert_eq!(side, side_of(account), "{row:?}");
        }
    }

    /// What a row takes out of its hold beyond what it posts.
    fn released(&self, row: &Row) -> i64 {
        let hold = row.reference.and_then(|id| self.holds.get(&id));
        match (row.kind, hold) {
            (Kind::Post, Some(hold)) => hold.remaining - row.amount.unwrap() - row.remaining.unwrap(),
            _ => 0,
        }
    }

    fn taken(&mut self, row: &Row, minor_units: i64) {
        let Some(taken) = row.consent else { return };
        let grant = self.grants.get_mut(&taken.consent).unwrap();
        grant.used += minor_units;
        assert_eq!(taken.used, grant.used, "{row:?}");
        // A cap may be lowered below what was taken; nothing is taken beyond it.
        let cap = grant.terms.total_max.filter(|_| minor_units > 0);
        assert!(cap.is_none_or(|cap| grant.used <= cap.minor_units()), "{row:?}");
    }

    fn hold(&mut self, row: &Row) {
        let hold = Hold {
            creator: row.actor,
            debit: row.debit.unwrap().account,
            credit: row.credit.unwrap().account,
            amount: row.amount.unwrap(),
            remaining: row.remaining.unwrap(),
            captured: 0,
            state: TransferState::Pending,
            expires_at: row.expires_at,
            value_date: row.value_date.unwrap(),
            link: row.link,
            external: row.flags & EXTERNAL != 0,
            exchange: row.exchange.is_some(),
            consent: row.consent.map(|taken| taken.consent),
            resolved_by: None,
        };
        assert_eq!(hold.amount, hold.remaining);
        assert_eq!(self.holds.insert(row.id, hold), None);
    }

    fn resolved(&mut self, row: &Row) {
        let id = row.reference.unwrap();
        let (amount, remaining) = (row.amount.unwrap(), row.remaining.unwrap());
        let before = self.holds[&id];
        assert_eq!((row.link, row.debit.unwrap().account), (before.link, before.debit), "{row:?}");
        let over = before.expires_at.is_some_and(|at| at <= row.booked_at);
        assert_eq!(
            over,
            row.kind == Kind::Expire,
            "a hold is expired when its time is over, and only then: {row:?}"
        );
        let mut after = Hold { remaining, resolved_by: Some(row.id), ..before };
        let mut taken = 0;
        match row.kind {
            Kind::Increment => {
                self.moved(
                    row,
                    |totals, more, _| totals.dr_pending += more,
                    |totals, more, _| totals.cr_pending += more,
                );
                after.amount += amount;
                taken = amount;
                assert_eq!(remaining, before.remaining + amount);
            }
            Kind::Post => {
                taken = -self.released(row);
                self.moved(
                    row,
                    |totals, amount, released| {
                        totals.dr_pending -= amount + released;
                        totals.dr_posted += amount;
                    },
                    |totals, amount, released| {
                        totals.cr_pending -= amount + released;
                        totals.cr_posted += amount;
                    },
                );
                after.captured += amount;
            }
            _ => {
                self.moved(
                    row,
                    |totals, freed, _| totals.dr_pending -= freed,
                    |totals, freed, _| totals.cr_pending -= freed,
                );
                taken -= amount;
                assert_eq!((amount, remaining), (before.remaining, 0));
            }
        }
        after.state = match (remaining, after.captured, row.kind) {
            (1.., ..) => TransferState::Pending,
            (_, 1.., _) => TransferState::Posted,
            (_, _, Kind::Expire) => TransferState::Expired,
            _ => TransferState::Voided,
        };
        assert_eq!(row.consent.is_some(), before.consent.is_some() && taken != 0, "{row:?}");
        self.taken(row, taken);
        self.holds.insert(id, after);
    }

    /// Rows that take room say by which limits they were judged, and keep them.
    fn limits_kept(&self, row: &Row) {
        let takes = matches!(row.kind, Kind::Transfer | Kind::Hold | Kind::Increment | Kind::Reverse);
        let (Some(from), Some(to), true) = (row.debit, row.credit, takes) else { return };
        let account = |side: Side| &self.accounts[&side.account];
        assert_eq!((row.floor, row.ceiling), (account(from).floor, account(to).ceiling), "{row:?}");
        assert!(row.floor.is_none_or(|floor| from.posted - from.held >= floor), "{row:?}");
        assert!(row.ceiling.is_none_or(|ceiling| to.posted + to.expected <= ceiling), "{row:?}");
        assert!(account(from).state == State::Open, "{row:?}");
        assert!(matches!(account(to).state, State::Open | State::DebitFrozen), "{row:?}");
    }
}

fn side_of(account: &Account) -> Side {
    Side {
        account: account.no,
        version: account.version,
        posted: account.totals.cr_posted - account.totals.dr_posted,
        held: account.totals.dr_pending,
        expected: account.totals.cr_pending,
    }
}
