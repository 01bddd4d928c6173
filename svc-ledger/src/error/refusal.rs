//! What a judged refusal tells its caller besides its reason: a sentence, the field it is about, and what is missing.

use super::Resource;
use crate::domain::verdict::Refusal;

/// The sentence.
pub(super) fn text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotPermitted => "the caller may not touch this account or transfer",
        Refusal::NoDebitAccount => "there is no account to debit",
        Refusal::NoCreditAccount => "there is no account to credit",
        Refusal::NoTransfer => "there is no such transfer",
        Refusal::DebitCurrency => "the debited account has another currency",
        Refusal::CreditCurrency => "the credited account has another currency",
        Refusal::DebitNotOpen => "the debited account lets no money leave",
        Refusal::CreditNotOpen => "the credited account lets no money arrive",
        Refusal::InsufficientFunds => "the available balance of the debited account does not suffice",
        Refusal::BalanceOverflow => "a balance would leave its range",
        Refusal::FourEyes => "the bank's own money must be held first and posted by another member of staff",
        Refusal::NotPending => "the transfer is not pending",
        Refusal::PerTransferCap => "the consent does not allow that much in one transfer",
        Refusal::TotalCap => "the consent does not allow that much in all",
        Refusal::PeriodClosed => "the day is in a closed period",
        Refusal::Expired => "the time of the transfer is over",
        Refusal::DebitVersion => "the debited account is at another version",
        Refusal::CreditVersion => "the credited account is at another version",
        Refusal::DebitCondition => "the debited account has less available than was to be",
        Refusal::CreditCondition => "the credited account has less available than was to be",
        Refusal::Ceiling => "the credited account would hold more than its ceiling",
        Refusal::ExceedsHold => "the amount is more than what is held",
        Refusal::NotReversible => "the transfer cannot be reversed",
        Refusal::AlreadyReversed => "the transfer was reversed before",
        Refusal::ExceedsTransfer => "the amount is more than what was posted",
        Refusal::ChainFailed => "another transfer of the chain was refused",
        Refusal::ExchangeMismatch => "the two halves of the conversion do not agree",
        Refusal::PeriodNotOver => "the day has not ended",
    }
}

/// The field of the request it is about.
pub(super) const fn field(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotPermitted
        | Refusal::NoDebitAccount
        | Refusal::DebitCurrency
        | Refusal::DebitNotOpen
        | Refusal::InsufficientFunds
        | Refusal::FourEyes => "debit_account_id",
        Refusal::NoCreditAccount | Refusal::CreditCurrency | Refusal::CreditNotOpen | Refusal::Ceiling => {
            "credit_account_id"
        }
        Refusal::BalanceOverflow
        | Refusal::PerTransferCap
        | Refusal::TotalCap
        | Refusal::ExceedsHold
        | Refusal::ExceedsTransfer => "amount",
        Refusal::NoTransfer | Refusal::NotPending | Refusal::NotReversible | Refusal::AlreadyReversed => {
            "transfer_id"
        }
        Refusal::PeriodClosed => "value_date",
        Refusal::PeriodNotOver => "end_date",
        Refusal::Expired => "expire_time",
        Refusal::DebitVersion => "debit_condition.if_version",
        Refusal::CreditVersion => "credit_condition.if_version",
        Refusal::DebitCondition => "debit_condition.if_available_at_least_minor_units",
        Refusal::CreditCondition => "credit_condition.if_available_at_least_minor_units",
        Refusal::ChainFailed => "linked",
        Refusal::ExchangeMismatch => "exchange",
    }
}

/// What is not there, if that is why.
pub(super) fn missing(refusal: Refusal) -> Option<Resource> {
    if matches!(refusal, Refusal::NoDebitAccount | Refusal::NoCreditAccount) {
        return Some(Resource::Account);
    }
    (refusal == Refusal::NoTransfer).then_some(Resource::Transfer)
}

/// The cap of the consent that was exceeded, if that is why, by its field in the grant.
pub(super) fn exceeded(refusal: Refusal) -> Option<&'static str> {
    if refusal == Refusal::PerTransferCap {
        return Some("per_transfer_max_minor_units");
    }
    (refusal == Refusal::TotalCap).then_some("total_max_minor_units")
}
