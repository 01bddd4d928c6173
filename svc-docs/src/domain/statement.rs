//! Statements: what an account held when a period began, what moved in it, and what it held at its end. `proof` refuses a
//! statement that does not add up, `render` writes one, `money` knows how amounts are spelled.
pub mod money;
pub mod proof;
pub mod render;

use chassis::field;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Fault;
use money::Money;

/// The longest period.
const DAYS_MAX: i64 = 366;

/// What the ledger's clock and ours may differ by. A period that has ended by the ledger's clock is answered whole, however
/// long its last batch takes to commit; before it has, an entry may still appear in it.
pub const SETTLING: TimeDelta = TimeDelta::seconds(2);

/// The id of an account: a UUID, or the name of one of the bank's own ("settlement-EUR").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountId(String);

impl AccountId {
    /// Reads an id in any spelling the ledger takes, and keeps the one the ledger answers with: the proof compares them.
    pub fn parse(id: String) -> Result<Self, Fault> {
        if let Ok(uuid) = field::uuid(&id) {
            return Ok(Self(uuid.hyphenated().to_string()));
        }
        match id.len() {
            0 => Err(Fault::Missing),
            1..=64 if id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => Ok(Self(id)),
            _ => Err(Fault::NotAnAccount),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of the bank's own accounts, which have names and no holder.
    pub fn is_the_banks(&self) -> bool {
        field::uuid(&self.0).is_err()
    }
}

/// What a statement is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Csv,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Json, Self::Csv].into_iter().find(|format| format.name() == name)
    }
}

/// From `start` on and before `end`, both in whole microseconds. The ledger books in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Period {
    /// A period that has ended by `now`. The fault goes with `end_time`.
    pub fn parse(start: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) -> Result<Self, Fault> {
        if end <= start {
            return Err(Fault::NotAfterStart);
        }
        if end > now {
            return Err(Fault::InFuture);
        }
        if end - start > TimeDelta::days(DAYS_MAX) {
            return Err(Fault::TooFar { days: DAYS_MAX });
        }
        Ok(Self { start, end })
    }

    /// A period that was checked before it was stored.
    pub fn known(start: DateTime<Utc>, end: DateTime<Utc>) -> Self {
        Self { start, end }
    }

    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    pub fn end(&self) -> DateTime<Utc> {
        self.end
    }

    /// The last instant before the period, as the ledger counts: its `as_of` includes the instant itself.
    pub fn eve(&self) -> DateTime<Utc> {
        self.start - TimeDelta::microseconds(1)
    }

    /// The last instant of the period.
    pub fn last(&self) -> DateTime<Utc> {
        self.end - TimeDelta::microseconds(1)
    }

    /// How long to wait until nothing can be booked into the period any more.
    pub fn settles_in(&self, now: DateTime<Utc>) -> std::time::Duration {
        (self.end + SETTLING - now).to_std().unwrap_or_default()
    }

    pub fn contains(&self, time: DateTime<Utc>) -> bool {
        self.start <= time && time < self.end
    }
}

/// One side of a posted transfer, as the ledger tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub account_id: String,
    pub transfer_id: String,
    /// Positive for a credit, negative for a debit.
    pub amount: Money,
    pub balance_after: Money,
    /// The account's version after it.
    pub version: i64,
    /// Empty where the reader may not know it.
    pub counterparty_account_id: String,
    pub reference: String,
    pub booked: DateTime<Utc>,
}

/// What is remembered of a statement beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub id: Uuid,
    pub account_id: AccountId,
    pub period: Period,
    pub opening: Money,
    pub closing: Money,
    pub entry_count: u64,
    pub format: Format,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(micros: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_750_000_000_000_000 + micros).unwrap()
    }

    #[test]
    fn a_period_has_ended_and_is_at_most_a_year() {
        let year = TimeDelta::days(366);
        let cases = [
            (at(0), at(1), at(1), Ok(())),
            (at(0), at(2), at(1), Err(Fault::InFuture)),
            (at(1), at(1), at(9), Err(Fault::NotAfterStart)),
            (at(2), at(1), at(9), Err(Fault::NotAfterStart)),
            (at(0), at(0) + year, at(0) + year, Ok(())),
            (at(0), at(1) + year, at(9) + year, Err(Fault::TooFar { days: 366 })),
        ];
        for (start, end, now, expected) in cases {
            assert_eq!(Period::parse(start, end, now).map(|_| ()), expected, "{start} {end} {now}");
        }
    }

    #[test]
    fn instants_around_a_period_do_not_overlap_it() {
        let period = Period::known(at(10), at(20));
        assert!(!period.contains(period.eve()) && period.contains(at(10)));
        assert!(period.contains(period.last()) && !period.contains(at(20)));
        assert_eq!(period.settles_in(at(20)), std::time::Duration::from_secs(2));
        assert_eq!(period.settles_in(at(20) + TimeDelta::seconds(3)), std::time::Duration::ZERO);
    }

    #[test]
    fn accounts_are_uuids_or_names_of_the_bank() {
        for good in ["01890a5d-ac96-774b-bcce-b302099a8057", "settlement-EUR"] {
            let account_id = AccountId::parse(good.into()).unwrap();
            assert_eq!(account_id.is_the_banks(), good.starts_with("settlement"));
        }
        let shouted = AccountId::parse("01890A5D-AC96-774B-BCCE-B302099A8057".into()).unwrap();
        assert_eq!(shouted.as_str(), "01890a5d-ac96-774b-bcce-b302099a8057", "one account has one name");
        for bad in ["a b", "a/b", "a\0", "ä"] {
            assert_eq!(AccountId::parse(bad.into()), Err(Fault::NotAnAccount), "{bad:?}");
        }
    }
}
