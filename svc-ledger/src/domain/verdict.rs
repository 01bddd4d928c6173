//! What becomes of a command: the answer to an accepted one, or the refusal. Refusals carry a number, because they are frozen
//! in the store with the caller's key: the same key gets the same refusal for ever, whatever the state of the ledger since.

use uuid::Uuid;

use super::account::{Account, Purpose};
use super::currency::Currency;
use super::grant::Grant;

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account exists as asked, opened by this command or by an earlier one with the same body.
    Opened(Account),
    /// The grant as it stands, set by this command or by an earlier one with the same revision and body.
    Granted(Grant),
    /// The transfer, as this command left it.
    Booked(Transfer),
    /// Accepted, by this command or by an earlier one with the same key and body; this is the row it left, from which the
    /// store reads the answer.
    Recorded(Uuid),
    /// Refused; frozen, unless the command carries no key.
    Refused(Refusal),
    /// The key is known with another body; these fields differ. Never frozen: the key keeps its first outcome.
    BodyChanged(Vec<&'static str>),
    /// The account exists with other fields.
    AccountExists(Vec<&'static str>),
    /// There is no account to grant anything on.
    NoAccount,
    /// The consent is known with another account or partner, or with other terms under the same revision; these fields differ.
    GrantExists(Vec<&'static str>),
    /// The account, or the consent, has seen a later intent than this one.
    StaleRevision,
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
}

impl Refusal {
    const ALL: [Self; 14] = [
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
}

impl TransferState {
    /// From its stored number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Pending, Self::Posted, Self::Voided].into_iter().find(|it| *it as i16 == number)
    }
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
    /// Its id.
    pub id: Uuid,
    /// Where the money leaves, where the reader may know it: it is the payer's to say.
    pub debit: Option<Party>,
    /// Where it arrives.
    pub credit: Party,
    /// In minor units.
    pub amount: i64,
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
