//! `Idempotency-Key` over REST: what reaches the service as the caller's key, and what is refused before.

use http::Method;

use crate::client::{Http, Reply, Rest};
use crate::world::World;

async fn create(rest: &Rest, keys: &[&str], body: &str) -> Reply {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(keys.iter().map(|key| ("idempotency-key", *key)));
    rest.send(Method::POST, "/v1/notes", &headers, body.to_owned()).await
}

/// The field of the first violation.
fn field(reply: &Reply) -> String {
    let json = reply.json();
    let details = json["error"]["details"].as_array().unwrap();
    let bad = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.BadRequest");
    bad.unwrap()["fieldViolations"][0]["field"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn e7_a_key_reaches_the_service_however_it_is_spelled() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        for key in ["key-1", "\"key-1\"", " \"key-1\" "] {
            let reply = create(&rest, &[key], "{}").await;
            assert_eq!(
                (reply.status.as_u16(), reply.json()["noteId"].as_str()),
                (201, Some("key-1")),
                "{key}"
            );
        }
        // The body may say the same, and may say it alone.
        for keys in [&["\"key-1\""][..], &[]] {
            let reply = create(&rest, keys, r#"{"requestId": "key-1"}"#).await;
            assert_eq!(reply.json()["noteId"], "key-1", "{reply:?}");
        }
        let reply = create(&rest, &["key-1"], r#"{"requestId": "key-2"}"#).await;
        assert_eq!((reply.status.as_u16(), reply.reason().as_str()), (400, "INVALID_REQUEST"));
        assert_eq!(field(&reply), "request_id", "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e7_a_key_that_cannot_be_kept_is_refused_before_the_service() {
    let world = World::new().await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    let (long, huge) = ("k".repeat(65), "k".repeat(10 * 1024));
    for keys in [
        &["k\u{e9}y"][..],
        &[""],
        &["\"\""],
        &["a b"],
        &["\"a"],
        &["a", "b"],
        &["a", "a"],
        &[&long],
        &[&huge],
    ] {
        let reply = create(&rest, keys, "{}").await;
        assert_eq!((reply.status.as_u16(), reply.reason().as_str()), (400, "INVALID_HEADER"), "{keys:?}");
        let info = reply.text();
        assert!(
            info.contains(r#""header":"idempotency-key""#) || info.contains(r#""header": "idempotency-key""#),
            "{info}"
        );
    }
    // A method that keeps no outcomes has no key to mind.
    let reply = rest.send(Method::GET, "/v1/notes/n-1", &[("idempotency-key", "\"")], "").await;
    assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
}
