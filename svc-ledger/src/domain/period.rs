//! Periods: spans of value dates that are closed, and the trial balance that is sealed into the row that closes one.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use sha2::{Digest as _, Sha256};

use super::account::{AccountType, Chart};
use super::chain::Hash;
use super::currency::Currency;

/// The UTC day of a time in milliseconds of the Unix time.
#[must_use]
pub fn day_of(milliseconds: i64) -> NaiveDate {
    DateTime::from_timestamp_millis(milliseconds).unwrap_or_default().date_naive()
}

/// A closed period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its last day, inclusive.
    pub end_date: NaiveDate,
    /// The row that closed it.
    pub seq: i64,
    /// The hash of the trial balance before that row.
    pub trial_balance: Hash,
    /// When it was closed, in milliseconds of the Unix time.
    pub booked_at: i64,
}

/// The posted totals of all accounts of one currency and one place in the chart. Sums of 64 bits may leave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// How many accounts.
    pub accounts: i64,
    /// Posted debits.
    pub debits: i128,
    /// Posted credits.
    pub credits: i128,
}

/// What lines are kept under, and sorted by.
type Place = (&'static str, i32, AccountType);

/// Posted totals by currency and place in the chart of accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialBalance(BTreeMap<Place, Line>);

/// Separates this hash from any other use of SHA-256 on the same bytes.
const DOMAIN: &[u8] = b"causeway.ledger.trial-balance.v1";

impl TrialBalance {
    /// Adds accounts of one currency and place.
    pub fn add(&mut self, currency: Currency, chart: Chart, line: Line) {
        let sum = self.0.entry((currency.code(), chart.gl_code, chart.kind)).or_default();
        sum.accounts += line.accounts;
        sum.debits += line.debits;
        sum.credits += line.credits;
    }

    /// By currency, then by place.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, Chart, Line)> {
        self.0.iter().map(|((currency, gl_code, kind), line)| {
            (*currency, Chart { kind: *kind, gl_code: *gl_code }, *line)
        })
    }

    /// A currency whose debits are not its credits; there is none unless the books are broken.
    #[must_use]
    pub fn unbalanced(&self) -> Option<&'static str> {
        let mut sums: BTreeMap<&'static str, i128> = BTreeMap::new();
        for ((currency, ..), line) in &self.0 {
            *sums.entry(currency).or_default() += line.credits - line.debits;
        }
        sums.into_iter().find(|(_, sum)| *sum != 0).map(|(currency, _)| currency)
    }

    /// SHA-256 over the lines in their order: currency, code, type, accounts, debits, credits, integers big endian.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hash = Sha256::new().chain_update(DOMAIN);
        for ((currency, gl_code, kind), line) in &self.0 {
            hash.update(currency);
            hash.update(gl_code.to_be_bytes());
            hash.update((*kind as i16).to_be_bytes());
            hash.update(line.accounts.to_be_bytes());
            hash.update(line.debits.to_be_bytes());
            hash.update(line.credits.to_be_bytes());
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Purpose;

    #[test]
    fn a_currency_whose_debits_are_not_its_credits_is_named() {
        let (eur, usd) = (Currency::parse("EUR").unwrap(), Currency::parse("USD").unwrap());
        let line = |debits, credits| Line { accounts: 1, debits, credits };
        let mut balance = TrialBalance::default();
        // Sums leave 64 bits, and one place's surplus is another's deficit.
        for _ in 0..3 {
            balance.add(eur, Purpose::Customer.chart(), line(0, i64::MAX.into()));
            balance.add(eur, Purpose::Settlement.chart(), line(i64::MAX.into(), 0));
        }
        assert_eq!(balance.unbalanced(), None);
        balance.add(usd, Purpose::Customer.chart(), line(1, 0));
        assert_eq!(balance.unbalanced(), Some("USD"));
    }
}
