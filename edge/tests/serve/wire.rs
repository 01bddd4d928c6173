//! HTTP/1 by hand: what well-behaved clients never send, and what the edge must survive or refuse.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::World;

pub async fn connect(world: &World) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(world.public).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(world.client_tls())).connect(name, tcp).await.unwrap()
}

/// Everything the edge says until it closes, or until `enough`.
async fn read(stream: &mut TlsStream<TcpStream>, enough: impl Fn(&str) -> bool) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&said).into_owned();
        if enough(&text) {
            return text;
        }
        let next = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        match next.unwrap() {
            Ok(0) | Err(_) => return text,
            Ok(count) => said.extend_from_slice(&buffer[..count]),
        }
    }
}

pub async fn exchange(world: &World, request: &str) -> String {
    let mut stream = connect(world).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    read(&mut stream, |_| false).await
}

fn statuses(said: &str) -> Vec<&str> {
    said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_at_its_edges() {
    let world =
        World::with(|config| config.replace("[limits]", "[limits]\nheader_ms = 400\nhandshake_ms = 400"))
            .await;
    let get = "GET /v1/hello/you HTTP/1.1\r\nhost: localhost\r\n";

    // Two requests at once, the second with the first's bytes, are two answers.
    let said = exchange(&world, &format!("{get}\r\n{get}connection: close\r\n\r\n")).await;
    assert_eq!(statuses(&said), ["200", "200"], "{said}");

    // Framing that two parsers could read in two ways.
    for smuggled in [
        format!("{get}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        format!("{get}content-length: +5\r\n\r\nhello"),
        format!("{get}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        "GET /v1/hello/you HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    ] {
        let said = exchange(&world, &smuggled).await;
        assert_eq!(statuses(&said), ["400"], "{smuggled:?} {said}");
    }

    // A body that waits to be asked for.
    let mut stream = connect(&world).await;
    let token = world.token();
    let head = format!(
        "POST /v1/notes HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(statuses(&read(&mut stream, |said| said.ends_with("\r\n\r\n")).await), ["100"]);
    stream.write_all(b"{}").await.unwrap();
    assert_eq!(statuses(&read(&mut stream, |_| false).await), ["201"]);

    slow_clients_are_let_go(&world, get).await;

    let grpc = "POST /echo.v1.EchoService/GetNote HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\
                content-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!(statuses(&exchange(&world, grpc).await), ["404"], "gRPC needs HTTP/2");
}

/// Framing and heads that two parsers could read in two ways (RFC 9112): one refusal, and nothing of what follows is served.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_parsers_could_read_in_two_ways_is_refused() {
    let world = World::new().await;
    let path = "GET /v1/hello/you HTTP/1.1\r\n";
    let next = format!("{path}host: a\r\nconnection: close\r\n\r\n");
    let mut wrong = Vec::new();
    for field in [
        "transfer-encoding : chunked",
        "transfer-encoding: xchunked",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding:\x0bchunked",
        "transfer-encoding: \"chunked\"",
        "content-length: 5, 5",
        "content-length: 5 5",
        "content-length: 0x5",
        "content-length: -5",
        "content-length: ",
        "content-length: 18446744073709551616",
        "content-length: 5\r\ncontent-length: 5",
        "content-length : 5",
        "x: a\r\n folded",
        "x: a\0b",
        "x: a\rb",
        "x(y): 1",
        ": 1",
        "host: b",
    ] {
        let said = exchange(&world, &format!("{path}host: a\r\n{field}\r\n\r\n0\r\n\r\n{next}")).await;
        if statuses(&said) != ["400"] {
            wrong.push((field, statuses(&said).join(" ")));
        }
    }
    for head in [
        "GET /v1/hello/you HTTP/1.1\r\n\r\n",
        "GET /v1/hello/you HTTP/1.2\r\nhost: a\r\n\r\n",
        "GET /v1/hello/you HTTP/2.0\r\nhost: a\r\n\r\n",
        "GET /v1/hello/you\r\nhost: a\r\n\r\n",
        "GET http://evil/v1/hello/you HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT evil:443 HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let said = exchange(&world, &format!("{head}{next}")).await;
        if statuses(&said) != ["400"] {
            wrong.push((head, statuses(&said).join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A length beside the chunks: RFC 9112 section 6.1 lets a server pass it over, and another may not.
    for fields in
        ["content-length: 5\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 5"]
    {
        let said = exchange(&world, &format!("{path}host: a\r\n{fields}\r\n\r\n0\r\n\r\n{next}")).await;
        assert_eq!(statuses(&said), ["400"], "{fields:?}");
    }
    // Nothing is served behind chunks, whose ends are read in more ways than one.
    let chunks = format!("{path}host: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{next}");
    assert_eq!(statuses(&exchange(&world, &chunks).await), ["200"]);
    // Where no dialogue is to be had nobody changes the protocol: the wish is overheard, and what follows is a request like any
    // other.
    for wish in ["h2c", "websocket"] {
        let head = format!("{path}host: a\r\nupgrade: {wish}\r\nconnection: upgrade\r\n\r\n");
        assert_eq!(statuses(&exchange(&world, &format!("{head}{next}")).await), ["200", "200"], "{wish}");
    }
}

/// A client that asks for more than it reads keeps its seat no longer than it may take to read a piece, and a moment.
#[tokio::test(flavor = "multi_thread")]
async fn c8_a_client_that_does_not_read_its_stream_is_let_go() {
    let world = World::with(|config| config.replace("[limits]", "[limits]\nbody_idle_ms = 400")).await;
    let mut stream = connect(&world).await;
    let token = world.token();
    let head = format!(
        "GET /v1/notes:watch?count=10000000 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    world.until("the edge has let go of it", || !world.access_log().is_empty()).await;
    assert_eq!(world.access_log()[0]["cut_by"], "downstream");
    drop(stream);
}

/// Refusing costs no seat: whoever announces bodies without a token and never sends them keeps nobody else out.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_that_never_comes_takes_no_seat() {
    let world = World::with(|config| {
        config.replacen("[listener.partner]", "in_flight_max = 1\n[listener.partner]", 1)
    })
    .await;
    let head = "POST /v1/notes HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    let mut refused = connect(&world).await;
    refused.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(statuses(&read(&mut refused, |said| said.contains("TOKEN_MISSING")).await), ["401"]);
    let served = exchange(&world, "GET /v1/hello/you HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(statuses(&served), ["200"], "{served}");
}

async fn slow_clients_are_let_go(world: &World, get: &str) {
    // A header that never ends, byte by byte: each read is quick, the whole is not.
    let mut stream = connect(world).await;
    let began = Instant::now();
    stream.write_all(get.as_bytes()).await.unwrap();
    while began.elapsed() < Duration::from_secs(5) {
        if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "a dribbling header is let go");

    // A header without a bound.
    let mut stream = connect(world).await;
    let endless = async { while stream.write_all(&[b'x'; 1000]).await.is_ok() {} };
    // The deadline of the header would end it too, but not before it had taken megabytes.
    tokio::time::timeout(Duration::from_secs(5), endless).await.unwrap();

    // A client that says nothing: below TLS, and above.
    let mut tcp = TcpStream::connect(world.public).await.unwrap();
    let mut tls = connect(world).await;
    let mut byte = [0];
    let silent = tokio::time::timeout(Duration::from_secs(5), async {
        let _ = tcp.read(&mut byte).await;
        let _ = tls.read(&mut byte).await;
    });
    silent.await.unwrap();
}
