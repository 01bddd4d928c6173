//! Conversions in a chain: the first half ends and the second begins at the bank's position in its currency, at one rate.

use super::super::account::{Purpose, house_account};
use super::super::command::{Action, AmountMode, Command, Transfer};
use super::super::exchange::{Exchange, Rate};
use super::super::verdict::Refusal;

/// Refuses the transfer at `place` of the chain if it claims to be half of a conversion and is not.
pub(super) fn check(chain: &[Command], place: usize) -> Result<(), Refusal> {
    let Some((_, exchange)) = half(chain, place) else { return Ok(()) };
    // A half is the second one if an odd number of equal halves stand directly before it.
    let before = (0..place).rev().take_while(|other| is_half_of(chain, *other, exchange)).count();
    let agree = if before % 2 == 1 {
        agree(&chain[place - 1], &chain[place])
    } else {
        is_half_of(chain, place + 1, exchange)
    };
    if agree { Ok(()) } else { Err(Refusal::ExchangeMismatch) }
}

fn half(chain: &[Command], place: usize) -> Option<(&Transfer, &Exchange)> {
    chain.get(place).and_then(half_of)
}

fn half_of(command: &Command) -> Option<(&Transfer, &Exchange)> {
    match &command.action {
        Action::Transfer(_, transfer) => transfer.exchange.as_ref().map(|exchange| (transfer, exchange)),
        Action::Open(_)
        | Action::SetState(_)
        | Action::SetLimits(_)
        | Action::Grant(_)
        | Action::Resolve(..)
        | Action::Reverse(..)
        | Action::Expire(_)
        | Action::ClosePeriod(..) => None,
    }
}

fn is_half_of(chain: &[Command], place: usize, exchange: &Exchange) -> bool {
    half(chain, place).is_some_and(|(_, other)| other == exchange)
}

fn agree(first: &Command, second: &Command) -> bool {
    let (Some((from, exchange)), Some((to, _))) = (half_of(first), half_of(second)) else { return false };
    let rate = Rate::parse(&exchange.rate);
    let converted = rate.and_then(|rate| rate.convert(from.amount, from.currency, to.currency));
    first.actor.staff
        && second.actor.staff
        && from.currency != to.currency
        && from.credit == house_account(Purpose::Exchange, from.currency)
        && to.debit == house_account(Purpose::Exchange, to.currency)
        && from.mode == AmountMode::Exact
        && to.mode == AmountMode::Exact
        && from.pending == to.pending
        && converted == Some(to.amount)
}
