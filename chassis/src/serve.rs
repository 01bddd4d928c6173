//! A service's gRPC listener: mutual TLS that admits the edge and nobody else, and around every RPC what all services owe:
//! who calls, the deadline, the in-flight bound, a span, RED metrics and the drain.
//!
//! tonic's own TLS cannot reload and its own timeout answers CANCELLED and ends at the response's head; hence the acceptor and
//! the layer here.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::server::Connected;

use crate::accept::{self, Permit};
use crate::config;
use crate::drain::Drain;
use crate::health::Health;
use crate::identity::TlsServer;
use crate::metrics::Metrics;

mod layer;
mod refusal;
mod response;

pub use layer::Callers;
use layer::Shared;

/// What one stream may have unread. With the edge's 100 streams a connection this bounds a connection at 25 MiB.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What a connection may have unread: a stalled stream must not starve the others.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;
/// The edge opens at most this many streams a connection; more is a mistake.
const STREAMS_MAX: u32 = 1_000;
/// A JWT's worth of scopes and a trace fit many times over.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// A dead edge is noticed within two of these.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Handshakes done and not yet taken over by tonic.
const HANDSHAKES_WAITING_MAX: usize = 16;

/// Who gets in, and whose word on who asks is taken.
#[derive(Clone, Debug)]
pub struct Border {
    /// Admits the edge.
    pub tls: TlsServer,
    /// Believes its tokens.
    pub callers: Callers,
}

/// Serves `routes` until the drain begins and every RPC has ended.
///
/// # Errors
/// When the transport fails as a whole; a broken connection is only logged.
pub async fn serve(
    routes: Routes,
    listener: TcpListener,
    border: Border,
    config: &config::Server,
    health: &Health,
    metrics: &Metrics,
    drain: &Drain,
) -> anyhow::Result<()> {
    let Border { tls, callers } = border;
    let shared = Arc::new(Shared::new(config, callers, metrics, drain));
    let (ready, incoming) = mpsc::channel::<Result<Connection, std::io::Error>>(HANDSHAKES_WAITING_MAX);
    let accepting = {
        let drain = drain.clone();
        let handshake = Duration::from_millis(config.handshake_ms);
        let connections_max = config.connections_max;
        drain.clone().spawn("accept", async move {
            accept::accept(listener, connections_max, &drain, move |stream, peer, permit| {
                shake_hands(tls.clone(), stream, peer, permit, handshake, ready.clone())
            })
            .await;
        })
    };
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .layer(tower::layer::layer_fn(move |inner| layer::CallService::new(inner, shared.clone())))
        .add_routes(routes.add_service(health.grpc()))
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), drain.stopping())
        .await
        .context("the gRPC listener failed")?;
    accepting.await.context("the accept loop failed")
}

async fn shake_hands(
    tls: TlsServer,
    stream: TcpStream,
    peer: SocketAddr,
    permit: Permit,
    within: Duration,
    ready: mpsc::Sender<Result<Connection, std::io::Error>>,
) {
    let accepted = tokio::time::timeout(within, TlsAcceptor::from(tls.current()).accept(stream)).await;
    match accepted {
        Ok(Ok(stream)) => {
            // A closed channel means that the drain has begun: dropping the connection is the answer.
            let _ = ready.send(Ok(Connection { stream, peer, _permit: permit })).await;
        }
        Ok(Err(error)) => tracing::warn!(%peer, %error, "handshake refused"),
        Err(_) => tracing::warn!(%peer, "handshake took too long"),
    }
}

/// A connection of the edge's.
struct Connection {
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    _permit: Permit,
}

impl Connected for Connection {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
