//! What becomes of a payment that fails on its way: the edge says it, the truth agrees, and the same key tells what nobody knew.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dev::Part;
use e2e::World;
use e2e::contract::rpcs;
use e2e::door::Door;
use e2e::grpc::channel;
use e2e::rest::detail;
use e2e::world::{Customer, eventually, transfer, unique};
use http::Method;
use prost_reflect::{DynamicMessage, Kind, Value as Reflected};
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use proto::ledger::v1::{PostTransferRequest, VoidTransferRequest};
use serde_json::Value;
use tonic_types::StatusExt as _;

crate::tests![
    every_method_that_moves_money_says_it_in_both_languages,
    every_refusal_of_a_payment_says_that_nothing_was_done,
    a_payment_to_a_ledger_that_is_gone_is_not_done,
    a_payment_that_nobody_answered_is_unknown_and_its_key_tells,
];

const BACK_WITHIN: Duration = Duration::from_secs(30);

async fn funded(world: &World) -> (Customer, String, String) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&from, "EUR", 1_000).await;
    (customer, from, to)
}

async fn pay(world: &World, token: &str, headers: &[(&str, &str)], key: &str, body: &str) -> e2e::Answer {
    let mut request = world
        .rest
        .request(Method::POST, "/v1/transfers")
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.rest.send(request.body(body.to_owned().into()).unwrap()).await
}

/// The `outcome` of an error in JSON.
fn outcome(answer: &e2e::Answer) -> Value {
    assert!(!answer.status.is_success(), "{answer:?}");
    let json = answer.json();
    if json["metadata"].is_object() {
        return json["metadata"]["outcome"].clone();
    }
    detail(&json["error"], "ErrorInfo").unwrap()["metadata"]["outcome"].clone()
}

/// Whoever refuses, the edge or the service: the methods are found in the contract, so that a new one is covered when it is there.
async fn every_method_that_moves_money_says_it_in_both_languages(world: Arc<World>) {
    let authority = &world.mesh.pki().server_authority.certificate;
    let public = Door::new(&channel(world.mesh.ports().public, "localhost", authority, None));
    let poor = public.clone().token(&world.token(&dev::TokenRequest::new("poor").scopes(&["accounts.read"])));
    let staff = public.clone().token(&world.staff());
    let methods: Vec<_> = rpcs().into_iter().filter(|rpc| rpc.moves_money).collect();
    assert!(methods.len() >= 3, "the walk finds them: {}", methods.len());
    for rpc in &methods {
        let mut message = DynamicMessage::new(rpc.method.input());
        for field in
            rpc.method.input().fields().filter(|field| field.kind() == Kind::String && !field.is_list())
        {
            message.set_field(&field, Reflected::String("x".to_owned()));
        }
        // What the service refuses is for it to say; that it is said is what counts here.
        for (door, expect) in [(&public, Some("not_done")), (&poor, Some("refused")), (&staff, None)] {
            let status = door.grpc(rpc, &message).await.unwrap_err();
            let told = status.get_details_error_info().unwrap().metadata.remove("outcome");
            let mut all = vec![told.unwrap_or_default()];
            for rule in &rpc.rules {
                let answer = door.rest(rule, &message).await;
                all.push(outcome(&answer).as_str().unwrap_or_default().to_owned());
            }
            for told in all {
                assert!(["refused", "not_done", "unknown"].contains(&&*told), "{}: {told:?}", rpc.name());
                assert!(expect.is_none_or(|expect| expect == told), "{}: {told}", rpc.name());
            }
        }
    }
}

async fn every_refusal_of_a_payment_says_that_nothing_was_done(world: Arc<World>) {
    let (customer, from, to) = funded(&world).await;
    let good = transfer(&from, &to, "EUR", 5, false).to_string();
    let poor = world.token(&dev::TokenRequest::new("poor").scopes(&["accounts.read"]).customer(&customer.id));
    let problem = ("accept", "application/problem+json, application/json;q=0.5");
    for accept in [("accept", "application/json"), problem] {
        for (token, body, expect) in [
            ("", good.as_str(), "not_done"),
            ("no token", &good, "not_done"),
            (&poor, &good, "refused"),
            (&customer.token, "{", "refused"),
            (&customer.token, "{\"amonut\": 1}", "refused"),
        ] {
            let answer = pay(&world, token, &[accept], &unique("key"), body).await;
            assert_eq!(outcome(&answer), expect, "{answer:?}");
        }
    }
    let mut client = LedgerServiceClient::new(world.public(None));
    let told = |status: tonic::Status| status.get_details_error_info().unwrap().metadata["outcome"].clone();
    let post = PostTransferRequest { transfer_id: "x".into(), ..Default::default() };
    assert_eq!(told(client.post_transfer(post).await.unwrap_err()), "not_done");
    let void = VoidTransferRequest { transfer_id: "x".into(), ..Default::default() };
    let mut client = LedgerServiceClient::new(world.public(Some(&poor)));
    assert_eq!(told(client.void_transfer(void).await.unwrap_err()), "refused");
    assert_eq!(world.balance(&customer.token, &from).await, 1_000, "and nothing was");
}

async fn a_payment_to_a_ledger_that_is_gone_is_not_done(world: Arc<World>) {
    let (customer, from, to) = funded(&world).await;
    world.mesh.kill(Part::Ledger).await.unwrap();
    let key = unique("gone");
    let body = transfer(&from, &to, "EUR", 5, false).to_string();
    let answer = pay(&world, &customer.token, &[], &key, &body).await;
    answer.refused(503, "UNAVAILABLE", "UPSTREAM_UNAVAILABLE");
    assert_eq!(outcome(&answer), "not_done", "{answer:?}");
    world.mesh.start_part(Part::Ledger).await.unwrap();
    let made = || async { pay(&world, &customer.token, &[], &key, &body).await.status.is_success() };
    eventually("it is made by the same key", BACK_WITHIN, made).await;
    assert_eq!(world.balance(&customer.token, &from).await, 995);
}

/// The ledger stands still, as under a debugger or a stopped virtual machine: what was sent to it is done when it goes on.
async fn a_payment_that_nobody_answered_is_unknown_and_its_key_tells(world: Arc<World>) {
    let (customer, from, to) = funded(&world).await;
    let pid = world.mesh.pid(Part::Ledger).unwrap().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    let key = unique("silence");
    let body = transfer(&from, &to, "EUR", 5, false).to_string();
    signal("-STOP");
    let answer = pay(&world, &customer.token, &[("x-server-timeout", "0.5")], &key, &body).await;
    signal("-CONT");
    answer.refused(504, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED");
    assert_eq!(outcome(&answer), "unknown", "{answer:?}");
    let made = || async { pay(&world, &customer.token, &[], &key, &body).await.status.is_success() };
    eventually("its key tells", BACK_WITHIN, made).await;
    assert_eq!(world.balance(&customer.token, &from).await, 995, "once");
}
