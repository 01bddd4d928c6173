//! What becomes of a command: the answer to an accepted one, or the refusal. Refusals carry a number, because they are frozen
//! in the store with the caller's key: the same key gets the same refusal for ever, whatever the state of the ledger since.

use chrono::NaiveDate;
use uuid::Uuid;

use super::account::{Account, Purpose};
use super::command::ExternalPayee;
use super::currency::Currency;
use super::exchange::Exchange;
use super::grant::Grant;
use super::period::Period;

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account exists as asked, opened by this command or by an earlier one with the same body.
    Opened(Account),
    /// The account as it stands, its state or limits set by this command or by an earlier one with the same revision.
    Set(Account),
    /// The grant as it stands, set by this command or by an earlier one with the same revision and body.
    Granted(Grant),
    /// The transfer, as this command left it.
    Booked(Transfer),
    /// Accepted, by this command or by an earlier one with the same key and body; this is the row it left, from which the
    /// store reads the answer.
    Recorded(Uuid),
    /// What a validated command would make of the transfer.
    WouldBecome(Standing),
    /// The period is closed, by this command.
    Closed(Period),
    /// The hold has been ended, or had been.
    Expired,
    /// Not judged, because one before it in the unit was refused. Never frozen.
    NotAttempted,
    /// Refused; frozen, unless the command carries no key.
    Refused(Refusal),
    /// The key is known with another body; these fields differ. Never frozen: the key keeps its first outcome.
    BodyChanged(Vec<&'static str>),
    /// The account exists with other fields.
    AccountExists(Vec<&'static str>),
    /// There is no account to set anything of.
    NoAccount,
    /// The account is closed for ever.
    AccountClosed,
    /// The account cannot be closed: it holds money, or some is held or expected.
    AccountNotEmpty,
    /// The account is beyond the limit that was to be set.
    LimitBreached(&'static str),
    /// The consent is known with another account or partner, or with other terms under the same revision; these fields differ.
    GrantExists(Vec<&'static str>),
    /// The account, or the consent, has seen a later intent than this one.
    StaleRevision,
}

impl Verdict {
    /// Whether what was asked is done, by this command or an earlier one.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Opened(_)
            | Self::Set(_)
            | Self::Granted(_)
            | Self::Booked(_)
            | Self::Recorded(_)
            | Self::WouldBecome(_)
            | Self::Closed(_)
            | Self::Expired => true,
            Self::NotAttempted
            | Self::Refused(_)
            | Self::BodyChanged(_)
            | Self::AccountExists(_)
            | Self::NoAccount
            | Self::AccountClosed
            | Self::AccountNotEmpty
            | Self::LimitBreached(_)
            | Self::GrantExists(_)
            | Self::StaleRevision => false,
        }
    }

    /// Whether it was judged and is not done.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !self.is_done() && *self != Self::NotAttempted
    }

    /// The transfer that this command made.
    #[must_use]
    pub fn made(&self) -> Option<Uuid> {
        if let Self::Booked(transfer) = self { Some(transfer.id) } else { None }
    }

    /// The row in which a transfer was made or changed, and from which it is to be read.
    #[must_use]
    pub fn recorded(&self) -> Option<Uuid> {
        if let Self::Recorded(row) = self { Some(*row) } else { None }
    }

    /// The verdict of a validation: what it says was made has not been made.
    #[must_use]
    pub fn unmade(self) -> Self {
        if let Self::Booked(transfer) = self {
            Self::Booked(Transfer { id: Uuid::nil(), seq: 0, link: None, ..transfer })
        } else {
            self
        }
    }
}

/// Why a command was refused. The numbers are stored; zero stands for acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Refusal {
    /// Neither owner nor staff, nor the creator of the hold; or a partner without the owner's consent.
    NotPermitted = 1,
    /// There is no account to debit. Staff only: others are not permitted.
    NoDebitAccount = 2,
    /// There is no account to credit.
    NoCreditAccount = 3,
    /// There is no such transfer. Staff only.
    NoTransfer = 4,
    /// The debited account has another currency.
    DebitCurrency = 5,
    /// The credited account has another currency.
    CreditCurrency = 6,
    /// The debited account lets no money leave.
    DebitNotOpen = 7,
    /// The credited account lets no money arrive.
    CreditNotOpen = 8,
    /// The available balance would fall below the floor.
    InsufficientFunds = 9,
    /// A total would leave the range of 64 bits.
    BalanceOverflow = 10,
    /// The bank's own money moves only when a second member of staff posts it.
    FourEyes = 11,
    /// The transfer is none that waits to be posted or voided.
    NotPending = 12,
    /// More than the consent allows in one transfer.
    PerTransferCap = 13,
    /// More than is left of what the consent allows in all.
    TotalCap = 14,
    /// The day it counts for is in a closed period.
    PeriodClosed = 15,
    /// Its time is over.
    Expired = 16,
    /// The debited account is at another version.
    DebitVersion = 17,
    /// The credited account is at another version.
    CreditVersion = 18,
    /// The debited account has less available than was to be.
    DebitCondition = 19,
    /// The credited account has less available than was to be.
    CreditCondition = 20,
    /// The credited account would hold more than its ceiling.
    Ceiling = 21,
    /// More than is held.
    ExceedsHold = 22,
    /// Nothing of it was posted, or it is a reversal or half of a conversion.
    NotReversible = 23,
    /// It was reversed before.
    AlreadyReversed = 24,
    /// More than was posted.
    ExceedsTransfer = 25,
    /// Another one of its chain was refused.
    ChainFailed = 26,
    /// The two halves of a conversion do not agree.
    ExchangeMismatch = 27,
    /// The day has not ended.
    PeriodNotOver = 28,
}

impl Refusal {
    const ALL: [Self; 28] = [
        Self::NotPermitted,
        Self::NoDebitAccount,
        Self::NoCreditAccount,
        Self::NoTransfer,
        Self::DebitCurrency,
        Self::CreditCurrency,
        Self::DebitNotOpen,
        Self::CreditNotOpen,
        Self::InsufficientFunds,
        Self::BalanceOverflow,
        Self::FourEyes,
        Self::NotPending,
        Self::PerTransferCap,
        Self::TotalCap,
        Self::PeriodClosed,
        Self::Expired,
        Self::DebitVersion,
        Self::CreditVersion,
        Self::DebitCondition,
        Self::CreditCondition,
        Self::Ceiling,
        Self::ExceedsHold,
        Self::NotReversible,
        Self::AlreadyReversed,
        Self::ExceedsTransfer,
        Self::ChainFailed,
        Self::ExchangeMismatch,
        Self::PeriodNotOver,
    ];

    /// From its stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|it| *it as i16 == number)
    }
}

/// What a key stands for, as the store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted; the row it left.
    Accepted(Uuid),
    /// Refused.
    Refused(Refusal),
}

/// What became of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum TransferState {
    /// The money is held.
    Pending = 0,
    /// The money has moved.
    Posted = 1,
    /// The hold was given up.
    Voided = 2,
    /// The hold's time was over.
    Expired = 3,
}

impl TransferState {
    /// From its stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Pending, Self::Posted, Self::Voided, Self::Expired].into_iter().find(|it| *it as i16 == number)
    }
}

/// How a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What was held in all, in minor units.
    pub amount: i64,
    /// What of it has moved.
    pub posted: i64,
    /// What of it is still held.
    pub held: i64,
    /// What became of it.
    pub state: TransferState,
}

/// An account as the other side of a transfer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// The account's id.
    pub id: Uuid,
    /// What it is for.
    pub purpose: Purpose,
}

/// A transfer as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its id; nil for what was only validated.
    pub id: Uuid,
    /// Where the money leaves, where the reader may know it: it is the payer's to say.
    pub debit: Option<Party>,
    /// Where it arrives, where the reader may know it.
    pub credit: Option<Party>,
    /// In minor units: what was moved, or held in all.
    pub amount: i64,
    /// What of it has moved.
    pub posted: i64,
    /// What of it is still held.
    pub held: i64,
    /// Of both accounts.
    pub currency: Currency,
    /// What became of it.
    pub state: TransferState,
    /// The text both parties read; empty when there is none.
    pub reference: String,
    /// The sequence number of the row that brought it into its state.
    pub seq: i64,
    /// When that row was booked, in milliseconds of the Unix time.
    pub booked_at: i64,
    /// When a hold ends by itself.
    pub expires_at: Option<i64>,
    /// The day it counts for.
    pub value_date: NaiveDate,
    /// The first row of its chain.
    pub link: Option<i64>,
    /// The transfer it reverses.
    pub reverses: Option<Uuid>,
    /// The transfer that reverses it.
    pub reversed_by: Option<Uuid>,
    /// The conversion it is half of.
    pub exchange: Option<Exchange>,
    /// Who is paid outside this bank, where the reader may know it.
    pub payee: Option<ExternalPayee>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_refusals() {
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(usize::try_from(refusal as i16).unwrap(), place + 1);
            assert_eq!(Refusal::from_number(refusal as i16), Some(refusal));
        }
        assert_eq!(Refusal::from_number(0), None);
    }
}
