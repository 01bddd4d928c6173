//! The cache: what it saves, what it must not keep, and what its absence costs.

use std::time::{Duration, Instant};

use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use tonic::Code;

use super::neighbours::Mood;
use super::place::{
    Place, Process, SWEEPING, eventually, new_account, new_customer, opened, owner, request, request_within,
    service, staff,
};

async fn get(process: &Process, account_id: &str) -> Result<pb::Account, tonic::Status> {
    let wanted = pb::GetAccountRequest { account_id: account_id.to_owned() };
    process.rpc.get_account(request(&staff(), wanted)).await.map(tonic::Response::into_inner)
}

async fn cached(place: &Place, entries: usize) {
    eventually("the entries are filled", || async { place.neighbours.state().entries.len() == entries })
        .await;
}

#[tokio::test]
async fn accounts_are_read_through_and_forgotten_on_write() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "one").await;
    assert!(place.neighbours.state().entries.is_empty(), "a write fills nothing");
    assert_eq!(get(&process, &account.account_id).await.expect("read"), account);
    cached(&place, 1).await;
    assert_eq!(get(&process, &account.account_id).await.expect("read"), account);

    // The entry alone authorises nothing: the holder is read from the table, and another is not one.
    let wanted = pb::GetAccountRequest { account_id: account.account_id.clone() };
    let mine = process.rpc.get_account(request(&owner(&account.customer_id), wanted.clone())).await;
    assert_eq!(mine.expect("read").into_inner(), account);
    let other = opened(&process, "two").await;
    let theirs = process.rpc.get_account(request(&owner(&other.customer_id), wanted)).await;
    assert_eq!(theirs.expect_err("refused").code(), Code::PermissionDenied);

    // A batch takes what is there, reads the rest, and fills it.
    let missing = uuid::Uuid::from_u128(1).to_string();
    let ids = vec![other.account_id.clone(), missing, account.account_id.clone(), other.account_id.clone()];
    for _round in 0..2 {
        let wanted = pb::BatchGetAccountsRequest { account_ids: ids.clone() };
        let batch = process.rpc.batch_get_accounts(request(&service("svc-docs"), wanted)).await;
        let batch = batch.expect("read").into_inner().accounts;
        assert_eq!(batch, [other.clone(), account.clone(), other.clone()], "in the order of the request");
        cached(&place, 2).await;
    }

    // An invalidation removes the entry, and breaks the lease of whoever read before it.
    let id = crate::domain::AccountId::parse(&account.account_id).expect("an id");
    process.rpc.cache.invalidate(id).await;
    cached(&place, 1).await;
    let store = process.rpc.store.clone();
    let read = process.rpc.cache.read(id, || async {
        let read = store.account(id).await;
        process.rpc.cache.invalidate(id).await;
        read
    });
    assert!(read.await.expect("read").is_some());
    eventually("the late fill is refused", || async { place.neighbours.state().late_fills == 1 }).await;
    assert_eq!(place.neighbours.state().entries.len(), 1, "a value read before a write does not come back");
}

#[tokio::test]
async fn an_opening_account_is_not_cached() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let customer = process.rpc.create_customer(request(&staff(), new_customer("c", "c@example.com"))).await;
    let customer = customer.expect("created").into_inner().customer_id;
    place.neighbours.state().ledger = Mood::Refuses;
    let opening = process.rpc.open_account(request(&staff(), new_account(&customer, "r"))).await;
    let opening = opening.expect("answered").into_inner();
    assert_eq!(get(&process, &opening.account_id).await.expect("read").state(), pb::AccountState::Opening);

    place.neighbours.state().ledger = Mood::Well;
    let active = process.rpc.open_account(request(&staff(), new_account(&customer, "r"))).await;
    assert_eq!(active.expect("opened").into_inner().state(), pb::AccountState::Active);
    assert_eq!(get(&process, &opening.account_id).await.expect("read").state(), pb::AccountState::Active);
}

#[tokio::test]
async fn without_a_cache_answers_come_from_the_table_and_soon() {
    let place = Place::new().await;
    let process = place
        .start_with("opening = { sweep_ms = 3600000 }\ncache = { budget_ms = 60, rest_ms = 600000 }")
        .await;
    let account = opened(&process, "one").await;
    place.neighbours.state().cache = Mood::Hangs;
    let begun = Instant::now();
    for _question in 0..20 {
        assert_eq!(get(&process, &account.account_id).await.expect("read"), account);
    }
    // Three budgets until the circuit opens; the rest are reads of the table.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let asked = place.neighbours.state().cache_calls;
    for _question in 0..20 {
        assert_eq!(get(&process, &account.account_id).await.expect("read"), account);
    }
    assert_eq!(place.neighbours.state().cache_calls, asked, "it is left alone");

    // A short budget is not spent on the cache either.
    let process =
        place.start_with("opening = { sweep_ms = 3600000 }\ncache = { budget_ms = 60, rest_ms = 1 }").await;
    let wanted = pb::GetAccountRequest { account_id: account.account_id.clone() };
    let asked = request_within(&owner(&account.customer_id), Duration::from_millis(900), wanted);
    assert_eq!(process.rpc.get_account(asked).await.expect("read").into_inner(), account);

    // Back again, it is used again.
    place.neighbours.state().cache = Mood::Well;
    eventually("the cache is used again", || async {
        get(&process, &account.account_id).await.expect("read");
        place.neighbours.state().entries.len() == 1
    })
    .await;
}

#[tokio::test]
async fn without_an_edge_reads_go_on_and_openings_wait() {
    let place = Place::new().await;
    let account = opened(&place.start_without_sweep().await, "one").await;
    let mut alone = place.config(SWEEPING);
    alone.edge.addresses = vec!["127.0.0.1:1".to_owned()];
    let alone = place.start_from(alone).await;

    assert_eq!(get(&alone, &account.account_id).await.expect("read"), account);
    let ids = vec![account.account_id.clone()];
    let batch = alone
        .rpc
        .batch_get_accounts(request(&service("svc-docs"), pb::BatchGetAccountsRequest { account_ids: ids }));
    assert_eq!(batch.await.expect("read").into_inner().accounts, std::slice::from_ref(&account));
    let wanted = new_account(&account.customer_id, "two");
    let asked = request_within(&owner(&account.customer_id), Duration::from_millis(800), wanted.clone());
    let opening = alone.rpc.open_account(asked).await.expect("answered").into_inner();
    assert_eq!(opening.state(), pb::AccountState::Opening);
    drop(alone);

    let back = place.start().await;
    let active = back
        .rpc
        .open_account(request(&owner(&account.customer_id), wanted))
        .await
        .expect("known")
        .into_inner();
    assert_eq!((active.state(), active.account_id), (pb::AccountState::Active, opening.account_id));
}
