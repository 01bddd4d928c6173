//! Rows that open accounts, bound them, say whose they are, and close periods.

use super::super::account::{Account, AccountType, Chart, Purpose, State, Totals};
use super::super::grant::{Grant, Scopes, Terms};
use super::super::journal::{Kind, Row};
use super::super::judge::{TYPE_FACTOR, rules};
use super::super::period::{Period, day_of};
use super::Replay;

impl Replay {
    pub(super) fn open(&mut self, row: &Row) {
        let purpose = Purpose::from_number(row.flags % TYPE_FACTOR);
        let kind = AccountType::from_number(row.flags / TYPE_FACTOR);
        let (Some(purpose), Some(kind), Some(gl_code), Some(currency), Some(id), Some(side)) =
            (purpose, kind, row.gl_code, row.currency, row.reference, row.credit)
        else {
            self.find(row.seq, "opening", "purpose, type, code, currency, id and side", "not all of them");
            return;
        };
        let account = Account {
            no: row.seq,
            id,
            currency,
            purpose,
            chart: Chart { kind, gl_code },
            floor: row.floor,
            ceiling: row.ceiling,
            state: State::Open,
            state_revision: row.revision.unwrap_or_default(),
            version: 1,
            totals: Totals::default(),
            opened_at: row.booked_at,
        };
        self.same(row.seq, "credit.account", &row.seq, &side.account);
        self.settle(row, "credit", &account, side);
    }

    pub(super) fn party(&mut self, row: &Row) {
        let Some((account, side)) = self.account_of(row, "credit", row.credit) else { return };
        let at = self.changed_at.get(&account.no).copied();
        self.settle(row, "credit", &account, side);
        self.unchanged(account.no, at);
        match row.party.clone() {
            Some(customer) => self.parties.entry(account.no).or_default().push(customer),
            None => self.find(row.seq, "party", "a customer", "none"),
        }
    }

    pub(super) fn set(&mut self, row: &Row) {
        let Some((account, side)) = self.account_of(row, "credit", row.credit) else { return };
        let revision = row.revision.unwrap_or_default();
        if revision <= account.state_revision {
            self.find(row.seq, "revision", format!("more than {}", account.state_revision), revision);
        }
        self.same(row.seq, "state before", &false, &(account.state == State::Closed));
        let mut after = Account { version: account.version + 1, state_revision: revision, ..account };
        if row.kind == Kind::State {
            after.state = State::from_number(row.flags).unwrap_or(after.state);
            self.same(row.seq, "flags", &(after.state as i16), &row.flags);
            let totals = after.totals;
            let is_empty = totals.posted() == 0 && totals.dr_pending == 0 && totals.cr_pending == 0;
            if after.state == State::Closed && !is_empty {
                self.find(row.seq, "state", "one that an account with money may have", "closed");
            }
        } else {
            (after.floor, after.ceiling) = (row.floor, row.ceiling);
            if let Some(limit) = rules::breached(&after) {
                self.find(row.seq, limit, "a limit that the account keeps", "one that it is beyond");
            }
        }
        self.settle(row, "credit", &after, side);
    }

    pub(super) fn grant(&mut self, row: &Row) {
        let Some((account, side)) = self.account_of(row, "credit", row.credit) else { return };
        let at = self.changed_at.get(&account.no).copied();
        self.settle(row, "credit", &account, side);
        self.unchanged(account.no, at);
        let (Some(taken), Some(bounds), Some(partner), Some(scopes)) =
            (row.consent, row.bounds, row.party.clone(), Scopes::from_bits(row.flags))
        else {
            self.find(row.seq, "grant", "consent, bounds, partner and scopes", "not all of them");
            return;
        };
        let revision = row.revision.unwrap_or_default();
        let before = self.grants.get(&taken.consent).cloned();
        self.same(row.seq, "used", &before.as_ref().map_or(0, |grant| grant.used), &taken.used);
        if let Some(before) = before {
            self.same(row.seq, "account of the grant", &before.account, &account.no);
            self.same(row.seq, "partner", &before.terms.partner, &partner);
            if revision <= before.terms.revision {
                self.find(row.seq, "revision", format!("more than {}", before.terms.revision), revision);
            }
        }
        let terms = Terms {
            consent: taken.consent,
            partner,
            scopes,
            per_transfer_max: bounds.per_transfer_max,
            total_max: bounds.total_max,
            expires_at: bounds.expires_at,
            revision,
        };
        self.grants.insert(taken.consent, Grant { account: account.no, terms, used: taken.used });
    }

    pub(super) fn close_period(&mut self, row: &Row) {
        let (Some(end_date), Some(hash)) = (row.value_date, row.detail_hash) else {
            self.find(row.seq, "period", "its last day and the hash of its trial balance", "not both");
            return;
        };
        if self.is_closed(end_date) || end_date >= day_of(row.booked_at) {
            self.find(row.seq, "value_date", "a day that is over and not closed", end_date);
        }
        if self.trial_balance().hash() != hash {
            self.find(row.seq, "detail_hash", "the hash of the trial balance", "another");
        }
        self.periods.push(Period { end_date, seq: row.seq, trial_balance: hash, booked_at: row.booked_at });
    }

    /// A row that tells of an account and changes nothing of it does not make it younger.
    fn unchanged(&mut self, account: i64, at: Option<i64>) {
        if let Some(at) = at {
            self.changed_at.insert(account, at);
        }
    }
}
