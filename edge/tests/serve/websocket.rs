//! Dialogues over WebSockets: what they carry, how they end and what is refused before they begin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Method, StatusCode};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Http, Rest};
use crate::world::World;

type Stream = WebSocketStream<TlsStream<TcpStream>>;

/// What a handshake of a careful client says besides who asks.
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A WebSocket of a client.
struct Dialogue {
    say: SplitSink<Stream, Message>,
    hear: SplitStream<Stream>,
}

impl Dialogue {
    async fn open(world: &World, path: &str) -> Self {
        Self::with(world, path, &[]).await
    }

    async fn with(world: &World, path: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
        let token = HeaderValue::try_from(format!("Bearer {}", world.token())).unwrap();
        request.headers_mut().insert("authorization", token);
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let stream = connect(world).await;
        let (stream, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let (say, hear) = stream.split();
        Self { say, hear }
    }

    async fn say(&mut self, json: &str) {
        self.say.send(Message::text(json)).await.unwrap();
    }

    /// The next frame, whatever it is.
    async fn frame(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(Duration::from_secs(10), self.hear.next()).await.unwrap()
    }

    async fn hear(&mut self) -> Value {
        let Some(Ok(Message::Text(text))) = self.frame().await else { panic!("no text") };
        serde_json::from_str(&text).unwrap()
    }

    /// The code and the reason of the end, which must be next, and behind which the connection is closed.
    async fn end(&mut self) -> (u16, String) {
        let frame = self.frame().await;
        let Some(Ok(Message::Close(Some(close)))) = frame else { panic!("no end: {frame:?}") };
        assert!(self.frame().await.is_none(), "closed as the protocol says");
        (close.code.into(), close.reason.to_string())
    }

    /// The reason of the last text, and how it ended.
    async fn failure(&mut self) -> (String, u16, String) {
        let error = self.hear().await;
        let info = error["error"]["details"][0]["reason"].as_str().unwrap_or_default().to_owned();
        let (code, reason) = self.end().await;
        (info, code, reason)
    }
}

async fn connect(world: &World) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(world.public).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(world.client_tls())).connect(name, tcp).await.unwrap()
}

fn fragment(text: &str, head: Data, last: bool) -> Message {
    Message::Frame(Frame::message(text.to_owned(), OpCode::Data(head), last))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialogue_carries_one_message_a_frame() {
    let world = World::new().await;
    let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
    chat.say(r#"{"noteId": "a"}"#).await;
    assert_eq!(chat.hear().await, json!({"noteId": "a"}));
    // The service has more to say after the last request.
    chat.say(r#"{"noteId": "later", "size": 7}"#).await;
    chat.say("{}").await;
    assert_eq!(chat.hear().await, json!({}));
    chat.say("").await;
    assert_eq!(chat.hear().await, json!({"noteId": "later", "size": "7"}));
    assert_eq!(chat.end().await, (1000, String::new()));

    // What path and query say goes into the first message, also if there is none.
    let mut chat = Dialogue::open(&world, "/v1/notes/n-9:chat").await;
    for message in [r#"{"size": 1}"#, r#"{"noteId": "other"}"#, ""] {
        chat.say(message).await;
    }
    assert_eq!(chat.hear().await, json!({"noteId": "n-9", "size": "1"}));
    assert_eq!(chat.hear().await, json!({"noteId": "other"}));
    assert_eq!(chat.end().await.0, 1000);
    let mut chat = Dialogue::open(&world, "/v1/notes/n-9:chat").await;
    chat.say("").await;
    assert_eq!(chat.hear().await, json!({"noteId": "n-9"}));
    assert_eq!(chat.end().await.0, 1000);
    let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
    chat.say("").await;
    assert_eq!(chat.end().await.0, 1000);

    // The part that is asked for, of each message.
    let mut chat = Dialogue::open(&world, "/v1/notes:chat?$fields=size").await;
    chat.say(r#"{"noteId": "a", "size": 1}"#).await;
    assert_eq!(chat.hear().await, json!({"size": "1"}));
    chat.say("").await;
    assert_eq!(chat.end().await.0, 1000);

    world.until("all is written down", || world.access_log().len() == 5).await;
    let line = &world.access_log()[0];
    let told = (&line["status"], &line["code"], &line["rpc"], &line["route"]);
    let expect = (&json!(101), &json!("OK"), &json!("echo.v1.EchoService/Chat"), &json!("/v1/notes:chat"));
    assert_eq!(told, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_read_as_they_come() {
    let world = World::new().await;
    let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
    chat.say.send(fragment("{\"note", Data::Text, false)).await.unwrap();
    chat.say.send(Message::Ping(Bytes::from_static(b"between"))).await.unwrap();
    chat.say.send(fragment("Id\": \"", Data::Continue, false)).await.unwrap();
    chat.say.send(fragment("a\"}", Data::Continue, true)).await.unwrap();
    let Some(Ok(Message::Pong(payload))) = chat.frame().await else { panic!("no pong") };
    assert_eq!(payload, "between");
    assert_eq!(chat.hear().await, json!({"noteId": "a"}));

    // A hasty client sends frames with the header: none is lost.
    let mut stream = connect(&world).await;
    let mut head = "GET /v1/notes:chat HTTP/1.1\r\nhost: localhost\r\n".to_owned();
    for (name, value) in
        HANDSHAKE.into_iter().chain([("authorization", &*format!("Bearer {}", world.token()))])
    {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let hasty = [format!("{head}\r\n").as_bytes(), b"\x81\x82\0\0\0\0{}", b"\x81\x80\0\0\0\0"].concat();
    stream.write_all(&hasty).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\x88\x02\x03\xe8") {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_buf(&mut said)).await;
        assert!(read.unwrap().unwrap() > 0, "{:?}", String::from_utf8_lossy(&said));
    }
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 101 ") && said.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{said}");
    assert!(said.contains("\r\n\r\n\u{fffd}\u{2}{}"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_by_text_and_by_code() {
    let world = World::new().await;
    let told = |reason: &str, code: u16, name: &str| (reason.to_owned(), code, name.to_owned());
    let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
    chat.say(r#"{"noteId": "a"}"#).await;
    chat.say(r#"{"noteId": "broken"}"#).await;
    assert_eq!(chat.hear().await, json!({"noteId": "a"}));
    assert_eq!(chat.failure().await, told("STREAM_BROKEN", 4010, "ABORTED"));

    let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
    chat.say("{}").await;
    assert_eq!(chat.hear().await, json!({}));
    chat.say(r#"{"what": 2}"#).await;
    let error = chat.hear().await;
    assert!(error.to_string().contains("[1].what"), "the message and the field are named: {error}");
    assert_eq!(chat.end().await, (4003, "INVALID_ARGUMENT".to_owned()));

    let large = format!("{{\"text\": \"{}\"}}", "x".repeat(65_536));
    for (said, expect) in [
        (vec![Message::text("nonsense")], told("MALFORMED_JSON", 4003, "INVALID_ARGUMENT")),
        (vec![Message::text(large)], told("BODY_TOO_LARGE", 1009, "RESOURCE_EXHAUSTED")),
        (vec![Message::binary("{}")], told("FRAME_REFUSED", 1003, "INVALID_ARGUMENT")),
        (vec![Message::text(""), Message::text("{}")], told("FRAME_REFUSED", 4003, "INVALID_ARGUMENT")),
    ] {
        let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
        for message in said {
            chat.say.feed(message).await.unwrap();
        }
        chat.say.flush().await.unwrap();
        assert_eq!(chat.failure().await, expect);
    }
    world.until("what failed is given up", || world.calls_behind() == 0).await;
    world.until("all is written down", || world.access_log().len() == 6).await;
    let reasons: Vec<_> = world.access_log().iter().map(|line| line["reason"].clone()).collect();
    let expect = [
        json!(null),
        json!("INVALID_REQUEST"),
        json!("MALFORMED_JSON"),
        json!("BODY_TOO_LARGE"),
        json!("FRAME_REFUSED"),
        json!("FRAME_REFUSED"),
    ];
    assert_eq!(reasons, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_refused_by_an_ordinary_answer() {
    let world = World::new().await;
    let rest = Rest::new(&world, Http::One, Some(world.token()));
    let ask = async |rest: &Rest, path: &str, field: (&'static str, &'static str)| {
        let mut fields: Vec<_> = HANDSHAKE.into_iter().filter(|(name, _)| *name != field.0).collect();
        fields.push(field);
        rest.send(Method::GET, path, &fields, "").await
    };
    let nothing = ("x-nothing", "1");
    let check = async |rest: &Rest, path: &str, field, status: u16, reason: &str| {
        let refused = ask(rest, path, field).await;
        assert_eq!(
            (refused.status.as_u16(), refused.reason().as_str()),
            (status, reason),
            "{path} {field:?}"
        );
        refused
    };
    let stranger = Rest::new(&world, Http::One, None);
    let reader = Rest::new(&world, Http::One, Some(world.token_for("notes.read", 600)));
    check(&stranger, "/v1/notes:chat", nothing, 401, "TOKEN_MISSING").await;
    check(&reader, "/v1/notes:chat", nothing, 403, "SCOPE_MISSING").await;
    check(&rest, "/v1/nowhere:chat", nothing, 404, "UNKNOWN_PATH").await;
    check(&rest, "/v1/notes:chat?what=1", nothing, 400, "INVALID_REQUEST").await;
    check(&rest, "/v1/notes:chat", ("sec-websocket-key", "short"), 400, "INVALID_HEADER").await;
    check(&rest, "/v1/notes:chat", ("origin", "https://evil.test"), 403, "ORIGIN_REFUSED").await;
    let version =
        check(&rest, "/v1/notes:chat", ("sec-websocket-version", "8"), 426, "WEBSOCKET_VERSION").await;
    assert_eq!((version.header("sec-websocket-version"), version.header("upgrade")), ("13", "websocket"));
    // Without both headers it is a GET like any other, and so is one where no dialogue is to be had.
    check(&rest, "/v1/notes:chat", ("connection", "keep-alive"), 405, "METHOD_NOT_ALLOWED").await;
    assert_eq!(world.calls_behind(), 0, "what is refused never reaches the service");
    let watched = ask(&rest, "/v1/notes:watch?count=1", nothing).await;
    assert_eq!((watched.status, watched.json()), (StatusCode::OK, json!([{"noteId": "n-0"}])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_dialogue_takes_its_call_along() {
    let world = World::new().await;
    for abrupt in [true, false] {
        let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
        chat.say("{}").await;
        chat.hear().await;
        assert_eq!(world.calls_behind(), 1);
        if !abrupt {
            chat.say.send(Message::Close(None)).await.unwrap();
            assert!(matches!(chat.frame().await, Some(Ok(Message::Close(None)))));
            assert!(chat.frame().await.is_none());
        }
        drop(chat);
        world.until("the call is given up", || world.calls_behind() == 0).await;
    }
    world.until("both are written down", || world.access_log().len() == 2).await;
    for line in world.access_log() {
        assert_eq!((&line["code"], &line["cut_by"]), (&json!("CANCELLED"), &json!("downstream")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_move_at_once_however_much_there_is() {
    const MESSAGES: usize = 1_000;
    let world = World::new().await;
    let note = format!("{{\"text\": \"{}\"}}", "x".repeat(64_000));
    let run = async || {
        let Dialogue { mut say, mut hear } = Dialogue::open(&world, "/v1/notes:chat").await;
        let talk = async {
            for _ in 0..MESSAGES {
                say.send(Message::text(&note)).await.unwrap();
            }
            say.send(Message::text("")).await.unwrap();
        };
        let listen = async {
            let mut heard = 0;
            while let Some(Ok(Message::Text(text))) = hear.next().await {
                assert!(text.len() > 64_000);
                heard += 1;
            }
            heard
        };
        let ((), heard) = tokio::join!(talk, listen);
        assert_eq!(heard, MESSAGES);
    };
    let all = futures::future::join_all([run(), run(), run()]);
    tokio::time::timeout(Duration::from_secs(300), all).await.unwrap();
}

/// What a client has not read yet does not keep it from being heard, until neither side can hold any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_let_go() {
    let world = World::with(|config| config.replace("[limits]", "[limits]\nbody_idle_ms = 400")).await;
    let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
    let note = format!("{{\"text\": \"{}\"}}", "x".repeat(64_000));
    let endless = async { while chat.say.send(Message::text(&note)).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), endless).await.unwrap();
    world.until("the call is given up", || world.calls_behind() == 0).await;
    world.until("the edge has let go of it", || !world.access_log().is_empty()).await;
    assert_eq!(world.access_log()[0]["cut_by"], "downstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialogue_has_the_bounds_of_every_stream() {
    let world = World::with(|config| {
        let idle = "[[method]]\nname = \"echo.v1.EchoService/Chat\"\n\
                    policy = { allow = [\"subject\"], stream_idle_ms = 700, stream_max_age_ms = 60000 }\n";
        format!("{config}\n{idle}")
    })
    .await;
    // The deadline that a client asks for holds however busy it is.
    let mut chat = Dialogue::with(&world, "/v1/notes:chat", &[("x-server-timeout", "0.3")]).await;
    let failed = chat.failure().await;
    assert_eq!(failed, ("DEADLINE_EXCEEDED".to_owned(), 4004, "DEADLINE_EXCEEDED".to_owned()));
    // Pings tell that somebody is there, not that anything moves.
    // The edge's clock starts before the handshake is answered; ours must not start after it.
    let began = Instant::now();
    let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
    let mut pongs = 0;
    let text = loop {
        chat.say.send(Message::Ping(Bytes::new())).await.unwrap();
        match chat.frame().await {
            Some(Ok(Message::Pong(_))) => pongs += 1,
            Some(Ok(Message::Text(text))) => break text,
            other => panic!("neither pong nor text: {other:?}"),
        }
    };
    assert!(text.contains("STREAM_IDLE"), "{text}");
    assert!(began.elapsed() >= Duration::from_millis(700) && pongs > 3, "{:?} {pongs}", began.elapsed());
    assert_eq!(chat.end().await, (4014, "UNAVAILABLE".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_dialogues_go_on_and_then_says_goodbye() {
    let mut world = World::with(|config| config.replace("grace_ms = 10000", "grace_ms = 3000")).await;
    let mut chat = Dialogue::open(&world, "/v1/notes:chat").await;
    chat.say("{}").await;
    assert_eq!(chat.hear().await, json!({}));
    world.stop();
    world.until("the edge is stopping", || world.process.drain.is_stopping()).await;
    chat.say(r#"{"size": 2}"#).await;
    assert_eq!(chat.hear().await, json!({"size": "2"}));
    assert_eq!(chat.end().await, (1001, String::new()));
    drop(chat);
    world.stopped().await;
    assert_eq!(world.access_log()[0]["cut_by"], "drain");
}
