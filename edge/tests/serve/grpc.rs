//! gRPC through the edge: unary and the three kinds of streams, deadlines, and what a service may do through the mesh listener.

use std::time::Duration;

use futures::StreamExt as _;
use tonic::{Code, Request};

use crate::client::{Grpc, Http, Rest, unary};
use crate::messages::*;
use crate::upstream::fed;
use crate::world::World;

const GET: &str = "/echo.v1.EchoService/GetNote";
const WATCH: &str = "/echo.v1.EchoService/WatchNotes";
const COLLECT: &str = "/echo.v1.EchoService/CollectNotes";
const CHAT: &str = "/echo.v1.EchoService/Chat";
const WHO: &str = "/echo.v1.EchoService/WhoAmI";

fn note(i: i64) -> Note {
    Note { note_id: i.to_string(), text: "x".repeat(1000), size: i }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_call_crosses_the_edge() {
    let world = World::new().await;
    let grpc = Grpc::new(&world, Some(world.token()));

    let answer: Note = grpc.unary(GET, GetNoteRequest { note_id: "n-7".into() }).await.unwrap().into_inner();
    assert_eq!((answer.note_id.as_str(), answer.size), ("n-7", i64::MAX));

    let request = WatchNotesRequest { count: 100, ..Default::default() };
    let watched =
        grpc.streaming::<_, Note>(WATCH, futures::stream::iter([request])).await.unwrap().into_inner();
    assert_eq!(
        watched.map(|note| note.unwrap().size).collect::<Vec<_>>().await,
        (0..100).collect::<Vec<_>>()
    );

    let notes = futures::stream::iter((0..100).map(note));
    let mut collected = grpc.streaming::<_, Note>(COLLECT, notes).await.unwrap().into_inner();
    let summary = collected.message().await.unwrap().unwrap();
    assert_eq!((summary.note_id.as_str(), summary.size), ("100", 4950));

    // One message up, one down, while both directions stay open.
    let (sender, notes) = fed(1);
    sender.send(note(0)).await.unwrap();
    let mut chat = grpc.streaming::<_, Note>(CHAT, notes).await.unwrap().into_inner();
    for i in 0..50 {
        assert_eq!(chat.message().await.unwrap().unwrap().size, i);
        sender.send(note(i + 1)).await.unwrap();
    }
    drop(sender);
    assert_eq!(chat.message().await.unwrap().unwrap().size, 50);
    assert!(chat.message().await.unwrap().is_none());

    failures(&world, &grpc).await;
    services(&world).await;
    partners(&world).await;
}

/// Both sides send as fast as they can, in messages as large as they may be: no direction may wait for the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_in_both_directions_does_not_stand_still() {
    const COUNT: i64 = 300;
    let world = World::new().await;
    let grpc = Grpc::new(&world, Some(world.token()));
    let large = |i| Note { text: "x".repeat(60_000), size: i, ..Default::default() };
    let notes = futures::stream::iter((0..COUNT).map(large));
    let chat = grpc.streaming::<_, Note>(CHAT, notes).await.unwrap().into_inner();
    let sizes = tokio::time::timeout(
        Duration::from_secs(30),
        chat.map(|note| note.unwrap().size).collect::<Vec<_>>(),
    );
    assert_eq!(sizes.await.unwrap(), (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_calls_along() {
    let world = World::new().await;
    let grpc = Grpc::new(&world, Some(world.token()));
    let hanging = WatchNotesRequest { count: 1, hang: true, ..Default::default() };
    let mut watched =
        grpc.streaming::<_, Note>(WATCH, futures::stream::iter([hanging])).await.unwrap().into_inner();
    assert!(watched.message().await.unwrap().is_some());
    assert_eq!(world.calls_behind(), 1);
    drop(watched);
    world.until("the watch has ended behind the edge", || world.calls_behind() == 0).await;

    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let gone = tokio::time::timeout(Duration::from_millis(500), rest.get("/v1/notes/slow")).await;
        assert!(gone.is_err(), "the call is slow");
        world.until("the call has ended behind the edge", || world.calls_behind() == 0).await;
    }
}

async fn failures(world: &World, grpc: &Grpc) {
    let missing = grpc.unary::<_, Note>(GET, GetNoteRequest { note_id: "missing".into() }).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, "there is no such note"));
    assert!(!missing.details().is_empty());

    // Without a timeout of its own, for the client would give up by itself at the same moment.
    let late =
        grpc.unary::<_, HelloReply>("/foreign.Greeter/Hello", HelloRequest { name: "slow".into() }).await;
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);

    let request = WatchNotesRequest { count: 2, fail: true, ..Default::default() };
    let mut broken =
        grpc.streaming::<_, Note>(WATCH, futures::stream::iter([request])).await.unwrap().into_inner();
    assert!(broken.message().await.unwrap().is_some());
    assert!(broken.message().await.unwrap().is_some());
    assert_eq!(broken.message().await.unwrap_err().code(), Code::Aborted);

    let huge = Note { text: "x".repeat(70_000), ..Default::default() };
    let refused = grpc.streaming::<_, Note>(CHAT, futures::stream::iter([huge])).await;
    let refused = match refused {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");

    let unknown = grpc.unary::<_, Note>("/echo.v1.EchoService/Nothing", WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    let anonymous = Grpc::new(world, None);
    let refused = anonymous.unary::<_, Note>(GET, GetNoteRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let poor = Grpc::new(world, Some(world.token_for("other", 600)));
    let refused = poor.unary::<_, Note>(GET, GetNoteRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
}

async fn services(world: &World) {
    let docs = world.channel("svc-docs");
    let call = || Request::new(WhoAmIRequest {});
    let budget = Duration::from_secs(2);
    let who: WhoAmIResponse = unary(docs.as_service(budget), WHO, call()).await.unwrap().into_inner();
    assert_eq!((who.kind.as_str(), who.service.as_str()), ("service", "svc-docs"));
    assert!(who.budget_ms <= 2_000, "{who:?}");

    let collect =
        unary::<_, _, Note>(docs.as_service(budget), COLLECT, Request::new(note(1))).await.unwrap_err();
    assert_eq!(
        collect.code(),
        Code::Unimplemented,
        "a method that no service may call does not exist on the mesh"
    );

    let stranger = world.channel("svc-echo");
    let refused = unary::<_, _, WhoAmIResponse>(stranger.as_service(budget), WHO, call()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
}

async fn partners(world: &World) {
    let partner = Grpc::partner(world, Some("partner"));
    let who: WhoAmIResponse = partner.unary(WHO, WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!((who.kind.as_str(), who.service.as_str()), ("partner", ""));
    let refused = partner.unary::<_, Note>(GET, GetNoteRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "a method for subjects only does not exist for partners");

    let stranger = Grpc::partner(world, Some("stranger"));
    let refused = stranger.unary::<_, WhoAmIResponse>(WHO, WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let nobody = Grpc::partner(world, None);
    assert!(
        nobody.unary::<_, WhoAmIResponse>(WHO, WhoAmIRequest {}).await.is_err(),
        "no certificate, no handshake"
    );
}
