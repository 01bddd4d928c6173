//! Closing periods.

use chrono::NaiveDate;

use super::super::command::Command;
use super::super::journal::Kind;
use super::super::period::{Period, day_of};
use super::super::verdict::{Refusal, Verdict};
use super::Judge;

impl Judge {
    /// Whether nothing can count for the day any more.
    pub(super) fn is_closed(&self, day: NaiveDate) -> bool {
        self.view.head.closed_until.is_some_and(|last| day <= last)
    }

    pub(super) fn close_period(&mut self, command: &Command, end_date: NaiveDate) -> Verdict {
        if !command.actor.staff {
            return Verdict::Refused(Refusal::NotPermitted);
        }
        if self.is_closed(end_date) {
            return Verdict::Refused(Refusal::PeriodClosed);
        }
        if end_date >= day_of(self.view.head.now) {
            return Verdict::Refused(Refusal::PeriodNotOver);
        }
        // The balances are those before the batch: behind other rows they would be another's.
        let (true, Some(balance)) = (self.rows.is_empty(), &self.view.trial_balance) else {
            return Verdict::NotAttempted;
        };
        let trial_balance = balance.hash();
        let mut row = self.row(command, Kind::ClosePeriod, None);
        row.value_date = Some(end_date);
        row.detail_hash = Some(trial_balance);
        let period = Period { end_date, seq: row.seq, trial_balance, booked_at: row.booked_at };
        self.rows.push(row);
        self.view.head.closed_until = Some(end_date);
        self.periods.push(period);
        Verdict::Closed(period)
    }
}
