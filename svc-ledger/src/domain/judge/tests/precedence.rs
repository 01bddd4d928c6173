//! The order of refusals, as the tables of `docs/ledger.md` have it. Each row of a table is a way to break a command that would
//! be accepted. Alone it is refused for its own reason; of any two the one that stands higher is told; and of each row together
//! with all below it, it is that row's. The lower one is broken first, so that the higher is broken for certain; where two cannot
//! be broken at once (only staff get as far as a missing account, and only a partner has caps), the higher has taken the lower's
//! place, which loses nothing.

mod accounts;
mod holds;
mod reversals;
mod transfers;

use std::collections::BTreeMap;

use chrono::Days;
use uuid::Uuid;

use super::domain::account::{Account, Amount, Chart, Purpose, State, Totals};
use super::domain::chain::GENESIS;
use super::domain::command::{
    Action, Actor, AmountMode, Command, Condition, Pending, Request, Resolution, Resolve, Reverse, Seed,
    SetLimits, SetState, Transfer, Unit,
};
use super::domain::currency::Currency;
use super::domain::grant::{Grant, Scope as Act, Scopes, Terms};
use super::domain::judge::judge;
use super::domain::period::{TrialBalance, day_of};
use super::domain::request::{BodyHash, Key, Operation, Scope};
use super::domain::verdict::TransferState;
use super::domain::view::{Direct, Head, Hold, View};
use super::table::told;

const NOW: i64 = 1_750_000_000_000;
const DEBIT: usize = 0;
const CREDIT: usize = 1;
const TRANSFER: Uuid = Uuid::from_u128(77);
const CONSENT: Uuid = Uuid::from_u128(5);

/// A ledger and a command that it would accept, until broken.
struct Case {
    accounts: [Account; 2],
    view: View,
    command: Command,
}

/// A row of a table: how the command is broken, and what is then told.
type Rule = (&'static str, fn(&mut Case));

fn check(base: fn() -> Case, rules: &[Rule]) {
    assert_eq!(verdict(base()), "ok", "the command is accepted until it is broken");
    for (place, (expect, break_it)) in rules.iter().enumerate() {
        let mut alone = base();
        break_it(&mut alone);
        assert_eq!(verdict(alone), *expect, "row {place} alone");
        let lower = &rules[place + 1..];
        for (other, (lower, break_lower)) in lower.iter().enumerate() {
            let mut both = base();
            break_lower(&mut both);
            break_it(&mut both);
            assert_eq!(verdict(both), *expect, "row {place} before row {}: {lower}", place + 1 + other);
        }
        let mut all = base();
        for (_, break_lower) in lower.iter().rev() {
            break_lower(&mut all);
        }
        break_it(&mut all);
        assert_eq!(verdict(all), *expect, "row {place} before all below it");
    }
}

fn verdict(case: Case) -> String {
    let mut view = case.view;
    for account in case.accounts {
        view.accounts.add(account);
    }
    let (judged, _) = judge(view, &[Unit::from(case.command)]);
    told(&judged.verdicts[0], false)
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

fn account(no: i64) -> Account {
    Account {
        no,
        id: Uuid::from_u128(no.unsigned_abs().into()),
        currency: currency("EUR"),
        purpose: Purpose::Customer,
        chart: Chart { ..Purpose::Customer.chart() },
        floor: Some(0),
        ceiling: None,
        state: State::Open,
        state_revision: 3,
        version: 9,
        totals: Totals { cr_posted: 1_000, dr_posted: 100, cr_pending: 50, dr_pending: 50 },
        opened_at: 0,
    }
}

fn actor(scope: &str) -> Actor {
    Actor { scope: Scope::of(scope), staff: false, customer: None, partner: None, rail: false }
}

fn staff() -> Actor {
    Actor { staff: true, ..actor("anna") }
}

fn partner() -> Actor {
    Actor { customer: Some("alice".to_owned()), partner: Some("psp".to_owned()), ..actor("psp") }
}

fn case(actor: Actor, action: Action) -> Case {
    let closed_until = day_of(NOW) - Days::new(10);
    let mut view = View::empty(Head { seq: 100, hash: GENESIS, now: NOW, closed_until: Some(closed_until) });
    view.parties.insert(1, vec!["alice".to_owned()]);
    view.parties.insert(2, vec!["bob".to_owned()]);
    view.trial_balance = Some(TrialBalance::default());
    let terms = Terms {
        consent: CONSENT,
        partner: "psp".to_owned(),
        scopes: [Act::CreateTransfers].into_iter().collect(),
        per_transfer_max: Amount::new(500),
        total_max: Amount::new(800),
        expires_at: NOW + 1,
        revision: 1,
    };
    view.grants = BTreeMap::from([(CONSENT, Grant { account: 1, terms, used: 50 })]);
    let command = Command {
        actor,
        seed: Seed { nonce: 1, salt: [1; 16] },
        witness: None,
        linked: false,
        validate_only: false,
        action,
    };
    Case { accounts: [account(1), account(2)], view, command }
}

fn request(operation: Operation, fields: usize) -> Request {
    let key = Key { scope: Scope::of("psp"), request_id: "k".to_owned() };
    let body = BodyHash::new(operation, &key, &vec![&[][..]; fields]);
    Request { key, body }
}

impl Case {
    fn debit(&mut self) -> &mut Account {
        &mut self.accounts[DEBIT]
    }

    fn credit(&mut self) -> &mut Account {
        &mut self.accounts[CREDIT]
    }

    fn grant(&mut self) -> &mut Terms {
        &mut self.view.grants.get_mut(&CONSENT).unwrap().terms
    }

    fn transfer(&mut self) -> &mut Transfer {
        match &mut self.command.action {
            Action::Transfer(_, transfer) => transfer,
            other => panic!("{other:?}"),
        }
    }

    fn hold(&mut self) -> &mut Hold {
        self.view.holds.get_mut(&TRANSFER).unwrap()
    }

    fn resolve(&mut self, resolution: Resolution) {
        match &mut self.command.action {
            Action::Resolve(_, resolve) => resolve.resolution = resolution,
            other => panic!("{other:?}"),
        }
    }

    /// The command is about a transfer that there is not; only staff hear so.
    fn unknown(&mut self) {
        self.command.actor = staff();
        let nowhere = Uuid::from_u128(404);
        match &mut self.command.action {
            Action::Transfer(_, transfer) => transfer.debit = nowhere,
            Action::Resolve(_, resolve) => resolve.transfer = nowhere,
            Action::Reverse(_, reverse) => reverse.transfer = nowhere,
            other => panic!("{other:?}"),
        }
    }
}

// What breaks the accounts of both sides, whichever command moves money between them.

fn debit_frozen(case: &mut Case) {
    case.debit().state = State::DebitFrozen;
}

fn credit_frozen(case: &mut Case) {
    case.credit().state = State::Frozen;
}

fn at_floor(case: &mut Case) {
    let available = case.debit().totals.available();
    case.debit().floor = Some(available);
}

fn at_ceiling(case: &mut Case) {
    let totals = case.credit().totals;
    case.credit().ceiling = Some(totals.posted() + totals.cr_pending);
}

fn full(case: &mut Case) {
    // Credits at their end; debits close behind, so that the balance is what it was.
    case.credit().totals.cr_posted = i64::MAX - 50;
    case.credit().totals.dr_posted = i64::MAX - 950;
}

fn house(case: &mut Case) {
    case.debit().purpose = Purpose::Settlement;
}
