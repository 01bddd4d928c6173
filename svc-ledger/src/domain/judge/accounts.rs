//! Accounts: how one is opened, and how its state and its limits are set.

use super::super::account::{Account, State, Totals};
use super::super::command::{Command, Open, SetLimits, SetState};
use super::super::journal::Kind;
use super::super::verdict::Verdict;
use super::grants::named;
use super::{Judge, rules};

/// What [`super::super::journal::Row::flags`] of an opening multiplies the account's type by.
pub const TYPE_FACTOR: i16 = 16;

impl Judge {
    pub(super) fn open(&mut self, command: &Command, open: &Open) -> Verdict {
        if let Some(place) = self.view.accounts.place_of(&open.id) {
            return self.reopen(&self.view.accounts.rows()[place], open);
        }
        let no = self.next_seq();
        let account = Account {
            no,
            id: open.id,
            currency: open.currency,
            purpose: open.purpose,
            chart: open.chart,
            floor: open.floor,
            ceiling: open.ceiling,
            state: State::Open,
            state_revision: open.state_revision,
            version: 1,
            totals: Totals::default(),
            opened_at: self.view.head.now,
        };
        let mut row = self.row(command, Kind::Open, Some(&account));
        row.floor = open.floor;
        row.ceiling = open.ceiling;
        row.reference = Some(open.id);
        row.flags = open.purpose as i16 + TYPE_FACTOR * open.chart.kind as i16;
        row.gl_code = Some(open.chart.gl_code);
        row.revision = Some(open.state_revision);
        self.rows.push(row);
        for customer in &open.customers {
            let mut row = self.row(command, Kind::Party, Some(&account));
            row.party = Some(customer.clone());
            self.rows.push(row);
            self.parties.push((no, customer.clone()));
        }
        self.view.parties.insert(no, open.customers.clone());
        self.view.accounts.add(account.clone());
        Verdict::Opened(account)
    }

    /// An account is its own key: the same body again changes nothing, whatever has become of its limits since.
    fn reopen(&self, account: &Account, open: &Open) -> Verdict {
        if open.state_revision < account.state_revision {
            return Verdict::StaleRevision;
        }
        let mut parties = self.view.parties.get(&account.no).cloned().unwrap_or_default();
        parties.sort_unstable();
        let differences = named([
            ("account_id", account.purpose != open.purpose),
            ("currency_code", account.currency != open.currency),
            ("customer_ids", parties != open.customers),
            ("min_available_minor_units", account.floor != open.floor),
            ("max_balance_minor_units", account.ceiling != open.ceiling),
            ("gl_code", account.chart != open.chart),
        ]);
        if differences.is_empty() {
            Verdict::Opened(account.clone())
        } else {
            Verdict::AccountExists(differences)
        }
    }

    pub(super) fn set_state(&mut self, command: &Command, wanted: SetState) -> Verdict {
        let Some(place) = self.view.accounts.place_of(&wanted.account) else { return Verdict::NoAccount };
        let account = &self.view.accounts.rows()[place];
        if let Some(answer) =
            intent(account, wanted.state_revision, &named([("state", account.state != wanted.state)]))
        {
            return answer;
        }
        let totals = account.totals;
        let is_empty = totals.posted() == 0 && totals.dr_pending == 0 && totals.cr_pending == 0;
        if wanted.state == State::Closed && !is_empty {
            return Verdict::AccountNotEmpty;
        }
        self.set(command, Kind::State, place, |account| {
            account.state = wanted.state;
            account.state_revision = wanted.state_revision;
        })
    }

    pub(super) fn set_limits(&mut self, command: &Command, wanted: SetLimits) -> Verdict {
        let Some(place) = self.view.accounts.place_of(&wanted.account) else { return Verdict::NoAccount };
        let account = &self.view.accounts.rows()[place];
        let (floor, ceiling) = (Some(wanted.floor), wanted.ceiling);
        let differences = named([
            ("min_available_minor_units", account.floor != floor),
            ("max_balance_minor_units", account.ceiling != ceiling),
        ]);
        if let Some(answer) = intent(account, wanted.state_revision, &differences) {
            return answer;
        }
        if let Some(limit) = rules::breached(&Account { floor, ceiling, ..account.clone() }) {
            return Verdict::LimitBreached(limit);
        }
        self.set(command, Kind::Limits, place, |account| {
            account.floor = floor;
            account.ceiling = ceiling;
            account.state_revision = wanted.state_revision;
        })
    }

    fn set(
        &mut self,
        command: &Command,
        kind: Kind,
        place: usize,
        change: impl FnOnce(&mut Account),
    ) -> Verdict {
        self.advance(place, change);
        self.settings.insert(place);
        let account = self.view.accounts.rows()[place].clone();
        let mut row = self.row(command, kind, Some(&account));
        row.revision = Some(account.state_revision);
        match kind {
            Kind::State => row.flags = account.state as i16,
            Kind::Limits
            | Kind::Open
            | Kind::Party
            | Kind::Grant
            | Kind::Transfer
            | Kind::Hold
            | Kind::Increment
            | Kind::Post
            | Kind::Void
            | Kind::Expire
            | Kind::Reverse
            | Kind::ClosePeriod => (row.floor, row.ceiling) = (account.floor, account.ceiling),
        }
        self.rows.push(row);
        Verdict::Set(account)
    }
}

/// The answer to an intent that is not to be followed: it is older than one that was, or it was followed already, or the account is
/// closed.
fn intent(account: &Account, revision: i64, differences: &[&'static str]) -> Option<Verdict> {
    if revision < account.state_revision {
        return Some(Verdict::StaleRevision);
    }
    if revision == account.state_revision {
        return Some(if differences.is_empty() {
            Verdict::Set(account.clone())
        } else {
            Verdict::AccountExists(differences.to_vec())
        });
    }
    (account.state == State::Closed).then_some(Verdict::AccountClosed)
}
