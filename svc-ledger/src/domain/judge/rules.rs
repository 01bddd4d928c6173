//! The rules by which two accounts admit a movement of money, and what the movement makes of their totals. They see only the
//! accounts; whose they are and what the batch did before is the judge's business. Replay uses the same functions on the rows.

use super::super::account::{Account, Amount, Totals};
use super::super::command::{AmountMode, Condition};
use super::super::verdict::Refusal;

/// What a row does to the totals of its two accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// The money moves.
    Transfer(Amount),
    /// It is held, or more of it.
    Hold(Amount),
    /// Held money moves, and so much (zero or more, in minor units) of the hold is free again.
    Post(Amount, i64),
    /// A hold is free again.
    Release(Amount),
}

/// The totals of the debited and the credited account after the movement; `None` if one would leave its range. What ends a hold
/// cannot: a hold has reserved its room (see [`Totals`]).
#[must_use]
pub fn after(movement: Movement, from: Totals, to: Totals) -> Option<(Totals, Totals)> {
    match movement {
        Movement::Transfer(amount) => from.debit(amount).zip(to.credit(amount)),
        Movement::Hold(amount) => from.hold_debit(amount).zip(to.hold_credit(amount)),
        Movement::Post(amount, released) => {
            let ended = Amount::new(amount.minor_units().checked_add(released)?)?;
            from.release_debit(ended).debit(amount).zip(to.release_credit(ended).credit(amount))
        }
        Movement::Release(amount) => Some((from.release_debit(amount), to.release_credit(amount))),
    }
}

/// Refuses accounts that take no part.
///
/// # Errors
/// Which of the two, the debited one first.
pub fn open_for(from: &Account, to: &Account) -> Result<(), Refusal> {
    if !from.state.allows_debit() {
        return Err(Refusal::DebitNotOpen);
    }
    if !to.state.allows_credit() {
        return Err(Refusal::CreditNotOpen);
    }
    Ok(())
}

/// Refuses accounts that are at other versions than the caller has seen.
pub(super) fn at_versions(
    debit: (&Condition, &Account),
    credit: (&Condition, &Account),
) -> Result<(), Refusal> {
    let differs = |(condition, account): (&Condition, &Account)| {
        condition.version.is_some_and(|version| version != account.version)
    };
    if differs(debit) {
        return Err(Refusal::DebitVersion);
    }
    if differs(credit) { Err(Refusal::CreditVersion) } else { Ok(()) }
}

/// Refuses accounts that have less available than the caller wants them to have.
pub(super) fn have_available(
    debit: (&Condition, &Account),
    credit: (&Condition, &Account),
) -> Result<(), Refusal> {
    let below = |(condition, account): (&Condition, &Account)| {
        condition.available_at_least.is_some_and(|least| account.totals.available() < least)
    };
    if below(debit) {
        return Err(Refusal::DebitCondition);
    }
    if below(credit) { Err(Refusal::CreditCondition) } else { Ok(()) }
}

/// What a debit can take before the account is at its floor; may be negative. In 128 bits, since an available balance may lie at
/// one end of 64 and the floor at the other.
fn above_floor(from: &Account) -> Option<i128> {
    from.floor.map(|floor| i128::from(from.totals.available()) - i128::from(floor))
}

/// What a credit can add before the account is at its ceiling; may be negative.
fn below_ceiling(to: &Account) -> Option<i128> {
    let there = i128::from(to.totals.posted()) + i128::from(to.totals.cr_pending);
    to.ceiling.map(|ceiling| i128::from(ceiling) - there)
}

/// How much of the amount the floor of the debited and the ceiling of the credited account leave room for.
///
/// # Errors
/// `InsufficientFunds` or `Ceiling` if that is not enough.
pub fn within_limits(
    mode: AmountMode,
    amount: Amount,
    from: &Account,
    to: &Account,
) -> Result<Amount, Refusal> {
    let wanted = i128::from(amount.minor_units());
    let mut taken = wanted;
    for (room, refusal) in
        [(above_floor(from), Refusal::InsufficientFunds), (below_ceiling(to), Refusal::Ceiling)]
    {
        let Some(room) = room.filter(|room| *room < taken) else { continue };
        if mode == AmountMode::Exact || room <= 0 {
            return Err(refusal);
        }
        taken = room;
    }
    // Not more than the amount, which is one.
    i64::try_from(taken).ok().and_then(Amount::new).ok_or(Refusal::InsufficientFunds)
}

/// Which limit the account is beyond, by the name of its field; none if it keeps both.
#[must_use]
pub fn breached(account: &Account) -> Option<&'static str> {
    if above_floor(account).is_some_and(|room| room < 0) {
        return Some("min_available_minor_units");
    }
    below_ceiling(account).is_some_and(|room| room < 0).then_some("max_balance_minor_units")
}
