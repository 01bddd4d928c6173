//! E8 and E9: requests that race for one balance, and amounts that are none.

use std::sync::Arc;

use e2e::World;
use e2e::wire::h2::{Connection, DATA, END_STREAM, Frame};
use e2e::world::{Customer, transfer, unique};
use serde_json::{Value, json};

crate::tests![
    e8_requests_that_arrive_in_one_packet_do_not_overdraw,
    e8_many_connections_at_once_do_not_overdraw,
    e9_an_amount_that_is_none_is_refused,
];

async fn funded(world: &World, amount: i64) -> (Customer, String, String) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&from, "EUR", amount).await;
    (customer, from, to)
}

/// What is left and what has arrived.
async fn balances(world: &World, who: &Customer, from: &str, to: &str) -> (i64, i64) {
    (world.balance(&who.token, from).await, world.balance(&who.token, to).await)
}

async fn e8_requests_that_arrive_in_one_packet_do_not_overdraw(world: Arc<World>) {
    let (customer, from, to) = funded(&world, 1_000).await;
    let body = transfer(&from, &to, "EUR", 100, false).to_string();
    let (token, length) = (format!("Bearer {}", customer.token), body.len().to_string());
    let streams: Vec<u32> = (0..40).map(|number| 2 * number + 1).collect();
    let keys: Vec<_> = streams.iter().map(|_| unique("packet")).collect();
    let mut connection = Connection::open(&world).await;
    // Everything but the last byte of each waits at the edge; the last bytes fit one packet, and no network parts them.
    let mut most = Vec::new();
    for (stream, key) in streams.iter().zip(&keys) {
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/v1/transfers"),
            ("content-type", "application/json"),
            ("authorization", &token),
            ("idempotency-key", key),
            ("content-length", &length),
        ];
        most.push(Frame::headers(*stream, 0, &fields));
        most.push(Frame::new(DATA, 0, *stream, &body.as_bytes()[..body.len() - 1]));
    }
    assert!(connection.send(&most).await);
    let last: Vec<_> = streams.iter().map(|stream| Frame::new(DATA, END_STREAM, *stream, *b"}")).collect();
    assert!(connection.send(&last).await);
    let ending = connection.answers(&streams).await;
    let bodies: Vec<Value> =
        streams.iter().map(|stream| serde_json::from_str(&ending.body(*stream)).unwrap()).collect();
    let done = bodies.iter().filter(|body| body["transferId"].is_string()).count();
    let refused = bodies.iter().filter(|body| body.to_string().contains("INSUFFICIENT_FUNDS")).count();
    assert_eq!((done, refused), (10, 30), "{bodies:?}");
    assert_eq!(balances(&world, &customer, &from, &to).await, (0, 1_000));
}

async fn e8_many_connections_at_once_do_not_overdraw(world: Arc<World>) {
    let (customer, from, to) = funded(&world, 1_000).await;
    let body = transfer(&from, &to, "EUR", 300, false);
    let pay = |number: usize| {
        let (world, customer, body) = (&world, &customer, &body);
        async move {
            // One connection each of HTTP/1.1, and one for all of HTTP/2.
            let rest = if number.is_multiple_of(2) { &world.rest } else { &world.rest2 };
            rest.post(&customer.token, "/v1/transfers", &unique("race"), body).await.status.is_success()
        }
    };
    let done = futures::future::join_all((0..30).map(pay)).await.into_iter().filter(|done| *done).count();
    assert_eq!(done, 3);
    assert_eq!(balances(&world, &customer, &from, &to).await, (100, 900));
}

async fn e9_an_amount_that_is_none_is_refused(world: Arc<World>) {
    let (customer, from, to) = funded(&world, 1_000).await;
    let amounts = [
        json!({ "currencyCode": "EUR", "minorUnits": "-1" }),
        json!({ "currencyCode": "EUR", "minorUnits": "0" }),
        json!({ "currencyCode": "EUR" }),
        json!({ "minorUnits": "1" }),
        json!({}),
        json!(null),
        json!("1 EUR"),
        json!([1]),
        json!(1),
        json!({ "currencyCode": "EUR", "minorUnits": "9223372036854775808" }),
        json!({ "currencyCode": "EUR", "minorUnits": "-9223372036854775809" }),
        json!({ "currencyCode": "EUR", "minorUnits": "18446744073709551617" }),
        json!({ "currencyCode": "EUR", "minorUnits": 1.5 }),
        json!({ "currencyCode": "EUR", "minorUnits": "1.5" }),
        json!({ "currencyCode": "EUR", "minorUnits": "1,5" }),
        json!({ "currencyCode": "EUR", "minorUnits": "0x10" }),
        json!({ "currencyCode": "EUR", "minorUnits": "1e400" }),
        json!({ "currencyCode": "EUR", "minorUnits": "NaN" }),
        json!({ "currencyCode": "EUR", "minorUnits": "Infinity" }),
        json!({ "currencyCode": "EUR", "minorUnits": "" }),
        json!({ "currencyCode": "EUR", "minorUnits": " 1" }),
        json!({ "currencyCode": "EUR", "minorUnits": "١" }),
        json!({ "currencyCode": "EUR", "minorUnits": true }),
        json!({ "currencyCode": "EUR", "minorUnits": ["1"] }),
        json!({ "currencyCode": "eur", "minorUnits": "1" }),
        json!({ "currencyCode": "EURO", "minorUnits": "1" }),
        json!({ "currencyCode": "XYZ", "minorUnits": "1" }),
        json!({ "currencyCode": "USD", "minorUnits": "1" }),
        json!({ "currencyCode": "EUR\u{0}", "minorUnits": "1" }),
        json!({ "currencyCode": "EUR", "minorUnits": "1", "nanos": 5 }),
    ];
    let mut wrong = Vec::new();
    for amount in amounts {
        let mut body = transfer(&from, &to, "EUR", 1, false);
        body["amount"] = amount.clone();
        let answer = world.rest.post(&customer.token, "/v1/transfers", &unique("amount"), &body).await;
        if answer.status != 400 {
            wrong.push((amount, answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    // More than there is, up to the largest number there is, overflows nothing.
    for amount in [1_001, i64::MAX - 1, i64::MAX] {
        let body = transfer(&from, &to, "EUR", amount, false);
        let answer = world.rest.post(&customer.token, "/v1/transfers", &unique("amount"), &body).await;
        answer.refused(400, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS");
    }
    let same = transfer(&from, &from, "EUR", 1, false);
    assert_eq!(world.rest.post(&customer.token, "/v1/transfers", &unique("amount"), &same).await.status, 400);
    assert_eq!(balances(&world, &customer, &from, &to).await, (1_000, 0), "nothing moved");
}
