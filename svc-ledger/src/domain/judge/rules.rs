//! The rules by which two accounts admit a transfer, and let a hold end. They see only the accounts; whose they are and what the
//! batch did before is the judge's business.

use uuid::Uuid;

use super::super::account::{Account, Amount, Totals};
use super::super::command::{Resolution, Transfer};
use super::super::verdict::Refusal;

/// The consent the transfer takes from, if it needs one, and the totals of both accounts after it; or the first reason against
/// it. A cap comes before the balance: a partner who may not read the balance cannot feel for it beyond what it may debit.
pub(super) fn admit(
    transfer: &Transfer,
    from: &Account,
    to: &Account,
    allowance: Result<Option<Uuid>, Refusal>,
) -> Result<(Option<Uuid>, Totals, Totals), Refusal> {
    if from.currency != transfer.currency {
        return Err(Refusal::DebitCurrency);
    }
    if to.currency != transfer.currency {
        return Err(Refusal::CreditCurrency);
    }
    open_for(from, to)?;
    let consent = allowance?;
    let amount = transfer.amount;
    let pairs = if transfer.pending {
        (from.totals.hold_debit(amount), to.totals.hold_credit(amount))
    } else {
        (from.totals.debit(amount), to.totals.credit(amount))
    };
    // In 128 bits, since an available balance may lie at one end of 64 and the amount at the other.
    if let Some(floor) = from.floor
        && i128::from(from.totals.available()) - i128::from(amount.minor_units()) < i128::from(floor)
    {
        return Err(Refusal::InsufficientFunds);
    }
    let (Some(from_after), Some(to_after)) = pairs else { return Err(Refusal::BalanceOverflow) };
    if from.purpose.is_house() && !transfer.pending {
        return Err(Refusal::FourEyes);
    }
    Ok((consent, from_after, to_after))
}

fn open_for(from: &Account, to: &Account) -> Result<(), Refusal> {
    if !from.state.allows_debit() {
        return Err(Refusal::DebitNotOpen);
    }
    if !to.state.allows_credit() {
        return Err(Refusal::CreditNotOpen);
    }
    Ok(())
}

/// Whether a hold may be posted: both accounts take part, and the bank's own money has a second pair of eyes on it.
pub(super) fn may_post(from: &Account, to: &Account, creator: bool) -> Result<(), Refusal> {
    open_for(from, to)?;
    if from.purpose.is_house() && creator { Err(Refusal::FourEyes) } else { Ok(()) }
}

/// The totals of both accounts after a hold has ended. Posting cannot overflow: a hold has reserved its room (see [`Totals`]).
pub(super) fn resolved(
    resolution: Resolution,
    amount: Amount,
    from: Totals,
    to: Totals,
) -> Result<(Totals, Totals), Refusal> {
    let (from, to) = (from.release_debit(amount), to.release_credit(amount));
    match resolution {
        Resolution::Void => Ok((from, to)),
        Resolution::Post => from.debit(amount).zip(to.credit(amount)).ok_or(Refusal::BalanceOverflow),
    }
}
