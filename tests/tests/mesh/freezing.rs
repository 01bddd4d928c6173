//! Accounts that are frozen, let go and closed: what the answer says is what the ledger does.

use std::sync::Arc;

use e2e::World;
use e2e::world::{Customer, transfer, unique};
use http::Method;
use serde_json::{Value, json};

crate::tests![
    a_frozen_account_pays_nobody_until_it_is_let_go,
    an_account_is_closed_once_it_is_empty,
    a_limit_lets_an_account_go_below_zero_and_no_further,
];

async fn act(world: &World, token: &str, account: &str, verb: &str, body: Value) -> e2e::Answer {
    world.rest.post(token, &format!("/v1/accounts/{account}:{verb}"), &unique(verb), &body).await
}

async fn pay(world: &World, who: &Customer, from: &str, to: &str, amount: i64) -> e2e::Answer {
    let body = transfer(from, to, "EUR", amount, false);
    world.rest.post(&who.token, "/v1/transfers", &unique("pay"), &body).await
}

async fn funded(world: &World) -> (Customer, String, String) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&from, "EUR", 1_000).await;
    (customer, from, to)
}

async fn a_frozen_account_pays_nobody_until_it_is_let_go(world: Arc<World>) {
    let (customer, from, to) = funded(&world).await;
    let refused = act(&world, &customer.token, &from, "freeze", json!({})).await;
    refused.refused(403, "PERMISSION_DENIED", "SCOPE_MISSING");

    let frozen =
        act(&world, &world.staff(), &from, "freeze", json!({ "freeze": "FREEZE_DEBITS" })).await.ok();
    assert_eq!(frozen["state"], "ACCOUNT_STATE_DEBIT_FROZEN");
    pay(&world, &customer, &from, &to, 5).await.refused(400, "FAILED_PRECONDITION", "ACCOUNT_NOT_OPEN");
    world.fund(&from, "EUR", 1).await;
    assert_eq!(
        act(&world, &world.staff(), &from, "freeze", json!({})).await.ok()["state"],
        "ACCOUNT_STATE_FROZEN"
    );
    pay(&world, &customer, &from, &to, 5).await.refused(400, "FAILED_PRECONDITION", "ACCOUNT_NOT_OPEN");

    let active = act(&world, &world.staff(), &from, "unfreeze", json!({})).await.ok();
    assert_eq!(active["state"], "ACCOUNT_STATE_ACTIVE");
    pay(&world, &customer, &from, &to, 5).await.ok();
    assert_eq!(world.balance(&customer.token, &from).await, 996);
}

async fn an_account_is_closed_once_it_is_empty(world: Arc<World>) {
    let (customer, from, to) = funded(&world).await;
    let full = act(&world, &customer.token, &from, "close", json!({})).await;
    full.refused(400, "FAILED_PRECONDITION", "ACCOUNT_NOT_EMPTY");
    let read = async || world.rest.get(&customer.token, &format!("/v1/accounts/{from}")).await.ok();
    assert_eq!(read().await["state"], "ACCOUNT_STATE_ACTIVE", "it is what it was");
    pay(&world, &customer, &from, &to, 1_000).await.ok();
    let closed = act(&world, &customer.token, &from, "close", json!({})).await.ok();
    assert_eq!(closed["state"], "ACCOUNT_STATE_CLOSED");
    assert_eq!(act(&world, &customer.token, &from, "close", json!({})).await.ok(), closed);
    pay(&world, &customer, &to, &from, 5).await.refused(400, "FAILED_PRECONDITION", "ACCOUNT_NOT_OPEN");
    let again = act(&world, &world.staff(), &from, "unfreeze", json!({})).await;
    again.refused(400, "FAILED_PRECONDITION", "ACCOUNT_CLOSED");
}

async fn a_limit_lets_an_account_go_below_zero_and_no_further(world: Arc<World>) {
    let (customer, from, to) = funded(&world).await;
    let limit = async |minor_units: i64| {
        let request = world
            .rest
            .request(Method::PATCH, &format!("/v1/accounts/{from}"))
            .header("authorization", format!("Bearer {}", world.staff()))
            .header("content-type", "application/json");
        let body = json!({ "overdraftLimitMinorUnits": minor_units.to_string() }).to_string();
        world.rest.send(request.body(body.into()).unwrap()).await
    };
    pay(&world, &customer, &from, &to, 1_300).await.refused(400, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS");
    assert_eq!(limit(500).await.ok()["overdraftLimitMinorUnits"], "500");
    pay(&world, &customer, &from, &to, 1_300).await.ok();
    limit(100).await.refused(400, "FAILED_PRECONDITION", "LIMIT_BREACHED");
    pay(&world, &customer, &from, &to, 200).await.ok();
    assert_eq!(world.balance(&customer.token, &from).await, -500, "the old limit holds");
}
