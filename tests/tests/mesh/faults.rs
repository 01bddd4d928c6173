//! Processes killed in the middle of work: what was acknowledged is there, what was retried happened once, and the mesh is whole
//! again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dev::Part;
use e2e::World;
use e2e::world::{eventually, unique};
use serde_json::json;

use crate::ledger::crowd;

crate::tests![
    a_killed_ledger_loses_and_doubles_nothing,
    an_account_that_was_opening_becomes_active_after_a_kill,
    accounts_answer_without_the_cache,
    an_upstream_that_is_down_is_unavailable_and_nothing_else,
];

/// How long a killed service may take until it serves again: its own start, the store's recovery, and a health check.
const BACK_WITHIN: Duration = Duration::from_secs(30);

async fn a_killed_ledger_loses_and_doubles_nothing(world: Arc<World>) {
    const TRANSFERS: usize = 32 * 200;
    let bank = crowd(&world, 20, 10_000).await;
    let done = AtomicUsize::new(0);
    let paying = bank.pay(&world, TRANSFERS, 32, &done);
    let killing = async {
        eventually("a third of the transfers", Duration::from_secs(300), || async {
            done.load(Ordering::Relaxed) > TRANSFERS / 3
        })
        .await;
        world.mesh.kill(Part::Ledger).await.unwrap();
        world.mesh.start_part(Part::Ledger).await.unwrap();
    };
    let (made, ()) = futures::join!(paying, killing);

    bank.check_once_each(&world, &made).await;
}

async fn an_account_that_was_opening_becomes_active_after_a_kill(world: Arc<World>) {
    let customer = world.customer().await;
    world.mesh.kill(Part::Ledger).await.unwrap();
    let path = format!("/v1/customers/{}/accounts", customer.id);
    let key = unique("open");
    let request = world
        .rest
        .request(http::Method::POST, &path)
        .header("authorization", format!("Bearer {}", customer.token))
        .header("content-type", "application/json")
        .header("idempotency-key", &key)
        .header("x-server-timeout", "2")
        .body(json!({ "currencyCode": "EUR" }).to_string().into())
        .unwrap();
    let opened = world.rest.send(request).await;
    if opened.status.is_success() {
        assert_eq!(opened.json()["state"], "ACCOUNT_STATE_OPENING", "without the ledger it cannot be more");
    } else {
        assert!(matches!(opened.status.as_u16(), 503 | 504), "{opened:?}");
    }
    world.mesh.kill(Part::Accounts).await.unwrap();
    world.mesh.start_part(Part::Accounts).await.unwrap();
    world.mesh.start_part(Part::Ledger).await.unwrap();
    let active = || async {
        let listed = world.rest.get(&customer.token, &path).await;
        listed.status.is_success() && listed.json()["accounts"][0]["state"] == "ACCOUNT_STATE_ACTIVE"
    };
    eventually("the account is active without anybody asking", Duration::from_secs(60), active).await;
    let again = world.rest.post(&customer.token, &path, &key, &json!({ "currencyCode": "EUR" })).await;
    assert_eq!(again.ok()["state"], "ACCOUNT_STATE_ACTIVE", "the same request, the same account");
    let listed = world.rest.get(&customer.token, &path).await.ok();
    assert_eq!(listed["accounts"].as_array().unwrap().len(), 1);
}

async fn accounts_answer_without_the_cache(world: Arc<World>) {
    let customer = world.customer().await;
    let id = world.account(&customer, "EUR", 0).await;
    let path = format!("/v1/accounts/{id}");
    let read = async || world.rest.get(&customer.token, &path).await.ok();
    let before = read().await;
    for part in [Part::Redis, Part::Cache] {
        world.mesh.kill(part).await.unwrap();
        for _ in 0..20 {
            assert_eq!(read().await, before, "without {part}");
        }
        world.mesh.start_part(part).await.unwrap();
    }
    assert_eq!(read().await, before);
}

async fn an_upstream_that_is_down_is_unavailable_and_nothing_else(world: Arc<World>) {
    let customer = world.customer().await;
    let account = world.account(&customer, "EUR", 0).await;
    world.mesh.kill(Part::Ledger).await.unwrap();
    let path = format!("/v1/accounts/{account}/balance");
    let down = world.rest.get(&customer.token, &path).await;
    let error = down.refused(503, "UNAVAILABLE", "UPSTREAM_UNAVAILABLE");
    assert!(down.headers.contains_key("retry-after"), "{error}");
    let mut client = proto::ledger::v1::ledger_service_client::LedgerServiceClient::new(
        world.public(Some(&customer.token)),
    );
    let request = proto::ledger::v1::GetBalanceRequest { account_id: account.clone(), ..Default::default() };
    let refused = client.get_balance(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), e2e::grpc::reason(&refused).as_str()),
        (tonic::Code::Unavailable, "UPSTREAM_UNAVAILABLE")
    );
    world.rest.get(&customer.token, &format!("/v1/accounts/{account}")).await.ok();
    world.mesh.start_part(Part::Ledger).await.unwrap();
    let back = || async { world.rest.get(&customer.token, &path).await.status.is_success() };
    eventually("the ledger is back", BACK_WITHIN, back).await;
}
