//! Partners: what they read for a customer with a consent, and that without one they learn nothing.

use chassis::Caller;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::place::{
    Place, Process, another, eventually, in_millis, new_account, new_consent, new_customer, opened, owner,
    partner, request, staff,
};
use crate::clock;

async fn get(process: &Process, caller: &Caller, account: &str) -> Result<pb::Account, Status> {
    let wanted = pb::GetAccountRequest { account_id: account.to_owned() };
    process.rpc.get_account(request(caller, wanted)).await.map(Response::into_inner)
}

async fn page(
    process: &Process,
    caller: &Caller,
    customer: &str,
    page_size: i32,
    page_token: &str,
) -> Result<pb::ListAccountsResponse, Status> {
    let (customer_id, page_token) = (customer.to_owned(), page_token.to_owned());
    let wanted = pb::ListAccountsRequest { customer_id, page_size, page_token };
    process.rpc.list_accounts(request(caller, wanted)).await.map(Response::into_inner)
}

async fn give(process: &Process, account: &pb::Account, wanted: pb::CreateConsentRequest) -> pb::Consent {
    let asked = request(&owner(&account.customer_id), wanted);
    process.rpc.create_consent(asked).await.expect("given").into_inner()
}

/// A consent to read the account itself and nothing else.
fn to_read(account: &pb::Account, partner: &str) -> pb::CreateConsentRequest {
    pb::CreateConsentRequest {
        scopes: vec![pb::ConsentScope::ReadAccount.into()],
        per_transfer_max_minor_units: 0,
        total_max_minor_units: 0,
        ..new_consent(&account.account_id, &format!("{partner}-{}", clock::new_id()), partner)
    }
}

/// Every refusal reads the same, whatever is behind it.
async fn refused(process: &Process, caller: &Caller, account: &str) {
    let refusal = get(process, caller, account).await.expect_err("refused");
    assert_eq!(refusal.code(), Code::PermissionDenied, "{caller:?}");
    assert_eq!(refusal.message(), "the caller may not do this, or there is no such object");
}

#[tokio::test]
async fn e5_a_partner_reads_an_account_only_by_its_holders_consent() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let bob = opened(&process, "bob").await;
    let id = account.account_id.as_str();
    let psp = partner("psp", Some(&account.customer_id));
    refused(&process, &psp, id).await;
    refused(&process, &psp, &Uuid::from_u128(9).to_string()).await;

    let consent = give(&process, &account, to_read(&account, "psp")).await;
    assert_eq!(get(&process, &psp, id).await.expect("read"), account);
    // Filled into the cache by now, which authorises nobody.
    assert_eq!(get(&process, &staff(), id).await.expect("read"), account);
    for stranger in [
        partner("psp", None),
        partner("psp", Some(&bob.customer_id)),
        partner("psp-2", Some(&account.customer_id)),
        partner("PSP", Some(&account.customer_id)),
    ] {
        refused(&process, &stranger, id).await;
    }
    refused(&process, &psp, &bob.account_id).await;
    // Another's consent to the same partner opens nothing of the customer's either.
    give(&process, &bob, to_read(&bob, "psp")).await;
    refused(&process, &psp, &bob.account_id).await;

    let revoke = pb::RevokeConsentRequest { account_id: id.to_owned(), consent_id: consent.consent_id };
    process.rpc.revoke_consent(request(&owner(&account.customer_id), revoke)).await.expect("revoked");
    refused(&process, &psp, id).await;
}

#[tokio::test]
async fn a_consent_to_something_else_or_of_another_time_reads_nothing() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let id = account.account_id.as_str();
    let psp = partner("psp", Some(&account.customer_id));
    let balance = pb::CreateConsentRequest {
        scopes: vec![pb::ConsentScope::ReadBalance.into(), pb::ConsentScope::ReadEntries.into()],
        ..to_read(&account, "psp")
    };
    give(&process, &account, balance).await;
    refused(&process, &psp, id).await;

    let expire_time = Some(in_millis(1_500));
    let short =
        give(&process, &account, pb::CreateConsentRequest { expire_time, ..to_read(&account, "psp") }).await;
    let end = crate::timestamp::read(short.expire_time).expect("a time");
    eventually("the consent ends", || async {
        let before = clock::now();
        let read = get(&process, &psp, id).await.is_ok();
        assert!(read || clock::now() >= end, "never early");
        assert!(!read || before < end, "and not late");
        !read
    })
    .await;
    refused(&process, &psp, id).await;
}

#[tokio::test]
async fn e5_a_partner_lists_the_accounts_it_may_read_and_no_token_names_another() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let first = opened(&process, "ada").await;
    let customer = first.customer_id.clone();
    let mut accounts = vec![first];
    for name in ["two", "three", "four", "five"] {
        accounts.push(another(&process, &customer, name).await);
    }
    let psp = partner("psp", Some(&customer));
    let denied = page(&process, &psp, &customer, 0, "").await.expect_err("refused");
    assert_eq!(denied.code(), Code::PermissionDenied, "it may read none");

    for at in [1, 2, 4] {
        give(&process, &accounts[at], to_read(&accounts[at], "psp")).await;
    }
    give(&process, &accounts[0], to_read(&accounts[0], "other")).await;
    let all = page(&process, &psp, &customer, 0, "").await.expect("read");
    let expect = [accounts[1].clone(), accounts[2].clone(), accounts[4].clone()];
    assert_eq!((all.accounts.as_slice(), all.next_page_token.as_str()), (expect.as_slice(), ""));

    let one = page(&process, &psp, &customer, 2, "").await.expect("read");
    assert_eq!(one.accounts, expect[..2]);
    let two = page(&process, &psp, &customer, 2, &one.next_page_token).await.expect("read");
    assert_eq!((two.accounts.as_slice(), two.next_page_token.as_str()), (&expect[2..], ""));
    let mine = page(&process, &owner(&customer), &customer, 0, "").await.expect("read");
    assert_eq!(mine.accounts, accounts, "the holder sees all");

    let bob = process.rpc.create_customer(request(&staff(), new_customer("bob", "bob@example.com"))).await;
    let bob = bob.expect("created").into_inner().customer_id;
    for (caller, of) in [
        (&psp, bob.as_str()),
        (&partner("psp", Some(&bob)), bob.as_str()),
        (&partner("psp", Some(&bob)), customer.as_str()),
        (&partner("psp", None), customer.as_str()),
    ] {
        let denied = page(&process, caller, of, 0, "").await.expect_err("refused");
        assert_eq!(denied.code(), Code::PermissionDenied, "{caller:?}");
        assert_eq!(denied.message(), "the caller may not do this, or there is no such object");
    }
}

#[tokio::test]
async fn e6_a_partner_with_the_token_of_staff_is_no_staff() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    give(&process, &account, to_read(&account, "psp")).await;
    let (rpc, psp) = (&process.rpc, partner("psp", Some(&account.customer_id)));
    let customer = pb::GetCustomerRequest { customer_id: account.customer_id.clone() };
    let refusals = [
        rpc.create_customer(request(&psp, new_customer("r", "eve@example.com"))).await.map(drop),
        rpc.get_customer(request(&psp, customer)).await.map(drop),
        rpc.list_customers(request(&psp, pb::ListCustomersRequest::default())).await.map(drop),
        rpc.open_account(request(&psp, new_account(&account.customer_id, "r"))).await.map(drop),
        rpc.batch_get_accounts(request(
            &psp,
            pb::BatchGetAccountsRequest { account_ids: vec![account.account_id.clone()] },
        ))
        .await
        .map(drop),
    ];
    for (at, refusal) in refusals.into_iter().enumerate() {
        assert_eq!(refusal.expect_err("refused").code(), Code::PermissionDenied, "{at}");
    }
}
