//! A store of maps for tests. It applies a judged batch with the same checks as the SQL: heads and versions as they were read,
//! every key new, only pending holds changed, nothing of the past touched. It keeps all rows, so that [`super::promises`] can
//! say whether they lead to what the maps hold. The model test includes this file too.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::domain::account::Account;
use super::domain::chain::{Batch, GENESIS};
use super::domain::command::Detail;
use super::domain::grant::Grant;
use super::domain::journal::{Kind, Row};
use super::domain::judge::Judged;
use super::domain::period::{Line, Period, TrialBalance};
use super::domain::request::{BodyHash, Key};
use super::domain::verdict::{Outcome, TransferState};
use super::domain::view::{Direct, Head, Hold, View};

/// A ledger's tables.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) head: Head,
    pub(crate) accounts: BTreeMap<i64, Account>,
    pub(crate) parties: BTreeMap<i64, Vec<String>>,
    pub(crate) grants: BTreeMap<Uuid, Grant>,
    pub(crate) holds: BTreeMap<Uuid, Hold>,
    pub(crate) reversals: BTreeMap<Uuid, Uuid>,
    pub(crate) periods: Vec<Period>,
    pub(crate) details: BTreeMap<Uuid, Detail>,
    pub(crate) outcomes: HashMap<Key, (BodyHash, Outcome)>,
    pub(crate) rows: Vec<Row>,
}

impl Memory {
    /// An empty ledger at a time in milliseconds of the Unix time.
    pub(crate) fn at(now: i64) -> Self {
        Self {
            head: Head { seq: 0, hash: GENESIS, now, closed_until: None },
            accounts: BTreeMap::new(),
            parties: BTreeMap::new(),
            grants: BTreeMap::new(),
            holds: BTreeMap::new(),
            reversals: BTreeMap::new(),
            periods: Vec::new(),
            details: BTreeMap::new(),
            outcomes: HashMap::new(),
            rows: Vec::new(),
        }
    }

    /// All there is, as a store would show it to the judge that needed all of it.
    pub(crate) fn view(&self) -> View {
        let mut view = View::empty(self.head);
        for account in self.accounts.values() {
            view.accounts.add(account.clone());
        }
        view.parties = self.parties.iter().map(|(account, parties)| (*account, parties.clone())).collect();
        view.grants = self.grants.clone();
        view.holds = self.holds.clone();
        view.reversals = self.reversals.clone();
        view.outcomes = self.outcomes.clone();
        view.trial_balance = Some(self.trial_balance());
        for row in self.rows.iter().filter(|row| matches!(row.kind, Kind::Transfer | Kind::Reverse)) {
            let direct = Direct {
                debit: row.debit.unwrap().account,
                credit: row.credit.unwrap().account,
                amount: row.amount.unwrap(),
                is_final: row.kind == Kind::Reverse || row.exchange.is_some(),
            };
            view.directs.insert(row.id, direct);
        }
        view
    }

    fn trial_balance(&self) -> TrialBalance {
        let mut balance = TrialBalance::default();
        for account in self.accounts.values() {
            let debits = i128::from(account.totals.dr_posted);
            let credits = i128::from(account.totals.cr_posted);
            balance.add(account.currency, account.chart, Line { accounts: 1, debits, credits });
        }
        balance
    }

    /// Writes a judged batch, as strictly as `ledger.write_settings` and `ledger.write_batch`.
    pub(crate) fn apply(&mut self, judged: &Judged) {
        assert!(!judged.is_empty() || judged.changed.is_empty() && judged.holds.is_empty());
        self.apply_journal(judged);
        self.apply_accounts(judged);
        self.apply_grants(judged);
        self.apply_holds(judged);
        for (transfer, by) in &judged.reversals {
            assert_eq!(self.reversals.insert(*transfer, *by), None, "reversed twice");
        }
        for period in &judged.periods {
            assert!(self.head.closed_until.is_none_or(|last| last < period.end_date));
            self.head.closed_until = Some(period.end_date);
            self.periods.push(*period);
        }
        for (transfer, detail) in &judged.details {
            assert_eq!(self.details.insert(*transfer, detail.clone()), None, "two details");
        }
        for (key, body, outcome) in &judged.outcomes {
            let known = self.outcomes.insert(key.clone(), (body.clone(), *outcome));
            assert_eq!(known, None, "a key has one outcome");
        }
        let events: BTreeSet<_> = judged.events.iter().map(|event| event.id).collect();
        assert_eq!(events.len(), judged.events.len(), "an event has an id of its own");
    }

    fn apply_journal(&mut self, judged: &Judged) {
        assert_eq!(judged.batch, Batch::new(self.head.hash, &judged.rows));
        for row in &judged.rows {
            assert_eq!(row.seq, self.head.seq + 1);
            assert_eq!(row.booked_at, self.head.now);
            assert!(self.rows.last().is_none_or(|last| last.id < row.id), "ids sort as the journal does");
            self.head.seq = row.seq;
            self.rows.push(row.clone());
        }
        if let Some(batch) = &judged.batch {
            self.head.hash = batch.hash;
        }
    }

    fn apply_accounts(&mut self, judged: &Judged) {
        // What was there before, by its totals first, and then by its limits and state: two statements, each about its columns.
        for (before, account) in &judged.changed {
            let stored = self.accounts.get_mut(&account.no).expect("a changed account was there");
            assert_eq!(stored.version, *before, "the version that was read");
            (stored.version, stored.totals) = (account.version, account.totals);
        }
        for account in &judged.settings {
            let stored = self.accounts.get_mut(&account.no).expect("an account that was set was there");
            assert!(stored.state_revision <= account.state_revision);
            (stored.floor, stored.ceiling) = (account.floor, account.ceiling);
            (stored.state, stored.state_revision) = (account.state, account.state_revision);
        }
        for (_, account) in &judged.changed {
            assert_eq!(
                &self.accounts[&account.no], account,
                "a change of limits or state is among the settings"
            );
        }
        for account in &judged.opened {
            assert!(self.accounts.values().all(|known| known.id != account.id));
            assert_eq!(self.accounts.insert(account.no, account.clone()), None);
        }
        for (account, customer) in &judged.parties {
            assert!(self.accounts.contains_key(account));
            let parties = self.parties.entry(*account).or_default();
            assert!(!parties.contains(customer));
            parties.push(customer.clone());
        }
    }

    fn apply_grants(&mut self, judged: &Judged) {
        for grant in &judged.grants {
            assert!(self.accounts.contains_key(&grant.account) && grant.used >= 0);
            if let Some(stored) = self.grants.insert(grant.terms.consent, grant.clone()) {
                assert_eq!((stored.account, &stored.terms.partner), (grant.account, &grant.terms.partner));
                assert!(stored.terms.revision <= grant.terms.revision);
            }
        }
    }

    fn apply_holds(&mut self, judged: &Judged) {
        for (id, hold) in &judged.holds {
            assert_eq!(self.holds.insert(*id, *hold), None, "a new hold");
        }
        for (id, hold) in &judged.resolved {
            let stored = self.holds.get_mut(id).expect("a resolved hold was there");
            assert_eq!(stored.state, TransferState::Pending, "only a pending hold changes");
            stored.amount = hold.amount;
            stored.remaining = hold.remaining;
            stored.captured = hold.captured;
            stored.state = hold.state;
            stored.resolved_by = hold.resolved_by;
            assert_eq!(stored, hold, "nothing else of a hold changes");
        }
    }
}
