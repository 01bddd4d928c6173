//! Replays the journal: from its rows alone follows what every account, hold, grant and period must be, and each row must be what
//! the judge's own rules make of the rows before it. What does not agree is told as a [`Finding`], and the replay goes on with
//! what the row says, so that one fault is not told again by every row behind it.

mod money;
mod pairs;
mod settings;

pub use pairs::Claim;

use std::collections::HashMap;

use chrono::NaiveDate;
use uuid::Uuid;

use super::account::{Account, Totals};
use super::currency::Currency;
use super::grant::Grant;
use super::journal::{Kind, Row, Side, row_id};
use super::period::{Line, Period, TrialBalance};
use super::view::Hold;

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The row; 0 where none is to blame.
    pub seq: i64,
    /// Which figure: "credit.posted", "account 7 version".
    pub what: String,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

/// Findings kept in all: a journal that is wrong everywhere is no more wrong for a longer list.
const FINDINGS_MAX: usize = 1_000;

/// Everything that the rows so far have said. Its memory grows with accounts, holds and grants, not with rows.
#[derive(Debug, Default)]
pub struct Replay {
    /// The last row's sequence number.
    pub seq: i64,
    /// Its booking time.
    pub booked_at: i64,
    last_id: Uuid,
    /// By number.
    pub accounts: HashMap<i64, Account>,
    /// By number: when the account's version was booked, in milliseconds of the Unix time.
    pub changed_at: HashMap<i64, i64>,
    /// By account number.
    pub parties: HashMap<i64, Vec<String>>,
    /// By consent.
    pub grants: HashMap<Uuid, Grant>,
    /// By transfer.
    pub holds: HashMap<Uuid, Hold>,
    /// What was reversed, and by what.
    pub reversals: HashMap<Uuid, Uuid>,
    /// By their last days, oldest first.
    pub periods: Vec<Period>,
    /// Reversals of direct transfers, to be looked up.
    pub claims: Vec<Claim>,
    /// The first half of a conversion, until the next row.
    half: Option<Row>,
    sums: HashMap<Currency, i128>,
    findings: Vec<Finding>,
    found: usize,
}

impl Replay {
    /// Replays the next row.
    pub fn apply(&mut self, row: &Row) {
        self.place(row);
        self.spare(row);
        self.conversion(row);
        match row.kind {
            Kind::Open => self.open(row),
            Kind::Party => self.party(row),
            Kind::State | Kind::Limits => self.set(row),
            Kind::Grant => self.grant(row),
            Kind::ClosePeriod => self.close_period(row),
            Kind::Transfer
            | Kind::Hold
            | Kind::Increment
            | Kind::Post
            | Kind::Void
            | Kind::Expire
            | Kind::Reverse => self.money(row),
        }
    }

    /// What was found since it was last asked.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// How many findings there were, those beyond the limit included.
    #[must_use]
    pub fn found(&self) -> usize {
        self.found
    }

    /// Notes something that is not as it must be.
    pub fn find(&mut self, seq: i64, what: impl Into<String>, expected: impl ToString, found: impl ToString) {
        self.found += 1;
        if self.found <= FINDINGS_MAX {
            let (expected, found) = (expected.to_string(), found.to_string());
            self.findings.push(Finding { seq, what: what.into(), expected, found });
        }
    }

    /// Compares, and notes what differs.
    pub fn same<T: PartialEq + std::fmt::Debug>(&mut self, seq: i64, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.find(seq, what, format!("{expected:?}"), format!("{found:?}"));
        }
    }

    /// The posted totals as the rows say them.
    #[must_use]
    pub fn trial_balance(&self) -> TrialBalance {
        let mut balance = TrialBalance::default();
        for account in self.accounts.values() {
            let Totals { dr_posted, cr_posted, .. } = account.totals;
            let line = Line { accounts: 1, debits: dr_posted.into(), credits: cr_posted.into() };
            balance.add(account.currency, account.chart, line);
        }
        balance
    }

    /// What must hold when there are no more rows: in each currency all postings sum to zero.
    pub fn finish(&mut self) {
        let sums: Vec<(Currency, i128)> = self.sums.iter().map(|(currency, sum)| (*currency, *sum)).collect();
        for (currency, sum) in sums {
            self.same(0, &format!("sum of all postings in {}", currency.code()), &0, &sum);
        }
    }

    /// The row's place in the journal: numbers without a gap, times that never decrease, ids that hold both.
    fn place(&mut self, row: &Row) {
        self.same(row.seq, "seq", &(self.seq + 1), &row.seq);
        if row.booked_at < self.booked_at {
            self.find(row.seq, "booked_at", format!("at least {}", self.booked_at), row.booked_at);
        }
        // All but the random bits.
        let id = row_id(row.booked_at, row.seq, 0);
        if row.id.as_u128() >> 32 != id.as_u128() >> 32 {
            self.find(row.seq, "id", format!("{id}, but for its last 32 bits"), row.id);
        }
        if row.id <= self.last_id {
            self.find(row.seq, "id", format!("greater than {}", self.last_id), row.id);
        }
        self.seq = row.seq;
        self.booked_at = row.booked_at;
        self.last_id = row.id;
    }

    /// Fields that rows of this kind do not have.
    fn spare(&mut self, row: &Row) {
        use Kind::{
            ClosePeriod, Expire, Grant, Hold, Increment, Limits, Open, Party, Post, Reverse, State, Transfer,
            Void,
        };
        let mut only = |what: &str, is_there: bool, kinds: &[Kind]| {
            if is_there && !kinds.contains(&row.kind) {
                self.find(row.seq, what, "none", format!("one of a row of the kind {:?}", row.kind));
            }
        };
        let money = [Transfer, Hold, Increment, Post, Void, Expire, Reverse];
        only("debit", row.debit.is_some(), &money);
        only("amount", row.amount.is_some(), &money);
        only("remaining", row.remaining.is_some(), &[Hold, Increment, Post, Void, Expire]);
        only("floor", row.floor.is_some(), &[Open, Limits, Transfer, Hold, Increment, Reverse]);
        only("ceiling", row.ceiling.is_some(), &[Open, Limits, Transfer, Hold, Increment, Reverse]);
        only("link", row.link.is_some(), &money);
        only("ref", row.reference.is_some(), &[Open, Increment, Post, Void, Expire, Reverse]);
        only("flags", row.flags != 0, &[Open, State, Grant, Transfer, Hold, Reverse]);
        only("gl_code", row.gl_code.is_some(), &[Open]);
        only("revision", row.revision.is_some(), &[Open, State, Limits, Grant]);
        only("party", row.party.is_some(), &[Party, Grant]);
        only("consent", row.consent.is_some(), &[Grant, Transfer, Hold, Increment, Post, Void, Expire]);
        only("expires_at", row.expires_at.is_some(), &[Hold]);
        only("value_date", row.value_date.is_some(), &[Transfer, Hold, Post, Reverse, ClosePeriod]);
        only("quote", row.exchange.is_some(), &[Transfer, Hold]);
        only("detail_hash", row.detail_hash.is_some(), &[Transfer, Hold, Reverse, ClosePeriod]);
        if row.link.is_some_and(|link| link < 1 || link > row.seq) {
            self.find(row.seq, "link", "a row of this chain, none behind it", format!("{:?}", row.link));
        }
    }

    /// The account of a side, or a finding that there is none.
    fn account_of(&mut self, row: &Row, name: &str, side: Option<Side>) -> Option<(Account, Side)> {
        let Some(side) = side else {
            self.find(row.seq, name, "an account", "none");
            return None;
        };
        let Some(account) = self.accounts.get(&side.account).cloned() else {
            self.find(row.seq, format!("{name}.account"), "an account that was opened", side.account);
            return None;
        };
        self.same(row.seq, "currency", &Some(account.currency), &row.currency);
        Some((account, side))
    }

    /// Compares a side with what it must be, and lets the account be what the side says.
    fn settle(&mut self, row: &Row, name: &str, expected: &Account, side: Side) {
        let totals = expected.totals;
        for (figure, must_be, is) in [
            ("version", expected.version, side.version),
            ("posted", totals.posted(), side.posted),
            ("held", totals.dr_pending, side.held),
            ("expected", totals.cr_pending, side.expected),
        ] {
            if must_be != is {
                self.find(row.seq, format!("{name}.{figure}"), must_be, is);
            }
        }
        let more = side.posted.saturating_sub(totals.posted());
        let told = Totals {
            dr_posted: totals.dr_posted.saturating_sub(more.min(0)),
            cr_posted: totals.cr_posted.saturating_add(more.max(0)),
            dr_pending: side.held,
            cr_pending: side.expected,
        };
        self.accounts
            .insert(side.account, Account { version: side.version, totals: told, ..expected.clone() });
        self.changed_at.insert(side.account, row.booked_at);
    }

    fn is_closed(&self, day: NaiveDate) -> bool {
        self.periods.last().is_some_and(|period| day <= period.end_date)
    }
}
