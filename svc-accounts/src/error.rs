//! What the service refuses, and how a client hears of it. `Display` is for the client; a `source` is for the log alone.
//! The reasons are part of the contract and never change.

use std::time::Duration;

use chassis::error::{Failure, Kind, Violation};

use crate::domain::change::{Reason, Unfit};
use crate::domain::{AccountId, ConsentId, CustomerId};
use crate::store::fault::Fault;

/// Everything an RPC of the service can answer instead of its result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields that break their rules, all of them at once.
    #[error("the request breaks the rules of its fields")]
    Invalid(Vec<Violation>),
    /// The caller may not touch the object, or there is none and the caller may not know.
    #[error("the caller may not do this, or there is no such object")]
    NotPermitted,
    /// A customer asks for credit.
    #[error("only staff may grant an overdraft")]
    OverdraftNotPermitted,
    /// There is none, and the caller may know.
    #[error("no such customer")]
    CustomerNotFound(CustomerId),
    /// There is none, and the caller may know.
    #[error("no such account")]
    AccountNotFound(AccountId),
    /// The account has none; the caller may touch the account, and so may know.
    #[error("no such consent")]
    ConsentNotFound(ConsentId),
    /// A known request id with another body.
    #[error("the request_id belongs to a request that differs in its {field}")]
    RequestIdReused {
        /// The first field that differs, or `rpc` when it was another RPC.
        field: &'static str,
    },
    /// Another customer has the address.
    #[error("the email belongs to another customer")]
    EmailTaken,
    /// A consent to an account that the ledger does not know yet.
    #[error("the account is not active")]
    AccountNotActive,
    /// Nothing changes about a closed account.
    #[error("the account is closed")]
    AccountClosed,
    /// A holder closes no account that the bank has frozen.
    #[error("the account is frozen")]
    AccountFrozen,
    /// An account with money, or with some held or expected, cannot be closed.
    #[error("there is money on the account, or some is held or expected")]
    AccountNotEmpty,
    /// The account is overdrawn by more than it was to be allowed.
    #[error("the account is overdrawn by more than that")]
    LimitBreached,
    /// The change is wished here, but the ledger has not said that it knows.
    #[error("the account is being changed; the ledger has not confirmed it yet")]
    ChangeUnconfirmed,
    /// The account is not the one that the caller has read.
    #[error("the account has changed since it was read")]
    EtagMismatch,
    /// A consent more than an account may have in force.
    #[error("the account has too many consents in force; revoke one first")]
    TooManyConsents,
    /// The consent is taken back here, but the ledger has not said that it knows.
    #[error("the consent is being revoked; the ledger has not confirmed it yet")]
    RevocationUnconfirmed,
    /// Concurrent writes of the same items would not let this one through.
    #[error("concurrent writes got in the way; try again")]
    Contended,
    /// Every IBAN that was drawn belongs to an account already.
    #[error("no IBAN is left to give out")]
    NoIban,
    /// A payee token cannot be made.
    #[error("a payee token cannot be made")]
    NoToken(#[source] chassis::seal::NoRandom),
    /// DynamoDB cannot be reached, or asks for patience.
    #[error("the account store is not available; try again")]
    StoreUnavailable(#[source] Fault),
    /// DynamoDB refused what it must not refuse.
    #[error("the account store failed")]
    Store(#[source] Fault),
    /// An item in the table is not what this service writes.
    #[error("an item of the account store cannot be read")]
    Corrupt(#[source] Corrupt),
}

/// What is wrong with an item. Names the attribute and never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("attribute {attribute} is missing or malformed")]
pub struct Corrupt {
    /// The attribute.
    pub attribute: &'static str,
}

impl Error {
    /// One field breaks its rule.
    pub fn invalid(field: &str, description: impl ToString) -> Self {
        Self::Invalid(vec![Violation::new(field, description.to_string())])
    }
}

impl Failure for Error {
    const DOMAIN: &'static str = "accounts.v1";

    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::NotPermitted | Self::OverdraftNotPermitted => Kind::Forbidden,
            Self::CustomerNotFound(_) | Self::AccountNotFound(_) | Self::ConsentNotFound(_) => Kind::NotFound,
            Self::RequestIdReused { .. } | Self::EmailTaken => Kind::Exists,
            Self::AccountNotActive
            | Self::AccountClosed
            | Self::AccountFrozen
            | Self::AccountNotEmpty
            | Self::LimitBreached
            | Self::TooManyConsents => Kind::Precondition,
            Self::Contended | Self::EtagMismatch => Kind::Conflict,
            Self::RevocationUnconfirmed | Self::ChangeUnconfirmed | Self::StoreUnavailable(_) => {
                Kind::Unavailable
            }
            Self::NoIban | Self::NoToken(_) | Self::Store(_) | Self::Corrupt(_) => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_REQUEST",
            Self::NotPermitted => "NOT_PERMITTED",
            Self::OverdraftNotPermitted => "OVERDRAFT_NOT_PERMITTED",
            Self::CustomerNotFound(_) => "CUSTOMER_NOT_FOUND",
            Self::AccountNotFound(_) => "ACCOUNT_NOT_FOUND",
            Self::ConsentNotFound(_) => "CONSENT_NOT_FOUND",
            Self::RequestIdReused { .. } => "REQUEST_ID_REUSED",
            Self::EmailTaken => "EMAIL_TAKEN",
            Self::AccountNotActive => "ACCOUNT_NOT_ACTIVE",
            Self::AccountClosed => "ACCOUNT_CLOSED",
            Self::AccountFrozen => "ACCOUNT_FROZEN",
            Self::AccountNotEmpty => "ACCOUNT_NOT_EMPTY",
            Self::LimitBreached => "LIMIT_BREACHED",
            Self::ChangeUnconfirmed => "CHANGE_UNCONFIRMED",
            Self::EtagMismatch => "ETAG_MISMATCH",
            Self::TooManyConsents => "TOO_MANY_CONSENTS",
            Self::RevocationUnconfirmed => "REVOCATION_UNCONFIRMED",
            Self::Contended => "WRITE_CONTENDED",
            Self::NoIban => "NO_IBAN",
            Self::NoToken(_) => "NO_TOKEN",
            Self::StoreUnavailable(_) => "STORE_UNAVAILABLE",
            Self::Store(_) => "STORE_FAILED",
            Self::Corrupt(_) => "STORE_CORRUPT",
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::RequestIdReused { field } => vec![("field", (*field).to_owned())],
            Self::CustomerNotFound(id) => vec![("customer_id", id.to_string())],
            Self::AccountNotFound(id) => vec![("account_id", id.to_string())],
            Self::ConsentNotFound(id) => vec![("consent_id", id.to_string())],
            Self::Invalid(_)
            | Self::NotPermitted
            | Self::OverdraftNotPermitted
            | Self::EmailTaken
            | Self::AccountNotActive
            | Self::AccountClosed
            | Self::AccountFrozen
            | Self::AccountNotEmpty
            | Self::LimitBreached
            | Self::ChangeUnconfirmed
            | Self::EtagMismatch
            | Self::TooManyConsents
            | Self::RevocationUnconfirmed
            | Self::Contended
            | Self::NoIban
            | Self::NoToken(_)
            | Self::StoreUnavailable(_)
            | Self::Store(_)
            | Self::Corrupt(_) => Vec::new(),
        }
    }

    fn violations(&self) -> Vec<Violation> {
        match self {
            Self::Invalid(violations) => violations.clone(),
            Self::AccountNotActive | Self::AccountClosed | Self::AccountFrozen | Self::AccountNotEmpty => {
                vec![Violation::new("account", self.to_string())]
            }
            Self::LimitBreached => {
                vec![Violation::new("overdraft_limit_minor_units", self.to_string())]
            }
            Self::TooManyConsents => vec![Violation::new("consents", self.to_string())],
            Self::NotPermitted
            | Self::OverdraftNotPermitted
            | Self::CustomerNotFound(_)
            | Self::AccountNotFound(_)
            | Self::ConsentNotFound(_)
            | Self::RequestIdReused { .. }
            | Self::EmailTaken
            | Self::RevocationUnconfirmed
            | Self::ChangeUnconfirmed
            | Self::EtagMismatch
            | Self::Contended
            | Self::NoIban
            | Self::NoToken(_)
            | Self::StoreUnavailable(_)
            | Self::Store(_)
            | Self::Corrupt(_) => Vec::new(),
        }
    }

    fn resource(&self) -> Option<(&'static str, String)> {
        match self {
            Self::CustomerNotFound(id) => Some(("accounts.v1.Customer", id.to_string())),
            Self::AccountNotFound(id) => Some(("accounts.v1.Account", id.to_string())),
            Self::ConsentNotFound(id) => Some(("accounts.v1.Consent", id.to_string())),
            // Neither names the other record: who asks learns that there is one, not which.
            Self::EmailTaken => Some(("accounts.v1.Customer", String::new())),
            Self::RequestIdReused { .. } => Some(("accounts.v1.Request", String::new())),
            Self::Invalid(_)
            | Self::NotPermitted
            | Self::OverdraftNotPermitted
            | Self::AccountNotActive
            | Self::AccountClosed
            | Self::AccountFrozen
            | Self::AccountNotEmpty
            | Self::LimitBreached
            | Self::ChangeUnconfirmed
            | Self::EtagMismatch
            | Self::TooManyConsents
            | Self::RevocationUnconfirmed
            | Self::Contended
            | Self::NoIban
            | Self::NoToken(_)
            | Self::StoreUnavailable(_)
            | Self::Store(_)
            | Self::Corrupt(_) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        // A throttled or failing-over table recovers within about a second; the ledger is asked again as soon.
        matches!(self, Self::StoreUnavailable(_) | Self::RevocationUnconfirmed | Self::ChangeUnconfirmed)
            .then_some(Duration::from_secs(1))
    }
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Opening => Self::AccountNotActive,
            Unfit::Closed => Self::AccountClosed,
        }
    }
}

impl From<Reason> for Error {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NotEmpty => Self::AccountNotEmpty,
            Reason::LimitBreached => Self::LimitBreached,
            Reason::Closed => Self::AccountClosed,
        }
    }
}

chassis::status_from!(Error);
