//! What a body may cost: how slowly it may come, and how much of all bodies is held at once.

use std::sync::Arc;

use http::StatusCode;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Http, Rest};
use crate::world::World;

/// A request of HTTP/1 whose body is to come.
async fn begin(
    world: &World,
    verb: &str,
    path: &str,
    content_type: &str,
    length: usize,
) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(world.public).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(Arc::new(world.client_tls())).connect(name, tcp).await.unwrap();
    let token = world.token();
    let head = format!(
        "{verb} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    tls.write_all(head.as_bytes()).await.unwrap();
    tls.flush().await.unwrap();
    tls
}

/// The status line and what came with it.
async fn answer(tls: &mut TlsStream<TcpStream>) -> String {
    let mut buffer = [0; 4096];
    let read = timeout(Duration::from_secs(10), tls.read(&mut buffer)).await.unwrap();
    String::from_utf8_lossy(&buffer[..read.unwrap()]).into_owned()
}

/// Sends a body, so many bytes every fiftieth of a second, until it is whole or nobody listens, and reads the answer.
async fn send_slowly(mut tls: TlsStream<TcpStream>, body: &[u8], bytes: usize) -> String {
    let mut buffer = [0; 4096];
    for piece in body.chunks(bytes) {
        if tls.write_all(piece).await.is_err() || tls.flush().await.is_err() {
            break;
        }
        tokio::select! {
            read = tls.read(&mut buffer) => return String::from_utf8_lossy(&buffer[..read.unwrap()]).into_owned(),
            () = sleep(Duration::from_millis(20)) => (),
        }
    }
    answer(&mut tls).await
}

#[tokio::test(flavor = "multi_thread")]
async fn c8_a_body_that_comes_too_slowly_gives_up_its_place() {
    // Ten bytes each fiftieth of a second are 500 a second; a hundred are 5,000.
    let bounds = "[limits]\nbody_grace_ms = 300\nbody_bytes_per_s_min = 2000";
    let world = World::with(|text| text.replace("[limits]", bounds)).await;
    let json = format!("{{\"text\": \"{}\"}}", "x".repeat(4_000));
    let upload = "y".repeat(4_000);
    for (verb, path, content_type, body, status) in [
        ("POST", "/v1/notes", "application/json", json.as_bytes(), "201"),
        ("PUT", "/v1/files/f-1", "application/octet-stream", upload.as_bytes(), "200"),
    ] {
        let slow = begin(&world, verb, path, content_type, body.len()).await;
        let began = Instant::now();
        let said = send_slowly(slow, body, 10).await;
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("BODY_TOO_SLOW"), "{path}: {said}");
        assert!(began.elapsed() < Duration::from_secs(4), "{path}: long before its end");
        // Who stalls is no better off than who dribbles.
        let mut silent = begin(&world, verb, path, content_type, body.len()).await;
        let said = answer(&mut silent).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{path}: {said}");
        let steady = begin(&world, verb, path, content_type, body.len()).await;
        let said = send_slowly(steady, body, 200).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {said}");
    }
    // A stream of values may be a dialogue: its client thinks.
    let lines = b"{\"size\": 1}\n{\"size\": 2}\n";
    let thinks = begin(&world, "POST", "/v1/notes:collect", "application/x-ndjson", lines.len()).await;
    let said = send_slowly(thinks, lines, 1).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_room_is_refused_while_there_is_none_and_what_is_small_is_served() {
    // Room for two and a half of the bodies below: people may have 70 hundredths of it.
    let world = World::with(|text| text.replace("[limits]", "[limits]\nbuffered_bytes_max = 262144")).await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    let large = format!("{{\"text\": \"{}\"}}", "x".repeat(50_000));
    assert_eq!(rest.post("/v1/notes", &large).await.status, StatusCode::CREATED);
    let held = || world.number("edge_buffered_bytes");
    world.until("it is given back", || held() == 0).await;

    // Both send all but the last byte.
    let mut waiting = Vec::new();
    for n in 1..=2 {
        let mut slow = begin(&world, "POST", "/v1/notes", "application/json", large.len()).await;
        slow.write_all(&large.as_bytes()[..large.len() - 1]).await.unwrap();
        slow.flush().await.unwrap();
        waiting.push(slow);
        world.until("it is held", || held() > n * 80_000).await;
    }
    let refused = rest.post("/v1/notes", &large).await;
    assert_eq!((refused.status, refused.reason().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "NO_ROOM"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(rest.post("/v1/notes", "{\"text\": \"small\"}").await.status, StatusCode::CREATED);
    assert_eq!(world.page("/ready").await, "ready\n");

    // The first is served to its end, the second gives up: both give back what they held.
    let mut first = waiting.remove(0);
    first.write_all(b"}").await.unwrap();
    first.flush().await.unwrap();
    assert!(answer(&mut first).await.starts_with("HTTP/1.1 201"));
    drop(waiting);
    world.until("all is given back", || held() == 0).await;
    assert_eq!(rest.post("/v1/notes", &large).await.status, StatusCode::CREATED);
}
