//! Accounts as the ledger knows them: totals of what was debited and credited, posted and pending, a floor, a state and a
//! version. Also the bank's own accounts, which have names, and ids derived from them. Who an account belongs to is a party's
//! matter and lives in `view`.

use uuid::Uuid;

use super::currency::Currency;

/// The published namespace of the bank's own accounts: their id is the UUIDv5 of their name ("settlement-EUR") in it, so that
/// every replica and every tool derives the same id without asking.
pub const HOUSE_NAMESPACE: Uuid = Uuid::from_u128(0x6f2b_7c1e_58d0_4c3b_9a41_c5e2_0b7d_9f10);

/// What an account is for. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Purpose {
    /// A customer's.
    Customer = 0,
    /// The bank's: money that enters or leaves it.
    Settlement = 1,
    /// The bank's: fees it has taken.
    Fees = 2,
    /// The bank's: money whose owner is not settled yet.
    Suspense = 3,
    /// The bank's: its position in a currency, where conversions end and begin.
    Exchange = 4,
}

impl Purpose {
    /// Those of the bank's own accounts.
    pub const HOUSE: [Self; 4] = [Self::Settlement, Self::Fees, Self::Suspense, Self::Exchange];

    /// From its stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Customer, Self::Settlement, Self::Fees, Self::Suspense, Self::Exchange]
            .into_iter()
            .find(|it| *it as i16 == number)
    }

    /// Whether the account is the bank's own.
    #[must_use]
    pub fn is_house(self) -> bool {
        self != Self::Customer
    }

    const fn prefix(self) -> Option<&'static str> {
        match self {
            Self::Customer => None,
            Self::Settlement => Some("settlement"),
            Self::Fees => Some("fees"),
            Self::Suspense => Some("suspense"),
            Self::Exchange => Some("exchange"),
        }
    }

    /// Where such an account stands in the chart of accounts, unless it is opened elsewhere: its type and code.
    #[must_use]
    pub const fn chart(self) -> Chart {
        let (kind, gl_code) = match self {
            Self::Customer => (AccountType::Liability, 2_100),
            Self::Settlement => (AccountType::Asset, 1_100),
            Self::Fees => (AccountType::Income, 4_100),
            Self::Suspense => (AccountType::Liability, 2_900),
            Self::Exchange => (AccountType::Asset, 1_900),
        };
        Chart { kind, gl_code }
    }
}

/// What an account is in the chart of accounts. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum AccountType {
    /// What the bank owns.
    Asset = 1,
    /// What the bank owes.
    Liability = 2,
    /// What belongs to the bank's owners.
    Equity = 3,
    /// What the bank earns.
    Income = 4,
    /// What the bank spends.
    Expense = 5,
}

impl AccountType {
    /// From its stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Asset, Self::Liability, Self::Equity, Self::Income, Self::Expense]
            .into_iter()
            .find(|it| *it as i16 == number)
    }
}

/// A place in the chart of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chart {
    /// What its accounts are.
    pub kind: AccountType,
    /// Its number, 1 to 999,999.
    pub gl_code: i32,
}

/// The id of one of the bank's own accounts from its name; `None` if it is no such name.
#[must_use]
pub fn house_id(name: &str) -> Option<Uuid> {
    let (prefix, code) = name.split_once('-')?;
    let purpose = Purpose::HOUSE.into_iter().find(|purpose| purpose.prefix() == Some(prefix))?;
    Some(house_account(purpose, Currency::parse(code)?))
}

/// The id of the bank's own account of a purpose and a currency.
#[must_use]
pub fn house_account(purpose: Purpose, currency: Currency) -> Uuid {
    match purpose.prefix() {
        Some(prefix) => Uuid::new_v5(&HOUSE_NAMESPACE, format!("{prefix}-{}", currency.code()).as_bytes()),
        None => Uuid::nil(),
    }
}

/// How an account is called outside: the name of one of the bank's own, else its id.
#[must_use]
pub fn display_name(id: Uuid, purpose: Purpose, currency: Currency) -> String {
    match purpose.prefix() {
        Some(prefix) => format!("{prefix}-{}", currency.code()),
        None => id.to_string(),
    }
}

/// Whether an account takes part. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum State {
    /// Debits and credits.
    Open = 0,
    /// Credits only.
    DebitFrozen = 1,
    /// Neither.
    Frozen = 2,
    /// Neither, for ever.
    Closed = 3,
}

impl State {
    /// From its stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Open, Self::DebitFrozen, Self::Frozen, Self::Closed]
            .into_iter()
            .find(|it| *it as i16 == number)
    }

    /// Whether money may leave.
    #[must_use]
    pub fn allows_debit(self) -> bool {
        self == Self::Open
    }

    /// Whether money may arrive.
    #[must_use]
    pub fn allows_credit(self) -> bool {
        matches!(self, Self::Open | Self::DebitFrozen)
    }
}

/// An amount of money to move: always positive, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

impl Amount {
    /// `None` unless positive.
    #[must_use]
    pub fn new(minor_units: i64) -> Option<Self> {
        (minor_units > 0).then_some(Self(minor_units))
    }

    /// In minor units.
    #[must_use]
    pub fn minor_units(self) -> i64 {
        self.0
    }
}

/// What was debited and credited in all. None is negative, and posted plus pending of one direction never exceeds `i64::MAX`:
/// so neither posting a hold nor any difference of these can overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Posted debits.
    pub dr_posted: i64,
    /// Posted credits.
    pub cr_posted: i64,
    /// Pending debits: what is held.
    pub dr_pending: i64,
    /// Pending credits: what is expected.
    pub cr_pending: i64,
}

impl Totals {
    /// Posted credits less posted debits.
    #[must_use]
    pub fn posted(&self) -> i64 {
        self.cr_posted - self.dr_posted
    }

    /// Pending credits less pending debits.
    #[must_use]
    pub fn pending(&self) -> i64 {
        self.cr_pending - self.dr_pending
    }

    /// What a debit can take: posted, less pending debits.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.posted() - self.dr_pending
    }

    /// After a posted debit; `None` on overflow.
    #[must_use]
    pub fn debit(self, amount: Amount) -> Option<Self> {
        room(self.dr_posted, self.dr_pending, amount)?;
        Some(Self { dr_posted: self.dr_posted + amount.0, ..self })
    }

    /// After a posted credit; `None` on overflow.
    #[must_use]
    pub fn credit(self, amount: Amount) -> Option<Self> {
        room(self.cr_posted, self.cr_pending, amount)?;
        Some(Self { cr_posted: self.cr_posted + amount.0, ..self })
    }

    /// After a hold on the debit side; `None` on overflow.
    #[must_use]
    pub fn hold_debit(self, amount: Amount) -> Option<Self> {
        room(self.dr_posted, self.dr_pending, amount)?;
        Some(Self { dr_pending: self.dr_pending + amount.0, ..self })
    }

    /// After a hold on the credit side; `None` on overflow.
    #[must_use]
    pub fn hold_credit(self, amount: Amount) -> Option<Self> {
        room(self.cr_posted, self.cr_pending, amount)?;
        Some(Self { cr_pending: self.cr_pending + amount.0, ..self })
    }

    /// After a hold on the debit side was given up.
    #[must_use]
    pub fn release_debit(self, amount: Amount) -> Self {
        Self { dr_pending: self.dr_pending - amount.0, ..self }
    }

    /// After a hold on the credit side was given up.
    #[must_use]
    pub fn release_credit(self, amount: Amount) -> Self {
        Self { cr_pending: self.cr_pending - amount.0, ..self }
    }
}

fn room(posted: i64, pending: i64, amount: Amount) -> Option<i64> {
    posted.checked_add(pending)?.checked_add(amount.0)
}

/// An account at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The ledger's own short number: the sequence number of the row that opened it.
    pub no: i64,
    /// The id outside.
    pub id: Uuid,
    /// Never changes.
    pub currency: Currency,
    /// Never changes.
    pub purpose: Purpose,
    /// Never changes.
    pub chart: Chart,
    /// What the available balance may not fall below; `None` for the bank's own.
    pub floor: Option<i64>,
    /// What posted and expected together may not exceed; `None` for no bound.
    pub ceiling: Option<i64>,
    /// Whether it takes part.
    pub state: State,
    /// The revision of the newest intent of svc-accounts seen.
    pub state_revision: i64,
    /// Raised by one with every change of balances or limits; 1 when opened.
    pub version: i64,
    /// What was debited and credited.
    pub totals: Totals,
    /// When it was opened, in milliseconds of the Unix time.
    pub opened_at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn house_names_lead_to_ids_and_back() {
        for purpose in Purpose::HOUSE {
            for code in ["EUR", "JPY"] {
                let currency = Currency::parse(code).unwrap();
                let name = display_name(Uuid::nil(), purpose, currency);
                assert_eq!(house_id(&name), Some(house_account(purpose, currency)), "{name}");
            }
        }
        for name in
            ["settlement-", "settlement-XXX", "settlement", "customer-EUR", "Settlement-EUR", "-EUR", ""]
        {
            assert_eq!(house_id(name), None, "{name}");
        }
    }

    #[test]
    fn published_ids_never_change() {
        let id = house_id("settlement-EUR").unwrap();
        assert_eq!(id.to_string(), "a7b0657f-ac85-5cf4-b103-dd15f72f57dd");
    }

    #[test]
    fn totals_leave_room_for_what_is_pending() {
        let amount = Amount::new(2).unwrap();
        let held = Totals { dr_pending: i64::MAX - 1, ..Totals::default() };
        assert_eq!(held.debit(amount), None);
        assert_eq!(held.hold_debit(amount), None);
        assert!(held.credit(amount).is_some());
        let expected = Totals { cr_pending: i64::MAX - 1, ..Totals::default() };
        assert_eq!(expected.credit(amount), None);
        assert_eq!(expected.hold_credit(amount), None);
        assert_eq!(Totals { dr_posted: i64::MAX, ..Totals::default() }.available(), -i64::MAX);
    }
}
