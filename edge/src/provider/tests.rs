//! A generated client's view of a provider, against tonic and bare h2 servers on sockets.

use std::sync::{Arc, Mutex};

use tonic::client::Grpc;
use tonic::{Code, Request};

use super::*;
use crate::upstream::testing::{After, Raw, respond_ok, serve, serve_h2, upstream};

/// Longer than anything here takes, so that a deadlock ends as a failure.
const PATIENCE: Duration = Duration::from_secs(60);

fn signer() -> Signer {
    static SIGNER: std::sync::LazyLock<Signer> =
        std::sync::LazyLock::new(|| Signer::load(None, "causeway.test", Duration::from_secs(60)).unwrap());
    SIGNER.clone()
}

fn path(method: &str) -> PathAndQuery {
    format!("/test.Echo/{method}").parse().unwrap()
}

fn provider(addresses: &[std::net::SocketAddr], drain: &chassis::Drain) -> Provider {
    Provider::new(upstream(addresses, drain, |_| ()), &signer())
}

#[tokio::test]
async fn a_call_goes_out_as_the_edge_and_comes_back() {
    let drain = chassis::Drain::default();
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let address = {
        let seen = seen.clone();
        serve_h2(&drain, move |_, _, request, respond| {
            *seen.lock().unwrap() = request.headers().clone();
            respond_ok(respond, b"pong");
            std::future::ready(After::Nothing)
        })
        .await
    };
    let mut client = Grpc::new(provider(&[address], &drain));
    client.ready().await.unwrap();
    let answer = client.unary(Request::new(Bytes::from_static(b"ping")), path("Unary"), Raw).await.unwrap();
    assert_eq!(&answer.into_inner()[..], b"pong");
    let headers = seen.lock().unwrap().clone();
    let deadline = chassis::Deadline::after(BUDGET);
    // Without a certificate the upstream is known by its name alone.
    let call = chassis::Call::from_headers(&headers, deadline, &signer().verifier(), "echo").unwrap();
    assert!(call.caller.is_service());
    assert_eq!(call.caller.acting_service(), Some(EDGE));
    assert!(deadline::from_headers(&headers).unwrap() <= BUDGET);
}

#[tokio::test]
async fn a_status_keeps_its_code_and_a_stream_its_messages() {
    let (drain, server) = (chassis::Drain::default(), serve().await);
    let provider = provider(&[server.address], &drain);
    let mut client = Grpc::new(provider.clone());
    client.ready().await.unwrap();
    let refused = client.unary(Request::new(Bytes::new()), path("Fail"), Raw).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "no way"));

    let mut client = Grpc::new(provider.streaming());
    client.ready().await.unwrap();
    let answer = client.server_streaming(Request::new(Bytes::new()), path("FailLate"), Raw).await.unwrap();
    let mut messages = answer.into_inner();
    assert_eq!(messages.message().await.unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(messages.message().await.unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn a_budget_ends_a_call_before_and_after_its_header() {
    let (drain, server) = (chassis::Drain::default(), serve().await);
    let mut client = Grpc::new(provider(&[server.address], &drain));
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::new());
    request.set_timeout(Duration::from_millis(50));
    let answer = client.server_streaming(request, path("HangLate"), Raw).await.unwrap();
    let mut messages = answer.into_inner();
    messages.message().await.unwrap();
    let late = tokio::time::timeout(PATIENCE, messages.message()).await.unwrap().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);

    let silent = serve_h2(&drain, |_, _, request, respond| async move {
        let _held = (request, respond);
        std::future::pending().await
    })
    .await;
    let mut client = Grpc::new(provider(&[silent], &drain));
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::new());
    request.set_timeout(Duration::from_millis(50));
    let late = tokio::time::timeout(PATIENCE, client.unary(request, path("Unary"), Raw)).await.unwrap();
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
}
