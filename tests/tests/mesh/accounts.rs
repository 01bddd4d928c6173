//! Customers and accounts over REST and gRPC.

use std::sync::Arc;

use dev::TokenRequest;
use e2e::World;
use e2e::world::{CUSTOMER_SCOPES, unique};
use proto::accounts::v1::accounts_service_client::AccountsServiceClient;
use proto::accounts::v1::{AccountState, GetAccountRequest, ListAccountsRequest};
use serde_json::json;

crate::tests![
    a_customer_is_created_once_for_a_request_id,
    an_email_belongs_to_one_customer,
    customers_are_listed_in_pages,
    an_account_opens_with_a_valid_iban_and_becomes_active,
    an_account_opens_once_for_a_request_id,
    accounts_read_the_same_over_grpc,
    only_staff_grant_an_overdraft,
];

async fn a_customer_is_created_once_for_a_request_id(world: Arc<World>) {
    let (staff, key) = (world.staff(), unique("once"));
    let body = json!({ "displayName": "Ada Once", "email": format!("{key}@example.com") });
    let first = world.rest.post(&staff, "/v1/customers", &key, &body).await;
    assert_eq!(first.status, 201);
    let id = first.text("customerId");
    assert_eq!(first.headers["location"], format!("/v1/customers/{id}"));
    let etag = first.headers["etag"].to_str().unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag} is quoted");

    let again = world.rest.post(&staff, "/v1/customers", &key, &body).await;
    assert_eq!(again.text("customerId"), id);
    let other = json!({ "displayName": "Ada Other", "email": format!("{key}@example.com") });
    world.rest.post(&staff, "/v1/customers", &key, &other).await.refused(
        409,
        "ALREADY_EXISTS",
        "REQUEST_ID_REUSED",
    );
    let read = world.rest.get(&staff, &format!("/v1/customers/{id}")).await.ok();
    assert_eq!(read["displayName"], "Ada Once", "a refused write changes nothing");
}

async fn an_email_belongs_to_one_customer(world: Arc<World>) {
    let staff = world.staff();
    let email = format!("{}@example.com", unique("shared"));
    let body = json!({ "displayName": "First", "email": email });
    world.rest.post(&staff, "/v1/customers", &unique("k"), &body).await.ok();
    let body = json!({ "displayName": "Second", "email": email.to_uppercase() });
    world.rest.post(&staff, "/v1/customers", &unique("k"), &body).await.refused(
        409,
        "ALREADY_EXISTS",
        "EMAIL_TAKEN",
    );
}

async fn customers_are_listed_in_pages(world: Arc<World>) {
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(world.customer().await.id);
    }
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/customers?page_size=2&page_token={token}");
        let page = world.rest.get(&world.staff(), &path).await.ok();
        let customers = page["customers"].as_array().unwrap();
        assert!(customers.len() <= 2);
        found.extend(customers.iter().map(|customer| customer["customerId"].as_str().unwrap().to_owned()));
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert!(
        found.is_sorted() && made.iter().all(|id| found.contains(id)),
        "every page follows the one before"
    );
    world.rest.get(&world.staff(), "/v1/customers?page_token=bogus").await.refused(
        400,
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
    );
}

async fn an_account_opens_with_a_valid_iban_and_becomes_active(world: Arc<World>) {
    let customer = world.customer().await;
    let id = world.account(&customer, "EUR", 0).await;
    let account = world.rest.get(&customer.token, &format!("/v1/accounts/{id}")).await.ok();
    let iban = account["iban"].as_str().unwrap();
    let digits: String =
        iban[4..].chars().chain(iban[..4].chars()).map(|c| c.to_digit(36).unwrap().to_string()).collect();
    let remainder = digits.bytes().fold(0, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    assert_eq!(remainder, 1, "{iban} has valid check digits");
    assert_eq!(world.balance(&customer.token, &id).await, 0, "the ledger has its side");
    let listed =
        world.rest.get(&customer.token, &format!("/v1/customers/{}/accounts", customer.id)).await.ok();
    assert_eq!(listed["accounts"][0]["accountId"], id);
}

async fn an_account_opens_once_for_a_request_id(world: Arc<World>) {
    let customer = world.customer().await;
    let path = format!("/v1/customers/{}/accounts", customer.id);
    let key = unique("open");
    let open = |currency: &'static str| {
        let (world, customer, path, key) = (world.clone(), customer.clone(), path.clone(), key.clone());
        async move { world.rest.post(&customer.token, &path, &key, &json!({ "currencyCode": currency })).await }
    };
    let answers = futures::future::join_all((0..8).map(|_| open("EUR"))).await;
    let ids: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.text("accountId")).collect();
    assert_eq!(ids.len(), 1, "eight at once, one account");
    open("USD").await.refused(409, "ALREADY_EXISTS", "REQUEST_ID_REUSED");
    let listed = world.rest.get(&customer.token, &path).await.ok();
    assert_eq!(listed["accounts"].as_array().unwrap().len(), 1);
}

async fn accounts_read_the_same_over_grpc(world: Arc<World>) {
    let customer = world.customer().await;
    let id = world.account(&customer, "CHF", 0).await;
    let mut client = AccountsServiceClient::new(world.public(Some(&customer.token)));
    let account =
        client.get_account(GetAccountRequest { account_id: id.clone() }).await.unwrap().into_inner();
    assert_eq!((account.state(), account.currency_code.as_str()), (AccountState::Active, "CHF"));
    let request = ListAccountsRequest { customer_id: customer.id.clone(), ..Default::default() };
    let listed = client.list_accounts(request).await.unwrap().into_inner();
    assert_eq!(listed.accounts, [account]);
}

async fn only_staff_grant_an_overdraft(world: Arc<World>) {
    let customer = world.customer().await;
    let path = format!("/v1/customers/{}/accounts", customer.id);
    let body = json!({ "currencyCode": "EUR", "overdraftLimitMinorUnits": "100" });
    let answer = world.rest.post(&customer.token, &path, &unique("open"), &body).await;
    assert_eq!(answer.status, 403, "{:?}", answer.json());
    let nobody = world.token(&TokenRequest::new("nobody").scopes(&CUSTOMER_SCOPES));
    let answer = world.rest.post(&nobody, &path, &unique("open"), &json!({ "currencyCode": "EUR" })).await;
    assert_eq!(answer.status, 403, "a person without a customer owns nothing");
}
