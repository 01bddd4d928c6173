//! Bulk through the relay: both directions full at once, and a reader that stops.

use bytes::Bytes;
use chassis::Drain;
use futures::future::join_all;
use futures::stream;
use tokio::time::timeout;
use tonic::Request;

use super::gateway::Gateway;
use super::{PATIENCE, path, unary};
use crate::relay::{EndedBy, Traffic};
use crate::upstream::testing::{Raw, serve, upstream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bidi_streams_full_in_both_directions_finish() {
    const MESSAGES: usize = 1_000;
    const BYTES: usize = 64 * 1024;
    let (server, drain) = (serve().await, Drain::default());
    let gateway = Gateway::start(upstream(&[server.address], &drain, |_| ()), &drain).await;
    let client = gateway.client();

    let one = |seed: u8| {
        let mut client = client.clone();
        async move {
            client.ready().await.unwrap();
            let message = Bytes::from(vec![seed; BYTES]);
            let messages = stream::iter(std::iter::repeat_n(message.clone(), MESSAGES));
            let mut answers =
                client.streaming(Request::new(messages), path("Bidi"), Raw).await.unwrap().into_inner();
            let mut count = 0;
            while let Some(answer) = answers.message().await.unwrap() {
                assert_eq!(answer, message, "message {count} of stream {seed}");
                count += 1;
            }
            assert_eq!(count, MESSAGES);
        }
    };
    timeout(PATIENCE, join_all((1..=3).map(one))).await.expect("the streams deadlock");

    let traffic = Traffic { bytes: (MESSAGES * (BYTES + 5)) as u64, messages: MESSAGES as u64 };
    for outcome in gateway.outcomes(3).await {
        assert_eq!((outcome.ended_by, outcome.grpc_code), (EndedBy::Upstream, Some(0)));
        assert_eq!((outcome.request, outcome.response), (traffic, traffic));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_download_leaves_other_calls_alone() {
    let (server, drain) = (serve().await, Drain::default());
    // One connection for each class: who shares it with the stopped reader has nowhere else to go.
    let upstream = upstream(&[server.address], &drain, |config| config.connections_max = 1);
    let gateway = Gateway::start(upstream, &drain).await;

    let mut stopped = gateway.client();
    let mut download = super::stream(&mut stopped, "Endless", &[]).await.unwrap().into_inner();
    assert_eq!(download.message().await.unwrap().unwrap().len(), 64 * 1024);
    // Not read any further. Both windows on its way fill up while the other calls run.

    let client = gateway.client();
    let calls = (0..99).map(|_| {
        let mut client = client.clone();
        async move { unary(&mut client, "Unary", b"ping").await.unwrap().into_inner() }
    });
    let answers = timeout(PATIENCE, join_all(calls)).await.expect("the unary calls are blocked");
    assert!(answers.iter().all(|answer| answer == "ping"));

    // The same for streams, which do share the connection with the stopped one.
    let streams = (0..20).map(|_| {
        let mut client = client.clone();
        async move {
            client.ready().await.unwrap();
            let messages = stream::iter(std::iter::repeat_n(Bytes::from(vec![1; 32 * 1024]), 20));
            client.client_streaming(Request::new(messages), path("Upload"), Raw).await.unwrap().into_inner()
        }
    });
    let answers = timeout(PATIENCE, join_all(streams)).await.expect("the streams are blocked");
    assert!(answers.iter().all(|answer| answer == "655360"), "{answers:?}");

    drop(download);
    drop(stopped);
    let outcomes = gateway.outcomes(120).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.ended_by == EndedBy::Downstream).count(), 1);
}
