//! Accounts that are frozen, let go, closed and limited: who may, that nobody is told before the ledger knows, whatever stops in
//! between, and that an older intent undoes no newer one.

use std::time::{Duration, Instant};

use chassis::Caller;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use proto::ledger::v1::LedgerAccountState;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use super::neighbours::Mood;
use super::place::{
    NOT_SWEEPING, Place, Process, eventually, new_account, opened, owner, partner, request, request_within,
    staff,
};
use super::store::event;
use crate::clock;
use crate::domain::{Account, AccountId, AccountState, Intent, StateRevision};
use crate::store::Telling;

fn id(account: &pb::Account) -> AccountId {
    AccountId::parse(&account.account_id).expect("an id")
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().expect("details").reason)
}

/// Time for a few tries.
const SHORT: Duration = Duration::from_millis(1_200);

async fn freeze(
    process: &Process,
    caller: &Caller,
    account: &pb::Account,
    freeze: pb::Freeze,
) -> Result<pb::Account, Status> {
    let wanted = pb::FreezeAccountRequest { account_id: account.account_id.clone(), freeze: freeze.into() };
    process.rpc.freeze_account(request_within(caller, SHORT, wanted)).await.map(Response::into_inner)
}

async fn unfreeze(process: &Process, caller: &Caller, account: &pb::Account) -> Result<pb::Account, Status> {
    let wanted = pb::UnfreezeAccountRequest { account_id: account.account_id.clone() };
    process.rpc.unfreeze_account(request_within(caller, SHORT, wanted)).await.map(Response::into_inner)
}

async fn close(process: &Process, caller: &Caller, account: &pb::Account) -> Result<pb::Account, Status> {
    let wanted = pb::CloseAccountRequest { account_id: account.account_id.clone() };
    process.rpc.close_account(request_within(caller, SHORT, wanted)).await.map(Response::into_inner)
}

async fn update(
    process: &Process,
    caller: &Caller,
    wanted: pb::UpdateAccountRequest,
) -> Result<pb::Account, Status> {
    process.rpc.update_account(request_within(caller, SHORT, wanted)).await.map(Response::into_inner)
}

fn limit(account: &pb::Account, limit: i64) -> pb::UpdateAccountRequest {
    pb::UpdateAccountRequest {
        account_id: account.account_id.clone(),
        overdraft_limit_minor_units: Some(limit),
        ..Default::default()
    }
}

async fn read(process: &Process, account: &pb::Account) -> pb::Account {
    let wanted = pb::GetAccountRequest { account_id: account.account_id.clone() };
    process.rpc.get_account(request(&staff(), wanted)).await.expect("read").into_inner()
}

async fn stored(process: &Process, id: AccountId) -> Account {
    process.rpc.store.account(id).await.expect("read").expect("there")
}

/// What the ledger was told of states, in order: the state and the revision.
fn told(place: &Place) -> Vec<(LedgerAccountState, i64)> {
    place.neighbours.state().states.iter().map(|told| (told.state(), told.state_revision)).collect()
}

async fn comes_to_rest(process: &Process, id: AccountId) -> Account {
    eventually("the account comes to rest", || async {
        process.rpc.store.changings(None, 10).await.expect("read").0.is_empty()
    })
    .await;
    let account = stored(process, id).await;
    assert!(!account.changes.is_waiting());
    account
}

#[tokio::test]
async fn staff_freeze_and_let_go_and_each_answer_is_the_ledgers() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let frozen = freeze(&process, &staff(), &account, pb::Freeze::Unspecified).await.expect("frozen");
    assert_eq!(frozen.state(), pb::AccountState::Frozen);
    assert_eq!(read(&process, &account).await, frozen, "the cache has forgotten what it was");
    let again = freeze(&process, &staff(), &account, pb::Freeze::All).await.expect("known");
    assert_eq!(again, frozen, "repeating it changes nothing");
    let other = freeze(&process, &staff(), &account, pb::Freeze::Debits).await.expect("frozen");
    assert_eq!(other.state(), pb::AccountState::DebitFrozen);
    let active = unfreeze(&process, &staff(), &account).await.expect("let go");
    assert_eq!(active.state(), pb::AccountState::Active);
    assert_eq!(unfreeze(&process, &staff(), &account).await.expect("known"), active);
    assert_eq!(
        told(&place),
        [
            (LedgerAccountState::Frozen, 2),
            (LedgerAccountState::DebitFrozen, 3),
            (LedgerAccountState::Open, 4)
        ]
    );
    assert!(!place.neighbours.state().impersonated, "the service acts for itself");
}

#[tokio::test]
async fn nobody_is_told_of_a_freeze_before_the_ledger_knows_and_it_goes_on_by_itself() {
    let place = Place::new().await;
    let first =
        place.start_with(&NOT_SWEEPING.replace("changing = {", "changing = { ledger_ms = 200,")).await;
    let account = opened(&first, "ada").await;
    for mood in [Mood::Away, Mood::Hangs] {
        place.neighbours.state().ledger = mood;
        let begun = Instant::now();
        let refused = freeze(&first, &staff(), &account, pb::Freeze::All).await.expect_err("not confirmed");
        assert_eq!(reason(&refused), (Code::Unavailable, "CHANGE_UNCONFIRMED".into()), "{mood:?}");
        assert!(begun.elapsed() < SHORT, "{mood:?}: in time to say so");
        assert_eq!(read(&first, &account).await.state(), pb::AccountState::Freezing);
    }
    assert_eq!(
        stored(&first, id(&account)).await.state_revision.get(),
        2,
        "one intent, however often it is asked for"
    );
    drop(first);
    place.neighbours.state().ledger = Mood::Well;
    let second = place.start().await;
    assert_eq!(comes_to_rest(&second, id(&account)).await.state, AccountState::Frozen);
    assert_eq!(told(&place).first(), Some(&(LedgerAccountState::Frozen, 2)));
}

#[tokio::test]
async fn a_resumed_freeze_does_not_undo_a_later_unfreeze() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    place.neighbours.state().ledger = Mood::Away;
    freeze(&process, &staff(), &account, pb::Freeze::All).await.expect_err("not confirmed");
    let freezing = stored(&process, id(&account)).await.changes.state.expect("waits");
    place.neighbours.state().ledger = Mood::Well;
    let active = unfreeze(&process, &staff(), &account).await.expect("let go");
    assert_eq!(active.state(), pb::AccountState::Active);
    // A process that was stopped before it told the ledger goes on.
    let verdict = process.ledger.set_state(id(&account), freezing).await.expect("judged");
    assert_eq!(verdict, crate::domain::change::Verdict::Stale);
    assert_eq!(told(&place), [(LedgerAccountState::Open, 3)]);
}

#[tokio::test]
async fn a_holder_closes_an_empty_account_for_ever() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let ada = owner(&account.customer_id);
    let closed = close(&process, &ada, &account).await.expect("closed");
    assert_eq!(closed.state(), pb::AccountState::Closed);
    assert_eq!(close(&process, &ada, &account).await.expect("known"), closed);
    for refused in [
        freeze(&process, &staff(), &account, pb::Freeze::All).await,
        unfreeze(&process, &staff(), &account).await,
        update(&process, &staff(), limit(&account, 100)).await,
    ] {
        assert_eq!(
            reason(&refused.expect_err("closed")),
            (Code::FailedPrecondition, "ACCOUNT_CLOSED".into())
        );
    }
    assert_eq!(told(&place), [(LedgerAccountState::Closed, 2)]);
}

#[tokio::test]
async fn an_account_with_money_stays_what_it_was_under_a_newer_intent() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    place.neighbours.state().funded.insert(account.account_id.clone());
    freeze(&process, &staff(), &account, pb::Freeze::Debits).await.expect("frozen");
    let refused = close(&process, &staff(), &account).await.expect_err("not empty");
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "ACCOUNT_NOT_EMPTY".into()));
    assert_eq!(read(&process, &account).await.state(), pb::AccountState::DebitFrozen);
    assert_eq!(told(&place), [(LedgerAccountState::DebitFrozen, 2), (LedgerAccountState::DebitFrozen, 4)]);

    // A late copy of the refused close, once the account is empty.
    place.neighbours.state().funded.clear();
    let late = Intent { wanted: AccountState::Closed, revision: StateRevision::new(3) };
    let verdict = process.ledger.set_state(id(&account), late).await.expect("judged");
    assert_eq!(verdict, crate::domain::change::Verdict::Stale);
    assert_eq!(close(&process, &staff(), &account).await.expect("closed").state(), pb::AccountState::Closed);
}

#[tokio::test]
async fn a_close_that_was_killed_half_way_is_answered_by_the_ledger() {
    let place = Place::new().await;
    let first = place.start_without_sweep().await;
    let account = opened(&first, "ada").await;
    let before = stored(&first, id(&account)).await;
    let closing = before.told(AccountState::Closed, clock::now()).expect("fit").expect("a wish");
    assert!(
        first
            .rpc
            .store
            .change_account(&before, &closing, &event(), Telling::Confirmed)
            .await
            .expect("written")
    );
    assert_eq!(read(&first, &account).await.state(), pb::AccountState::Closing);
    // The second step, without the third.
    first.ledger.set_state(id(&account), closing.changes.state.expect("waits")).await.expect("judged");
    drop(first);
    let (second, third) = (place.start().await, place.start().await);
    let account = comes_to_rest(&second, id(&account)).await;
    assert_eq!(
        (account.state, account.revision),
        (AccountState::Closed, closing.revision + 1),
        "settled once"
    );
    drop(third);
    assert!(told(&place).iter().all(|told| *told == (LedgerAccountState::Closed, 2)), "with the same intent");
}

#[tokio::test]
async fn staff_change_a_limit_and_the_holder_the_name() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let ada = owner(&account.customer_id);
    let limited = update(&process, &staff(), limit(&account, 700)).await.expect("limited");
    assert_eq!(limited.overdraft_limit_minor_units, 700);
    assert_eq!(update(&process, &staff(), limit(&account, 700)).await.expect("known"), limited);
    {
        let state = place.neighbours.state();
        let [told] = state.limits.as_slice() else { panic!("{:?}", state.limits) };
        assert_eq!((told.min_available_minor_units, told.state_revision), (-700, 2));
    }
    let refused = update(&process, &ada, limit(&account, 800)).await.expect_err("not staff");
    assert_eq!(reason(&refused), (Code::PermissionDenied, "OVERDRAFT_NOT_PERMITTED".into()));

    let name = |name: &str, etag: &str| pb::UpdateAccountRequest {
        account_id: account.account_id.clone(),
        display_name: Some(name.to_owned()),
        etag: etag.to_owned(),
        ..Default::default()
    };
    place.neighbours.state().ledger = Mood::Away;
    let named =
        update(&process, &ada, name("Holidays", &limited.etag)).await.expect("no matter of the ledger's");
    assert_eq!((named.display_name.as_str(), named.overdraft_limit_minor_units), ("Holidays", 700));
    let stale = update(&process, &ada, name("Rent", &limited.etag)).await.expect_err("changed since");
    assert_eq!(reason(&stale), (Code::Aborted, "ETAG_MISMATCH".into()));
    let open = process.rpc.store.unopened(id(&account)).await.expect("read").expect("there");
    assert_eq!(open.holders.len(), 1);
}

#[tokio::test]
async fn a_limit_that_the_account_is_beyond_is_refused_and_the_old_one_holds() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    update(&process, &staff(), limit(&account, 700)).await.expect("limited");
    place.neighbours.state().funded.insert(account.account_id.clone());
    let refused = update(&process, &staff(), limit(&account, 0)).await.expect_err("overdrawn by more");
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "LIMIT_BREACHED".into()));
    assert_eq!(read(&process, &account).await.overdraft_limit_minor_units, 700);
    let state = place.neighbours.state();
    let told: Vec<_> =
        state.limits.iter().map(|told| (told.min_available_minor_units, told.state_revision)).collect();
    assert_eq!(told, [(-700, 2), (-700, 4)], "the old one under a newer intent");
}

#[tokio::test]
async fn a_freeze_that_meets_a_waiting_limit_loses_neither() {
    let place = Place::new().await;
    let first = place.start_without_sweep().await;
    let account = opened(&first, "ada").await;
    place.neighbours.state().ledger = Mood::Away;
    update(&first, &staff(), limit(&account, 700)).await.expect_err("not confirmed");
    freeze(&first, &staff(), &account, pb::Freeze::All).await.expect_err("not confirmed");
    drop(first);
    place.neighbours.state().ledger = Mood::Well;
    let second = place.start().await;
    let account = comes_to_rest(&second, id(&account)).await;
    assert_eq!((account.state, account.overdraft_limit_minor_units), (AccountState::Frozen, 700));
}

#[tokio::test]
async fn an_account_that_the_ledger_has_closed_is_closed_here_whatever_waits() {
    let place = Place::new().await;
    let first = place.start_without_sweep().await;
    let account = opened(&first, "ada").await;
    place.neighbours.state().ledger = Mood::Away;
    update(&first, &staff(), limit(&account, 700)).await.expect_err("not confirmed");
    close(&first, &staff(), &account).await.expect_err("not confirmed");
    drop(first);
    place.neighbours.state().ledger = Mood::Well;
    // By an intent that a table restored from a backup does not know of.
    place.neighbours.state().seen.insert(account.account_id.clone(), (1, true));
    let second = place.start().await;
    let account = comes_to_rest(&second, id(&account)).await;
    assert_eq!((account.state, account.overdraft_limit_minor_units), (AccountState::Closed, 0));
}

#[tokio::test]
async fn only_those_who_may_change_an_account() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let (account, other) = (opened(&process, "ada").await, opened(&process, "eve").await);
    let (ada, eve) = (owner(&account.customer_id), owner(&other.customer_id));
    for caller in [&ada, &eve, &partner("psp", Some(&account.customer_id))] {
        for refused in [
            freeze(&process, caller, &account, pb::Freeze::All).await,
            unfreeze(&process, caller, &account).await,
        ] {
            assert_eq!(refused.expect_err("not staff").code(), Code::PermissionDenied);
        }
    }
    let nowhere = pb::Account { account_id: uuid::Uuid::now_v7().to_string(), ..Default::default() };
    for (caller, object) in
        [(&eve, &account), (&eve, &nowhere), (&partner("psp", Some(&account.customer_id)), &account)]
    {
        for refused in
            [close(&process, caller, object).await, update(&process, caller, limit(object, 1)).await]
        {
            assert_eq!(
                reason(&refused.expect_err("not theirs")),
                (Code::PermissionDenied, "NOT_PERMITTED".into())
            );
        }
    }
    assert_eq!(close(&process, &staff(), &nowhere).await.expect_err("none").code(), Code::NotFound);
    freeze(&process, &staff(), &account, pb::Freeze::Debits).await.expect("frozen");
    let refused = close(&process, &ada, &account).await.expect_err("frozen");
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "ACCOUNT_FROZEN".into()));
    assert_eq!(told(&place).len(), 1, "nobody else told the ledger anything");
}

#[tokio::test]
async fn an_account_that_is_being_opened_cannot_be_changed() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    place.neighbours.state().ledger = Mood::Away;
    let wanted = new_account(&account.customer_id, "second");
    let opening = process
        .rpc
        .open_account(request_within(&staff(), SHORT, wanted))
        .await
        .expect("asked for")
        .into_inner();
    assert_eq!(opening.state(), pb::AccountState::Opening);
    let refused = freeze(&process, &staff(), &opening, pb::Freeze::All).await.expect_err("opening");
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "ACCOUNT_NOT_ACTIVE".into()));
}
