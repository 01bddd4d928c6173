//! Asks every endpoint over grpc.health.v1 how it is. One wrong answer takes an endpoint out of the rotation, one right answer
//! brings it back: a call that meets a dead endpoint is tried elsewhere anyway, and a service that says NOT_SERVING means it.
//! A server that does not implement the health service is healthy as long as it answers at all.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use chassis::Drain;
use futures::future::join_all;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::uri::PathAndQuery;
use prost::Message as _;
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::attempt::Attempt;
use super::config::UpstreamConfig;
use super::endpoint::{Endpoint, Visit};
use super::replay::Call;
use super::{StreamClass, Terms, Upstream};

/// The longest a check may take. A healthy service answers from memory; the dial of a new connection is part of it.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// The largest answer that is read; a health answer has two bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// The answer of `grpc.health.v1.Health/Check`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// Checks the endpoints of an upstream until the drain.
pub(super) fn start(upstream: &Arc<Upstream>, config: &UpstreamConfig, drain: &Drain) {
    let over = upstream.over(drain);
    let (upstream, every) = (Arc::downgrade(upstream), Duration::from_millis(config.health_ms));
    drain.spawn("upstream health", async move {
        let rounds = async {
            while let Some(upstream) = upstream.upgrade() {
                let endpoints = upstream.balance.endpoints();
                let verdicts = join_all(endpoints.iter().map(|endpoint| check(&upstream, endpoint))).await;
                for (endpoint, healthy) in endpoints.iter().zip(verdicts) {
                    upstream.balance.judge(endpoint, healthy);
                }
                drop(upstream);
                tokio::time::sleep(every).await;
            }
        };
        tokio::select! {
            () = over => (),
            () = rounds => (),
        }
    });
}

/// Whether an endpoint that has been away is back. Without health checks any answer will do.
pub(super) async fn answers(upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) -> bool {
    match asked(upstream, endpoint).await {
        Some(healthy) => healthy || !upstream.checked,
        None => false,
    }
}

async fn check(upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) -> bool {
    asked(upstream, endpoint).await == Some(true)
}

/// `None`: there was no answer in time.
async fn asked(upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) -> Option<bool> {
    let answer = timeout(ANSWER_WITHIN, ask(upstream, endpoint)).await;
    if answer.is_err() {
        // The next check must not ask a connection whose other end has gone without a word.
        endpoint.checks().retire_before(u64::MAX);
    }
    answer.ok().flatten()
}

/// `None`: there was no answer.
async fn ask(upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) -> Option<bool> {
    let slot = endpoint.checks().slot(Instant::now() + ANSWER_WITHIN).await.ok()?;
    // Counted as a stream, so that the time of a check is not taken for that of a call.
    let visit = Visit::new(endpoint.clone(), StreamClass::Streaming, Instant::now());
    let mut call = Attempt::begin(upstream, visit, slot, &question()).ok()?;
    let header = poll_fn(|cx| call.poll_header(cx)).await.ok()?;
    let mut body = BytesMut::new();
    while let Some(part) = poll_fn(|cx| call.poll_body(cx)).await {
        body.extend_from_slice(&part.ok()?);
        if body.len() > ANSWER_BYTES_MAX {
            return None;
        }
    }
    let trailers = poll_fn(|cx| call.poll_trailers(cx)).await.ok()?;
    Some(verdict(&header.headers, trailers.as_ref(), &body))
}

/// The question for the server as a whole: an empty message, since the empty service name is the default.
fn question() -> Call {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert("grpc-timeout", HeaderValue::from_static("1S"));
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let terms = Terms { class: StreamClass::Unary, idempotent: true, deadline: None, outcome: false };
    let mut call = Call::new(terms, path, headers, false);
    let mut frame = BytesMut::with_capacity(5);
    frame.put_u8(0);
    frame.put_u32(0);
    call.record(&frame.freeze(), true);
    call
}

fn verdict(headers: &HeaderMap, trailers: Option<&HeaderMap>, body: &[u8]) -> bool {
    let code =
        trailers.and_then(|trailers| trailers.get("grpc-status")).or_else(|| headers.get("grpc-status"));
    let Some(code) = code.map(|code| Code::from_bytes(code.as_bytes())) else { return false };
    if code == Code::Unimplemented {
        return true;
    }
    let message = body.get(5..).unwrap_or_default();
    code == Code::Ok
        && HealthCheckResponse::decode(Bytes::copy_from_slice(message))
            .is_ok_and(|answer| answer.status() == ServingStatus::Serving)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_serving_server_or_one_without_health_service_is_healthy() {
        let status = |code: &'static str| {
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(code))])
        };
        let none = HeaderMap::new();
        for (headers, trailers, body, healthy) in [
            (&none, Some(status("0")), &[0, 0, 0, 0, 2, 8, 1][..], true),
            (&none, Some(status("0")), &[0, 0, 0, 0, 2, 8, 2], false),
            (&none, Some(status("0")), &[0, 0, 0, 0, 2, 8, 3], false),
            (&none, Some(status("0")), &[0, 0, 0, 0, 0], false),
            (&none, Some(status("0")), &[], false),
            (&none, Some(status("14")), &[0, 0, 0, 0, 2, 8, 1], false),
            (&none, None, &[0, 0, 0, 0, 2, 8, 1], false),
            (&status("12"), None, &[], true),
            (&status("5"), None, &[], false),
        ] {
            assert_eq!(
                verdict(headers, trailers.as_ref(), body),
                healthy,
                "{headers:?} {trailers:?} {body:?}"
            );
        }
    }
}
