//! Which calls are made again: idempotent ones that failed, within bounds; and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis::Drain;
use futures::future::join_all;
use http::uri::PathAndQuery;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Error, UNARY, call, call_on, grpc_headers};
use crate::outcome;
use crate::upstream::testing::{After, framed, respond_ok, serve_h2, upstream};
use crate::upstream::{Retry, StreamError, Terms, Upstream, UpstreamConfig};

const IDEMPOTENT: Terms = Terms { idempotent: true, ..UNARY };

/// No pauses, and as many retries as anybody wants.
fn generous(config: &mut UpstreamConfig) {
    config.retry = Retry { per_s_min: 1_000, pause_ms: 0, ..Retry::default() };
    config.ejection.failures = 0;
}

type Respond = h2::server::SendResponse<Bytes>;

/// A trailers-only UNAVAILABLE with these headers.
fn unavailable(respond: &mut Respond, headers: &[(&'static str, &'static str)]) {
    let mut header = http::Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "14")
        .header("grpc-message", "the store is away");
    for (name, value) in headers {
        header = header.header(*name, *value);
    }
    respond.send_response(header.body(()).unwrap(), true).unwrap();
}

/// A server whose first `failures` requests are answered by `fail`, all others by an echo; counts the requests.
async fn failing(
    drain: &Drain,
    failures: usize,
    fail: impl Fn(&mut Respond) -> After + Clone + Send + Sync + 'static,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let address = serve_h2(drain, move |_, request, incoming, mut respond| {
        count.fetch_add(1, Ordering::SeqCst);
        let fail = fail.clone();
        async move {
            let attempts = incoming.headers().get("grpc-previous-rpc-attempts").cloned();
            assert_eq!(attempts.map(|count| count.to_str().unwrap().parse().unwrap()).unwrap_or(0) > 0, {
                request > 0 && request <= failures
            });
            let mut body = incoming.into_body();
            let sent = body.data().await.unwrap().unwrap();
            if request < failures {
                return fail(&mut respond);
            }
            respond_ok(respond, &sent[5..]);
            After::Nothing
        }
    })
    .await;
    (address, asked)
}

#[tokio::test]
async fn an_idempotent_call_survives_unavailable_and_a_lost_connection() {
    for fail in [
        (|respond: &mut Respond| {
            unavailable(respond, &[]);
            After::Nothing
        }) as fn(&mut Respond) -> After,
        |_| After::Cut,
        |respond| {
            respond.send_reset(h2::Reason::CANCEL);
            After::Nothing
        },
    ] {
        let drain = Drain::default();
        let (address, asked) = failing(&drain, 2, fail).await;
        let upstream = upstream(&[address], &drain, generous);
        assert_eq!(call_on(IDEMPOTENT, &upstream, b"again").await.unwrap(), "again", "with its body");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn a_call_that_may_not_be_processed_twice_is_not_made_again() {
    let drain = Drain::default();
    let (address, asked) = failing(&drain, 1, |_| After::Cut).await;
    let upstream = upstream(&[address], &drain, generous);
    let Err(Error::Stream(error)) = call(&upstream, b"once").await else { panic!("somebody answers") };
    assert_eq!((error.grpc_code(), asked.load(Ordering::SeqCst)), (Code::Unavailable, 1));
}

/// What a call is told that is answered with a status only.
async fn status(terms: Terms, upstream: &Arc<Upstream>) -> String {
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    let mut stream = upstream.open(terms, &path, grpc_headers(), false).await.unwrap();
    stream.write_request_body(framed(b"ping"), true).await.unwrap();
    let header = stream.read_response_header().await.unwrap();
    assert!(stream.response_ended());
    assert_eq!(stream.read_response_body().await.unwrap(), None);
    assert!(stream.read_trailers().await.unwrap().is_none());
    header.headers["grpc-message"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_services_own_words_reach_the_caller_when_retries_end() {
    let drain = Drain::default();
    let fail = |respond: &mut Respond| {
        unavailable(respond, &[]);
        After::Nothing
    };
    let (address, asked) = failing(&drain, usize::MAX, fail).await;
    let often = upstream(&[address], &drain, generous);
    assert_eq!(status(IDEMPOTENT, &often).await, "the store is away");
    assert_eq!(asked.load(Ordering::SeqCst), 3, "the first and two more");

    // The server answers once and is gone: the retry finds nobody, and the answer that was to be replaced stands.
    let once = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = once.local_addr().unwrap();
    drain.spawn("answers once", async move {
        let (tcp, _) = once.accept().await.unwrap();
        drop(once);
        let mut http = h2::server::handshake(tcp).await.unwrap();
        let (_request, mut respond) = http.accept().await.unwrap().unwrap();
        unavailable(&mut respond, &[]);
        http.graceful_shutdown();
        while http.accept().await.is_some() {}
    });
    let gone = upstream(&[address], &drain, |config| {
        generous(config);
        config.retry.pause_ms = 200;
    });
    assert_eq!(status(IDEMPOTENT, &gone).await, "the store is away");
}

/// The words of a service that is sure, or is not, of what became of a call.
fn away(respond: &mut Respond, outcome: &str) {
    let metadata = [(outcome::KEY.to_owned(), outcome.to_owned())];
    let details = ErrorDetails::with_error_info("AWAY", "test", metadata);
    let status = tonic::Status::with_error_details(Code::Unavailable, "away", details);
    let mut header = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    status.add_header(header.headers_mut()).unwrap();
    respond.send_response(header, true).unwrap();
}

#[tokio::test]
async fn what_a_second_attempt_says_of_itself_is_not_all_there_is_to_say() {
    const MONEY: Terms = Terms { outcome: true, ..IDEMPOTENT };
    for (first, expect) in [("lost", "unknown"), ("unknown", "unknown"), ("not_done", "not_done")] {
        let drain = Drain::default();
        let address = serve_h2(&drain, move |_, request, incoming, mut respond| async move {
            incoming.into_body().data().await.unwrap().unwrap();
            match (request, first) {
                (0, "lost") => return After::Cut,
                (0, first) => away(&mut respond, first),
                _ => away(&mut respond, "not_done"),
            }
            After::Nothing
        })
        .await;
        let upstream = upstream(&[address], &drain, generous);
        let path = PathAndQuery::from_static("/test.Echo/Unary");
        let mut stream = upstream.open(MONEY, &path, grpc_headers(), false).await.unwrap();
        stream.write_request_body(framed(b"pay"), true).await.unwrap();
        let header = stream.read_response_header().await.unwrap();
        let status = tonic::Status::from_header_map(&header.headers).unwrap();
        assert_eq!(status.get_details_error_info().unwrap().metadata[outcome::KEY], expect, "{first}");
    }
}

#[tokio::test]
async fn a_lost_call_that_finds_no_second_place_may_have_been_processed() {
    let once = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = once.local_addr().unwrap();
    let drain = Drain::default();
    drain.spawn("takes a call and is gone", async move {
        let (tcp, _) = once.accept().await.unwrap();
        drop(once);
        let mut http = h2::server::handshake(tcp).await.unwrap();
        let _taken = http.accept().await.unwrap().unwrap();
    });
    let upstream = upstream(&[address], &drain, generous);
    let Err(Error::Stream(error)) = call_on(IDEMPOTENT, &upstream, b"pay").await else {
        panic!("somebody answers")
    };
    assert!(matches!(error, StreamError::NotRepeated(_)), "{error:?}");
    assert_eq!(error.grpc_code(), Code::Unavailable);
}

#[tokio::test]
async fn a_service_says_when_to_come_again_and_is_obeyed() {
    for (said, asked_again, waits_ms) in [("150", true, 150), ("-1", false, 0), ("60000", false, 0)] {
        let drain = Drain::default();
        let fail = move |respond: &mut Respond| {
            unavailable(respond, &[("grpc-retry-pushback-ms", said)]);
            After::Nothing
        };
        let (address, asked) = failing(&drain, 1, fail).await;
        let upstream = upstream(&[address], &drain, generous);
        let begun = Instant::now();
        if asked_again {
            assert_eq!(call_on(IDEMPOTENT, &upstream, b"later").await.unwrap(), "later");
        } else {
            assert_eq!(status(IDEMPOTENT, &upstream).await, "the store is away");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1 + usize::from(asked_again), "{said}");
        assert!(begun.elapsed() >= Duration::from_millis(waits_ms), "{said}");
    }
}

#[tokio::test]
async fn a_request_that_ends_while_its_call_moves_ends_at_the_new_place() {
    let drain = Drain::default();
    let address = serve_h2(&drain, |_, request, incoming, mut respond| async move {
        let mut body = incoming.into_body();
        if request == 0 {
            unavailable(&mut respond, &[("grpc-retry-pushback-ms", "100")]);
            return After::Nothing;
        }
        let mut sent = Vec::new();
        while let Some(part) = body.data().await {
            sent.extend_from_slice(&part.unwrap());
        }
        respond_ok(respond, &sent[5..]);
        After::Nothing
    })
    .await;
    let upstream = upstream(&[address], &drain, generous);
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    let mut stream = upstream.open(IDEMPOTENT, &path, grpc_headers(), false).await.unwrap();
    stream.write_request_body(framed(b"begun"), false).await.unwrap();
    let header = tokio::time::timeout(
        Duration::from_secs(10),
        std::future::poll_fn(|cx| {
            let header = stream.poll_response_header(cx);
            if !stream.request_ended() && format!("{stream:?}").contains("state: Moving") {
                stream.send(Bytes::new(), true);
            }
            header
        }),
    );
    header.await.unwrap().unwrap();
    assert!(stream.request_ended());
    assert_eq!(stream.read_response_body().await.unwrap().unwrap(), framed(b"begun"));
}

#[tokio::test]
async fn no_retry_begins_that_its_deadline_would_end() {
    let drain = Drain::default();
    let fail = |respond: &mut Respond| {
        unavailable(respond, &[("grpc-retry-pushback-ms", "1000")]);
        After::Nothing
    };
    let (address, asked) = failing(&drain, 1, fail).await;
    let upstream = upstream(&[address], &drain, generous);
    let deadline = tokio::time::Instant::now() + Duration::from_millis(500);
    let begun = Instant::now();
    assert_eq!(
        status(Terms { deadline: Some(deadline), ..IDEMPOTENT }, &upstream).await,
        "the store is away"
    );
    assert!(begun.elapsed() < Duration::from_millis(500), "it is told at once");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_outage_is_not_answered_with_a_storm_of_retries() {
    let drain = Drain::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let address = serve_h2(&drain, move |_, _, _, mut respond| {
        count.fetch_add(1, Ordering::SeqCst);
        unavailable(&mut respond, &[]);
        std::future::ready(After::Nothing)
    })
    .await;
    let upstream = upstream(&[address], &drain, |config| config.retry.pause_ms = 0);
    let begun = Instant::now();
    let calls = 1_000;
    for _ in 0..calls / 50 {
        join_all((0..50).map(|_| status(IDEMPOTENT, &upstream))).await;
    }
    let retries = asked.load(Ordering::SeqCst) - calls;
    let allowed = calls / 10 + 3 * usize::try_from(begun.elapsed().as_secs() + 1).unwrap();
    assert!(
        (calls / 20..=allowed).contains(&retries),
        "{retries} retries of {calls} calls, {allowed} allowed"
    );
}
