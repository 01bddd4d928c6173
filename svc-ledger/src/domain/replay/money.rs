//! Rows that move, hold or release money.

use uuid::Uuid;

use super::super::account::{Account, Amount};
use super::super::command::AmountMode;
use super::super::grant::Scope;
use super::super::journal::{EXTERNAL, HIDDEN, Kind, Row, Taken};
use super::super::judge::rules::{self, Movement};
use super::super::period::day_of;
use super::super::verdict::TransferState;
use super::super::view::Hold;
use super::Replay;

impl Replay {
    pub(super) fn money(&mut self, row: &Row) {
        let debit = self.account_of(row, "debit", row.debit);
        let credit = self.account_of(row, "credit", row.credit);
        let (Some((from, debit)), Some((to, credit))) = (debit, credit) else { return };
        if debit.account == credit.account {
            self.find(row.seq, "credit.account", "another than the debit's", credit.account);
            return;
        }
        let Some(amount) = row.amount.and_then(Amount::new) else {
            self.find(row.seq, "amount", "a positive amount", format!("{:?}", row.amount));
            return;
        };
        let hold = self.hold_of(row, &from, &to);
        let Some((movement, after)) = self.movement(row, amount, hold.as_ref()) else { return };
        self.rules(row, amount, &from, &to, hold.as_ref());
        self.consent(row, amount, hold.as_ref());
        if let Some((from_after, to_after)) = rules::after(movement, from.totals, to.totals) {
            let (version, totals) = (from.version + 1, from_after);
            self.settle(row, "debit", &Account { version, totals, ..from }, debit);
            let (version, totals) = (to.version + 1, to_after);
            self.settle(row, "credit", &Account { version, totals, ..to }, credit);
        } else {
            self.find(row.seq, "amount", "one that leaves totals within 64 bits", amount.minor_units());
        }
        if let Some((id, hold)) = after {
            self.same(row.seq, "remaining", &Some(hold.remaining), &row.remaining);
            self.holds.insert(id, hold);
        } else {
            self.same(row.seq, "remaining", &None, &row.remaining);
        }
    }

    /// The hold that the row is about, when it is about one that was there before.
    fn hold_of(&mut self, row: &Row, from: &Account, to: &Account) -> Option<Hold> {
        if !matches!(row.kind, Kind::Increment | Kind::Post | Kind::Void | Kind::Expire) {
            return None;
        }
        let hold = row.reference.and_then(|id| self.holds.get(&id)).copied();
        let Some(hold) = hold else {
            self.find(row.seq, "ref", "a hold", format!("{:?}", row.reference));
            return None;
        };
        self.same(row.seq, "debit.account", &hold.debit, &from.no);
        self.same(row.seq, "credit.account", &hold.credit, &to.no);
        self.same(row.seq, "state of the hold", &TransferState::Pending, &hold.state);
        self.same(row.seq, "link", &hold.link, &row.link);
        Some(hold)
    }

    /// What the row does to totals, and how the hold stands after it. None if nothing can be said of it.
    fn movement(
        &mut self,
        row: &Row,
        amount: Amount,
        hold: Option<&Hold>,
    ) -> Option<(Movement, Option<(Uuid, Hold)>)> {
        let units = amount.minor_units();
        let flags = if row.kind == Kind::Hold { EXTERNAL | HIDDEN } else { HIDDEN };
        if row.flags & !flags != 0 {
            self.find(row.seq, "flags", format!("of {flags}"), row.flags);
        }
        let changed = |hold: Hold| row.reference.map(|id| (id, Hold { resolved_by: Some(row.id), ..hold }));
        match (row.kind, hold) {
            (Kind::Transfer, _) => Some((Movement::Transfer(amount), None)),
            (Kind::Reverse, _) => {
                self.reversal(row);
                Some((Movement::Transfer(amount), None))
            }
            (Kind::Hold, _) => Some((Movement::Hold(amount), Some((row.id, made(row, units))))),
            (Kind::Increment, Some(hold)) => {
                self.same(row.seq, "captured of an increased hold", &0, &hold.captured);
                let after = Hold { amount: hold.amount + units, remaining: hold.remaining + units, ..*hold };
                Some((Movement::Hold(amount), changed(after)))
            }
            (Kind::Post, Some(hold)) => {
                let remaining = row.remaining.unwrap_or_default();
                let released = hold.remaining - units - remaining;
                if released < 0 || (remaining > 0 && released > 0) {
                    self.find(row.seq, "remaining", format!("0 or {}", hold.remaining - units), remaining);
                    return None;
                }
                let state = if remaining > 0 { TransferState::Pending } else { TransferState::Posted };
                let after = Hold { remaining, captured: hold.captured + units, state, ..*hold };
                Some((Movement::Post(amount, released), changed(after)))
            }
            (Kind::Void | Kind::Expire, Some(hold)) => {
                self.same(row.seq, "amount", &hold.remaining, &units);
                let unposted =
                    if row.kind == Kind::Void { TransferState::Voided } else { TransferState::Expired };
                let state = if hold.captured > 0 { TransferState::Posted } else { unposted };
                let after = Hold { remaining: 0, state, ..*hold };
                Some((Movement::Release(amount), changed(after)))
            }
            (
                Kind::Increment
                | Kind::Post
                | Kind::Void
                | Kind::Expire
                | Kind::Open
                | Kind::Limits
                | Kind::State
                | Kind::Party
                | Kind::Grant
                | Kind::ClosePeriod,
                _,
            ) => None,
        }
    }

    /// The rules that the judge let the row pass by, asked again.
    fn rules(&mut self, row: &Row, amount: Amount, from: &Account, to: &Account, hold: Option<&Hold>) {
        let takes = matches!(row.kind, Kind::Transfer | Kind::Hold | Kind::Increment | Kind::Reverse);
        let (floor, ceiling) = if takes { (from.floor, to.ceiling) } else { (None, None) };
        self.same(row.seq, "floor", &floor, &row.floor);
        self.same(row.seq, "ceiling", &ceiling, &row.ceiling);
        if takes && let Err(refusal) = rules::within_limits(AmountMode::Exact, amount, from, to) {
            self.find(row.seq, "amount", "one within floor and ceiling", format!("{refusal:?}"));
        }
        let ends = matches!(row.kind, Kind::Void | Kind::Expire);
        if !ends && let Err(refusal) = rules::open_for(from, to) {
            self.find(row.seq, "state of the accounts", "open", format!("{refusal:?}"));
        }
        let moves_at_once = matches!(row.kind, Kind::Transfer | Kind::Reverse);
        let alone = row.kind == Kind::Post && hold.is_some_and(|hold| hold.creator == row.actor);
        if from.purpose.is_house() && (moves_at_once || alone) {
            self.find(row.seq, "actor", "two members of staff for the bank's own money", "one");
        }
        self.times(row, hold);
    }

    fn times(&mut self, row: &Row, hold: Option<&Hold>) {
        let ends_at =
            if row.kind == Kind::Hold { row.expires_at } else { hold.and_then(|hold| hold.expires_at) };
        let over = ends_at.is_some_and(|at| at <= row.booked_at);
        if over != (row.kind == Kind::Expire) {
            let must_be =
                if row.kind == Kind::Expire { "at or after the expiry" } else { "before the expiry" };
            self.find(row.seq, "booked_at", must_be, row.booked_at);
        }
        let dated = match row.kind {
            Kind::Transfer | Kind::Hold => {
                if row.value_date.is_none() {
                    self.find(row.seq, "value_date", "a day", "none");
                }
                row.value_date
            }
            Kind::Reverse => Some(day_of(row.booked_at)),
            Kind::Post => hold.map(|hold| hold.value_date),
            Kind::Increment
            | Kind::Void
            | Kind::Expire
            | Kind::Open
            | Kind::Limits
            | Kind::State
            | Kind::Party
            | Kind::Grant
            | Kind::ClosePeriod => None,
        };
        self.same(row.seq, "value_date", &dated, &row.value_date);
        // A reversal counts for its own day, which is never closed before it is over.
        if dated.is_some_and(|day| self.is_closed(day)) {
            self.find(row.seq, "value_date", "a day after the closed periods", format!("{dated:?}"));
        }
    }

    /// What was taken of a consent, or given back to it.
    fn consent(&mut self, row: &Row, amount: Amount, hold: Option<&Hold>) {
        let units = amount.minor_units();
        let (consent, taken) = match (row.kind, hold) {
            // Whose consent it was, the row alone knows.
            (Kind::Transfer | Kind::Hold, _) => (row.consent.map(|taken| taken.consent), units),
            (Kind::Increment, Some(hold)) => (hold.consent, units),
            (Kind::Post, Some(hold)) => {
                (hold.consent, row.remaining.unwrap_or_default() + units - hold.remaining)
            }
            (Kind::Void | Kind::Expire, Some(hold)) => (hold.consent, -units),
            (
                Kind::Increment
                | Kind::Post
                | Kind::Void
                | Kind::Expire
                | Kind::Reverse
                | Kind::Open
                | Kind::Limits
                | Kind::State
                | Kind::Party
                | Kind::Grant
                | Kind::ClosePeriod,
                _,
            ) => (None, 0),
        };
        let Some(consent) = consent.filter(|_| taken != 0) else {
            self.same(row.seq, "consent", &None, &row.consent);
            return;
        };
        let Some(grant) = self.grants.get_mut(&consent) else {
            self.find(row.seq, "consent", "a grant that was set", consent);
            return;
        };
        let debited = row.debit.map(|side| side.account);
        let covers = Some(grant.account) == debited
            && grant.terms.scopes.contains(Scope::CreateTransfers)
            && row.booked_at < grant.terms.expires_at;
        let one = grant.terms.per_transfer_max;
        let whole = hold.map_or(0, |hold| hold.amount) + units;
        let admits = match row.kind {
            Kind::Transfer | Kind::Hold => covers && one.is_none_or(|cap| whole <= cap.minor_units()),
            Kind::Increment => one.is_none_or(|cap| whole <= cap.minor_units()),
            Kind::Post
            | Kind::Void
            | Kind::Expire
            | Kind::Reverse
            | Kind::Open
            | Kind::Limits
            | Kind::State
            | Kind::Party
            | Kind::Grant
            | Kind::ClosePeriod => true,
        };
        let expected = grant.used + taken;
        grant.used = row.consent.map_or(expected, |told| told.used);
        let exceeds = taken > 0 && grant.terms.total_max.is_some_and(|cap| grant.used > cap.minor_units());
        self.same(row.seq, "consent", &Some(Taken { consent, used: expected }), &row.consent);
        if !admits {
            self.find(row.seq, "consent", "a grant that admits the row", consent);
        }
        if exceeds {
            self.find(row.seq, "used", "at most the grant's cap", expected);
        }
    }
}

fn made(row: &Row, units: i64) -> Hold {
    Hold {
        creator: row.actor,
        debit: row.debit.map_or(0, |side| side.account),
        credit: row.credit.map_or(0, |side| side.account),
        amount: units,
        remaining: units,
        captured: 0,
        state: TransferState::Pending,
        expires_at: row.expires_at,
        value_date: row.value_date.unwrap_or_default(),
        link: row.link,
        external: row.flags & EXTERNAL != 0,
        exchange: row.exchange.is_some(),
        consent: row.consent.map(|taken| taken.consent),
        resolved_by: None,
    }
}
