//! gRPC-Web through the edge: both forms over both versions of HTTP, by hand, and a client that others wrote.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use http_body_util::BodyExt as _;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use tokio::io::AsyncWriteExt as _;
use tonic::Code;
use tonic_web::GrpcWebClientLayer;
use tower::Layer as _;

use crate::client::{Http, Reply, Rest};
use crate::messages::*;
use crate::wire::connect;
use crate::world::World;

const GET: &str = "/echo.v1.EchoService/GetNote";
const WATCH: &str = "/echo.v1.EchoService/WatchNotes";
const COLLECT: &str = "/echo.v1.EchoService/CollectNotes";
const CHAT: &str = "/echo.v1.EchoService/Chat";
const HELLO: &str = "/foreign.Greeter/Hello";

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

/// A message in its frame.
fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

/// The frames of a body: flags and content.
fn frames(mut body: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        frames.push((body[0], &body[5..5 + length]));
        body = &body[5 + length..];
    }
    frames
}

/// Base64 of one padded piece after another.
fn decode(text: &[u8]) -> Vec<u8> {
    let groups = text.chunks(4).map(|group| STANDARD.decode(group).unwrap());
    groups.collect::<Vec<_>>().concat()
}

/// The messages of an answer and the lines of its trailers.
fn answer(reply: &Reply) -> (Vec<Vec<u8>>, String) {
    let body = reply.body.as_ref().unwrap();
    let body = if reply.header("content-type") == TEXT { decode(body) } else { body.to_vec() };
    let mut frames = frames(&body);
    let (flags, trailers) = frames.pop().unwrap();
    assert_eq!(flags, 0x80, "the trailers are the last frame: {reply:?}");
    assert!(frames.iter().all(|(flags, _)| *flags == 0), "{reply:?}");
    let messages = frames.into_iter().map(|(_, message)| message.to_vec()).collect();
    (messages, String::from_utf8(trailers.to_vec()).unwrap())
}

async fn call(rest: &Rest, path: &str, form: &str, body: Vec<u8>) -> Reply {
    let body = if form == TEXT { STANDARD.encode(body).into_bytes() } else { body };
    rest.send(Method::POST, path, &[("content-type", form), ("x-grpc-web", "1")], body).await
}

/// Whether an answer is a status without messages: in the header, with HTTP's 200 and no body.
fn check(reply: &Reply, form: &str, code: Code) {
    let status = (code as i32).to_string();
    assert_eq!((reply.status.as_u16(), reply.header("grpc-status")), (200, status.as_str()), "{reply:?}");
    assert_eq!(reply.header("content-type"), form, "{reply:?}");
    assert!(reply.body.as_ref().unwrap().is_empty(), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_call_is_answered_with_its_trailers_in_the_last_frame() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        for (sent, expected) in [
            ("application/grpc-web", BINARY),
            (BINARY, BINARY),
            ("application/grpc-web-text", TEXT),
            (TEXT, TEXT),
        ] {
            let form = if sent.contains("text") { TEXT } else { BINARY };
            let body = frame(&GetNoteRequest { note_id: "n-7".into() });
            let body = if form == TEXT { STANDARD.encode(body).into_bytes() } else { body };
            let reply = rest.send(Method::POST, GET, &[("content-type", sent)], body).await;
            assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, expected), "{reply:?}");
            let (messages, trailers) = answer(&reply);
            assert_eq!(Note::decode(&*messages[0]).unwrap().note_id, "n-7");
            assert_eq!(
                (messages.len(), trailers.lines().next()),
                (1, Some("grpc-status: 0")),
                "{trailers:?}"
            );
        }
        streams(&rest).await;
        refusals(&world, http, &rest).await;
    }
    let log = world.access_log();
    assert!(log.iter().all(|line| line["protocol"] == "grpc-web"), "{log:?}");
}

async fn streams(rest: &Rest) {
    for form in [BINARY, TEXT] {
        let watch = WatchNotesRequest { count: 100, ..Default::default() };
        let (notes, trailers) = answer(&call(rest, WATCH, form, frame(&watch)).await);
        let sizes: Vec<_> = notes.iter().map(|note| Note::decode(&**note).unwrap().size).collect();
        assert_eq!((sizes, trailers.contains("grpc-status: 0\r\n")), ((0..100).collect(), true));

        // What fails behind its messages says so in the trailers.
        let watch = WatchNotesRequest { count: 2, fail: true, ..Default::default() };
        let (notes, trailers) = answer(&call(rest, WATCH, form, frame(&watch)).await);
        assert_eq!(notes.len(), 2);
        assert!(
            trailers.contains("grpc-status: 10\r\n") && trailers.contains("grpc-status-details-bin: "),
            "{trailers}"
        );

        // Many messages up in one body, which is as far as a browser goes.
        let notes: Vec<u8> = (0..50).flat_map(|size| frame(&Note { size, ..Default::default() })).collect();
        let (collected, _) = answer(&call(rest, COLLECT, form, notes.clone()).await);
        assert_eq!(Note::decode(&*collected[0]).unwrap().size, 49 * 25);
        let (echoed, _) = answer(&call(rest, CHAT, form, notes).await);
        assert_eq!(echoed.len(), 50);
    }
}

async fn refusals(world: &World, http: Http, rest: &Rest) {
    for form in [BINARY, TEXT] {
        let note = |id: &str| frame(&GetNoteRequest { note_id: id.into() });
        // Of the edge.
        let nobody = Rest::new(world, http, None);
        check(&call(&nobody, GET, form, note("n-1")).await, form, Code::Unauthenticated);
        check(
            &call(rest, "/echo.v1.EchoService/Nothing", form, note("n-1")).await,
            form,
            Code::Unimplemented,
        );
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        check(&call(rest, reflection, form, Vec::new()).await, form, Code::Unimplemented);
        let get = rest.send(Method::GET, GET, &[("content-type", form)], "").await;
        check(&get, form, Code::Unimplemented);
        let zipped = [("content-type", form), ("content-encoding", "gzip")];
        check(&rest.send(Method::POST, GET, &zipped, note("n-1")).await, form, Code::InvalidArgument);
        let large = frame(&GetNoteRequest { note_id: "x".repeat(70_000) });
        check(&call(rest, GET, form, large).await, form, Code::ResourceExhausted);
        let slow = frame(&HelloRequest { name: "slow".into() });
        check(&call(rest, HELLO, form, slow).await, form, Code::DeadlineExceeded);
        let hurried = [("content-type", BINARY), ("grpc-timeout", "100m")];
        check(&rest.send(Method::POST, GET, &hurried, note("slow")).await, BINARY, Code::DeadlineExceeded);
        // Of the service: nothing but a status, in the header as well.
        let missing = call(rest, GET, form, note("missing")).await;
        check(&missing, form, Code::NotFound);
        assert_eq!(missing.header("grpc-message"), "there%20is%20no%20such%20note");
        assert!(!missing.header("grpc-status-details-bin").is_empty());
    }
    for text in ["AAAA!AAA", "AAAAAA", "AAA=AAAA=AAA"] {
        let reply = rest.send(Method::POST, GET, &[("content-type", TEXT)], text).await;
        check(&reply, TEXT, Code::InvalidArgument);
        assert!(reply.header("grpc-status-details-bin").len() > 20, "it says what is wrong: {reply:?}");
    }
}

/// The flag and the bytes of a compressed message are the service's to read. This one reads none that is compressed, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_message_reaches_the_service_as_it_is() {
    let world = World::new().await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    let mut body = frame(&GetNoteRequest { note_id: "n-1".into() });
    body[0] = 1;
    let headers = [("content-type", BINARY), ("grpc-encoding", "gzip")];
    let reply = rest.send(Method::POST, GET, &headers, body).await;
    check(&reply, BINARY, Code::Unimplemented);
    assert!(reply.header("grpc-message").contains("gzip"), "{reply:?}");
}

/// Writers of text flush where they like: each piece is padded, and several are one body.
#[tokio::test(flavor = "multi_thread")]
async fn text_comes_in_padded_pieces_and_an_answer_in_the_form_that_is_asked_for() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let notes: Vec<u8> =
            (0..3).flat_map(|size| frame(&Note { size, text: "x".into(), ..Default::default() })).collect();
        let pieces: Vec<_> = notes.chunks(4).map(|piece| Bytes::from(STANDARD.encode(piece))).collect();
        // Cut inside the groups too.
        let pieces = pieces.into_iter().flat_map(|piece| [piece.slice(..3), piece.slice(3..)]);
        let headers = [("content-type", TEXT), ("accept", BINARY)];
        let response =
            rest.stream(COLLECT, &headers, futures::stream::iter(pieces.collect::<Vec<_>>())).await;
        assert_eq!(response.headers()["content-type"], BINARY);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let frames = frames(&body);
        assert_eq!(Note::decode(frames[0].1).unwrap().size, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_arrives_message_by_message_and_ends_with_its_client() {
    let world = World::new().await;
    for (http, form) in [(Http::One, BINARY), (Http::One, TEXT), (Http::Two, BINARY), (Http::Two, TEXT)] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let hanging = frame(&WatchNotesRequest { count: 1, hang: true, ..Default::default() });
        let hanging = if form == TEXT { STANDARD.encode(hanging).into_bytes() } else { hanging };
        let mut body = rest.open(Method::POST, WATCH, &[("content-type", form)], hanging).await.into_body();
        let mut read = Vec::new();
        while read.len() < 5 {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            // What is flushed can be read without what follows.
            read.extend(if form == TEXT { STANDARD.decode(&piece).unwrap() } else { piece.to_vec() });
        }
        assert_eq!(Note::decode(frames(&read)[0].1).unwrap().note_id, "n-0");
        assert_eq!(world.calls_behind(), 1);
        drop((body, rest));
        world.until("the watch has ended behind the edge", || world.calls_behind() == 0).await;
    }
}

/// More than all windows on the way hold, up and down at once, also over HTTP/1 where the answer is meant to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_dialogue_does_not_stand_still() {
    const COUNT: i64 = 100;
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let large = |size| Bytes::from(frame(&Note { text: "x".repeat(60_000), size, ..Default::default() }));
        let notes = futures::stream::iter((0..COUNT).map(large));
        let talk = async {
            let response = rest.stream(CHAT, &[("content-type", BINARY)], notes).await;
            response.into_body().collect().await.unwrap().to_bytes()
        };
        let body = tokio::time::timeout(Duration::from_secs(30), talk).await.unwrap();
        let sizes = frames(&body).into_iter().filter(|(flags, _)| *flags == 0);
        let sizes: Vec<_> = sizes.map(|(_, note)| Note::decode(note).unwrap().size).collect();
        assert_eq!(sizes, (0..COUNT).collect::<Vec<_>>(), "{http:?}");
    }
}

/// A client that asks for more than it reads keeps its seat no longer than it may take to read a piece.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answer_is_let_go() {
    let world = World::with(|config| config.replace("[limits]", "[limits]\nbody_idle_ms = 400")).await;
    let body = frame(&WatchNotesRequest { count: 10_000_000, ..Default::default() });
    let (token, length) = (world.token(), body.len());
    let head = format!(
        "POST {WATCH} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: {BINARY}\r\n\
         content-length: {length}\r\n\r\n"
    );
    let mut stream = connect(&world).await;
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    world.until("the edge has let go of it", || !world.access_log().is_empty()).await;
    assert_eq!(world.access_log()[0]["cut_by"], "downstream");
    world.until("the watch has ended behind the edge", || world.calls_behind() == 0).await;
    drop(stream);
}

/// The client of tonic, which knows nothing of this edge.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_others_is_served() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let connector = HttpsConnectorBuilder::new().with_tls_config(world.client_tls()).https_only();
        let connector = match http {
            Http::One => connector.enable_http1().build(),
            Http::Two => connector.enable_http2().build(),
        };
        let mut client = Client::builder(TokioExecutor::new());
        let client = client.http2_only(matches!(http, Http::Two)).build(connector);
        let origin = format!("https://localhost:{}", world.public.port()).parse().unwrap();
        let mut client = tonic::client::Grpc::with_origin(GrpcWebClientLayer::new().layer(client), origin);
        let token: tonic::metadata::MetadataValue<_> = format!("Bearer {}", world.token()).parse().unwrap();

        client.ready().await.unwrap();
        let mut get = tonic::Request::new(GetNoteRequest { note_id: "n-7".into() });
        get.metadata_mut().insert("authorization", token.clone());
        let codec = tonic_prost::ProstCodec::<_, Note>::default();
        let note = client.unary(get, GET.parse().unwrap(), codec).await.unwrap().into_inner();
        assert_eq!(note.note_id, "n-7");

        client.ready().await.unwrap();
        let mut watch = tonic::Request::new(WatchNotesRequest { count: 3, fail: true, ..Default::default() });
        watch.metadata_mut().insert("authorization", token);
        let codec = tonic_prost::ProstCodec::<_, Note>::default();
        let notes = client.server_streaming(watch, WATCH.parse().unwrap(), codec).await.unwrap().into_inner();
        let notes: Vec<_> = notes.collect().await;
        assert_eq!(notes.iter().filter(|note| note.is_ok()).count(), 3, "{notes:?}");
        assert_eq!(notes.last().unwrap().as_ref().unwrap_err().code(), Code::Aborted, "{notes:?}");

        client.ready().await.unwrap();
        let anonymous = tonic::Request::new(GetNoteRequest::default());
        let codec = tonic_prost::ProstCodec::<_, Note>::default();
        let refused = client.unary(anonymous, GET.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    }
}
