//! What becomes of endpoints that fail, and of calls that are too many.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chassis::Drain;
use http::uri::PathAndQuery;
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use super::{Error, UNARY, call, grpc_headers, nobody};
use crate::upstream::testing::{After, eventually, framed, respond_ok, serve, serve_h2, upstream};
use crate::upstream::{Ejection, Limit, OpenError, Terms, Upstream, UpstreamConfig};

const RULES: Ejection = Ejection { failures: 3, ms: 100, ms_max: 30_000, percent_max: 50 };

fn rules(config: &mut UpstreamConfig) {
    config.ejection = RULES;
}

/// A server that loses its connection whenever it is called, as long as it is broken. It answers health checks with nothing that
/// is healthy; that it answers must do.
#[derive(Clone, Default)]
struct Breaking {
    broken: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Breaking {
    async fn serve(&self, drain: &Drain) -> SocketAddr {
        let own = self.clone();
        serve_h2(drain, move |_, _, request, respond| {
            let own = own.clone();
            async move {
                let health = request.uri().path().starts_with("/grpc.health");
                own.calls.fetch_add(usize::from(!health), Ordering::SeqCst);
                if own.broken.load(Ordering::SeqCst) {
                    return After::Cut;
                }
                let mut body = request.into_body();
                let sent = body.data().await.unwrap().unwrap();
                respond_ok(respond, &sent[5..]);
                After::Nothing
            }
        })
        .await
    }
}

fn ejected(upstream: &Upstream) -> usize {
    upstream.balance.endpoints().iter().filter(|endpoint| endpoint.breaker().is_ejected()).count()
}

#[tokio::test]
async fn failures_in_a_row_take_an_endpoint_out_until_it_answers_again() {
    let (alive, breaking, drain) = (serve().await, Breaking::default(), Drain::default());
    breaking.broken.store(true, Ordering::SeqCst);
    let upstream = upstream(&[alive.address, breaking.serve(&drain).await], &drain, rules);
    // A failure makes the endpoint look slow too, and it is given no calls until that has faded.
    let (mut lost, patience) = (0, Instant::now() + Duration::from_secs(60));
    while ejected(&upstream) == 0 && Instant::now() < patience {
        lost += usize::from(call(&upstream, b"ping").await.is_err());
    }
    assert_eq!((lost, ejected(&upstream)), (3, 1));

    // It stays out over several times `ms`, because it does not answer.
    let until = Instant::now() + Duration::from_millis(400);
    while Instant::now() < until {
        assert_eq!(call(&upstream, b"ping").await.unwrap(), "ping");
    }
    breaking.broken.store(false, Ordering::SeqCst);
    eventually("return", || ejected(&upstream) == 0).await;
    let (before, patience) =
        (breaking.calls.load(Ordering::SeqCst), Instant::now() + Duration::from_secs(60));
    while Instant::now() < patience {
        assert_eq!(call(&upstream, b"ping").await.unwrap(), "ping");
        if breaking.calls.load(Ordering::SeqCst) > before {
            return;
        }
    }
    panic!("it gets no calls");
}

#[tokio::test]
async fn no_more_than_the_share_is_ejected_and_never_the_last() {
    for (endpoints, out) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        let drain = Drain::default();
        let mut addresses = Vec::new();
        for _ in 0..endpoints {
            addresses.push(nobody().await);
        }
        let upstream = upstream(&addresses, &drain, |config| {
            config.ejection = Ejection { ms: 30_000, ..RULES };
        });
        for _ in 0..50 {
            assert!(call(&upstream, b"ping").await.is_err());
        }
        assert_eq!(ejected(&upstream), out, "of {endpoints}");
    }
}

#[tokio::test]
async fn deadlines_without_an_answer_take_an_endpoint_out() {
    let (alive, drain) = (serve().await, Drain::default());
    let stuck = serve_h2(&drain, |_, _, request, respond| async move {
        let _held = (request, respond);
        std::future::pending().await
    })
    .await;
    let upstream = upstream(&[alive.address, stuck], &drain, rules);
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    let mut late = 0;
    for _ in 0..2_000 {
        let deadline = Instant::now() + Duration::from_millis(20);
        let terms = Terms { deadline: Some(deadline), ..UNARY };
        let mut stream = upstream.open(terms, &path, grpc_headers(), false).await.unwrap();
        stream.write_request_body(framed(b"ping"), true).await.unwrap();
        late += usize::from(timeout_at(deadline, stream.read_response_header()).await.is_err());
        drop(stream);
        if ejected(&upstream) > 0 {
            assert!(late >= 3, "after {late}");
            return;
        }
        // The balancer avoids it by itself; here it has to be met again and again.
        for endpoint in upstream.balance.endpoints() {
            endpoint.load().forget();
        }
    }
    panic!("{late} calls were late");
}

#[tokio::test]
async fn a_call_too_many_is_refused_at_once_and_by_name() {
    let (server, drain) = (serve().await, Drain::default());
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    let one = upstream(&[server.address], &drain, |config| config.in_flight_max = 1);
    let held = one.open(UNARY, &path, grpc_headers(), false).await.unwrap();
    let Err(Error::Open(error)) = call(&one, b"ping").await else { panic!("there was room") };
    assert!(matches!(error, OpenError::Busy { limit: Limit::InFlight, .. }), "{error:?}");
    assert_eq!(error.grpc_code(), Code::Unavailable);
    drop(held);
    assert_eq!(call(&one, b"ping").await.unwrap(), "ping", "and the seat comes back");
    assert_eq!(call(&one, b"ping").await.unwrap(), "ping");

    let narrow = upstream(&[server.address], &drain, |config| {
        (config.streams_max, config.connections_max, config.pending_max) = (1, 1, 1);
    });
    let held = narrow.open(UNARY, &path, grpc_headers(), false).await.unwrap();
    let (first, second) = tokio::join!(call(&narrow, b"waits"), async {
        let second = call(&narrow, b"too many").await;
        drop(held);
        second
    });
    assert_eq!(first.unwrap(), "waits");
    let Err(Error::Open(error)) = second else { panic!("two may wait") };
    assert!(matches!(error, OpenError::Busy { limit: Limit::Pending, .. }), "{error:?}");
}
