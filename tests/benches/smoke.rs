//! `make bench-smoke`: what a request costs the edge, so that a slow build is seen at once. The mesh, the foreign service and the
//! load share the machine, so requests/s say little; the CPU time of the edge process for each request is the figure to watch.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints its result"
)]

use std::sync::Arc;
use std::time::Duration;

use dev::Part;
use e2e::World;
use e2e::foreign::v1::EchoRequest;
use e2e::foreign::v1::echo_service_client::EchoServiceClient;
use e2e::foreign::{self, Foreign};
use e2e::load::{self, Request};
use e2e::rest::Rest;
use http::Method;
use proto::ledger::v1::GetBalanceRequest;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;

/// How long each row runs, after a warm-up of a fifth of it.
const RUN: Duration = Duration::from_secs(5);
/// Requests at once: enough to keep one core of the edge busy.
const IN_FLIGHT: usize = 32;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let toml = foreign::edge_toml(folder.path(), Foreign::default().start().await);
    let world = World::start(|setup| setup.configure(Part::Edge, &toml)).await.unwrap();
    let pid = world.mesh.pid(Part::Edge).unwrap();
    let customer = world.customer().await;
    let account = world.account(&customer, "EUR", 0).await;
    let balance = format!("/v1/accounts/{account}/balance");

    println!("{:<28} {:>12} {:>14} {:>9} {:>9}", "row", "requests/s", "edge CPU us/req", "p50 ms", "p99 ms");
    let echo = "/v1/echo/hello";
    let rows: Vec<(&str, Request)> = vec![
        ("REST GET, h1", get(&world.rest, &customer.token, echo)),
        ("REST POST, h1", post(&world.rest, &customer.token)),
        ("REST GET, h2", get(&world.rest2, &customer.token, echo)),
        ("gRPC unary", grpc(&world, &customer.token)),
        ("REST GET balance, h1", get(&world.rest, &customer.token, &balance)),
        ("gRPC GetBalance", grpc_balance(&world, &customer.token, &account)),
    ];
    for (name, request) in rows {
        let measured = load::measure(&request, IN_FLIGHT, RUN, pid).await;
        println!(
            "{name:<28} {:>12.0} {:>14.1} {:>9.2} {:>9.2}",
            measured.per_second(),
            measured.cpu_us(),
            measured.latency_ms(0.5),
            measured.latency_ms(0.99),
        );
    }
}

fn get(rest: &Rest, token: &str, path: &str) -> Request {
    let (rest, token, path) = (rest.clone(), token.to_owned(), path.to_owned());
    Arc::new(move || {
        let (rest, token, path) = (rest.clone(), token.clone(), path.clone());
        Box::pin(async move { assert_eq!(rest.get(&token, &path).await.status, 200) })
    })
}

fn post(rest: &Rest, token: &str) -> Request {
    let (rest, token) = (rest.clone(), token.to_owned());
    let body = serde_json::json!({ "text": "a transfer's worth of text, more or less", "delayMs": 0, "payload": "AQIDBAUGBwg=" });
    let body = bytes::Bytes::from(body.to_string());
    Arc::new(move || {
        let (rest, token, body) = (rest.clone(), token.clone(), body.clone());
        Box::pin(async move {
            let request = rest
                .request(Method::POST, "/v1/echo")
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/json");
            assert_eq!(rest.send(request.body(body.into()).unwrap()).await.status, 200);
        })
    })
}

fn grpc(world: &World, token: &str) -> Request {
    let client = EchoServiceClient::new(world.public(Some(token)));
    Arc::new(move || {
        let mut client = client.clone();
        Box::pin(async move {
            client.echo(EchoRequest { text: "hello".into(), ..Default::default() }).await.unwrap();
        })
    })
}

fn grpc_balance(world: &World, token: &str, account: &str) -> Request {
    let client = LedgerServiceClient::new(world.public(Some(token)));
    let account = account.to_owned();
    Arc::new(move || {
        let (mut client, account_id) = (client.clone(), account.clone());
        Box::pin(async move {
            client.get_balance(GetBalanceRequest { account_id, ..Default::default() }).await.unwrap();
        })
    })
}
