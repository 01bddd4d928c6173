//! The proof of a statement: from the opening balance, entry by entry, to the closing balance. Opening and closing are asked of
//! the ledger apart from the entries, so a missing, repeated or foreign entry cannot stay unseen.
use chrono::{DateTime, Utc};

use super::money::Money;
use super::{AccountId, Entry, Period};

/// A proof under way.
#[derive(Debug)]
pub struct Proof {
    account_id: AccountId,
    period: Period,
    balance: Money,
    version: i64,
    entries: u64,
}

/// Why the ledger's answers do not make a statement. Only the log gets it: to the client it is an internal error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    #[error("entry {transfer_id} is of account {account_id}")]
    ForeignAccount { transfer_id: String, account_id: String },
    #[error("entry {transfer_id} was booked at {booked}, outside the period")]
    OutsidePeriod { transfer_id: String, booked: DateTime<Utc> },
    #[error("{what} is in {found}, the account in {expected}")]
    ForeignCurrency { what: String, found: String, expected: String },
    #[error("entry {transfer_id} has version {version} after version {before}")]
    OutOfOrder { transfer_id: String, version: i64, before: i64 },
    #[error("entry {transfer_id} leaves {stated}, the sum is {computed}")]
    BalanceAfter { transfer_id: String, stated: i64, computed: i64 },
    #[error("entry {transfer_id} overflows the balance")]
    Overflow { transfer_id: String },
    #[error("the closing balance is {stated}, opening and {entries} entries make {computed}")]
    Closing { stated: i64, computed: i64, entries: u64 },
}

impl Proof {
    pub fn open(account_id: AccountId, period: Period, opening: Money) -> Self {
        Self { account_id, period, balance: opening, version: i64::MIN, entries: 0 }
    }

    /// How many entries have been proven.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Takes the next entry, oldest first.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), Discrepancy> {
        let transfer_id = || entry.transfer_id.clone();
        if entry.account_id != self.account_id.as_str() {
            let account_id = entry.account_id.clone();
            return Err(Discrepancy::ForeignAccount { transfer_id: transfer_id(), account_id });
        }
        if !self.period.contains(entry.booked) {
            return Err(Discrepancy::OutsidePeriod { transfer_id: transfer_id(), booked: entry.booked });
        }
        self.same_currency(&entry.amount, &entry.transfer_id)?;
        self.same_currency(&entry.balance_after, &entry.transfer_id)?;
        if entry.version <= self.version {
            let (version, before) = (entry.version, self.version);
            return Err(Discrepancy::OutOfOrder { transfer_id: transfer_id(), version, before });
        }
        let Some(computed) = self.balance.minor_units.checked_add(entry.amount.minor_units) else {
            return Err(Discrepancy::Overflow { transfer_id: transfer_id() });
        };
        let stated = entry.balance_after.minor_units;
        if stated != computed {
            return Err(Discrepancy::BalanceAfter { transfer_id: transfer_id(), stated, computed });
        }
        self.balance.minor_units = computed;
        self.version = entry.version;
        self.entries += 1;
        Ok(())
    }

    /// Ends the proof: the closing balance must be what the entries lead to.
    pub fn close(self, closing: &Money) -> Result<u64, Discrepancy> {
        self.same_currency(closing, "the closing balance")?;
        let (stated, computed, entries) = (closing.minor_units, self.balance.minor_units, self.entries);
        if stated == computed { Ok(entries) } else { Err(Discrepancy::Closing { stated, computed, entries }) }
    }

    fn same_currency(&self, money: &Money, what: &str) -> Result<(), Discrepancy> {
        if money.currency == self.balance.currency {
            return Ok(());
        }
        let (found, expected) = (money.currency.clone(), self.balance.currency.clone());
        Err(Discrepancy::ForeignCurrency { what: what.to_owned(), found, expected })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::at;
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn eur(minor_units: i64) -> Money {
        Money { currency: "EUR".into(), minor_units }
    }

    fn account() -> AccountId {
        AccountId::parse("a".into()).unwrap()
    }

    /// Entries that follow from an opening balance and amounts.
    pub(crate) fn entries(opening: i64, amounts: &[i64]) -> Vec<Entry> {
        let mut balance = opening;
        let entry = |(n, amount): (usize, &i64)| {
            balance += amount;
            Entry {
                account_id: "a".into(),
                transfer_id: format!("t{n}"),
                amount: eur(*amount),
                balance_after: eur(balance),
                version: n as i64 * 3 + 1,
                counterparty_account_id: String::new(),
                reference: "rent".into(),
                booked: at(n as i64),
            }
        };
        amounts.iter().enumerate().map(entry).collect()
    }

    fn prove(opening: i64, entries: &[Entry], closing: i64) -> Result<u64, Discrepancy> {
        let mut proof = Proof::open(account(), Period::known(at(0), at(1_000)), eur(opening));
        entries.iter().try_for_each(|entry| proof.entry(entry))?;
        proof.close(&eur(closing))
    }

    #[test]
    fn every_way_of_not_adding_up_is_found() {
        let good = entries(100, &[50, -30]);
        assert_eq!(prove(100, &good, 120), Ok(2));
        assert_eq!(prove(7, &[], 7), Ok(0));
        let change = |change: fn(&mut Entry)| {
            let mut changed = good.clone();
            change(&mut changed[1]);
            prove(100, &changed, 120)
        };
        assert!(matches!(change(|e| e.account_id = "b".into()), Err(Discrepancy::ForeignAccount { .. })));
        assert!(matches!(change(|e| e.booked = at(1_000)), Err(Discrepancy::OutsidePeriod { .. })));
        assert!(matches!(change(|e| e.booked = at(-1)), Err(Discrepancy::OutsidePeriod { .. })));
        assert!(matches!(
            change(|e| e.amount.currency = "USD".into()),
            Err(Discrepancy::ForeignCurrency { .. })
        ));
        assert!(matches!(
            change(|e| e.balance_after.currency = "USD".into()),
            Err(Discrepancy::ForeignCurrency { .. })
        ));
        assert!(matches!(change(|e| e.version = 1), Err(Discrepancy::OutOfOrder { .. })));
        assert!(matches!(
            change(|e| e.balance_after.minor_units += 1),
            Err(Discrepancy::BalanceAfter { .. })
        ));
        assert!(matches!(change(|e| e.amount.minor_units = i64::MAX), Err(Discrepancy::Overflow { .. })));
        assert_eq!(
            prove(100, &good, 121),
            Err(Discrepancy::Closing { stated: 121, computed: 120, entries: 2 })
        );
    }

    proptest! {
        /// Whichever entry is left out, repeated or exchanged with its neighbour, the proof fails.
        #[test]
        fn no_entry_can_be_missing_repeated_or_moved(
            opening in -1_000_i64..1_000,
            amounts in prop::collection::vec((-500_i64..500).prop_filter("moves", |amount| *amount != 0), 2..20),
            at in any::<prop::sample::Index>(),
        ) {
            let good = entries(opening, &amounts);
            let closing = opening + amounts.iter().sum::<i64>();
            prop_assert_eq!(prove(opening, &good, closing), Ok(amounts.len() as u64));
            let at = at.index(good.len());
            let mut missing = good.clone();
            missing.remove(at);
            prop_assert!(prove(opening, &missing, closing).is_err());
            let mut repeated = good.clone();
            repeated.insert(at, good[at].clone());
            prop_assert!(prove(opening, &repeated, closing).is_err());
            let mut moved = good.clone();
            moved.swap(at, (at + 1) % good.len());
            prop_assert!(prove(opening, &moved, closing).is_err());
        }
    }
}
