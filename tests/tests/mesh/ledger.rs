//! Money over REST and gRPC: what a transfer does, what it refuses, and that the sum never changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::World;
use e2e::grpc::reason;
use e2e::world::{Customer, minor_units, transfer, unique};
use futures::StreamExt as _;
use proto::ledger::v1::create_transfer_request::Credit;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use proto::ledger::v1::{CreateTransferRequest, GetBalanceRequest, Money};
use serde_json::json;

crate::tests![
    money_moves_once_for_a_request_id,
    a_floor_holds_and_its_refusal_is_frozen,
    a_currency_must_fit,
    money_enters_by_four_eyes_only,
    nobody_moves_anothers_money,
    entries_add_up_to_the_balance,
    a_balance_can_be_read_as_of_a_time,
    transfers_read_the_same_over_grpc,
    thirty_two_clients_change_nothing_but_who_owns_it,
];

async fn two_accounts(world: &World, funded: i64) -> (Customer, String, String) {
    let customer = world.customer().await;
    let from = world.account(&customer, "EUR", 0).await;
    let to = world.account(&customer, "EUR", 0).await;
    if funded > 0 {
        world.fund(&from, "EUR", funded).await;
    }
    (customer, from, to)
}

async fn money_moves_once_for_a_request_id(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 1_000).await;
    let (key, body) = (unique("pay"), transfer(&from, &to, "EUR", 300, false));
    let first = world.rest.post(&customer.token, "/v1/transfers", &key, &body).await;
    assert_eq!(first.status, 201);
    let id = first.text("transferId");
    assert_eq!(first.json()["state"], "TRANSFER_STATE_POSTED");
    assert_eq!(first.headers["location"], format!("/v1/transfers/{id}"));

    let again = world.rest.post(&customer.token, "/v1/transfers", &key, &body).await.ok();
    assert_eq!(again, first.json(), "the same answer, word for word");
    let other = transfer(&from, &to, "EUR", 301, false);
    let refused = world.rest.post(&customer.token, "/v1/transfers", &key, &other).await;
    let error = refused.refused(409, "ALREADY_EXISTS", "REQUEST_ID_REUSED");
    assert!(error.to_string().contains("amount"), "the changed field is named: {error}");

    assert_eq!(world.balance(&customer.token, &from).await, 700);
    assert_eq!(world.balance(&customer.token, &to).await, 300);
    let read = world.rest.get(&customer.token, &format!("/v1/transfers/{id}")).await.ok();
    assert_eq!(read, first.json());

    // Another principal's key of the same name is another key.
    let (stranger, theirs, own) = two_accounts(&world, 50).await;
    let body = transfer(&theirs, &own, "EUR", 5, false);
    let apart = world.rest.post(&stranger.token, "/v1/transfers", &key, &body).await.text("transferId");
    assert_ne!(apart, id);
}

async fn a_floor_holds_and_its_refusal_is_frozen(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 100).await;
    let (key, body) = (unique("pay"), transfer(&from, &to, "EUR", 101, false));
    let pay = || world.rest.post(&customer.token, "/v1/transfers", &key, &body);
    pay().await.refused(400, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS");
    world.fund(&from, "EUR", 1_000).await;
    let frozen = pay().await.refused(400, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS");
    assert!(frozen.to_string().contains("refused"), "the error says that it is final: {frozen}");
    world.rest.post(&customer.token, "/v1/transfers", &unique("pay"), &body).await.ok();

    let overdrawn = world.account(&customer, "EUR", 250).await;
    let to_the_limit = transfer(&overdrawn, &to, "EUR", 250, false);
    world.rest.post(&customer.token, "/v1/transfers", &unique("pay"), &to_the_limit).await.ok();
    assert_eq!(world.balance(&customer.token, &overdrawn).await, -250);
    let beyond = transfer(&overdrawn, &to, "EUR", 1, false);
    let refused = world.rest.post(&customer.token, "/v1/transfers", &unique("pay"), &beyond).await;
    refused.refused(400, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS");
}

async fn a_currency_must_fit(world: Arc<World>) {
    let (customer, from, _) = two_accounts(&world, 100).await;
    let dollars = world.account(&customer, "USD", 0).await;
    let pay = |body| {
        let (world, token) = (world.clone(), customer.token.clone());
        async move { world.rest.post(&token, "/v1/transfers", &unique("pay"), &body).await }
    };
    pay(transfer(&from, &dollars, "EUR", 1, false)).await.refused(
        400,
        "FAILED_PRECONDITION",
        "CURRENCY_MISMATCH",
    );
    for (currency, amount) in [("EUX", 1), ("eur", 1), ("XXX", 1), ("", 1), ("EUR", 0), ("EUR", -5)] {
        pay(transfer(&from, &dollars, currency, amount, false)).await.refused(
            400,
            "INVALID_ARGUMENT",
            "INVALID_REQUEST",
        );
    }
    assert_eq!(world.balance(&customer.token, &from).await, 100);
}

async fn money_enters_by_four_eyes_only(world: Arc<World>) {
    let (customer, from, _) = two_accounts(&world, 0).await;
    let direct = transfer("settlement-EUR", &from, "EUR", 10, false);
    let refused = world.rest.post(&world.staff(), "/v1/transfers", &unique("in"), &direct).await;
    refused.refused(400, "FAILED_PRECONDITION", "FOUR_EYES_REQUIRED");

    let held = transfer("settlement-EUR", &from, "EUR", 10, true);
    let id = world.rest.post(&world.staff(), "/v1/transfers", &unique("in"), &held).await.text("transferId");
    let path = format!("/v1/transfers/{id}:post");
    let alone = world.rest.post(&world.staff(), &path, &unique("post"), &json!({})).await;
    alone.refused(400, "FAILED_PRECONDITION", "FOUR_EYES_REQUIRED");
    assert_eq!(world.rest.post(&customer.token, &path, &unique("post"), &json!({})).await.status, 403);
    assert_eq!(world.balance(&customer.token, &from).await, 0, "held money has not arrived");
    let posted = world.rest.post(&world.staff2(), &path, &unique("post"), &json!({})).await.ok();
    assert_eq!(posted["state"], "TRANSFER_STATE_POSTED");
    assert_eq!(world.balance(&customer.token, &from).await, 10);
    let twice = world.rest.post(&world.staff2(), &path, &unique("post"), &json!({})).await;
    twice.refused(400, "FAILED_PRECONDITION", "TRANSFER_NOT_PENDING");
}

async fn nobody_moves_anothers_money(world: Arc<World>) {
    let (owner, from, _) = two_accounts(&world, 100).await;
    let (thief, _, to) = two_accounts(&world, 0).await;
    let body = transfer(&from, &to, "EUR", 100, false);
    let refused = world.rest.post(&thief.token, "/v1/transfers", &unique("steal"), &body).await;
    refused.refused(403, "PERMISSION_DENIED", "NOT_PERMITTED");
    let nothing = uuid_like();
    for (path, reason) in [
        (format!("/v1/accounts/{from}/balance"), "NOT_PERMITTED"),
        (format!("/v1/accounts/{nothing}/balance"), "NOT_PERMITTED"),
        (format!("/v1/accounts/{from}/entries"), "NOT_PERMITTED"),
        (format!("/v1/transfers/{nothing}"), "NOT_PERMITTED"),
        (format!("/v1/transfers?account_id={from}"), "NOT_PERMITTED"),
    ] {
        world.rest.get(&thief.token, &path).await.refused(403, "PERMISSION_DENIED", reason);
    }
    world.rest.get(&world.staff(), &format!("/v1/accounts/{nothing}/balance")).await.refused(
        404,
        "NOT_FOUND",
        "ACCOUNT_NOT_FOUND",
    );
    assert_eq!(world.balance(&owner.token, &from).await, 100);
}

fn uuid_like() -> String {
    uuid::Uuid::now_v7().to_string()
}

async fn entries_add_up_to_the_balance(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 1_000).await;
    for amount in 1..=7 {
        let body = transfer(&from, &to, "EUR", amount, false);
        world.rest.post(&customer.token, "/v1/transfers", &unique("pay"), &body).await.ok();
    }
    let (mut balance, mut version, mut count, mut token) = (0, 0, 0, String::new());
    loop {
        let path = format!("/v1/accounts/{from}/entries?page_size=3&page_token={token}");
        let page = world.rest.get(&customer.token, &path).await.ok();
        for entry in page["entries"].as_array().unwrap() {
            balance += minor_units(&entry["amount"]);
            assert_eq!(minor_units(&entry["balanceAfter"]), balance, "{entry}");
            let next: i64 = entry["version"].as_str().unwrap().parse().unwrap();
            assert!(next > version, "{entry}");
            version = next;
            count += 1;
        }
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((count, balance), (8, 1_000 - 28));
    assert_eq!(world.balance(&customer.token, &from).await, balance);
    let listed = world.rest.get(&customer.token, "/v1/transfers?page_size=500").await.ok();
    assert_eq!(
        listed["transfers"].as_array().unwrap().len(),
        8,
        "all of the caller's accounts, each transfer once"
    );
}

async fn a_balance_can_be_read_as_of_a_time(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 500).await;
    let pay = async |amount| {
        let body = transfer(&from, &to, "EUR", amount, false);
        world.rest.post(&customer.token, "/v1/transfers", &unique("pay"), &body).await.ok()
    };
    let first = pay(100).await;
    pay(50).await;
    let at = first["bookTime"].as_str().unwrap();
    let path = format!("/v1/accounts/{from}/balance?as_of={at}");
    let then = world.rest.get(&customer.token, &path).await.ok();
    assert_eq!(minor_units(&then["posted"]), 400, "{then}");
    let seq = first["seq"].as_str().unwrap();
    let path = format!("/v1/accounts/{from}/balance?min_seq={seq}");
    assert_eq!(minor_units(&world.rest.get(&customer.token, &path).await.ok()["posted"]), 350);
    let seq = pay(25).await["seq"].as_str().unwrap().to_owned();
    let path = format!("/v1/accounts/{from}/entries?min_seq={seq}");
    let page = world.rest.get(&customer.token, &path).await.ok();
    assert_eq!(page["entries"].as_array().unwrap().last().unwrap()["seq"], seq, "{page}");
}

async fn transfers_read_the_same_over_grpc(world: Arc<World>) {
    let (customer, from, to) = two_accounts(&world, 20).await;
    let mut client = LedgerServiceClient::new(world.public(Some(&customer.token)));
    let request = CreateTransferRequest {
        request_id: unique("grpc"),
        debit_account_id: from.clone(),
        credit: Some(Credit::CreditAccountId(to)),
        amount: Some(Money { currency_code: "EUR".into(), minor_units: 15 }),
        reference: "by wire".into(),
        ..Default::default()
    };
    let made = client.create_transfer(request.clone()).await.unwrap().into_inner();
    assert_eq!(client.create_transfer(request.clone()).await.unwrap().into_inner(), made);
    let balance = client.get_balance(GetBalanceRequest { account_id: from.clone(), ..Default::default() });
    assert_eq!(balance.await.unwrap().into_inner().posted.unwrap().minor_units, 5);
    let refused = client
        .create_transfer(CreateTransferRequest { request_id: unique("grpc"), ..request })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (tonic::Code::FailedPrecondition, "INSUFFICIENT_FUNDS")
    );
    let over_rest =
        world.rest.get(&customer.token, &format!("/v1/transfers/{}", made.transfer_id)).await.ok();
    assert_eq!(over_rest["reference"], "by wire");
}

async fn thirty_two_clients_change_nothing_but_who_owns_it(world: Arc<World>) {
    let bank = crowd(&world, 20, 10_000).await;
    let world = &world;
    let bank = &bank;
    let made: Vec<String> = futures::stream::iter(0..32 * 200)
        .map(|number| async move {
            let (from, to, amount) = bank.pick(number);
            let owner = bank.owner(from);
            let body = transfer(bank.account(from), bank.account(to), "EUR", amount, false);
            let answer = world.rest2.post(&owner.token, "/v1/transfers", &unique("many"), &body).await;
            if answer.status == 400 {
                answer.refused(400, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS");
                return None;
            }
            Some(answer.text("transferId"))
        })
        .buffer_unordered(32)
        .filter_map(futures::future::ready)
        .collect()
        .await;
    assert!(made.len() > 3_200, "most of it moved: {}", made.len());
    bank.check(world, &made).await;
}

/// Accounts of several owners that pay one another.
pub struct Crowd {
    accounts: Vec<(Customer, String)>,
    total: i64,
}

/// `count` accounts of as many customers, each with `funded` minor units.
pub async fn crowd(world: &World, count: usize, funded: i64) -> Crowd {
    let accounts = futures::stream::iter(0..count)
        .map(|_| async {
            let customer = world.customer().await;
            let account = world.account(&customer, "EUR", 0).await;
            world.fund(&account, "EUR", funded).await;
            (customer, account)
        })
        .buffer_unordered(4)
        .collect::<Vec<_>>()
        .await;
    let total = funded * i64::try_from(count).unwrap();
    Crowd { accounts, total }
}

impl Crowd {
    /// A payer, a payee and an amount, spread by the number alone; every fifth amount is more than an account may hold.
    pub fn pick(&self, number: usize) -> (usize, usize, i64) {
        let from = number * 7 % self.accounts.len();
        let to = (from + 1 + number * 3 % (self.accounts.len() - 1)) % self.accounts.len();
        let amount = if number.is_multiple_of(5) { 12_000 } else { 1 + i64::try_from(number % 400).unwrap() };
        (from, to, amount)
    }

    pub fn owner(&self, index: usize) -> &Customer {
        &self.accounts[index].0
    }

    pub fn account(&self, index: usize) -> &str {
        &self.accounts[index].1
    }

    /// Pays `count` times, `in_flight` at once, and counts what was answered. A client that hears "unavailable", or nothing,
    /// asks again under the same key. Returns the transfers that were acknowledged.
    pub async fn pay(
        &self,
        world: &World,
        count: usize,
        in_flight: usize,
        answered: &AtomicUsize,
    ) -> Vec<String> {
        let pay = |number: usize| async move {
            let (from, to, amount) = self.pick(number);
            let body = transfer(self.account(from), self.account(to), "EUR", amount, false);
            let (token, key) = (&self.owner(from).token, unique("pay"));
            for _ in 0..400 {
                if let Ok(answer) = world.rest2.try_post(token, "/v1/transfers", &key, &body).await
                    && !matches!(answer.status.as_u16(), 429 | 503 | 504)
                {
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.status == 400 {
                        answer.refused(400, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS");
                        return None;
                    }
                    return Some(answer.text("transferId"));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("transfer {number} was never answered");
        };
        let paid = futures::stream::iter(0..count).map(pay).buffer_unordered(in_flight);
        paid.filter_map(futures::future::ready).collect().await
    }

    /// Every acknowledged transfer is there and happened once, and nothing else did.
    pub async fn check_once_each(&self, world: &World, made: &[String]) {
        let distinct: BTreeSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), made.len(), "no two keys share a transfer");
        self.check(world, made).await;
        assert_eq!(
            self.entries(world).await,
            2 * made.len() + self.len(),
            "two entries each, and one a deposit"
        );
    }

    /// The sum is unchanged, no balance is below its floor, and every acknowledged transfer is there.
    pub async fn check(&self, world: &World, made: &[String]) {
        let mut sum = 0;
        for (owner, account) in &self.accounts {
            let balance = world.balance(&owner.token, account).await;
            assert!(balance >= 0, "{account} is at {balance}");
            sum += balance;
        }
        assert_eq!(sum, self.total, "the sum of balances is what it was");
        let staff = world.staff();
        futures::stream::iter(made)
            .for_each_concurrent(16, |id| {
                let staff = staff.clone();
                async move {
                    let read = world.rest2.get(&staff, &format!("/v1/transfers/{id}")).await;
                    assert_eq!(read.text("transferId"), *id);
                }
            })
            .await;
    }

    /// The posted entries of all accounts together: two for each transfer between them, one for each deposit.
    pub async fn entries(&self, world: &World) -> usize {
        let mut count = 0;
        for (owner, account) in &self.accounts {
            let mut token = String::new();
            loop {
                let path = format!("/v1/accounts/{account}/entries?page_size=1000&page_token={token}");
                let page = world.rest.get(&owner.token, &path).await.ok();
                count += page["entries"].as_array().unwrap().len();
                token = page["nextPageToken"].as_str().unwrap().to_owned();
                if token.is_empty() {
                    break;
                }
            }
        }
        count
    }

    pub fn len(&self) -> usize {
        self.accounts.len()
    }
}
