//! Streams of JSON upwards: arrays and lines, one answer or a stream of them, over both versions of HTTP.

use bytes::Bytes;
use futures::SinkExt as _;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::client::{Http, Rest};
use crate::world::World;

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const LINES_BACK: (&str, &str) = ("accept", "application/x-ndjson");

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_json_go_up() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        many_up_and_one_down(&rest).await;
        many_both_ways(&rest).await;
        what_is_wrong_is_refused(&world, &rest).await;
        more_goes_up_than_any_buffer_holds(&rest).await;
    }
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    answers_come_while_questions_go(&rest).await;
    a_client_that_leaves_takes_its_call_along(&world, &rest).await;
}

async fn many_up_and_one_down(rest: &Rest) {
    let collect = async |body: &str| rest.post("/v1/notes:collect", body).await.json();
    assert_eq!(collect(r#"[{"size": 1}, {"size": 2}]"#).await, json!({"noteId": "2", "size": "3"}));
    assert_eq!(collect("{\"size\": 1}\n{\"size\": 2}\n").await, json!({"noteId": "2", "size": "3"}));
    assert_eq!(collect(r#"{"size": 7}"#).await, json!({"noteId": "1", "size": "7"}));
    assert_eq!(collect("").await, json!({"noteId": "0"}));
    assert_eq!(collect("[]").await, json!({"noteId": "0"}));
    let lines = rest.send(Method::POST, "/v1/notes:collect", &[LINES], "{}\n{}").await;
    assert_eq!(lines.json(), json!({"noteId": "2"}));
}

async fn many_both_ways(rest: &Rest) {
    let sent = r#"[{"noteId": "a"}, {"noteId": "b", "size": "2"}]"#;
    let reply = rest.post("/v1/notes:chat", sent).await;
    assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, "application/json"));
    assert_eq!(reply.json(), json!([{"noteId": "a"}, {"noteId": "b", "size": "2"}]));
    let reply = rest.send(Method::POST, "/v1/notes:chat", &[LINES_BACK], sent).await;
    assert_eq!(reply.text(), "{\"noteId\":\"a\"}\n{\"noteId\":\"b\",\"size\":\"2\"}\n");
    assert_eq!(rest.post("/v1/notes:chat", "").await.text(), "[]");

    // What the path says goes into the first message, also if the body has none.
    let first = rest.post("/v1/notes/n-9:chat", r#"[{"size": 1}, {"noteId": "other"}]"#).await;
    assert_eq!(first.json(), json!([{"noteId": "n-9", "size": "1"}, {"noteId": "other"}]));
    assert_eq!(rest.post("/v1/notes/n-9:chat", "[]").await.json(), json!([{"noteId": "n-9"}]));
}

async fn what_is_wrong_is_refused(world: &World, rest: &Rest) {
    let refused = rest.post("/v1/notes:collect", r#"[{"size": 1}, {"what": 2}]"#).await;
    assert_eq!((refused.status, refused.reason().as_str()), (StatusCode::BAD_REQUEST, "INVALID_REQUEST"));
    let text = refused.text();
    assert!(text.contains("[1].what"), "the message and the field are named: {text}");
    for broken in ["[{}", "[{},]", "{\"size\": }", "[{}] {}", "{} x"] {
        let refused = rest.post("/v1/notes:collect", broken).await;
        let told = (refused.status, refused.reason());
        assert_eq!(told, (StatusCode::BAD_REQUEST, "MALFORMED_JSON".into()), "{broken}");
    }
    let large = format!("[{{}},{{\"text\": \"{}\"}}]", "x".repeat(65_536));
    let refused = rest.post("/v1/notes:collect", &large).await;
    let told = (refused.status, refused.reason());
    assert_eq!(told, (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE".into()));
    let refused = rest.send(Method::POST, "/v1/notes:collect", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    world.until("what was refused is given up", || world.calls_behind() == 0).await;
}

async fn more_goes_up_than_any_buffer_holds(rest: &Rest) {
    let note = format!("{{\"text\": \"{}\"}}\n", "x".repeat(30_000));
    let pieces = futures::stream::iter(vec![Bytes::from(note); 200]);
    let response = rest.stream("/v1/notes:chat", &[LINES, LINES_BACK], pieces).await;
    let back = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(back.iter().filter(|byte| **byte == b'\n').count(), 200);
}

async fn answers_come_while_questions_go(rest: &Rest) {
    let (mut say, said) = futures::channel::mpsc::channel(1);
    say.send(Bytes::from_static(b"{\"noteId\":\"one\"}\n{\"note")).await.unwrap();
    let response = rest.stream("/v1/notes:chat", &[LINES, LINES_BACK], said).await;
    let mut body = response.into_body();
    let mut hear = async || -> Value {
        serde_json::from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap()
    };
    assert_eq!(hear().await, json!({"noteId": "one"}));
    say.send(Bytes::from_static(b"Id\":\"two\"}\n")).await.unwrap();
    assert_eq!(hear().await, json!({"noteId": "two"}));
    // A stream that breaks after it has begun says so in its own framing.
    say.send(Bytes::from_static(b"nonsense\n")).await.unwrap();
    assert_eq!(hear().await["error"]["status"], "INVALID_ARGUMENT");
}

async fn a_client_that_leaves_takes_its_call_along(world: &World, rest: &Rest) {
    let (mut say, said) = futures::channel::mpsc::channel(1);
    say.send(Bytes::from_static(b"[{}")).await.unwrap();
    let response = rest.stream("/v1/notes:chat", &[], said).await;
    world.until("the call is served", || world.calls_behind() == 1).await;
    drop((response, say));
    world.until("the call is given up", || world.calls_behind() == 0).await;
}
