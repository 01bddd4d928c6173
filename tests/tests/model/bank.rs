//! Who acts in the model, on which accounts.

use svc_ledger::domain::account::{Purpose, house_account};
use svc_ledger::domain::command::{Action, Actor, Command, Open, Seed};
use svc_ledger::domain::currency::Currency;
use svc_ledger::domain::request::Scope;
use uuid::Uuid;

/// Two customers, two members of staff, partners of both, a rail partner, somebody without an account, and the ledger itself.
pub const ACTORS: [&str; 10] =
    ["carl", "dora", "anna", "bert", "psp:carl", "tpp:carl", "psp:dora", "rail", "eve", "ledger"];
/// Places in [`ACTORS`].
pub const ANNA: usize = 2;
pub const BERT: usize = 3;
pub const LEDGER: usize = 9;
pub const PARTNERS: [&str; 2] = ["psp", "tpp"];

pub const SETTLEMENT: usize = 0;
pub const EXCHANGE_EUR: usize = 1;
pub const EXCHANGE_USD: usize = 2;
/// Carl's, Dora's with an overdraft and a ceiling, one they share, Carl's in dollars.
pub const CUSTOMERS: std::ops::Range<usize> = 3..7;
pub const CARL_USD: usize = 6;
/// One more number than there are accounts: of one that may be opened on the way.
pub const ACCOUNTS: usize = 8;

pub fn actor(number: usize) -> Actor {
    let name = ACTORS[number];
    let staff = ["anna", "bert"].contains(&name);
    let (partner, customer) = match name.split_once(':') {
        Some((partner, customer)) => (Some(partner.to_owned()), customer),
        None => ((name == "rail").then(|| name.to_owned()), name),
    };
    let nobody = staff || ["rail", "ledger"].contains(&name);
    Actor {
        scope: Scope::of(name),
        staff,
        customer: (!nobody).then(|| customer.to_owned()),
        partner,
        rail: name == "rail",
    }
}

pub fn currency(usd: bool) -> Currency {
    Currency::parse(if usd { "USD" } else { "EUR" }).unwrap()
}

pub fn account(number: usize) -> Uuid {
    match number {
        SETTLEMENT => house_account(Purpose::Settlement, currency(false)),
        EXCHANGE_EUR => house_account(Purpose::Exchange, currency(false)),
        EXCHANGE_USD => house_account(Purpose::Exchange, currency(true)),
        customer => Uuid::from_u128(0xacc0 + customer as u128),
    }
}

pub fn opening(number: usize) -> Open {
    let purpose = match number {
        SETTLEMENT => Purpose::Settlement,
        EXCHANGE_EUR | EXCHANGE_USD => Purpose::Exchange,
        _ => Purpose::Customer,
    };
    let (owners, floor, ceiling): (&[&str], _, _) = match number {
        SETTLEMENT | EXCHANGE_EUR | EXCHANGE_USD => (&[], None, None),
        4 => (&["dora"], Some(-100), Some(700)),
        5 => (&["carl", "dora"], Some(0), None),
        _ => (&["carl"], Some(0), None),
    };
    Open {
        id: account(number),
        currency: currency(number == EXCHANGE_USD || number == CARL_USD),
        purpose,
        chart: purpose.chart(),
        floor,
        ceiling,
        customers: owners.iter().map(|owner| (*owner).to_owned()).collect(),
        state_revision: 1,
    }
}

/// A command of an actor; the same bytes are random in each.
pub fn command(actor: Actor, action: Action) -> Command {
    let seed = Seed { nonce: 7, salt: [7; 16] };
    Command { actor, seed, witness: None, linked: false, validate_only: false, action }
}
