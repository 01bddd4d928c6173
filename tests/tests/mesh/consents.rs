//! A partner between a customer and the bank: what the customer's consent lets it see and do, over mutual TLS with a token bound to
//! its certificate, and that taking the consent back is effective with the answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dev::TokenRequest;
use e2e::World;
use e2e::grpc::{Calling, calling, channel, reason};
use e2e::world::{CUSTOMER_SCOPES, Customer, unique};
use proto::accounts::v1::accounts_service_client::AccountsServiceClient;
use proto::accounts::v1::{GetAccountRequest, ListAccountsRequest};
use proto::ledger::v1::create_transfer_request::Credit;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use proto::ledger::v1::{
    CreateTransferRequest, GetBalanceRequest, ListEntriesRequest, ListTransfersRequest, Money, Transfer,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

crate::tests![
    a_partner_sees_what_the_customer_consented_to_and_nothing_else,
    a_partner_pays_within_the_caps_and_not_a_cent_more,
    a_consent_that_was_taken_back_or_has_expired_allows_nothing,
    a_consent_opens_nothing_for_another_partner_or_another_customer,
];

/// The partner of the mesh, acting for a customer.
struct Partner {
    ledger: LedgerServiceClient<Calling>,
    accounts: AccountsServiceClient<Calling>,
}

impl Partner {
    fn acting_for(world: &World, customer: &Customer) -> Self {
        let pki = world.mesh.pki();
        let token = TokenRequest::new(&unique("app")).scopes(&CUSTOMER_SCOPES).customer(&customer.id);
        let token = world.token(&token.bound_to(&pki.partner_thumbprint));
        let identity = Some((pki.partner.certificate.as_path(), pki.partner.key.as_path()));
        let authority = &pki.server_authority.certificate;
        let channel = channel(world.mesh.ports().partner, "localhost", authority, identity);
        let calling = calling(channel, Some(&token));
        Self {
            ledger: LedgerServiceClient::new(calling.clone()),
            accounts: AccountsServiceClient::new(calling),
        }
    }

    async fn balance(&mut self, account: &str) -> Result<i64, Status> {
        let request = GetBalanceRequest { account_id: account.to_owned(), ..Default::default() };
        let balance = self.ledger.get_balance(request).await?.into_inner();
        Ok(balance.posted.unwrap().minor_units)
    }

    async fn entries(&mut self, account: &str) -> Result<usize, Status> {
        let request = ListEntriesRequest { account_id: account.to_owned(), ..Default::default() };
        Ok(self.ledger.list_entries(request).await?.into_inner().entries.len())
    }

    async fn pay(&mut self, key: &str, from: &str, to: &str, minor_units: i64) -> Result<Transfer, Status> {
        let request = CreateTransferRequest {
            request_id: key.to_owned(),
            debit_account_id: from.to_owned(),
            credit: Some(Credit::CreditAccountId(to.to_owned())),
            amount: Some(Money { currency_code: "EUR".to_owned(), minor_units }),
            reference: "by a partner".to_owned(),
            ..Default::default()
        };
        Ok(self.ledger.create_transfer(request).await?.into_inner())
    }

    async fn listed(&mut self, customer: &Customer) -> Result<Vec<String>, Status> {
        let request = ListAccountsRequest { customer_id: customer.id.clone(), ..Default::default() };
        let answer = self.accounts.list_accounts(request).await?.into_inner();
        Ok(answer.accounts.into_iter().map(|account| account.account_id).collect())
    }
}

fn in_an_hour() -> String {
    let time = chrono::DateTime::<chrono::Utc>::from(SystemTime::now() + Duration::from_secs(3600));
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A consent of the customer's for the mesh's partner, active.
async fn consent(
    world: &World,
    customer: &Customer,
    account: &str,
    scopes: &[&str],
    caps: (i64, i64),
) -> String {
    let scopes: Vec<_> = scopes.iter().map(|scope| format!("CONSENT_SCOPE_{scope}")).collect();
    let body = json!({
        "partnerId": dev::pki::PARTNER_ID,
        "scopes": scopes,
        "perTransferMaxMinorUnits": caps.0.to_string(),
        "totalMaxMinorUnits": caps.1.to_string(),
        "expireTime": in_an_hour(),
    });
    let path = format!("/v1/accounts/{account}/consents");
    let answer = world.rest.post(&customer.token, &path, &unique("consent"), &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["state"], "CONSENT_STATE_ACTIVE");
    answer.text("consentId")
}

async fn take_back(world: &World, customer: &Customer, account: &str, consent: &str) -> Value {
    let path = format!("/v1/accounts/{account}/consents/{consent}");
    let request = world.rest.request(http::Method::DELETE, &path);
    let request = request.header("authorization", format!("Bearer {}", customer.token));
    world.rest.send(request.body(http_body_util::Full::default()).unwrap()).await.ok()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> String {
    let status = result.expect_err("refused");
    assert_eq!(status.code(), code, "{status:?}");
    reason(&status)
}

async fn a_partner_sees_what_the_customer_consented_to_and_nothing_else(world: Arc<World>) {
    let customer = world.customer().await;
    let (account, other) =
        (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&account, "EUR", 700).await;
    let mut partner = Partner::acting_for(&world, &customer);
    refused(partner.balance(&account).await, Code::PermissionDenied);
    assert_eq!(partner.listed(&customer).await.unwrap_or_default(), [""; 0]);

    consent(&world, &customer, &account, &["READ_BALANCE"], (0, 0)).await;
    assert_eq!(partner.balance(&account).await.unwrap(), 700);
    refused(partner.entries(&account).await, Code::PermissionDenied);
    refused(partner.balance(&other).await, Code::PermissionDenied);
    refused(partner.pay(&unique("pay"), &account, &other, 1).await, Code::PermissionDenied);

    consent(&world, &customer, &account, &["READ_ENTRIES", "READ_ACCOUNT"], (0, 0)).await;
    assert_eq!(partner.entries(&account).await.unwrap(), 1);
    assert_eq!(partner.listed(&customer).await.unwrap(), [account.as_str()]);
    let read = GetAccountRequest { account_id: account.clone() };
    assert_eq!(partner.accounts.get_account(read).await.unwrap().into_inner().account_id, account);
    let read = GetAccountRequest { account_id: other.clone() };
    refused(partner.accounts.get_account(read).await, Code::PermissionDenied);
    let all = ListTransfersRequest { account_id: account, ..Default::default() };
    assert_eq!(partner.ledger.list_transfers(all).await.unwrap().into_inner().transfers.len(), 1);
}

async fn a_partner_pays_within_the_caps_and_not_a_cent_more(world: Arc<World>) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&from, "EUR", 10_000).await;
    consent(&world, &customer, &from, &["CREATE_TRANSFERS"], (500, 800)).await;
    let mut partner = Partner::acting_for(&world, &customer);

    let key = unique("pay");
    let paid = partner.pay(&key, &from, &to, 500).await.unwrap();
    assert_eq!(partner.pay(&key, &from, &to, 500).await.unwrap(), paid, "one key, one transfer");
    let (over, rest) = (unique("pay"), unique("pay"));
    for _ in 0..2 {
        let cap = refused(partner.pay(&over, &from, &to, 501).await, Code::FailedPrecondition);
        assert_eq!(cap, "CONSENT_CAP_EXCEEDED", "and the refusal is frozen");
    }
    // Twenty at once, of which three fit.
    let calls = (0..20).map(|_| {
        let (mut partner, from, to) = (Partner::acting_for(&world, &customer), from.clone(), to.clone());
        async move { partner.pay(&unique("pay"), &from, &to, 100).await }
    });
    let outcomes = futures::future::join_all(calls).await;
    let moved = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(moved, 3, "{outcomes:?}");
    let cap = refused(partner.pay(&rest, &from, &to, 1).await, Code::FailedPrecondition);
    assert_eq!(cap, "CONSENT_CAP_EXCEEDED");
    assert_eq!(world.balance(&customer.token, &from).await, 9_200);
}

async fn a_consent_that_was_taken_back_or_has_expired_allows_nothing(world: Arc<World>) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&from, "EUR", 1_000).await;
    let given = consent(&world, &customer, &from, &["CREATE_TRANSFERS", "READ_BALANCE"], (100, 1_000)).await;
    let mut partner = Partner::acting_for(&world, &customer);
    partner.pay(&unique("pay"), &from, &to, 10).await.unwrap();
    assert_eq!(partner.balance(&from).await.unwrap(), 990);

    let taken = take_back(&world, &customer, &from, &given).await;
    assert_eq!(taken["state"], "CONSENT_STATE_REVOKED");
    refused(partner.pay(&unique("pay"), &from, &to, 10).await, Code::PermissionDenied);
    refused(partner.balance(&from).await, Code::PermissionDenied);
    assert_eq!(take_back(&world, &customer, &from, &given).await, taken, "once more changes nothing");
    assert_eq!(world.balance(&customer.token, &from).await, 990);
}

async fn a_consent_opens_nothing_for_another_partner_or_another_customer(world: Arc<World>) {
    let (customer, stranger) = (world.customer().await, world.customer().await);
    let account = world.account(&customer, "EUR", 0).await;
    let path = format!("/v1/accounts/{account}/consents");
    let body = json!({
        "partnerId": "another-partner", "scopes": ["CONSENT_SCOPE_READ_BALANCE"], "expireTime": in_an_hour(),
    });
    let own = world.rest.post(&customer.token, &path, &unique("consent"), &body).await;
    assert_eq!(own.status, 201, "{own:?}");
    refused(Partner::acting_for(&world, &customer).balance(&account).await, Code::PermissionDenied);

    consent(&world, &customer, &account, &["READ_BALANCE"], (0, 0)).await;
    assert!(Partner::acting_for(&world, &customer).balance(&account).await.is_ok());
    refused(Partner::acting_for(&world, &stranger).balance(&account).await, Code::PermissionDenied);
    let theirs = world.rest.post(&stranger.token, &path, &unique("consent"), &body).await;
    theirs.refused(403, "PERMISSION_DENIED", "NOT_PERMITTED");
}
