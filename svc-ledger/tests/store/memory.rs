//! What a replica remembers of accounts is of use only as long as nobody else has written.

use svc_ledger::domain::account::State;
use svc_ledger::domain::command::{Action, Actor, SetLimits, SetState};
use svc_ledger::domain::request::Scope;
use svc_ledger::domain::verdict::{Refusal, Verdict};
use uuid::Uuid;

use crate::bank::{Bank, booked, check_invariants, customer, direct, staff};
use crate::head::{break_journal, mend_journal};
use crate::postgres::Postgres;

/// The account service, whose word on states and limits is taken.
fn accounts() -> Actor {
    Actor { scope: Scope::of("service:svc-accounts"), ..staff("svc-accounts") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_has_changed_is_not_remembered_otherwise() {
    let server = Postgres::start().await;
    let (one, other) = (Bank::on(&server).await, Bank::on(&server).await);
    let mut root = server.superuser("ledger").await;
    let (from, to) = (one.open("paul", 0).await, one.open("rita", 0).await);
    one.fund(from, 1_000).await;
    let mut keys = (1..).map(|number| format!("key {number}"));
    let mut pay = async |bank: &Bank, who: &str, from: Uuid, to: Uuid, amount: i64| {
        bank.transfer(customer(who), &keys.next().unwrap(), &direct(from, to, amount)).await.unwrap()
    };
    let refused = |verdict: Verdict, wanted: Refusal| assert_eq!(verdict, Verdict::Refused(wanted));

    // Money: what one has paid is gone for the other, and what it got is there.
    booked(pay(&one, "paul", from, to, 600).await);
    refused(pay(&other, "paul", from, to, 600).await, Refusal::InsufficientFunds);
    booked(pay(&other, "rita", to, from, 600).await);
    booked(pay(&one, "paul", from, to, 1_000).await);
    booked(pay(&one, "rita", to, from, 1_000).await);

    // A state.
    let state = |state, state_revision| Action::SetState(SetState { account: from, state, state_revision });
    assert!(matches!(other.submit(accounts(), state(State::Frozen, 2)).await.unwrap(), Verdict::Set(_)));
    refused(pay(&one, "paul", from, to, 1).await, Refusal::DebitNotOpen);
    assert!(matches!(one.submit(accounts(), state(State::Open, 3)).await.unwrap(), Verdict::Set(_)));
    booked(pay(&other, "paul", from, to, 1).await);

    // A limit.
    let limits = SetLimits { account: from, floor: -500, ceiling: None, state_revision: 4 };
    refused(pay(&one, "paul", from, to, 1_499).await, Refusal::InsufficientFunds);
    assert!(matches!(other.submit(accounts(), Action::SetLimits(limits)).await.unwrap(), Verdict::Set(_)));
    booked(pay(&one, "paul", from, to, 1_499).await);

    // An account that was not there, and who owns it.
    let new = other.open("olga", 0).await;
    booked(pay(&one, "rita", to, new, 10).await);
    refused(pay(&one, "paul", new, to, 10).await, Refusal::NotPermitted);
    booked(pay(&one, "olga", new, to, 10).await);

    check_invariants(&one, &mut root).await;
    one.stop().await;
    other.stop().await;
}

/// A batch that fails has changed accounts in the memory only, and must not be remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_committed_is_not_remembered() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    let (from, to) = (bank.open("paul", 0).await, bank.open("rita", 0).await);
    bank.fund(from, 100).await;
    booked(bank.transfer(customer("paul"), "first", &direct(from, to, 40)).await.unwrap());
    break_journal(&mut root, "RAISE EXCEPTION 'broken';").await;
    bank.transfer(customer("paul"), "broken", &direct(from, to, 60)).await.unwrap_err();
    mend_journal(&mut root).await;
    booked(bank.transfer(customer("paul"), "second", &direct(from, to, 60)).await.unwrap());
    assert_eq!(bank.balance(from).await, (0, 0));
    check_invariants(&bank, &mut root).await;
    bank.stop().await;
}
