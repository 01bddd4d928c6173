//! How calls of gRPC-Web end that their upstream breaks off: with trailers between messages, and not as a whole answer inside one.

use bytes::{Bytes, BytesMut};
use chassis::Drain;
use http::Request;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::gateway::Gateway;
use crate::relay::EndedBy;
use crate::upstream::testing::{After, framed, serve_h2, upstream};

/// The body of an answer, and whether it ended as a whole one does.
async fn read(gateway: &Gateway, path: &str) -> (Bytes, bool) {
    let drain = Drain::default();
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    drain.spawn("client", connection);
    let request = Request::post(format!("http://gateway/test.Echo/{path}"));
    let request = request.header("content-type", "application/grpc-web").body(()).unwrap();
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(framed(b"ping"), true).unwrap();
    let mut answer = timeout(PATIENCE, answer).await.unwrap().unwrap().into_body();
    let mut read = BytesMut::new();
    while let Some(part) = timeout(PATIENCE, answer.data()).await.unwrap() {
        let Ok(part) = part else { return (read.freeze(), false) };
        let _ = answer.flow_control().release_capacity(part.len());
        read.extend_from_slice(&part);
    }
    (read.freeze(), true)
}

#[tokio::test]
async fn an_answer_that_breaks_off_inside_a_message_is_cut_and_not_ended() {
    let drain = Drain::default();
    // How many bytes of two messages come before the end is told by the path.
    let address = serve_h2(&drain, |_, _, request, mut respond| async move {
        let count: usize = request.uri().path().trim_start_matches("/test.Echo/Bytes").parse().unwrap();
        let grpc = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut send = respond.send_response(grpc, false).unwrap();
        let messages = [framed(b"first"), framed(b"second")].concat();
        send.send_data(Bytes::from(messages).slice(..count), false).unwrap();
        // Given time to arrive: a reset overtakes what is buffered.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        send.send_reset(h2::Reason::INTERNAL_ERROR);
        After::Nothing
    })
    .await;
    let gateway = Gateway::start(upstream(&[address], &drain, |_| ()), &drain).await;
    for (count, whole) in [(10, true), (21, true), (3, false), (12, false), (20, false)] {
        let (body, ended) = read(&gateway, &format!("Bytes{count}")).await;
        assert_eq!(ended, whole, "{count}: {body:?}");
        let trailers = body.get(count..).unwrap_or_default();
        assert_eq!(trailers.first() == Some(&0x80), whole, "{count}: {body:?}");
        let outcome = gateway.outcomes(1).await.remove(0);
        assert_eq!((outcome.ended_by, outcome.cut), (EndedBy::Failure, !whole), "{count}");
        assert_eq!(outcome.grpc_code, whole.then_some(13), "{count}");
    }
}
