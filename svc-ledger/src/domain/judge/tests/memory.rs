//! A store of maps. It applies a judged batch with the same checks as the SQL and knows how to replay its journal.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::domain::account::Account;
use crate::domain::chain::{Batch, GENESIS};
use crate::domain::grant::{Grant, Scopes, Terms};
use crate::domain::journal::{Kind, Row, Side};
use crate::domain::judge::Judged;
use crate::domain::request::{BodyHash, Key};
use crate::domain::verdict::{Outcome, TransferState};
use crate::domain::view::{Head, Hold, View};

pub(super) struct Memory {
    head: Head,
    accounts: BTreeMap<i64, Account>,
    first: BTreeMap<i64, Account>,
    parties: HashMap<i64, Vec<String>>,
    grants: BTreeMap<Uuid, Grant>,
    holds: BTreeMap<Uuid, Hold>,
    outcomes: HashMap<Key, (BodyHash, Outcome)>,
    rows: Vec<Row>,
}

impl Memory {
    pub(super) fn with(accounts: Vec<(Account, Vec<String>)>) -> Self {
        let seq = accounts.len() as i64;
        let parties = accounts.iter().map(|(account, parties)| (account.no, parties.clone())).collect();
        let accounts: BTreeMap<i64, Account> =
            accounts.into_iter().map(|(account, _)| (account.no, account)).collect();
        Self {
            head: Head { seq, hash: GENESIS, now: 1_000 },
            first: accounts.clone(),
            accounts,
            parties,
            grants: BTreeMap::new(),
            holds: BTreeMap::new(),
            outcomes: HashMap::new(),
            rows: Vec::new(),
        }
    }

    pub(super) fn view(&self) -> View {
        let mut view = View::empty(self.head);
        for account in self.accounts.values() {
            view.accounts.add(account.clone());
        }
        view.parties = self.parties.clone();
        view.grants = self.grants.clone();
        view.holds = self.holds.clone();
        view.outcomes = self.outcomes.clone();
        view
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    pub(super) fn apply(&mut self, judged: &Judged) {
        assert_eq!(judged.batch, Batch::new(self.head.hash, &judged.rows));
        for account in &judged.opened {
            assert_eq!(self.accounts.insert(account.no, account.clone()), None);
            self.first
                .insert(account.no, Account { version: 0, totals: Default::default(), ..account.clone() });
        }
        for (before, account) in &judged.changed {
            let stored = self.accounts.insert(account.no, account.clone()).unwrap();
            assert_eq!(stored.version, *before);
        }
        for (account, customer) in &judged.parties {
            self.parties.entry(*account).or_default().push(customer.clone());
        }
        for grant in &judged.grants {
            self.grants.insert(grant.terms.consent, grant.clone());
        }
        for (id, hold) in &judged.holds {
            assert_eq!(self.holds.insert(*id, *hold), None);
        }
        for (id, hold) in &judged.resolved {
            assert_eq!(self.holds.insert(*id, *hold).unwrap().state, TransferState::Pending);
        }
        for (key, body, outcome) in &judged.outcomes {
            assert_eq!(self.outcomes.insert(key.clone(), (body.clone(), *outcome)), None);
        }
        for row in &judged.rows {
            assert_eq!(row.seq, self.head.seq + 1);
            assert!(self.rows.last().is_none_or(|last| last.id < row.id));
            self.head.seq = row.seq;
            self.rows.push(row.clone());
        }
        if let Some(batch) = &judged.batch {
            self.head.hash = batch.hash;
        }
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self) {
        self.head.now += 1;
    }

    /// The time of the next batch.
    pub(super) fn now(&self) -> i64 {
        self.head.now
    }

    pub(super) fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values()
    }

    /// The grants as the journal alone says them.
    fn grants_of_the_journal(&self) -> BTreeMap<Uuid, Grant> {
        let mut grants: BTreeMap<Uuid, Grant> = BTreeMap::new();
        for row in &self.rows {
            let Some(taken) = row.consent else { continue };
            let amount = row.amount.unwrap_or_default();
            let before = grants.get(&taken.consent).map_or(0, |grant| grant.used);
            match row.kind {
                Kind::Grant => {
                    let bounds = row.bounds.unwrap();
                    let terms = Terms {
                        consent: taken.consent,
                        partner: row.party.clone().unwrap(),
                        scopes: Scopes::from_bits(row.flags).unwrap(),
                        per_transfer_max: bounds.per_transfer_max,
                        total_max: bounds.total_max,
                        expires_at: bounds.expires_at,
                        revision: row.revision.unwrap(),
                    };
                    assert_eq!(taken.used, before);
                    let account = row.credit.unwrap().account;
                    grants.insert(taken.consent, Grant { account, terms, used: before });
                }
                Kind::Transfer | Kind::Hold => assert_eq!(taken.used, before + amount, "{row:?}"),
                Kind::Void => assert_eq!(taken.used, before - amount, "{row:?}"),
                Kind::Open | Kind::Party | Kind::Post => panic!("{row:?}"),
            }
            let grant = grants.get_mut(&taken.consent).unwrap();
            grant.used = taken.used;
            assert!(taken.used >= 0);
            // A cap may be lowered below what was taken, but nothing is taken beyond it.
            let takes = matches!(row.kind, Kind::Transfer | Kind::Hold);
            let cap = grant.terms.total_max;
            assert!(!takes || cap.is_none_or(|cap| taken.used <= cap.minor_units()), "{row:?}");
        }
        grants
    }

    /// The promises that hold after every batch: money conserved, versions gapless, each row's balances the consequence of the
    /// row before, floors kept, and the journal alone leading to the accounts as they stand.
    pub(super) fn check(&self) {
        let sum = |of: fn(&Account) -> i64| {
            self.accounts.values().map(|account| i128::from(of(account))).sum::<i128>()
        };
        assert_eq!(sum(|account| account.totals.posted()), 0);
        assert_eq!(sum(|account| account.totals.pending()), 0);
        let mut replayed: BTreeMap<i64, Side> = BTreeMap::new();
        for account in self.first.values() {
            let blank =
                Side { account: account.no, version: account.version, posted: 0, held: 0, expected: 0 };
            replayed.insert(account.no, blank);
        }
        for row in &self.rows {
            for (side, sign) in [(row.debit, -1), (row.credit, 1)] {
                let Some(side) = side else { continue };
                let last = replayed.insert(side.account, side).unwrap();
                let expected = step(last, row, sign);
                assert_eq!(side, expected, "{row:?}");
                let floor = self.accounts[&side.account].floor;
                let judged = matches!(row.kind, Kind::Transfer | Kind::Hold) && sign < 0;
                assert!(!judged || floor.is_none_or(|floor| side.posted - side.held >= floor), "{row:?}");
            }
        }
        assert_eq!(self.grants_of_the_journal(), self.grants);
        for account in self.accounts.values() {
            let side = replayed[&account.no];
            let totals = account.totals;
            assert_eq!(
                (side.version, side.posted, side.held, side.expected),
                (account.version, totals.posted(), totals.dr_pending, totals.cr_pending)
            );
        }
    }
}

/// What a row makes of one side.
fn step(last: Side, row: &Row, sign: i64) -> Side {
    let amount = row.amount.unwrap_or_default();
    let (held, expected) = if sign < 0 { (amount, 0) } else { (0, amount) };
    let next = Side { version: last.version + 1, ..last };
    match row.kind {
        Kind::Open => next,
        Kind::Party | Kind::Grant => last,
        Kind::Transfer => Side { posted: last.posted + sign * amount, ..next },
        Kind::Hold => Side { held: last.held + held, expected: last.expected + expected, ..next },
        Kind::Post => Side {
            posted: last.posted + sign * amount,
            held: last.held - held,
            expected: last.expected - expected,
            ..next
        },
        Kind::Void => Side { held: last.held - held, expected: last.expected - expected, ..next },
    }
}
