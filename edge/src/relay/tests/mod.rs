//! The relay at work: a tonic client, a real Pingora application and a tonic server on sockets, and a bare h2 server for the
//! ways in which servers fail.

mod bulk;
mod endings;
mod gateway;
mod web;

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::upstream::testing::Raw;

/// Longer than anything here takes, so that a deadlock ends as a failure.
const PATIENCE: Duration = Duration::from_secs(60);

fn path(method: &str) -> PathAndQuery {
    format!("/test.Echo/{method}").parse().unwrap()
}

async fn unary(
    client: &mut Grpc<Channel>,
    method: &str,
    message: &'static [u8],
) -> Result<Response<Bytes>, Status> {
    client.ready().await.unwrap();
    client.unary(Request::new(Bytes::from_static(message)), path(method), Raw).await
}

/// A server stream, with headers for the gateway.
async fn stream(
    client: &mut Grpc<Channel>,
    method: &str,
    headers: &[(&'static str, &'static str)],
) -> Result<Response<Streaming<Bytes>>, Status> {
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::from_static(b"go"));
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    client.server_streaming(request, path(method), Raw).await
}
