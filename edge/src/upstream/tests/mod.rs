//! Ways to an upstream and back: endpoints that refuse, go away, die and return, bursts, and certificates that change.

mod balancing;
mod faults;
mod retries;
mod tls;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis::Drain;
use futures::future::join_all;
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tonic::Code;

use super::testing::{
    After, eventually, framed, respond_ok, serve, serve_at, serve_goaway, serve_h2, upstream,
};
use super::{Limit, OpenError, StreamClass, StreamError, Terms, Upstream};

#[derive(Debug)]
enum Error {
    Open(OpenError),
    Stream(StreamError),
}

const UNARY: Terms = Terms { class: StreamClass::Unary, idempotent: false, deadline: None, outcome: false };
const STREAMING: Terms =
    Terms { class: StreamClass::Streaming, idempotent: false, deadline: None, outcome: false };

fn grpc_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (TE, HeaderValue::from_static("trailers")),
    ])
}

/// A whole unary call.
async fn call(upstream: &Arc<Upstream>, message: &[u8]) -> Result<Bytes, Error> {
    call_on(UNARY, upstream, message).await
}

/// The same on other terms.
async fn call_on(terms: Terms, upstream: &Arc<Upstream>, message: &[u8]) -> Result<Bytes, Error> {
    let headers = grpc_headers();
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    let mut stream = upstream.open(terms, &path, headers, false).await.map_err(Error::Open)?;
    stream.write_request_body(framed(message), true).await.map_err(Error::Stream)?;
    let header = stream.read_response_header().await.map_err(Error::Stream)?;
    assert_eq!(header.status, StatusCode::OK);
    let mut body = Vec::new();
    while let Some(part) = stream.read_response_body().await.map_err(Error::Stream)? {
        body.extend_from_slice(&part);
    }
    let trailers = stream.read_trailers().await.map_err(Error::Stream)?.unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
    Ok(body.split_off(5).into())
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn an_endpoint_that_refuses_to_connect_is_unavailable_at_once() {
    let drain = Drain::default();
    let upstream = upstream(&[nobody().await], &drain, |_| ());
    let begun = Instant::now();
    for _ in 0..20 {
        let Err(Error::Open(error)) = call(&upstream, b"ping").await else { panic!("somebody answers") };
        assert!(matches!(error, OpenError::Dial { .. }), "{error:?}");
        assert_eq!(error.grpc_code(), Code::Unavailable);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "a refusal needs no waiting");
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_call_and_is_ejected_until_it_returns() {
    let (alive, dead, drain) = (serve().await, nobody().await, Drain::default());
    let upstream =
        upstream(&[alive.address, dead], &drain, |config| (config.health, config.health_ms) = (true, 50));
    for _ in 0..10 {
        assert_eq!(call(&upstream, b"ping").await.unwrap(), "ping");
    }
    let healthy = || upstream.balance.endpoints().iter().filter(|endpoint| endpoint.is_fit()).count();
    eventually("ejection", || healthy() == 1).await;
    assert_eq!(alive.echo.calls.load(Ordering::SeqCst), 10);

    let back = serve_at(&dead.to_string()).await;
    eventually("return", || healthy() == 2).await;
    let both = || back.echo.calls.load(Ordering::SeqCst) > 0 && alive.echo.calls.load(Ordering::SeqCst) > 10;
    for _ in 0..10 {
        let answers = join_all((0..10).map(|_| call(&upstream, b"ping"))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    assert!(both(), "it gets its share");

    // The first one stops in good order: its GOAWAY costs no call either.
    alive.drain.stop();
    for _ in 0..50 {
        call(&upstream, b"ping").await.unwrap();
    }
    eventually("ejection", || healthy() == 1).await;
}

#[tokio::test]
async fn what_was_never_processed_is_sent_again_and_nothing_else() {
    let drain = Drain::default();
    let address = serve_h2(&drain, |_, request, incoming, mut respond| async move {
        let mut body = incoming.into_body();
        match request {
            0 => {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                After::Nothing
            }
            2 => {
                let _read = body.data().await;
                After::Cut
            }
            _ => {
                let sent = body.data().await.unwrap().unwrap();
                respond_ok(respond, &sent[5..]);
                After::Nothing
            }
        }
    })
    .await;
    let upstream = upstream(&[address], &drain, |_| ());
    assert_eq!(call(&upstream, b"refused at first").await.unwrap(), "refused at first", "with its body");

    // A lost call may have been processed.
    let Err(Error::Stream(error)) = call(&upstream, b"lost").await else {
        panic!("the lost call was repeated")
    };
    assert!(matches!(error, StreamError::Lost(_) | StreamError::Reset(_)), "{error:?}");
    assert_eq!(error.grpc_code(), Code::Unavailable);
    assert_eq!(call(&upstream, b"again").await.unwrap(), "again");
}

#[tokio::test]
async fn a_server_that_goes_away_costs_no_call() {
    let drain = Drain::default();
    // One says that it did not process what it was sent.
    let (leaving, staying) = (serve_goaway(&drain).await, serve().await);
    let upstream = upstream(&[leaving, staying.address], &drain, |_| ());
    for _ in 0..10 {
        assert_eq!(call(&upstream, b"ping").await.unwrap(), "ping");
    }
    assert_eq!(staying.echo.calls.load(Ordering::SeqCst), 10);

    // One takes leave in good order between calls, again and again.
    let polite = serve_h2(&drain, |_, _, incoming, respond| async move {
        let sent = incoming.into_body().data().await.unwrap().unwrap();
        respond_ok(respond, &sent[5..]);
        After::GoAway
    })
    .await;
    let upstream = super::testing::upstream(&[polite], &drain, |_| ());
    for _ in 0..20 {
        assert_eq!(call(&upstream, b"next").await.unwrap(), "next");
    }
}

#[tokio::test]
async fn refusals_without_end_are_given_up() {
    let drain = Drain::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let address = serve_h2(&drain, move |_, _, _, mut respond| {
        count.fetch_add(1, Ordering::SeqCst);
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        std::future::ready(After::Nothing)
    })
    .await;
    let upstream = upstream(&[address], &drain, |_| ());
    let Err(Error::Stream(StreamError::Open(error))) = call(&upstream, b"ping").await else {
        panic!("somebody answers")
    };
    assert!(matches!(error, OpenError::Refused { attempts: 3, .. }), "{error:?}");
    assert_eq!((error.grpc_code(), asked.load(Ordering::SeqCst)), (Code::Unavailable, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_dials_no_more_than_it_may() {
    let (server, drain) = (serve().await, Drain::default());
    let upstream =
        upstream(&[server.address], &drain, |config| (config.streams_max, config.connections_max) = (30, 2));
    for _ in 0..5 {
        let answers = join_all((0..200).map(|_| call(&upstream, b"ping"))).await;
        assert!(
            answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer == "ping")),
            "{answers:?}"
        );
    }
    let connections = server.echo.connections.load(Ordering::SeqCst);
    assert!(connections <= 2, "{connections} connections");
    assert_eq!(server.echo.calls.load(Ordering::SeqCst), 1_000);
}

#[tokio::test]
async fn a_full_endpoint_says_busy_and_recovers() {
    let (server, drain) = (serve().await, Drain::default());
    let upstream = upstream(&[server.address], &drain, |config| {
        (config.streams_max, config.connections_max, config.ready_ms) = (1, 1, 100);
    });
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))]);
    let held = upstream.open(UNARY, &path, headers, false).await.unwrap();
    let Err(Error::Open(error)) = call(&upstream, b"ping").await else { panic!("there was room") };
    assert!(matches!(error, OpenError::Busy { limit: Limit::Connections, .. }), "{error:?}");
    drop(held);
    assert_eq!(call(&upstream, b"ping").await.unwrap(), "ping");
}

#[tokio::test]
async fn endpoints_follow_the_resolution_and_keep_what_they_know() {
    let drain = Drain::default();
    let upstream = upstream(&["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()], &drain, |_| ());
    let balance = &upstream.balance;
    let pick = |tried: &[SocketAddr], avoid| {
        balance.pick(StreamClass::Unary, tokio::time::Instant::now(), tried, avoid)
    };
    let first = balance.endpoints()[0].clone();
    balance.judge(&first, false);
    for _ in 0..4 {
        assert_eq!(pick(&[], None).unwrap().address(), "10.0.0.2:1".parse().unwrap());
    }
    balance.resolved(&HashSet::from(["10.0.0.1:1".parse().unwrap(), "10.0.0.3:1".parse().unwrap()]));
    let addresses: Vec<_> = balance
        .endpoints()
        .iter()
        .map(|endpoint| (endpoint.address().to_string(), endpoint.is_fit()))
        .collect();
    assert_eq!(addresses, [("10.0.0.1:1".to_owned(), false), ("10.0.0.3:1".to_owned(), true)]);
    balance.resolved(&HashSet::new());
    assert_eq!(balance.endpoints().len(), 2, "an empty answer is no answer");
    let third = balance.endpoints()[1].clone();
    balance.judge(&third, false);
    assert!(pick(&[], None).is_some(), "none is healthy: all are tried");
    assert!(pick(&[first.address(), third.address()], None).is_none());
    assert_eq!(pick(&[], Some(third.address())).unwrap().address(), first.address());
}
