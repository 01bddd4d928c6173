//! What the oracle keeps: accounts, grants and transfers in maps, and the answer to one command.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use svc_ledger::domain::account::{Purpose, State};
use svc_ledger::domain::command::{Action, Actor, Command};
use svc_ledger::domain::currency::Currency;
use svc_ledger::domain::grant::Terms;
use svc_ledger::domain::request::Scope;
use svc_ledger::domain::verdict::{Refusal, TransferState};
use uuid::Uuid;

use super::Expected;

/// What an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Raised by one by every row about the account.
    pub version: i64,
    /// Posted debits.
    pub debits: i128,
    /// Posted credits.
    pub credits: i128,
    /// Pending debits.
    pub held: i128,
    /// Pending credits.
    pub expected: i128,
}

impl Balance {
    /// Posted credits less posted debits.
    #[must_use]
    pub fn posted(&self) -> i128 {
        self.credits - self.debits
    }

    /// What is posted and not held.
    #[must_use]
    pub fn available(&self) -> i128 {
        self.posted() - self.held
    }
}

/// An account.
#[derive(Clone)]
pub(super) struct Book {
    pub(super) currency: Currency,
    pub(super) purpose: Purpose,
    pub(super) gl: (i16, i32),
    pub(super) parties: Vec<String>,
    pub(super) floor: Option<i128>,
    pub(super) ceiling: Option<i128>,
    pub(super) state: State,
    pub(super) revision: i64,
    pub(super) balance: Balance,
}

impl Book {
    pub(super) fn balance(&self) -> Balance {
        self.balance
    }

    pub(super) fn is_house(&self) -> bool {
        self.purpose != Purpose::Customer
    }

    /// What a debit may take, by the floor.
    pub(super) fn above_floor(&self) -> Option<i128> {
        Some(self.balance.available() - self.floor?)
    }

    /// What a credit may add, by the ceiling.
    pub(super) fn below_ceiling(&self) -> Option<i128> {
        Some(self.ceiling? - self.balance.posted() - self.balance.expected)
    }
}

/// A grant, and what was taken of it.
#[derive(Clone)]
pub(super) struct Allowed {
    pub(super) account: Uuid,
    pub(super) terms: Terms,
    pub(super) used: i128,
}

/// A transfer: direct, held, or a reversal.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Where the money leaves.
    pub debit: Uuid,
    /// Where it arrives.
    pub credit: Uuid,
    /// What was moved or held in all, increments included.
    pub amount: i128,
    /// What of it has moved.
    pub posted: i128,
    /// What of it is held.
    pub held: i128,
    /// What became of it.
    pub state: TransferState,
    /// Whether it was ever pending.
    pub is_hold: bool,
    /// Whether it was reversed.
    pub reversed: bool,
    pub(super) place: usize,
    pub(super) maker: Scope,
    pub(super) expires_at: Option<i64>,
    pub(super) value_date: NaiveDate,
    pub(super) external: bool,
    pub(super) half: bool,
    pub(super) reversal: bool,
    pub(super) consent: Option<Uuid>,
    pub(super) chain: Option<usize>,
}

impl Deed {
    pub(super) fn would(&self) -> Expected {
        Expected::Would(self.amount, self.posted, self.held, self.state)
    }
}

/// The ledger.
#[derive(Clone)]
pub(super) struct Books {
    pub(super) now: i64,
    pub(super) closed_until: Option<NaiveDate>,
    pub(super) accounts: BTreeMap<Uuid, Book>,
    pub(super) grants: BTreeMap<Uuid, Allowed>,
    pub(super) deeds: BTreeMap<Uuid, Deed>,
    pub(super) chains: usize,
}

impl Books {
    pub(super) fn at(now: i64) -> Self {
        Self {
            now,
            closed_until: None,
            accounts: BTreeMap::new(),
            grants: BTreeMap::new(),
            deeds: BTreeMap::new(),
            chains: 0,
        }
    }

    /// Judges one command that stands alone and whose key, if it has one, stands for nothing yet.
    pub(super) fn judge(&mut self, command: &Command, made: Option<Uuid>) -> Expected {
        let actor = &command.actor;
        let refused = Expected::Refused;
        if command.validate_only
            && !matches!(command.action, Action::Transfer(..) | Action::Resolve(..) | Action::Reverse(..))
        {
            return Expected::NotAttempted;
        }
        match &command.action {
            Action::Open(open) => self.open(open),
            Action::SetState(wanted) => self.set_state(wanted),
            Action::SetLimits(wanted) => self.set_limits(wanted),
            Action::Grant(wanted) => self.grant(wanted),
            Action::Transfer(_, transfer) if transfer.exchange.is_some() => {
                refused(Refusal::ExchangeMismatch)
            }
            Action::Transfer(_, transfer) => {
                self.transfer(actor, transfer, made, None).map_or_else(refused, Expected::Made)
            }
            Action::Resolve(_, resolve) => {
                self.resolve(actor, *resolve).map_or_else(refused, |()| Expected::Done)
            }
            Action::Reverse(_, reverse) => {
                self.reverse(actor, reverse, made).map_or_else(refused, Expected::Made)
            }
            Action::Expire(hold) => self.expire(hold),
            Action::ClosePeriod(_, day) => {
                self.close_period(actor, *day).map_or_else(refused, |()| Expected::Done)
            }
        }
    }

    /// The UTC day of now.
    pub(super) fn today(&self) -> NaiveDate {
        DateTime::from_timestamp_millis(self.now).unwrap().date_naive()
    }

    pub(super) fn in_closed_period(&self, day: NaiveDate) -> bool {
        self.closed_until.is_some_and(|last| day <= last)
    }

    /// Whether the actor speaks for a party to the account.
    pub(super) fn is_party(&self, actor: &Actor, account: &Uuid) -> bool {
        let Some(book) = self.accounts.get(account) else { return false };
        actor.customer.as_ref().is_some_and(|customer| book.parties.contains(customer))
    }

    /// Changes what two accounts hold, by one row.
    pub(super) fn row(
        &mut self,
        (debit, credit): (&Uuid, &Uuid),
        from: impl FnOnce(&mut Balance),
        to: impl FnOnce(&mut Balance),
    ) {
        let balance = &mut self.accounts.get_mut(debit).unwrap().balance;
        balance.version += 1;
        from(balance);
        let balance = &mut self.accounts.get_mut(credit).unwrap().balance;
        balance.version += 1;
        to(balance);
    }
}
