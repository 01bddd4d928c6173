//! An account and its life: OPENING when it was asked for, ACTIVE once the ledger has its side, then frozen and not, and CLOSED at
//! the end. Every intent raises the state revision, which travels to the ledger, so that a resumed step of an old intent cannot
//! undo a newer one; finishing an intent leaves it as it is. What an account is told to be later stands beside what it is until the
//! ledger has said so (`change`).

use serde::{Deserialize, Serialize};

use super::change::Changes;
use super::{AccountId, AccountName, CustomerId, Iban, UnixMillis, etag};

/// How far an account is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AccountState {
    /// Asked for; the ledger's side is being made.
    Opening,
    /// Ready for transfers.
    Active,
    /// No money leaves.
    DebitFrozen,
    /// No money leaves or arrives.
    Frozen,
    /// Empty for ever.
    Closed,
}

impl AccountState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Opening, Self::Active, Self::DebitFrozen, Self::Frozen, Self::Closed];

    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "OPENING",
            Self::Active => "ACTIVE",
            Self::DebitFrozen => "DEBIT_FROZEN",
            Self::Frozen => "FROZEN",
            Self::Closed => "CLOSED",
        }
    }

    /// Reads the word in the table.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Counts the intents of an account or of a consent, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateRevision(u32);

impl StateRevision {
    /// Of the first intent.
    pub const FIRST: Self = Self(1);

    /// Of the intent that follows.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Wraps a stored count.
    pub const fn new(revision: u32) -> Self {
        Self(revision)
    }

    /// The count.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Why a text is no currency code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be three capital letters")]
pub struct InvalidCurrencyCode;

/// An ISO 4217 code by its form; which currencies the bank offers is configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CurrencyCode([u8; 3]);

impl CurrencyCode {
    /// Reads a code.
    pub fn parse(text: &str) -> Result<Self, InvalidCurrencyCode> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            Ok(_) | Err(_) => Err(InvalidCurrencyCode),
        }
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<CurrencyCode> for String {
    fn from(code: CurrencyCode) -> Self {
        code.as_str().to_owned()
    }
}

impl TryFrom<String> for CurrencyCode {
    type Error = InvalidCurrencyCode;

    fn try_from(text: String) -> Result<Self, InvalidCurrencyCode> {
        Self::parse(&text)
    }
}

/// An account as the table keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Made by this service; the ledger uses the same.
    pub id: AccountId,
    /// The first holder.
    pub customer_id: CustomerId,
    /// Unique in the bank.
    pub iban: Iban,
    /// Never changes.
    pub currency: CurrencyCode,
    /// What the holder calls it.
    pub display_name: AccountName,
    /// How far it is in its life, as the ledger has confirmed it.
    pub state: AccountState,
    /// How far the available balance may fall below zero, in minor units; zero or more. As the ledger has confirmed it.
    pub overdraft_limit_minor_units: i64,
    /// What it is to become.
    #[serde(default)]
    pub changes: Changes,
    /// Of the newest intent.
    pub state_revision: StateRevision,
    /// When it was asked for.
    pub create_time: UnixMillis,
    /// When it last changed.
    pub update_time: UnixMillis,
    /// Raised by one with every write, from 1.
    pub revision: u64,
}

/// The account is not in the state that the step starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account is {0:?}")]
pub struct WrongState(pub AccountState);

impl Account {
    /// The account once the ledger has its side. Fails unless it is OPENING.
    pub fn activated(&self, now: UnixMillis) -> Result<Self, WrongState> {
        if self.state != AccountState::Opening {
            return Err(WrongState(self.state));
        }
        Ok(Self { state: AccountState::Active, ..self.written(now) })
    }

    /// The account under another name; `None` if that is its name.
    pub fn renamed(&self, display_name: AccountName, now: UnixMillis) -> Option<Self> {
        (self.display_name != display_name).then(|| Self { display_name, ..self.written(now) })
    }

    /// The account as the next write leaves it, before that changes anything.
    pub(super) fn written(&self, now: UnixMillis) -> Self {
        Self { update_time: now, revision: self.revision + 1, ..self.clone() }
    }

    /// Changes with every write.
    pub fn etag(&self) -> String {
        etag::of(self.id.bytes(), self.revision, self.update_time)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn opening() -> Account {
        Account {
            id: AccountId::new(Uuid::from_u128(1)),
            customer_id: CustomerId::new(Uuid::from_u128(2)),
            iban: Iban::parse("DE89370400440532013000").expect("valid"),
            currency: CurrencyCode::parse("EUR").expect("valid"),
            display_name: AccountName::parse("Everyday").expect("valid"),
            state: AccountState::Opening,
            overdraft_limit_minor_units: 0,
            changes: Changes::default(),
            state_revision: StateRevision::FIRST,
            create_time: UnixMillis::new(1_000),
            update_time: UnixMillis::new(1_000),
            revision: 1,
        }
    }

    #[test]
    fn activation_ends_the_intent_to_open_and_only_that() {
        let opening = opening();
        let active = opening.activated(UnixMillis::new(2_000)).expect("opening");
        assert_eq!(active.state, AccountState::Active);
        assert_eq!(active.state_revision, opening.state_revision, "no new intent");
        assert_eq!((active.revision, active.update_time), (2, UnixMillis::new(2_000)));
        assert_eq!(active.create_time, opening.create_time);
        assert_ne!(active.etag(), opening.etag());
        assert_eq!(active.activated(UnixMillis::new(3_000)), Err(WrongState(AccountState::Active)));
    }

    #[test]
    fn states_read_back_as_written() {
        for state in AccountState::ALL {
            assert_eq!(AccountState::parse(state.as_str()), Some(state));
        }
        assert_eq!(AccountState::parse("opening"), None);
    }

    #[test]
    fn a_currency_code_is_three_capital_letters() {
        for (text, valid) in [
            ("EUR", true),
            ("JPY", true),
            ("eur", false),
            ("EU", false),
            ("EURO", false),
            ("E R", false),
            ("ÄB", false),
        ] {
            assert_eq!(CurrencyCode::parse(text).is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn an_account_survives_serialization() {
        let account = opening();
        let json = serde_json::to_string(&account).expect("serializes");
        assert_eq!(serde_json::from_str::<Account>(&json).expect("deserializes"), account);
    }
}
