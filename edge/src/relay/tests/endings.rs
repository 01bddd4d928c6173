//! How calls end: well, badly, early and late, and who hears of it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chassis::Drain;
use futures::{StreamExt as _, stream};
use http::uri::PathAndQuery;
use tokio::time::{Instant, timeout};
use tonic::{Code, Request};

use super::gateway::Gateway;
use super::{PATIENCE, path, stream as server_stream, unary};
use crate::relay::EndedBy;
use crate::upstream::testing::{After, Raw, eventually, framed, respond_ok, serve, serve_h2, upstream};

#[tokio::test]
async fn answers_arrive_with_their_headers_trailers_and_details() {
    let (server, drain) = (serve().await, Drain::default());
    let gateway = Gateway::start(upstream(&[server.address], &drain, |_| ()), &drain).await;
    let mut client = gateway.client();

    let answer = unary(&mut client, "Unary", b"ping").await.unwrap();
    assert_eq!(answer.metadata().get("through").unwrap(), "the relay");
    assert_eq!(answer.metadata().get("trailed").unwrap(), "too");
    assert_eq!(answer.into_inner(), "ping");

    // Trailers-only, with details and a message.
    let refused = unary(&mut client, "Fail", b"ping").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message(), refused.details()),
        (Code::FailedPrecondition, "no way", &b"\x08\x09"[..])
    );
    assert_eq!(refused.metadata().get("through").unwrap(), "the relay");

    // A status after a message.
    let mut late = server_stream(&mut client, "FailLate", &[]).await.unwrap().into_inner();
    assert_eq!(late.message().await.unwrap().unwrap(), "first");
    assert_eq!(late.message().await.unwrap_err().code(), Code::Aborted);

    client.ready().await.unwrap();
    let elsewhere = PathAndQuery::from_static("/test.Nobody/Home");
    let unknown = client.unary(Request::new(Bytes::new()), elsewhere, Raw).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);

    let outcomes = gateway.outcomes(4).await;
    let codes: Vec<_> = outcomes.iter().map(|outcome| (outcome.ended_by, outcome.grpc_code)).collect();
    assert_eq!(codes, [0, 9, 10, 12].map(|code| (EndedBy::Upstream, Some(code))));
    assert_eq!((outcomes[0].request.bytes, outcomes[0].response.messages), (9, 1));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_call_along() {
    let (server, drain) = (serve().await, Drain::default());
    let gateway = Gateway::start(upstream(&[server.address], &drain, |_| ()), &drain).await;
    let mut client = gateway.client();

    // While the answer flows, while none has begun, and while the request still flows.
    let mut answers = server_stream(&mut client, "HangLate", &[]).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap(), "first");
    assert_eq!(server.echo.hanging.load(Ordering::SeqCst), 1);
    drop(answers);
    eventually("cancelled answer", || server.echo.hanging.load(Ordering::SeqCst) == 0).await;

    let waiting = server_stream(&mut client, "Hang", &[]).await.unwrap();
    eventually("hanging call", || server.echo.hanging.load(Ordering::SeqCst) == 1).await;
    drop(waiting);
    eventually("cancelled call", || server.echo.hanging.load(Ordering::SeqCst) == 0).await;

    client.ready().await.unwrap();
    let unfinished = stream::iter([Bytes::from_static(b"half")]).chain(stream::pending());
    tokio::select! {
        _ = client.client_streaming(Request::new(unfinished), path("Upload"), Raw) => panic!("nobody answers"),
        () = eventually("upload upstream", || server.echo.hanging.load(Ordering::SeqCst) == 1) => (),
    }
    eventually("cancelled upload", || server.echo.hanging.load(Ordering::SeqCst) == 0).await;
    assert_eq!(
        server.echo.uploads.load(Ordering::SeqCst),
        0,
        "half an upload must not look like a whole one"
    );

    for outcome in gateway.outcomes(3).await {
        assert_eq!((outcome.ended_by, outcome.failure.is_none()), (EndedBy::Downstream, true));
    }
}

#[tokio::test]
async fn a_leaving_client_resets_the_upstream_stream() {
    let drain = Drain::default();
    let (seen, log) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let (sink, begun) = (seen.clone(), log.clone());
    let address = serve_h2(&drain, move |_, _, request, mut respond| {
        let (sink, begun) = (sink.clone(), begun.clone());
        async move {
            *begun.lock().unwrap() += 1;
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            drop(request);
            sink.lock().unwrap().push(reason.unwrap());
            After::Nothing
        }
    })
    .await;
    let gateway = Gateway::start(upstream(&[address], &drain, |_| ()), &drain).await;

    let mut client = gateway.client();
    let call = unary(&mut client, "Unary", b"ping");
    let begun = || *log.lock().unwrap() == 1;
    tokio::select! {
        _ = call => panic!("nobody answers"),
        () = eventually("request upstream", begun) => (),
    }
    eventually("reset", || !seen.lock().unwrap().is_empty()).await;
    assert_eq!(*seen.lock().unwrap(), [h2::Reason::CANCEL]);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_reads_as_a_status() {
    let drain = Drain::default();
    // What the server does is told by the method.
    let address = serve_h2(&drain, |_, _, request, mut respond| async move {
        let grpc = http::Response::builder().header("content-type", "application/grpc");
        let (when, how) = request.uri().path().trim_start_matches("/test.Echo/").split_once('-').unwrap();
        let (late, how) = (when == "late", how.to_owned());
        match how.as_str() {
            "plain" => {
                respond.send_response(http::Response::builder().status(503).body(()).unwrap(), true).unwrap();
                return After::Nothing;
            }
            "silent" if !late => {
                respond.send_response(grpc.body(()).unwrap(), true).unwrap();
                return After::Nothing;
            }
            _ => (),
        }
        let mut send = late.then(|| respond.send_response(grpc.body(()).unwrap(), false).unwrap());
        if let Some(send) = &mut send {
            send.send_data(framed(b"first"), false).unwrap();
            // Given time to arrive: a reset overtakes what is buffered.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let reason = match how.as_str() {
            "cut" => return After::Cut,
            "silent" => {
                send.unwrap().send_data(Bytes::new(), true).unwrap();
                return After::Nothing;
            }
            "internal" => h2::Reason::INTERNAL_ERROR,
            "calm" => h2::Reason::ENHANCE_YOUR_CALM,
            _ => h2::Reason::CANCEL,
        };
        match send {
            Some(mut send) => send.send_reset(reason),
            None => respond.send_reset(reason),
        }
        After::Nothing
    })
    .await;
    let gateway = Gateway::start(upstream(&[address], &drain, |_| ()), &drain).await;
    let mut client = gateway.client();

    for (how, code) in [
        ("early-plain", Code::Unavailable),
        ("early-silent", Code::Unknown),
        ("early-internal", Code::Internal),
        ("early-calm", Code::ResourceExhausted),
        ("early-cancel", Code::Unavailable),
        ("early-cut", Code::Unavailable),
        ("late-silent", Code::Unknown),
        ("late-internal", Code::Internal),
        ("late-cancel", Code::Unavailable),
        ("late-cut", Code::Unavailable),
    ] {
        let call = async {
            let mut answers = server_stream(&mut client, how, &[]).await?.into_inner();
            let mut count = 0;
            while let Some(answer) = answers.message().await? {
                assert_eq!(answer, "first");
                count += 1;
            }
            Ok::<_, tonic::Status>(count)
        };
        let status = timeout(PATIENCE, call).await.expect(how).unwrap_err();
        assert_eq!(status.code(), code, "{how}: {status:?}");
        let outcome = gateway.outcomes(1).await.pop().unwrap();
        assert_eq!(
            (outcome.ended_by, outcome.response_started),
            (EndedBy::Failure, how.starts_with("late")),
            "{how}"
        );
        assert_eq!(outcome.response.messages, u64::from(how.starts_with("late")), "{how}");
    }
}

#[tokio::test]
async fn deadline_and_idle_bound_end_a_call_at_both_ends() {
    let (server, drain) = (serve().await, Drain::default());
    let gateway = Gateway::start(upstream(&[server.address], &drain, |_| ()), &drain).await;
    let mut client = gateway.client();

    for (method, header, code, ended_by) in [
        ("HangLate", "test-deadline-ms", Code::DeadlineExceeded, EndedBy::Deadline),
        ("HangLate", "test-idle-ms", Code::Unavailable, EndedBy::Idle),
        // An endless stream that nobody reads: nothing moves, whatever could.
        ("Endless", "test-idle-ms", Code::Unavailable, EndedBy::Idle),
        ("Endless", "test-deadline-ms", Code::DeadlineExceeded, EndedBy::Deadline),
    ] {
        let begun = Instant::now();
        let mut answers = server_stream(&mut client, method, &[(header, "300")]).await.unwrap().into_inner();
        if method == "HangLate" {
            assert_eq!(answers.message().await.unwrap().unwrap(), "first");
            let status = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
            assert_eq!(status.code(), code, "{method} {header}: {status:?}");
        }
        let outcome = gateway.outcomes(1).await.pop().unwrap();
        assert_eq!((outcome.ended_by, outcome.grpc_code), (ended_by, Some(code as u32)), "{method} {header}");
        assert!(begun.elapsed().as_millis() >= 300, "{method} {header}");
        eventually("cancelled", || server.echo.hanging.load(Ordering::SeqCst) == 0).await;
    }

    // The answer has not begun: the gateway tells of it.
    let drain = Drain::default();
    let mute = serve_h2(&drain, |_, _, request, mut respond| async move {
        let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        drop(request);
        assert_eq!(reset.unwrap(), h2::Reason::CANCEL);
        After::Nothing
    })
    .await;
    let gateway = Gateway::start(upstream(&[mute], &drain, |_| ()), &drain).await;
    let status =
        server_stream(&mut gateway.client(), "Any", &[("test-deadline-ms", "200")]).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(!gateway.outcomes(1).await.pop().unwrap().response_started);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_unavailable() {
    let drain = Drain::default();
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = Gateway::start(upstream(&[nobody], &drain, |_| ()), &drain).await;
    let status = unary(&mut gateway.client(), "Unary", b"ping").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "echo cannot be reached"));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_before_it_is_read() {
    let (server, drain) = (serve().await, Drain::default());
    let gateway = Gateway::start(upstream(&[server.address], &drain, |_| ()), &drain).await;
    let mut client = gateway.client();
    client.ready().await.unwrap();
    let messages = stream::iter([Bytes::from_static(b"small"), Bytes::from(vec![0; (1 << 20) + 1])]);
    let status = client.client_streaming(Request::new(messages), path("Upload"), Raw).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(gateway.outcomes(1).await.pop().unwrap().request.messages, 2);
}

#[tokio::test]
async fn an_early_answer_ends_the_call_though_the_client_goes_on() {
    let drain = Drain::default();
    let address = serve_h2(&drain, |_, _, request, respond| async move {
        respond_ok(respond, b"enough");
        drop(request);
        After::Nothing
    })
    .await;
    let gateway = Gateway::start(upstream(&[address], &drain, |_| ()), &drain).await;
    let mut client = gateway.client();
    client.ready().await.unwrap();
    let endless = stream::repeat(Bytes::from(vec![0; 64 * 1024]));
    let call = client.client_streaming(Request::new(endless), path("Upload"), Raw);
    let answer = timeout(PATIENCE, call).await.unwrap().unwrap();
    assert_eq!(answer.into_inner(), "enough");
    assert_eq!(gateway.outcomes(1).await.pop().unwrap().ended_by, EndedBy::Upstream);
}
