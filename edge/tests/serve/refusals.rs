//! What the edge refuses, and how each refusal reads: status, reason, headers. The process lives on after every one of them.

use http::{Method, StatusCode};
use serde_json::json;

use crate::client::{Http, Reply, Rest};
use crate::world::World;

fn check(reply: &Reply, status: u16, code: &str, reason: &str) {
    assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json", "{reply:?}");
    let json = reply.json();
    assert_eq!((&json["error"]["code"], &json["error"]["status"]), (&json!(status), &json!(code)), "{json}");
    assert_eq!(reply.reason(), reason, "{json}");
    assert!(!json["error"]["message"].as_str().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_status_and_reason() {
    let world = World::with(|config| {
        let room = "in_flight_max = 3\nin_flight_each_max = 2\n[listener.partner]";
        config.replacen("[listener.partner]", room, 1)
    })
    .await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        paths_and_verbs(&rest).await;
        bodies(&rest).await;
        budgets(&rest).await;
        credentials(&world, http).await;
        assert_eq!(rest.get("/v1/notes/n-1").await.status, StatusCode::OK, "the edge lives on");
    }
    room(&world).await;
    lost_upstream().await;
}

async fn paths_and_verbs(rest: &Rest) {
    check(&rest.get("/v2/nothing").await, 404, "NOT_FOUND", "UNKNOWN_PATH");
    check(&rest.get("/v1/notes/%zz").await, 400, "INVALID_ARGUMENT", "MALFORMED_PATH");
    let long = format!("/v1/notes/{}", "x".repeat(5_000));
    check(&rest.get(&long).await, 414, "INVALID_ARGUMENT", "PATH_TOO_LONG");
    let wrong = rest.send(Method::DELETE, "/v1/notes/n-1", &[], "").await;
    check(&wrong, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED");
    assert!(wrong.header("allow").contains("GET"), "{wrong:?}");
    let big = "x".repeat(20_000);
    let reply = rest.send(Method::GET, "/v1/notes/n-1", &[("x-big", &big)], "").await;
    check(&reply, 431, "RESOURCE_EXHAUSTED", "HEADERS_TOO_LARGE");
    let repeated = [("x-server-timeout", "1"), ("x-server-timeout", "2")];
    let reply = rest.send(Method::GET, "/v1/notes/n-1", &repeated, "").await;
    check(&reply, 400, "INVALID_ARGUMENT", "INVALID_HEADER");
}

async fn bodies(rest: &Rest) {
    check(&rest.post("/v1/notes", "{\"text\": ").await, 400, "INVALID_ARGUMENT", "MALFORMED_JSON");
    let wrong = rest.post("/v1/notes", "{\"txt\": \"a\", \"size\": true}").await;
    check(&wrong, 400, "INVALID_ARGUMENT", "INVALID_REQUEST");
    let xml = rest.send(Method::POST, "/v1/notes", &[("content-type", "application/xml")], "<a/>").await;
    check(&xml, 415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE");
    let large = format!("{{\"text\": \"{}\"}}", "x".repeat(80_000));
    check(&rest.post("/v1/notes", &large).await, 413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE");
    let upload = rest.send(Method::PUT, "/v1/files/f", &[("content-type", "a/b")], vec![0; 1_100_000]).await;
    check(&upload, 413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE");
    check(&rest.get("/v1/notes/n-1?what=1").await, 400, "INVALID_ARGUMENT", "INVALID_REQUEST");
    let missing = rest.get("/v1/notes/missing").await;
    check(&missing, 404, "NOT_FOUND", "NO_SUCH_NOTE");
}

async fn budgets(rest: &Rest) {
    let late = rest.send(Method::GET, "/v1/notes/slow", &[("x-server-timeout", "0.2")], "").await;
    assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT, "{late:?}");
    assert_eq!(late.json()["error"]["status"], "DEADLINE_EXCEEDED");
}

async fn credentials(world: &World, http: Http) {
    let get = async |token: Option<String>| Rest::new(world, http, token).get("/v1/notes/n-1").await;
    let missing = get(None).await;
    check(&missing, 401, "UNAUTHENTICATED", "TOKEN_MISSING");
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    let bad = get(Some("a.b.c".into())).await;
    check(&bad, 401, "UNAUTHENTICATED", "TOKEN_INVALID");
    assert_eq!(bad.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    check(&get(Some(world.token_for("notes.read", -300))).await, 401, "UNAUTHENTICATED", "TOKEN_EXPIRED");
    let poor = get(Some(world.token_for("notes.write", 600))).await;
    check(&poor, 403, "PERMISSION_DENIED", "SCOPE_MISSING");
    assert!(poor.header("www-authenticate").contains("scope=\"notes.read\""), "{poor:?}");
}

/// The listener has three seats, and nobody may have more than two of them. Whoever finds none is refused, and served once a
/// seat is free.
async fn room(world: &World) {
    let rest = Rest::new(world, Http::Two, Some(world.token()));
    let other = Rest::new(world, Http::Two, Some(world.token_of("bob", "notes.read", 600)));
    let mut held = Vec::new();
    let own = (429, "RESOURCE_EXHAUSTED", "TOO_MANY_IN_FLIGHT");
    let whole = (503, "UNAVAILABLE", "OVERLOADED");
    for (seats, who, (status, code, reason)) in [(2, &rest, own), (1, &other, whole)] {
        for _ in 0..seats {
            held.push(who.open(Method::GET, "/v1/notes:watch?count=1&hang=true", &[], "").await);
        }
        let refused = who.get("/v1/notes/n-1").await;
        check(&refused, status, code, reason);
        assert_eq!(refused.header("retry-after"), "1");
    }
    drop(held);
    for _ in 0..500 {
        if rest.get("/v1/notes/n-1").await.status == StatusCode::OK {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no seat became free");
}

async fn lost_upstream() {
    let world = World::with(|config| {
        config.replace(
            "upstream = \"svc-echo\"\n        policy_source",
            "upstream = \"nowhere\"\n        policy_source",
        )
    })
    .await;
    let rest = Rest::new(&world, Http::One, Some(world.token()));
    let lost = rest.get("/v1/notes/n-1").await;
    check(&lost, 503, "UNAVAILABLE", "UPSTREAM_UNAVAILABLE");
    assert_eq!(lost.header("retry-after"), "1");
    assert!(!lost.text().contains("127.0.0.1"), "the address of an upstream is nobody's business");
}
