//! A service the edge has never seen, by configuration alone: relayed and transcoded, streamed every way, cancelled, and failing.
//! It also stands where the relay's hardest cases are shown: full-duplex bulk, and one stalled stream among many calls.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use e2e::World;
use e2e::foreign::Foreign;
use e2e::foreign::v1::echo_service_client::EchoServiceClient;
use e2e::foreign::v1::{CountRequest, EchoRequest, FailRequest};
use e2e::grpc::Calling;
use e2e::world::eventually;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// The service itself; it serves every test of this process.
pub static SERVICE: LazyLock<Foreign> = LazyLock::new(Foreign::default);

crate::tests![
    every_kind_of_call_is_relayed,
    bulk_in_both_directions_at_once_finishes,
    a_stopped_download_leaves_others_alone,
    a_client_that_leaves_is_noticed,
    a_status_comes_through_whole,
    a_deadline_is_enforced,
    rest_reaches_it_by_the_configured_rules,
    a_server_stream_is_an_array_lines_or_events,
    only_what_the_edge_stamps_reaches_it,
];

const WITHIN: Duration = Duration::from_secs(60);

fn client(world: &World) -> EchoServiceClient<Calling> {
    EchoServiceClient::new(world.public(None)).max_decoding_message_size(8 << 20)
}

fn message(bytes: usize) -> EchoRequest {
    EchoRequest { text: "bulk".into(), payload: Bytes::from(vec![1; bytes]), delay_ms: 0 }
}

async fn every_kind_of_call_is_relayed(world: Arc<World>) {
    let mut client = client(&world);
    let echo = client.echo(EchoRequest { text: "héllo".into(), ..Default::default() }).await.unwrap();
    assert_eq!(echo.into_inner().text, "héllo");
    let count = client.count(CountRequest { count: 50, payload_bytes: 10 }).await.unwrap();
    assert_eq!(count.metadata().get("x-echo").unwrap(), "head", "response metadata comes through");
    let numbers: Vec<_> = count.into_inner().map(|answer| answer.unwrap().number).collect().await;
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    let collected =
        client.collect(tokio_stream::iter((0..100).map(|_| message(1_000)))).await.unwrap().into_inner();
    assert_eq!((collected.messages, collected.payload_bytes), (100, 100_000));
    let empty = client.collect(tokio_stream::empty()).await.unwrap().into_inner();
    assert_eq!(empty.messages, 0, "a stream without messages is one too");

    // Strictly one by one: nothing between the two may wait for more.
    let (send, receive) = mpsc::channel(1);
    let mut chat = client.chat(ReceiverStream::new(receive)).await.unwrap().into_inner();
    for number in 0..20 {
        send.send(message(10)).await.unwrap();
        assert_eq!(chat.message().await.unwrap().unwrap().number, number);
    }
    drop(send);
    assert!(chat.message().await.unwrap().is_none());
}

async fn bulk_in_both_directions_at_once_finishes(world: Arc<World>) {
    let streams = (0..3).map(|_| async {
        let requests = tokio_stream::iter((0..1_000).map(|_| message(64 * 1024)));
        let mut answers = client(&world).chat(requests).await.unwrap().into_inner();
        let mut bytes = 0;
        while let Some(answer) = answers.message().await.unwrap() {
            bytes += answer.payload.len();
        }
        assert_eq!(bytes, 1_000 * 64 * 1024);
    });
    let all = futures::future::join_all(streams);
    tokio::time::timeout(Duration::from_secs(180), all).await.expect("the streams stand still");
}

async fn a_stopped_download_leaves_others_alone(world: Arc<World>) {
    let mut client = client(&world);
    let mut stalled =
        client.count(CountRequest { count: 0, payload_bytes: 64 * 1024 }).await.unwrap().into_inner();
    stalled.message().await.unwrap().unwrap();
    // The reader stops; every window on the way fills up.
    let calls = (0..99).map(|number| {
        let mut client = client.clone();
        async move {
            let text = number.to_string();
            let answer = client.echo(EchoRequest { text: text.clone(), ..Default::default() }).await.unwrap();
            assert_eq!(answer.into_inner().text, text);
        }
    });
    tokio::time::timeout(WITHIN, futures::future::join_all(calls)).await.expect("unary calls stand still");
    assert!(stalled.message().await.unwrap().is_some(), "the download goes on when it is read again");
}

async fn a_client_that_leaves_is_noticed(world: Arc<World>) {
    let (send, receive) = mpsc::channel(1);
    let mut chat = client(&world).chat(ReceiverStream::new(receive)).await.unwrap().into_inner();
    send.send(message(1)).await.unwrap();
    chat.message().await.unwrap().unwrap();
    let endless = client(&world).count(CountRequest { count: 0, payload_bytes: 1 }).await.unwrap();
    assert!(SERVICE.open() >= 2);
    drop((send, chat, endless));
    let request = world
        .rest
        .request(http::Method::GET, "/v1/echo:count?payload_bytes=10")
        .body(Default::default())
        .unwrap();
    let left = tokio::time::timeout(Duration::from_millis(300), world.rest.try_send(request)).await;
    assert!(left.is_err(), "an endless stream does not end");
    // Other tests hold streams too, but none for ever.
    eventually("the service has heard of it", WITHIN, || async { SERVICE.open() == 0 }).await;
}

async fn a_status_comes_through_whole(world: Arc<World>) {
    for code in 1..=16 {
        let mut client = client(&world);
        let refused = client.fail(FailRequest { code, after_message: false }).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::from(code), "as you wish: 100 % \u{fc}"));
        let mut answers = client.fail(FailRequest { code, after_message: true }).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap();
        let refused = answers.message().await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::from(code), "as you wish: 100 % \u{fc}"));
    }
    let missing =
        world.rest.request(http::Method::POST, "/v1/echo:fail").header("content-type", "application/json");
    let answer = world.rest.send(missing.body(r#"{"code":5}"#.into()).unwrap()).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"]["status"], "NOT_FOUND");
    assert_eq!(answer.json()["error"]["message"], "as you wish: 100 % \u{fc}");
}

async fn a_deadline_is_enforced(world: Arc<World>) {
    let slow = EchoRequest { delay_ms: 30_000, ..Default::default() };
    let mut request = tonic::Request::new(slow);
    request.set_timeout(Duration::from_millis(200));
    // The client's own timer would hide what the edge does: it waits far longer.
    let waited =
        tokio::time::timeout(WITHIN, client(&world).echo(request)).await.expect("nobody kept the deadline");
    assert!(matches!(waited.unwrap_err().code(), Code::DeadlineExceeded | Code::Cancelled));

    let request = world
        .rest
        .request(http::Method::POST, "/v1/echo")
        .header("content-type", "application/json")
        .header("x-server-timeout", "0.2")
        .body(r#"{"delayMs":30000}"#.into())
        .unwrap();
    world.rest.send(request).await.refused(504, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED");
}

async fn rest_reaches_it_by_the_configured_rules(world: Arc<World>) {
    for rest in [&world.rest, &world.rest2] {
        let get =
            rest.request(http::Method::GET, "/v1/echo/a%2Fb?payload=AQI").body(Default::default()).unwrap();
        let answer = rest.send(get).await.ok();
        assert_eq!((&answer["text"], &answer["payload"]), (&Value::from("a/b"), &Value::from("AQI=")));
        let post = rest.request(http::Method::POST, "/v1/echo").header("content-type", "application/json");
        let answer = rest
            .send(post.body(json!({ "text": "zażółć", "delay_ms": "1" }).to_string().into()).unwrap())
            .await;
        assert_eq!(answer.ok()["text"], "zażółć");
    }
}

async fn a_server_stream_is_an_array_lines_or_events(world: Arc<World>) {
    let get = async |accept: &str| {
        let request =
            world.rest.request(http::Method::GET, "/v1/echo:count?count=3").header("accept", accept);
        let answer = world.rest.send(request.body(Default::default()).unwrap()).await;
        (
            answer.headers["content-type"].to_str().unwrap().to_owned(),
            String::from_utf8(answer.body.to_vec()).unwrap(),
        )
    };
    let (media, text) = get("application/json").await;
    let array: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((media.as_str(), array.len()), ("application/json", 3));
    let (media, text) = get("application/x-ndjson").await;
    assert_eq!((media.as_str(), text.lines().count()), ("application/x-ndjson", 3));
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
    let (media, text) = get("text/event-stream").await;
    let events =
        text.split("\n\n").filter(|event| event.lines().any(|line| line.starts_with("data:"))).count();
    assert_eq!((media.as_str(), events), ("text/event-stream", 3), "{text}");
}

async fn only_what_the_edge_stamps_reaches_it(world: Arc<World>) {
    let token = world.staff();
    let mut request = tonic::Request::new(EchoRequest::default());
    for (name, value) in
        [("txn-token", "forged"), ("cookie", "session=1"), ("dpop", "x"), ("x-innocent", "1")]
    {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let answer = EchoServiceClient::new(world.public(Some(&token))).echo(request).await.unwrap().into_inner();
    for forbidden in ["authorization", "cookie", "dpop"] {
        assert!(
            !answer.metadata.iter().any(|name| name == forbidden),
            "{forbidden} reached it: {:?}",
            answer.metadata
        );
    }
    for stamped in ["txn-token", "causeway-transaction-id", "traceparent", "grpc-timeout"] {
        assert!(
            answer.metadata.iter().any(|name| name == stamped),
            "{stamped} is missing: {:?}",
            answer.metadata
        );
    }
}
