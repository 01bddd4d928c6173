//! What svc-ledger refuses, and how. Each error is one kind of the mesh, carries a reason that never changes, and says of a
//! write whether it was `refused` (final), `not_done` (safe to retry) or is `unknown` (retry with the same request_id to learn).

mod refusal;

use std::time::Duration;

use chassis::error::{Failure, Kind, Violation};

use crate::domain::verdict::{Refusal, Verdict};

/// After how long a caller should try again what was turned away unjudged: a few batches.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The errors of `ledger.v1`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request could not be parsed.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// The payee token is none, or its time is over.
    #[error("{}", if *expired { "the time of the payee token is over" } else { "the payee token is none of this bank's" })]
    PayeeToken {
        /// Whether it was good once.
        expired: bool,
    },
    /// Neither owner nor staff; also the answer to a customer who asks for what does not exist.
    #[error("the caller may not touch this account or transfer")]
    NotPermitted,
    /// There is no such account or transfer, and the caller may know.
    #[error("there is no such {}", resource.noun())]
    NotFound {
        /// What is missing.
        resource: Resource,
        /// As the caller named it.
        name: String,
    },
    /// The request_id stands for another body.
    #[error("the request_id is known with another body; differing: {}", fields.join(", "))]
    BodyChanged {
        /// The caller's key.
        request_id: String,
        /// Which fields differ.
        fields: Vec<&'static str>,
    },
    /// The account is known with other fields.
    #[error("the account exists with other fields; differing: {}", fields.join(", "))]
    AccountExists {
        /// The account.
        account_id: String,
        /// Which fields differ.
        fields: Vec<&'static str>,
    },
    /// The consent is known with other fields that never change, or with other terms under the same revision.
    #[error("the grant exists with other fields; differing: {}", fields.join(", "))]
    GrantExists {
        /// The consent.
        consent_id: String,
        /// Which fields differ.
        fields: Vec<&'static str>,
    },
    /// A later intent has been seen for the account or the consent.
    #[error("a later revision of the same intent has been seen")]
    StaleRevision {
        /// The field that holds the revision.
        field: &'static str,
    },
    /// The account is closed for ever.
    #[error("the account is closed")]
    AccountClosed,
    /// The account holds money, or some is held or expected.
    #[error("the account is not empty: it holds money, or some is held or expected")]
    AccountNotEmpty,
    /// The account is beyond the limit that was to be set.
    #[error("the account is beyond this limit already")]
    LimitBreached {
        /// The field that holds the limit.
        field: &'static str,
    },
    /// One before it was refused, and the caller wanted no more then.
    #[error("not attempted, because an earlier one was refused")]
    NotAttempted,
    /// Judged and refused.
    #[error("{}", refusal::text(*refusal))]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What it is about, as the caller named it.
        name: String,
    },
    /// Too many writes wait.
    #[error("too many writes are waiting")]
    QueueFull,
    /// The store is away; the write was not done.
    #[error("the ledger cannot write at present; nothing was done")]
    NotDone,
    /// The store went away while the write was committed.
    #[error("the outcome is not known; retry with the same request_id to learn it")]
    OutcomeUnknown,
    /// The store is away; nothing could be read.
    #[error("the ledger cannot read at present")]
    Unreadable(#[source] sqlx::Error),
    /// The sequence number asked for is not there yet.
    #[error("the ledger has not reached the sequence number asked for")]
    NotReached {
        /// What was asked for.
        min_seq: i64,
        /// Where the ledger is.
        seq: i64,
    },
    /// No head behind the transfer has been signed yet.
    #[error("no head behind this transfer has been signed yet; try again in some seconds")]
    HeadNotSigned,
    /// One verification at a time: it reads the whole journal.
    #[error("the journal is being verified already")]
    VerificationRunning,
    /// Too many streams at once.
    #[error("too many streams at once")]
    TooManyWatchers,
    /// The stream ends because the process does.
    #[error("the stream ends; go on from the last sequence number received")]
    WatchEnded,
    /// The account has not come to the version asked for.
    #[error("the account has not come to this version")]
    NoVersion,
    /// The store answered what it never should.
    #[error("internal error")]
    Store(#[source] sqlx::Error),
    /// A stored value that the ledger cannot have written.
    #[error("internal error: unreadable {0}")]
    Corrupt(&'static str),
}

/// What can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// An account.
    Account,
    /// A transfer.
    Transfer,
}

impl Resource {
    const fn noun(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Transfer => "transfer",
        }
    }

    const fn type_name(self) -> &'static str {
        match self {
            Self::Account => "ledger.v1.LedgerAccount",
            Self::Transfer => "ledger.v1.Transfer",
        }
    }
}

impl Error {
    /// An error of a read.
    #[must_use]
    pub fn reading(error: sqlx::Error) -> Self {
        if is_away(&error) || is_full(&error) { Self::Unreadable(error) } else { Self::Store(error) }
    }

    /// An error of reading what a committed write has left. The write is done; its answer is there for who asks again, and
    /// nobody may take it for one that was not done.
    #[must_use]
    pub fn answering(error: sqlx::Error) -> Self {
        if !is_away(&error) && !is_full(&error) {
            return Self::Store(error);
        }
        tracing::warn!(error = %error, "the answer to a committed write cannot be read");
        Self::OutcomeUnknown
    }

    /// What became of the write, for clients that decide whether to retry.
    #[must_use]
    pub const fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::BodyChanged { .. }
            | Self::PayeeToken { .. }
            | Self::AccountExists { .. }
            | Self::GrantExists { .. }
            | Self::StaleRevision { .. }
            | Self::AccountClosed
            | Self::AccountNotEmpty
            | Self::LimitBreached { .. }
            | Self::Refused { .. }
            // Not judged, and yet it will never be done as it stands.
            | Self::Invalid(_)
            | Self::NotPermitted
            | Self::NotFound { .. } => Some("refused"),
            Self::QueueFull | Self::NotDone | Self::NotAttempted => Some("not_done"),
            Self::OutcomeUnknown => Some("unknown"),
            Self::Unreadable(_)
            | Self::NotReached { .. }
            | Self::HeadNotSigned
            | Self::VerificationRunning
            | Self::TooManyWatchers
            | Self::WatchEnded
            | Self::NoVersion
            | Self::Store(_)
            | Self::Corrupt(_) => None,
        }
    }
}

/// Whether the error means that the server is there and has no room: disk full, out of memory, a limit of its configuration. Nothing
/// was done, it may be again at any time, and reads go on meanwhile.
#[must_use]
pub fn is_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|database| database.code());
    code.is_some_and(|code| ["53000", "53100", "53200", "53400"].contains(&&*code))
}

/// Whether the error means that the server is away or not the writer, rather than that it refused a statement.
#[must_use]
pub fn is_away(error: &sqlx::Error) -> bool {
    if let Some(database) = error.as_database_error() {
        return database.code().is_some_and(|code| {
            // Connection exceptions, operator intervention, too many connections; a writer that became a reader; a session
            // that was ended because its transaction stood idle or open for too long.
            ["08", "57", "533"].iter().any(|class| code.starts_with(class))
                || ["25006", "25P03", "25P04"].contains(&&*code)
        });
    }
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}

/// Why a verdict refuses, in the word its caller reads; `None` if it does not.
#[must_use]
pub fn verdict_reason(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Opened(_)
        | Verdict::Set(_)
        | Verdict::Granted(_)
        | Verdict::Booked(_)
        | Verdict::Recorded(_)
        | Verdict::WouldBecome(_)
        | Verdict::Closed(_)
        | Verdict::Expired
        | Verdict::NotAttempted => None,
        Verdict::AccountClosed => Some("ACCOUNT_CLOSED"),
        Verdict::AccountNotEmpty => Some("ACCOUNT_NOT_EMPTY"),
        Verdict::LimitBreached(_) => Some("LIMIT_BREACHED"),
        Verdict::Refused(refusal) => Some(refusal_reason(*refusal).1),
        Verdict::BodyChanged(_) => Some("REQUEST_ID_REUSED"),
        Verdict::AccountExists(_) => Some("ACCOUNT_EXISTS"),
        Verdict::NoAccount => Some("ACCOUNT_NOT_FOUND"),
        Verdict::GrantExists(_) => Some("GRANT_EXISTS"),
        Verdict::StaleRevision => Some("STALE_REVISION"),
    }
}

const fn refusal_reason(refusal: Refusal) -> (Kind, &'static str) {
    match refusal {
        Refusal::NotPermitted => (Kind::Forbidden, "NOT_PERMITTED"),
        Refusal::NoDebitAccount | Refusal::NoCreditAccount => (Kind::NotFound, "ACCOUNT_NOT_FOUND"),
        Refusal::NoTransfer => (Kind::NotFound, "TRANSFER_NOT_FOUND"),
        Refusal::DebitCurrency | Refusal::CreditCurrency => (Kind::Precondition, "CURRENCY_MISMATCH"),
        Refusal::DebitNotOpen | Refusal::CreditNotOpen => (Kind::Precondition, "ACCOUNT_NOT_OPEN"),
        Refusal::InsufficientFunds => (Kind::Precondition, "INSUFFICIENT_FUNDS"),
        Refusal::BalanceOverflow => (Kind::Precondition, "BALANCE_OVERFLOW"),
        Refusal::FourEyes => (Kind::Precondition, "FOUR_EYES_REQUIRED"),
        Refusal::NotPending => (Kind::Precondition, "TRANSFER_NOT_PENDING"),
        Refusal::PerTransferCap | Refusal::TotalCap => (Kind::Precondition, "CONSENT_CAP_EXCEEDED"),
        Refusal::PeriodClosed => (Kind::Precondition, "PERIOD_CLOSED"),
        Refusal::Expired => (Kind::Precondition, "TRANSFER_EXPIRED"),
        Refusal::DebitVersion | Refusal::CreditVersion => (Kind::Conflict, "VERSION_MISMATCH"),
        Refusal::DebitCondition | Refusal::CreditCondition => (Kind::Precondition, "CONDITION_NOT_MET"),
        Refusal::Ceiling => (Kind::Precondition, "CEILING_EXCEEDED"),
        Refusal::ExceedsHold => (Kind::Precondition, "AMOUNT_EXCEEDS_HOLD"),
        Refusal::NotReversible => (Kind::Precondition, "TRANSFER_NOT_REVERSIBLE"),
        Refusal::AlreadyReversed => (Kind::Precondition, "TRANSFER_REVERSED"),
        Refusal::ExceedsTransfer => (Kind::Precondition, "AMOUNT_EXCEEDS_TRANSFER"),
        Refusal::ChainFailed => (Kind::Precondition, "CHAIN_FAILED"),
        Refusal::ExchangeMismatch => (Kind::Precondition, "EXCHANGE_MISMATCH"),
        Refusal::PeriodNotOver => (Kind::Precondition, "PERIOD_NOT_OVER"),
    }
}

chassis::status_from!(Error);

impl Failure for Error {
    const DOMAIN: &'static str = "ledger.v1";

    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) | Self::PayeeToken { .. } => Kind::Invalid,
            Self::NotPermitted => Kind::Forbidden,
            Self::NotFound { .. } => Kind::NotFound,
            Self::BodyChanged { .. } | Self::AccountExists { .. } | Self::GrantExists { .. } => Kind::Exists,
            Self::StaleRevision { .. }
            | Self::AccountClosed
            | Self::AccountNotEmpty
            | Self::LimitBreached { .. }
            | Self::NotAttempted
            | Self::HeadNotSigned
            | Self::NoVersion => Kind::Precondition,
            Self::Refused { refusal, .. } => refusal_reason(*refusal).0,
            Self::QueueFull | Self::VerificationRunning | Self::TooManyWatchers => Kind::Exhausted,
            Self::NotDone
            | Self::OutcomeUnknown
            | Self::Unreadable(_)
            | Self::NotReached { .. }
            | Self::WatchEnded => Kind::Unavailable,
            Self::Store(_) | Self::Corrupt(_) => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_REQUEST",
            Self::PayeeToken { expired: false } => "PAYEE_TOKEN_INVALID",
            Self::PayeeToken { expired: true } => "PAYEE_TOKEN_EXPIRED",
            Self::NotPermitted => "NOT_PERMITTED",
            Self::NotFound { resource: Resource::Account, .. } => "ACCOUNT_NOT_FOUND",
            Self::NotFound { resource: Resource::Transfer, .. } => "TRANSFER_NOT_FOUND",
            Self::BodyChanged { .. } => "REQUEST_ID_REUSED",
            Self::AccountExists { .. } => "ACCOUNT_EXISTS",
            Self::GrantExists { .. } => "GRANT_EXISTS",
            Self::StaleRevision { .. } => "STALE_REVISION",
            Self::AccountClosed => "ACCOUNT_CLOSED",
            Self::AccountNotEmpty => "ACCOUNT_NOT_EMPTY",
            Self::LimitBreached { .. } => "LIMIT_BREACHED",
            Self::NotAttempted => "NOT_ATTEMPTED",
            Self::Refused { refusal, .. } => refusal_reason(*refusal).1,
            Self::QueueFull => "QUEUE_FULL",
            Self::NotDone => "STORE_UNAVAILABLE",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::Unreadable(_) => "STORE_UNAVAILABLE",
            Self::NotReached { .. } => "MIN_SEQ_NOT_REACHED",
            Self::TooManyWatchers => "TOO_MANY_WATCHERS",
            Self::WatchEnded => "WATCH_ENDED",
            Self::NoVersion => "VERSION_NOT_REACHED",
            Self::HeadNotSigned => "HEAD_NOT_SIGNED",
            Self::VerificationRunning => "VERIFICATION_RUNNING",
            Self::Store(_) | Self::Corrupt(_) => "INTERNAL",
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        let mut metadata: Vec<(&'static str, String)> =
            self.outcome().map(|outcome| ("outcome", outcome.to_owned())).into_iter().collect();
        match self {
            Self::BodyChanged { fields, .. }
            | Self::AccountExists { fields, .. }
            | Self::GrantExists { fields, .. } => {
                metadata.push(("fields", fields.join(",")));
            }
            Self::Refused { refusal, .. } => {
                metadata.push(("field", refusal::field(*refusal).to_owned()));
                metadata.extend(refusal::exceeded(*refusal).map(|cap| ("cap", cap.to_owned())));
            }
            Self::NotReached { min_seq, seq } => {
                metadata.extend([("min_seq", min_seq.to_string()), ("seq", seq.to_string())]);
            }
            Self::Invalid(_)
            | Self::PayeeToken { .. }
            | Self::NotPermitted
            | Self::NotFound { .. }
            | Self::StaleRevision { .. }
            | Self::AccountClosed
            | Self::AccountNotEmpty
            | Self::LimitBreached { .. }
            | Self::NotAttempted
            | Self::QueueFull
            | Self::NotDone
            | Self::OutcomeUnknown
            | Self::Unreadable(_)
            | Self::HeadNotSigned
            | Self::VerificationRunning
            | Self::TooManyWatchers
            | Self::WatchEnded
            | Self::NoVersion
            | Self::Store(_)
            | Self::Corrupt(_) => {}
        }
        metadata
    }

    fn violations(&self) -> Vec<Violation> {
        match self {
            Self::Invalid(violations) => violations.clone(),
            Self::PayeeToken { .. } => vec![Violation::new("payee_token", self.to_string())],
            Self::Refused { refusal, .. } if self.kind() == Kind::Precondition => {
                vec![Violation::new(refusal::field(*refusal), self.to_string())]
            }
            Self::StaleRevision { field } | Self::LimitBreached { field } => {
                vec![Violation::new(*field, self.to_string())]
            }
            Self::AccountClosed | Self::AccountNotEmpty => vec![Violation::new("state", self.to_string())],
            Self::NotAttempted => vec![Violation::new("failure_mode", self.to_string())],
            Self::QueueFull => vec![Violation::new("writes waiting", self.to_string())],
            Self::HeadNotSigned => vec![Violation::new("transfer_id", self.to_string())],
            Self::VerificationRunning => vec![Violation::new("verifications", self.to_string())],
            Self::TooManyWatchers => vec![Violation::new("streams", self.to_string())],
            Self::NoVersion => vec![Violation::new("version", self.to_string())],
            Self::Refused { .. }
            | Self::WatchEnded
            | Self::NotPermitted
            | Self::NotFound { .. }
            | Self::BodyChanged { .. }
            | Self::AccountExists { .. }
            | Self::GrantExists { .. }
            | Self::NotDone
            | Self::OutcomeUnknown
            | Self::Unreadable(_)
            | Self::NotReached { .. }
            | Self::Store(_)
            | Self::Corrupt(_) => Vec::new(),
        }
    }

    fn resource(&self) -> Option<(&'static str, String)> {
        match self {
            Self::NotFound { resource, name } => Some((resource.type_name(), name.clone())),
            Self::BodyChanged { request_id, .. } => {
                Some((Resource::Transfer.type_name(), request_id.clone()))
            }
            Self::AccountExists { account_id, .. } => {
                Some((Resource::Account.type_name(), account_id.clone()))
            }
            Self::GrantExists { consent_id, .. } => Some(("ledger.v1.Grant", consent_id.clone())),
            Self::Refused { refusal, name } => {
                refusal::missing(*refusal).map(|resource| (resource.type_name(), name.clone()))
            }
            Self::Invalid(_)
            | Self::PayeeToken { .. }
            | Self::NotPermitted
            | Self::StaleRevision { .. }
            | Self::AccountClosed
            | Self::AccountNotEmpty
            | Self::LimitBreached { .. }
            | Self::NotAttempted
            | Self::QueueFull
            | Self::NotDone
            | Self::OutcomeUnknown
            | Self::Unreadable(_)
            | Self::NotReached { .. }
            | Self::HeadNotSigned
            | Self::VerificationRunning
            | Self::TooManyWatchers
            | Self::WatchEnded
            | Self::NoVersion
            | Self::Store(_)
            | Self::Corrupt(_) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        matches!(self.kind(), Kind::Exhausted | Kind::Unavailable).then_some(RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_write_is_never_answered_as_not_done() {
        let away = || sqlx::Error::PoolTimedOut;
        assert_eq!(Error::answering(away()).outcome(), Some("unknown"));
        assert_eq!(Error::reading(away()).outcome(), None);
        assert!(matches!(Error::answering(sqlx::Error::RowNotFound), Error::Store(_)));
    }
}
