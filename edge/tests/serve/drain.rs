//! The end of the edge: what is in flight is served to its end, new work is not accepted, and the process ends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::task::JoinSet;

use crate::client::{Grpc, Http, Rest};
use crate::messages::{GetNoteRequest, Note};
use crate::upstream::fed;
use crate::world::{World, uncounted};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_serves_what_is_in_flight_and_then_ends() {
    let mut world = World::new().await;
    let one = Rest::new(&world, Http::One, Some(world.token()));
    let two = Rest::new(&world, Http::Two, Some(world.token()));
    let grpc = Grpc::new(&world, Some(world.token()));
    // An idle kept-alive connection, and a gRPC stream that its client will end.
    assert_eq!(one.get("/v1/notes/n-1").await.status, StatusCode::OK);
    let (sender, notes) = fed::<Note>(1);
    sender.send(Note::default()).await.unwrap();
    let mut chat = grpc.streaming::<_, Note>("/echo.v1.EchoService/Chat", notes).await.unwrap().into_inner();
    assert!(chat.message().await.unwrap().is_some());

    let late = async |rest: &Rest| rest.send(Method::GET, "/v1/notes/late", &[], Bytes::new()).await;
    let (first, second, third, ()) = tokio::join!(
        late(&one),
        late(&two),
        grpc.unary::<_, Note>("/echo.v1.EchoService/GetNote", GetNoteRequest { note_id: "late".into() }),
        async {
            world.until("the requests are in flight", || in_flight(&world) >= 4).await;
            world.stop();
        }
    );
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(first.header("connection"), "close", "a kept-alive connection ends with its answer");
    assert!(third.is_ok(), "{third:?}");

    // The stream is still alive, and holds the process until it ends.
    sender.send(Note { size: 2, ..Note::default() }).await.unwrap();
    assert_eq!(chat.message().await.unwrap().unwrap().size, 2);
    assert!(tokio::net::TcpStream::connect(world.public).await.is_err(), "nobody new gets in");
    drop(sender);
    assert!(chat.message().await.unwrap().is_none());
    drop((chat, one, two, grpc));
    world.stopped().await;
    let lines = world.access_log();
    assert!(lines.iter().all(|line| line["code"] == "OK"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_loses_no_request() {
    let mut world =
        World::with(|text| uncounted(text.replace("lame_duck_ms = 0", "lame_duck_ms = 300"))).await;
    let served = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let rest =
            Rest::new(&world, if client % 2 == 0 { Http::One } else { Http::Two }, Some(world.token()));
        let served = Arc::clone(&served);
        clients.spawn(async move {
            while let Some(status) = rest.get_surely("/v1/notes/n-1").await {
                assert_eq!(status, StatusCode::OK);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    world.until("requests run", || served.load(Ordering::Relaxed) > 100).await;
    world.stop();
    // Each goes on until nobody listens: what it sent before that was answered.
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    world.stopped().await;
    let log = world.access_log();
    assert_eq!(log.len(), served.load(Ordering::Relaxed));
    assert!(log.iter().all(|line| line["code"] == "OK"));
}

fn in_flight(world: &World) -> i64 {
    let page = world.process.metrics.render().unwrap();
    let gauge =
        page.lines().find_map(|line| line.strip_prefix("edge_requests_in_flight{listener=\"public\"} "));
    gauge.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_on_the_admin_listener() {
    let world = World::new().await;
    let get = async |path: &str| world.page(path).await;
    assert_eq!(get("/live").await, "live\n");
    assert_eq!(get("/ready").await, "ready\n");
    let routes = get("/routes").await;
    let row = routes.lines().find(|line| line.contains("/v1/notes/{note_id}")).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(
        &cells[..5],
        ["GET", "/v1/notes/{note_id}", "echo.v1.EchoService/GetNote", "svc-echo", "public,mesh"]
    );
    assert!(get("/config").await.contains("\"trust_domain\": \"causeway.internal\""));
    assert!(get("/metrics").await.contains("edge_access_log_dropped_total 0"));
}
