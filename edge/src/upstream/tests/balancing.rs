//! Who gets the calls, and what becomes of connections that are old or stand still.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chassis::Drain;
use futures::future::join_all;
use http::uri::PathAndQuery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{Error, STREAMING, call};
use crate::upstream::StreamError;
use crate::upstream::testing::{After, framed, respond_ok, serve, serve_h2, upstream};

#[tokio::test]
async fn a_slow_endpoint_gets_little_and_each_gets_something() {
    let drain = Drain::default();
    let count = |delay: Duration| {
        let calls = Arc::new(AtomicUsize::new(0));
        (calls.clone(), move |_, _, incoming: http::Request<h2::RecvStream>, respond| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move {
                let sent = incoming.into_body().data().await.unwrap().unwrap();
                tokio::time::sleep(delay).await;
                respond_ok(respond, &sent[5..]);
                After::Nothing
            }
        })
    };
    let ((quick, one), (slow, other)) = (count(Duration::from_millis(2)), count(Duration::from_millis(200)));
    let addresses = [serve_h2(&drain, one).await, serve_h2(&drain, other).await];
    let upstream = upstream(&addresses, &drain, |_| ());
    for _ in 0..20 {
        let answers = join_all((0..10).map(|_| call(&upstream, b"ping"))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    let (quick, slow) = (quick.load(Ordering::SeqCst), slow.load(Ordering::SeqCst));
    assert_eq!(quick + slow, 200);
    assert!((1..40).contains(&slow), "{quick} to the quick one, {slow} to the slow one");
}

#[tokio::test]
async fn an_endpoint_that_stops_answering_is_left_alone_before_any_call_has_failed() {
    let (alive, drain) = (serve().await, Drain::default());
    let stuck = Arc::new(AtomicUsize::new(0));
    let count = stuck.clone();
    let address = serve_h2(&drain, move |_, _, request, respond| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let _held = (request, respond);
            std::future::pending().await
        }
    })
    .await;
    let upstream = upstream(&[alive.address, address], &drain, |_| ());
    let begun = Instant::now();
    let one = async || timeout(Duration::from_millis(500), call(&upstream, b"ping")).await;
    let client = async || while begun.elapsed() < Duration::from_secs(1) && one().await.is_ok() {};
    join_all((0..4).map(|_| client())).await;
    let served = alive.echo.calls.load(Ordering::SeqCst);
    let stuck = stuck.load(Ordering::SeqCst);
    assert!(stuck <= 6 && served > 100, "{stuck} were caught, {served} served");
}

#[tokio::test]
async fn old_connections_are_replaced_and_no_call_notices() {
    let (server, drain) = (serve().await, Drain::default());
    let upstream = upstream(&[server.address], &drain, |config| config.age_ms = 300);
    let path = PathAndQuery::from_static("/test.Echo/Bidi");
    let mut stream = upstream.open(STREAMING, &path, super::grpc_headers(), false).await.unwrap();
    stream.write_request_body(framed(b"first"), false).await.unwrap();
    stream.read_response_header().await.unwrap();
    stream.read_response_body().await.unwrap();
    let begun = Instant::now();
    while server.echo.connections.load(Ordering::SeqCst) < 5 {
        assert_eq!(call(&upstream, b"ping").await.unwrap(), "ping");
        assert!(begun.elapsed() < Duration::from_secs(10), "no connection was replaced");
    }
    stream.write_request_body(framed(b"last"), true).await.unwrap();
    assert_eq!(stream.read_response_body().await.unwrap().unwrap(), framed(b"last"), "a stream goes on");
}

#[tokio::test]
async fn a_peer_that_stands_still_is_found_in_bounded_time() {
    let drain = Drain::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel of a stopped process still takes connections and bytes.
    drain.spawn("standing still", async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let _ = tcp.read_exact(&mut [0; 24]).await;
        std::future::pending::<()>().await;
    });
    let upstream = upstream(&[address], &drain, |config| (config.silent_ms, config.pong_ms) = (100, 100));
    let begun = Instant::now();
    let Err(Error::Stream(error)) = call(&upstream, b"ping").await else { panic!("somebody answers") };
    assert!(matches!(error, StreamError::Lost(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "after {:?}", begun.elapsed());
}
