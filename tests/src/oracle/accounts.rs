//! Accounts, grants and periods.

use chrono::NaiveDate;
use svc_ledger::domain::account::State;
use svc_ledger::domain::command::{Actor, Grant, Open, SetLimits, SetState};
use svc_ledger::domain::verdict::Refusal;
use uuid::Uuid;

use super::Expected;
use super::books::{Allowed, Balance, Book, Books};

impl Books {
    pub(super) fn open(&mut self, open: &Open) -> Expected {
        let wanted = Book {
            currency: open.currency,
            purpose: open.purpose,
            gl: (open.chart.kind as i16, open.chart.gl_code),
            parties: open.customers.clone(),
            floor: open.floor.map(i128::from),
            ceiling: open.ceiling.map(i128::from),
            state: State::Open,
            revision: open.state_revision,
            balance: Balance { version: 1, debits: 0, credits: 0, held: 0, expected: 0 },
        };
        let Some(known) = self.accounts.get(&open.id) else {
            self.accounts.insert(open.id, wanted);
            return Expected::Done;
        };
        if wanted.revision < known.revision {
            return Expected::Stale;
        }
        let same = known.currency == wanted.currency
            && known.purpose == wanted.purpose
            && known.gl == wanted.gl
            && known.parties == wanted.parties
            && known.floor == wanted.floor
            && known.ceiling == wanted.ceiling;
        if same { Expected::Done } else { Expected::Exists }
    }

    /// The account to be set, unless the intent is an old one; `same` says whether it stands as wanted already.
    fn settable(
        &mut self,
        account: &Uuid,
        revision: i64,
        same: impl Fn(&Book) -> bool,
    ) -> Result<&mut Book, Expected> {
        let book = self.accounts.get_mut(account).ok_or(Expected::NoAccount)?;
        if revision < book.revision {
            return Err(Expected::Stale);
        }
        if revision == book.revision {
            return Err(if same(book) { Expected::Done } else { Expected::Exists });
        }
        if book.state == State::Closed {
            return Err(Expected::Closed);
        }
        Ok(book)
    }

    pub(super) fn set_state(&mut self, wanted: &SetState) -> Expected {
        let same = |book: &Book| book.state == wanted.state;
        let book = match self.settable(&wanted.account, wanted.state_revision, same) {
            Ok(book) => book,
            Err(answer) => return answer,
        };
        let balance = &book.balance;
        let empty = balance.posted() == 0 && balance.held == 0 && balance.expected == 0;
        if wanted.state == State::Closed && !empty {
            return Expected::NotEmpty;
        }
        (book.state, book.revision) = (wanted.state, wanted.state_revision);
        book.balance.version += 1;
        Expected::Done
    }

    pub(super) fn set_limits(&mut self, wanted: &SetLimits) -> Expected {
        let (floor, ceiling) = (Some(i128::from(wanted.floor)), wanted.ceiling.map(i128::from));
        let same = |book: &Book| book.floor == floor && book.ceiling == ceiling;
        let book = match self.settable(&wanted.account, wanted.state_revision, same) {
            Ok(book) => book,
            Err(answer) => return answer,
        };
        let bounded = Book { floor, ceiling, ..book.clone() };
        if bounded.above_floor().is_some_and(|room| room < 0)
            || bounded.below_ceiling().is_some_and(|room| room < 0)
        {
            return Expected::LimitBreached;
        }
        (book.floor, book.ceiling, book.revision) = (floor, ceiling, wanted.state_revision);
        book.balance.version += 1;
        Expected::Done
    }

    pub(super) fn grant(&mut self, wanted: &Grant) -> Expected {
        if !self.accounts.contains_key(&wanted.account) {
            return Expected::NoAccount;
        }
        let terms = wanted.terms.clone();
        let Some(known) = self.grants.get_mut(&terms.consent) else {
            self.grants.insert(terms.consent, Allowed { account: wanted.account, terms, used: 0 });
            return Expected::Done;
        };
        if known.account != wanted.account || known.terms.partner != terms.partner {
            return Expected::Exists;
        }
        if known.terms.revision > terms.revision {
            return Expected::Stale;
        }
        if known.terms.revision == terms.revision {
            return if known.terms == terms { Expected::Done } else { Expected::Exists };
        }
        known.terms = terms;
        Expected::Done
    }

    pub(super) fn close_period(&mut self, actor: &Actor, day: NaiveDate) -> Result<(), Refusal> {
        if !actor.staff {
            return Err(Refusal::NotPermitted);
        }
        if self.in_closed_period(day) {
            return Err(Refusal::PeriodClosed);
        }
        if day >= self.today() {
            return Err(Refusal::PeriodNotOver);
        }
        self.closed_until = Some(day);
        Ok(())
    }
}
