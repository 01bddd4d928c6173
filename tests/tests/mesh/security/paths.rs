//! D4, D5 and D7: paths that mean one thing to the router and another to a service, requests that say two things about one value,
//! and what an error tells a stranger.

use std::sync::Arc;

use e2e::World;
use e2e::wire::exchange;
use e2e::world::{transfer, unique};
use http::Method;
use http_body_util::Full;
use serde_json::json;

crate::tests![
    d4_a_segment_stays_a_segment,
    d5_a_verb_and_a_path_cannot_be_overridden,
    d7_an_error_tells_nothing_of_the_inside,
];

async fn d4_a_segment_stays_a_segment(world: Arc<World>) {
    let (owner, thief) = (world.customer().await, world.customer().await);
    let account = world.account(&owner, "EUR", 0).await;
    let own = world.account(&thief, "EUR", 0).await;
    let up = format!("/v1/accounts/{own}/../{account}/balance");
    let paths = [
        up.clone(),
        up.replace("..", "%2e%2e"),
        up.replace("..", "%2E."),
        up.replace("..", "..;"),
        up.replace("..", "%252e%252e"),
        format!("/v1/accounts/{own}/..%2f{account}/balance"),
        format!("/v1/accounts/{own}%2f..%2f{account}/balance"),
        format!("/v1/accounts/{own};account_id={account}/balance"),
        format!("/v1/accounts/{own}%00{account}/balance"),
        format!("/v1/accounts/{own}%0a{account}/balance"),
        format!("/v1/accounts//{account}/balance"),
        format!("//v1/accounts/{account}/balance"),
        format!("/v1/./accounts/{account}/balance"),
        format!("/V1/accounts/{account}/balance"),
        format!("/v1/accounts/{account}/balance/"),
        format!("/v1/accounts/{account}%2Fbalance"),
        format!("/v1/accounts/{account}%252Fbalance"),
        format!("/v1/accounts/{account}\\balance"),
        format!("/v1/accounts/{account}%5cbalance"),
        format!("/v1/accounts/%c0%ae%c0%ae/{account}/balance"),
        "/v1/accounts/%ff/balance".to_owned(),
        format!("/v1/accounts/{account}/balance%00"),
        format!("/v1/accounts/{account}/balance%20"),
        format!("/v1/accounts/{account}/balance;x=y"),
        format!("/v1/accounts/{account}/balance.json"),
        "/v1/accounts/%/balance".to_owned(),
        "/v1/accounts/%zz/balance".to_owned(),
        "/v1/accounts/%2/balance".to_owned(),
        "/v1/accounts/..%2f..%2f..%2fetc%2fpasswd/balance".to_owned(),
        format!("/v1/transfers/{account}:post:void"),
        "/..%2f..%2fready".to_owned(),
        "/metrics".to_owned(),
        "/live".to_owned(),
        "/config".to_owned(),
        "/routes".to_owned(),
    ];
    let mut wrong = Vec::new();
    for path in paths {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            thief.token
        );
        let said = exchange(&world, head).await;
        let right =
            matches!(said.statuses()[..], [400 | 403 | 404 | 405]) && !said.text().contains("available");
        if !right {
            wrong.push((path, said.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Decoded once, behind the router: what is twice escaped stays once escaped, and a slash inside is a character.
    for (path, text) in [
        ("/v1/echo/a%252fb", "a%2fb"),
        ("/v1/echo/a%2fb", "a/b"),
        ("/v1/echo/%2e%2e", ".."),
        ("/v1/echo/a;b=c", "a;b=c"),
        ("/v1/echo/a+b", "a+b"),
        ("/v1/echo/%25", "%"),
    ] {
        let request = world.rest.request(Method::GET, path).body(Full::default()).unwrap();
        assert_eq!(world.rest.send(request).await.ok()["text"], text, "{path}");
    }
}

async fn d5_a_verb_and_a_path_cannot_be_overridden(world: Arc<World>) {
    let customer = world.customer().await;
    let (account, other) =
        (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    let path = format!("/v1/accounts/{account}/balance");
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let get = world.rest.request(Method::GET, &path).header(name, "DELETE");
        let get = get.header("authorization", format!("Bearer {}", customer.token));
        world.rest.send(get.body(Full::default()).unwrap()).await.ok();
        let post = world.rest.request(Method::POST, &path).header(name, "GET");
        let post = post.header("authorization", format!("Bearer {}", customer.token));
        let answer = world.rest.send(post.body(Full::default()).unwrap()).await;
        answer.refused(405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED");
    }
    for name in ["x-original-url", "x-rewrite-url", "x-forwarded-prefix", "x-envoy-original-path"] {
        let stolen = world.rest.request(Method::GET, "/v1/echo/here").header(name, "/v1/customers");
        let answer = world.rest.send(stolen.body(Full::default()).unwrap()).await;
        assert_eq!(answer.ok()["text"], "here", "{name}");
    }
    // What the path has bound, neither a query nor a body binds again.
    for query in
        [format!("account_id={other}"), format!("accountId={other}"), format!("account%5fid={other}")]
    {
        let answer = world.rest.get(&customer.token, &format!("{path}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    let statement = json!({
        "accountId": other, "startTime": "2026-01-01T00:00:00Z", "endTime": "2026-02-01T00:00:00Z",
        "format": "STATEMENT_FORMAT_JSON",
    });
    let answer = world
        .rest
        .post(&customer.token, &format!("/v1/accounts/{account}/statements"), &unique("s"), &statement)
        .await;
    assert!(answer.status == 400 || answer.json()["accountId"] == account, "{answer:?}");
    let body = transfer(&account, &other, "EUR", 1, false);
    let answer = world.rest.post(&customer.token, "/v1/transfers?pending=true", &unique("q"), &body).await;
    assert_eq!(answer.status, 400, "a body of its own leaves nothing to the query: {answer:?}");
}

async fn d7_an_error_tells_nothing_of_the_inside(world: Arc<World>) {
    let customer = world.customer().await;
    let staff = world.staff();
    let account = world.account(&customer, "EUR", 0).await;
    let mut said = Vec::new();
    for token in [&customer.token, &staff] {
        for path in [
            "/v1/nothing",
            "/v1/accounts/'/balance",
            "/v1/accounts/%7B%22%24gt%22%3A%22%22%7D",
            "/v1/transfers/x",
            "/v1/documents/x",
            "/v1/customers/x",
            "/v1/documents?page_token=%27",
            "/v1/transfers?page_token=AAAA",
            "/v1/customers?page_token=%00",
            "/v1/customers?page_size=-1",
            "/v1/transfers?account_id=%27%3B--",
        ] {
            said.push((path.to_owned(), world.rest.get(token, path).await));
        }
        let path =
            format!("/v1/accounts/{account}/balance?as_of=9999-12-31T23:59:59Z&min_seq=9223372036854775807");
        said.push((path.clone(), world.rest.get(token, &path).await));
        for (path, body) in [
            (
                "/v1/transfers",
                json!({ "debitAccountId": "'; drop table", "amount": { "currencyCode": "%s%n" } }),
            ),
            ("/v1/documents", json!({ "title": { "$where": "sleep(1)" } })),
            ("/v1/customers", json!({ "displayName": "x", "email": "not an address" })),
            ("/v1/echo:fail", json!({ "code": 13 })),
        ] {
            said.push((path.to_owned(), world.rest.post(token, path, &unique("leak"), &body).await));
        }
    }
    let pki = world.mesh.folder().display().to_string();
    let mut wrong = Vec::new();
    for (path, answer) in said {
        let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body)).to_lowercase();
        if answer.status.is_success() && path != "/v1/transfers?account_id=%27%3B--" {
            continue;
        }
        for word in [
            "sql",
            "postgres",
            "sqlx",
            "relation ",
            "dynamo",
            "arn:",
            "mongo",
            "bson",
            "redis",
            "panicked",
            ".rs:",
            "stack",
            "backtrace",
            "127.0.0.1",
            "svc-ledger",
            "svc-accounts",
            "svc-docs",
            "svc-cache",
            "causeway.internal",
            "tonic",
            "hyper",
            "pingora",
            "rustls",
            "h2 protocol",
            "connection refused",
            "os error",
            &pki,
        ] {
            if text.contains(word) {
                wrong.push(format!("{path} says {word}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
