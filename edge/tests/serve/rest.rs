//! REST over HTTP/1 and HTTP/2: one answer, streams in every framing, bytes up and down.

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::client::{Http, Rest};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn rest_works_over_both_versions_of_http() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        one_answer(&rest).await;
        streams(&rest).await;
        bytes_up_and_down(&rest).await;
    }
    a_foreign_service_is_served_by_configuration_alone(&Rest::new(&world, Http::One, None)).await;
    the_log_says_what_happened_and_nothing_private(&world).await;
}

async fn one_answer(rest: &Rest) {
    let reply = rest.get("/v1/notes/n-7").await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "private, no-cache", "it has a version to ask for");
    assert_eq!(rest.get("/v1/whoami").await.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.json(), json!({"noteId": "n-7", "text": "a note", "size": "9223372036854775807"}));

    let reply = rest.post("/v1/notes", r#"{"text": "grüezi", "size": 12}"#).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.header("location"), "/v1/notes/n-1");
    assert_eq!(reply.json(), json!({"noteId": "n-1", "text": "grüezi", "size": "12"}));

    let reply = rest.send(Method::HEAD, "/v1/notes/n-7", &[], "").await;
    assert_eq!(reply.header("content-length"), rest.get("/v1/notes/n-7").await.header("content-length"));
    assert_eq!((reply.status, reply.body.unwrap().len()), (StatusCode::OK, 0));

    let gone = rest.send(Method::DELETE, "/v1/drafts/n-7", &[], "").await;
    assert_eq!((gone.status, gone.header("cache-control")), (StatusCode::NO_CONTENT, "no-store"));
    for header in ["content-type", "content-length", "transfer-encoding"] {
        assert!(!gone.headers.contains_key(header), "{gone:?}");
    }
    assert_eq!(gone.body.unwrap().len(), 0);

    let who = rest.get("/v1/whoami").await.json();
    assert_eq!(who["kind"], "subject", "{who}");
    assert_eq!(who["customerId"], "customer-1", "{who}");
    let budget: i64 = who["budgetMs"].as_str().unwrap().parse().unwrap();
    assert!((3_000..=5_000).contains(&budget), "{who}");
}

async fn streams(rest: &Rest) {
    let watch = "/v1/notes:watch?count=3";
    let reply = rest.get(watch).await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(
        reply.json(),
        json!([{"noteId": "n-0"}, {"noteId": "n-1", "size": "1"}, {"noteId": "n-2", "size": "2"}])
    );
    assert_eq!(rest.get("/v1/notes:watch").await.text(), "[]");

    let lines = rest.send(Method::GET, watch, &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert_eq!(lines.text().lines().count(), 3);

    let events = rest.send(Method::GET, watch, &[("accept", "text/event-stream")], "").await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    assert!(events.text().starts_with("id: 0\ndata: {\"noteId\":"), "{}", events.text());
    assert_eq!(events.text().matches("\n\n").count(), 3);

    let head = rest.send(Method::HEAD, watch, &[], "").await;
    assert_eq!((head.status, head.body.unwrap().len()), (StatusCode::OK, 0));

    // A failure after the first message: told where there is room for it, cut where there is none.
    let failing = "/v1/notes:watch?count=1&fail=true";
    let lines = rest.send(Method::GET, failing, &[("accept", "application/x-ndjson")], "").await.text();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["status"], "ABORTED", "{lines}");
    assert!(rest.get(failing).await.body.is_err(), "an array that broke off must not look whole");

    // A failure before the first message reads like a unary one.
    let reply = rest.get("/v1/notes:watch?fail=true").await;
    assert_eq!((reply.status, reply.reason().as_str()), (StatusCode::CONFLICT, "STREAM_BROKEN"));

    // A stream without an end begins at once, and ends when its reader leaves.
    let mut body = rest.open(Method::GET, "/v1/notes:watch?count=1&hang=true", &[], "").await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"[{"), "{first:?}");
}

async fn bytes_up_and_down(rest: &Rest) {
    let content = Bytes::from(vec![b'y'; 300_000]);
    let headers = [("content-type", "image/png")];
    let file = rest.send(Method::PUT, "/v1/files/f-1", &headers, content).await;
    assert_eq!(file.status, StatusCode::OK, "{file:?}");
    let file = file.json();
    assert_eq!(
        (&file["fileId"], &file["contentType"], &file["bytes"]),
        (&json!("f-1"), &json!("image/png"), &json!("300000"))
    );
    let largest: i64 = file["largest"].as_str().unwrap().parse().unwrap();
    assert!(largest <= 64 * 1024, "{file}");

    let empty = rest.send(Method::PUT, "/v1/files/f-2", &headers, "").await.json();
    assert_eq!(empty["fileId"], "f-2", "{empty}");

    let refused = rest.send(Method::PUT, "/v1/files/missing", &headers, vec![0; 200_000]).await;
    assert_eq!((refused.status, refused.reason().as_str()), (StatusCode::NOT_FOUND, "NO_SUCH_NOTE"));

    let reply = rest.get("/v1/files/f-1?bytes=1000000").await;
    assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, "text/plain"));
    // What a customer has uploaded is never run by whoever opens it: neither as what it was not declared to be, nor as a page.
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(
        reply.header("content-security-policy"),
        "default-src 'none'; sandbox; frame-ancestors 'none'"
    );
    assert_eq!(reply.header("content-disposition"), "attachment");
    assert_eq!(reply.body.unwrap().len(), 1_000_000);
    assert_eq!(rest.get("/v1/files/missing").await.status, StatusCode::NOT_FOUND);
    let cut = rest.get("/v1/files/f-1?bytes=1000&fail=true").await;
    assert!(cut.body.is_err(), "a download that broke off must not look whole");
}

async fn a_foreign_service_is_served_by_configuration_alone(rest: &Rest) {
    let reply = rest.get("/v1/hello/world").await;
    assert_eq!(reply.json(), json!({"greeting": "hello world"}), "{reply:?}");
}

async fn the_log_says_what_happened_and_nothing_private(world: &World) {
    world.until("the log is written", || world.access_log().len() >= 43).await;
    let lines = world.access_log();
    let get = lines.iter().find(|line| line["route"] == "/v1/notes/{note_id}").unwrap();
    assert_eq!(get["rpc"], "echo.v1.EchoService/GetNote", "{get}");
    assert_eq!(
        (&get["code"], &get["status"], &get["principal"]),
        (&json!("OK"), &json!(200), &json!("subject"))
    );
    assert_eq!(
        (&get["listener"], &get["protocol"], &get["verb"]),
        (&json!("public"), &json!("rest"), &json!("GET"))
    );
    assert_eq!(get["trace_id"].as_str().unwrap().len(), 32, "{get}");
    assert_eq!(get["transaction_id"].as_str().unwrap().len(), 36, "{get}");
    assert!(get["upstream_ms"].as_f64().unwrap() <= get["duration_ms"].as_f64().unwrap(), "{get}");
    let cut = lines.iter().find(|line| line["cut_by"] == "downstream");
    assert!(cut.is_some(), "the reader that left is in the log");
    let cut = lines.iter().filter(|line| line["cut_by"] == "upstream").count();
    assert_eq!(cut, 4, "an array and a download were cut for each version of HTTP");
    let text = serde_json::to_string(&lines).unwrap();
    for private in ["n-7", "count=3", "alice", "customer-1", "Bearer", "eyJ"] {
        assert!(!text.contains(private), "the log holds {private}");
    }
    assert!(lines.iter().all(|line| line["target"] == "access"));
}
