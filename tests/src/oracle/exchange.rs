//! Conversions in a chain.

use svc_ledger::domain::account::{Purpose, house_account};
use svc_ledger::domain::command::{Action, AmountMode, Command, Transfer};
use svc_ledger::domain::exchange::Exchange;

/// Whether each command of the chain is what it claims to be of a conversion; one that claims nothing is.
pub(super) fn agreements(chain: &[Command]) -> Vec<bool> {
    let mut agree = Vec::new();
    while agree.len() < chain.len() {
        let place = agree.len();
        let Some((first, exchange)) = half(&chain[place]) else {
            agree.push(true);
            continue;
        };
        match chain.get(place + 1).and_then(half) {
            Some((second, other)) if other == exchange => {
                let by_staff = chain[place].actor.staff && chain[place + 1].actor.staff;
                agree.extend([true, by_staff && agrees(first, second, &exchange.rate)]);
            }
            _ => agree.push(false),
        }
    }
    agree
}

fn half(command: &Command) -> Option<(&Transfer, &Exchange)> {
    let Action::Transfer(_, transfer) = &command.action else { return None };
    transfer.exchange.as_ref().map(|exchange| (transfer, exchange))
}

fn agrees(first: &Transfer, second: &Transfer, rate: &str) -> bool {
    first.currency != second.currency
        && first.credit == house_account(Purpose::Exchange, first.currency)
        && second.debit == house_account(Purpose::Exchange, second.currency)
        && first.mode == AmountMode::Exact
        && second.mode == AmountMode::Exact
        && first.pending == second.pending
        && converted(first, second, rate) == Some(second.amount.minor_units().into())
}

/// The first's amount times the rate, in minor units of the second's currency, rounded half to even.
fn converted(first: &Transfer, second: &Transfer, rate: &str) -> Option<i128> {
    let (whole, part) = rate.split_once('.').unwrap_or((rate, ""));
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let up = i128::from(first.amount.minor_units())
        .checked_mul(digits)?
        .checked_mul(10_i128.pow(second.currency.exponent().into()))?;
    let down = 10_i128.pow(u32::try_from(part.len()).ok()?) * 10_i128.pow(first.currency.exponent().into());
    let (whole, twice) = (up / down, up % down * 2);
    Some(whole + i128::from(twice > down || (twice == down && whole % 2 != 0)))
}
