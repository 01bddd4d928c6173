//! The opening of accounts, stopped after each of its steps and gone on with by another process; and a ledger that is
//! away, slow or of another opinion.

use std::time::{Duration, Instant};

use futures::future::join_all;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use tonic::Code;

use super::neighbours::Mood;
use super::place::{
    Place, Process, eventually, new_account, new_customer, owner, request, request_within, staff,
};
use super::store::{account, asked, event};
use crate::domain::{Account, AccountId, AccountState, CustomerId};
use crate::ledger::LedgerError;
use crate::saga::{DRIVEN_MAX, Stuck};
use crate::store::Opened;

async fn customer(process: &Process) -> CustomerId {
    let customer =
        process.rpc.create_customer(request(&staff(), new_customer("customer", "ada@example.com"))).await;
    CustomerId::parse(&customer.expect("created").into_inner().customer_id).expect("an id")
}

/// The first step and nothing more: what a kill right after it leaves.
async fn written(process: &Process, customer: CustomerId) -> Account {
    let store = &process.rpc.store;
    let opening = account(customer, 7);
    let opened = store.open_account(&opening, "subject:test", &asked(store, "opening", ""), &event()).await;
    assert_eq!(opened.expect("written"), Opened::New);
    opening
}

async fn becomes_active(process: &Process, id: AccountId) {
    is_active_at_last(process, id).await;
    assert_eq!(process.rpc.store.openings(None, 10).await.expect("read").0, []);
}

async fn is_active_at_last(process: &Process, id: AccountId) {
    eventually("the account becomes active", || async {
        let account = process.rpc.store.account(id).await.expect("read").expect("there");
        account.state == AccountState::Active
    })
    .await;
}

#[tokio::test]
async fn an_opening_killed_before_the_ledger_completes_by_itself() {
    let place = Place::new().await;
    let first = place.start_without_sweep().await;
    let customer = customer(&first).await;
    let opening = written(&first, customer).await;
    drop(first);
    assert_eq!(place.neighbours.state().opened, []);

    let second = place.start().await;
    becomes_active(&second, opening.id).await;
    let state = place.neighbours.state();
    let [told] = state.opened.as_slice() else { panic!("{:?}", state.opened) };
    assert_eq!(told.account_id, opening.id.to_string());
    assert_eq!(told.currency_code, "EUR");
    assert_eq!(told.customer_ids, [customer.to_string()]);
    assert_eq!(told.min_available_minor_units, -500, "the overdraft limit as a floor");
    assert_eq!(told.state_revision, 1);
    assert!(!state.impersonated, "the service acts for itself");
}

#[tokio::test]
async fn an_opening_killed_after_the_ledger_completes_with_the_same_intent() {
    let place = Place::new().await;
    let first = place.start_without_sweep().await;
    let customer = customer(&first).await;
    let opening = written(&first, customer).await;
    // The second step, without the third.
    let unopened = first.rpc.store.unopened(opening.id).await.expect("read").expect("there");
    first.ledger.open(&unopened).await.expect("opened");
    drop(first);

    // Two replicas find it at the same time.
    let (second, third) = (place.start().await, place.start().await);
    becomes_active(&second, opening.id).await;
    becomes_active(&third, opening.id).await;
    let account = second.rpc.store.account(opening.id).await.expect("read").expect("there");
    assert_eq!(account.revision, 2, "activated once");
    let state = place.neighbours.state();
    assert!(state.opened.len() >= 2);
    assert!(state.opened.iter().all(|told| told == &state.opened[0]), "repeated with the same body");
}

#[tokio::test]
async fn open_account_waits_for_the_ledger_and_else_answers_opening() {
    let place = Place::new().await;
    let process = place.start_with("opening = { sweep_ms = 20, grace_ms = 0, ledger_ms = 200 }").await;
    let customer = customer(&process).await.to_string();

    let account = process.rpc.open_account(request(&owner(&customer), new_account(&customer, "r1"))).await;
    let account = account.expect("opened").into_inner();
    assert_eq!(account.state(), pb::AccountState::Active);

    for (at, mood) in [Mood::Away, Mood::Hangs].into_iter().enumerate() {
        place.neighbours.state().ledger = mood;
        let begun = Instant::now();
        let wanted = new_account(&customer, &format!("away-{at}"));
        let asked = request_within(&owner(&customer), Duration::from_millis(800), wanted.clone());
        let opening = process.rpc.open_account(asked).await.expect("answered in time").into_inner();
        assert_eq!(opening.state(), pb::AccountState::Opening, "{mood:?}");
        assert!(begun.elapsed() < Duration::from_millis(800), "{mood:?}");

        place.neighbours.state().ledger = Mood::Well;
        becomes_active(&process, AccountId::parse(&opening.account_id).expect("an id")).await;
        let again =
            process.rpc.open_account(request(&owner(&customer), wanted)).await.expect("known").into_inner();
        assert_eq!(
            (again.account_id.as_str(), again.state()),
            (opening.account_id.as_str(), pb::AccountState::Active)
        );
        assert_ne!(again.etag, opening.etag);
    }
}

#[tokio::test]
async fn openings_that_the_ledger_stumbles_over_hold_up_no_other() {
    let place = Place::new().await;
    let first = place.start_without_sweep().await;
    let customer = customer(&first).await;
    let mut openings = Vec::new();
    for number in 0..=DRIVEN_MAX {
        let opening = account(customer, number as u64);
        let asked = asked(&first.rpc.store, &format!("opening-{number}"), "");
        let opened = first.rpc.store.open_account(&opening, "subject:test", &asked, &event()).await;
        assert_eq!(opened.expect("written"), Opened::New);
        openings.push(opening.id);
    }
    drop(first);
    // The oldest fill a whole round of the sweep.
    let last = openings.pop().expect("more than a round");
    place.neighbours.state().stumbles_over = openings.iter().map(ToString::to_string).collect();

    let second = place.start().await;
    is_active_at_last(&second, last).await;
    place.neighbours.state().stumbles_over.clear();
    for opening in openings {
        is_active_at_last(&second, opening).await;
    }
}

#[tokio::test]
async fn a_refused_opening_stays_and_is_not_repeated_at_once() {
    let place = Place::new().await;
    place.neighbours.state().ledger = Mood::Refuses;
    let process = place.start().await;
    let customer = customer(&process).await.to_string();
    let begun = Instant::now();
    let opening = process.rpc.open_account(request(&staff(), new_account(&customer, "r1"))).await;
    let opening = opening.expect("answered").into_inner();
    assert_eq!(opening.state(), pb::AccountState::Opening);
    assert!(begun.elapsed() < Duration::from_secs(5), "a refusal is not waited out");
    let id = AccountId::parse(&opening.account_id).expect("an id");
    let stuck = process.rpc.openings.advance(id).await.expect_err("refused");
    assert!(matches!(stuck, Stuck::Ledger(LedgerError::Refused(Code::InvalidArgument))), "{stuck:?}");

    // A restart tries at once, whatever was put off.
    drop(process);
    place.neighbours.state().ledger = Mood::Well;
    becomes_active(&place.start().await, id).await;
}

#[tokio::test]
async fn a_request_that_comes_many_times_at_once_opens_one_account() {
    let place = Place::new().await;
    let process = place.start().await;
    let customer = customer(&process).await.to_string();
    let opens =
        (0..10).map(|_| process.rpc.open_account(request(&owner(&customer), new_account(&customer, "r1"))));
    let accounts: Vec<pb::Account> = join_all(opens)
        .await
        .into_iter()
        .map(|answer| answer.expect("opened or known").into_inner())
        .collect();
    assert!(accounts.iter().all(|account| account == &accounts[0]), "{accounts:?}");
    assert_eq!(accounts[0].state(), pb::AccountState::Active);
    let held = process.rpc.store.list_accounts(CustomerId::parse(&customer).expect("an id"), None, 50);
    assert_eq!(held.await.expect("read").0.len(), 1);
}
