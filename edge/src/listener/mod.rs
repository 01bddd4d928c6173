//! From a listening socket to the gateway: the chassis accepts, Pingora's TLS shakes hands, and a wrapped stream is served until it
//! ends. It also ends what the drain would wait for in vain: a client that answers no GOAWAY would hold its connection for ever.

mod app;
pub(crate) mod connection;
mod socket;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chassis::accept::{Permit, accept};
use chassis::drain::Drain;
use chassis::identity::TlsServer;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::protocols::{Ssl as _, Stream as PingoraStream};
use pingora::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use app::App;
use connection::Connection;
pub use connection::HeaderBounds;
use socket::Socket;

use crate::authn::PeerCertificate;
use crate::config::Limits;
use crate::gateway::Gateway;
use crate::gather::Gather;
use crate::metrics::{ListenerMetrics, Metrics};
use crate::policy::Listener;

/// How long after the stop a connection may stand still before it is cut: longer than a round trip around the world, shorter
/// than anybody's patience with a rollout.
pub const LINGER: Duration = Duration::from_secs(1);

/// What a client may have in flight towards one stream and one connection before the edge has read it.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The same for a service, which sends everything it has to say over a few connections: a window for all streams at once, so
/// that however many of them stall, the others find theirs open. 2^31-1 is HTTP/2's end.
const fn mesh_window_bytes(streams_max: u32) -> u32 {
    let bytes = STREAM_WINDOW_BYTES.saturating_mul(streams_max);
    if bytes > i32::MAX.unsigned_abs() { i32::MAX.unsigned_abs() } else { bytes }
}

/// Streams reset by the client before they were accepted, and those kept in memory after a reset (CVE-2023-44487): more, and
/// the connection ends.
const PENDING_RESETS_MAX: usize = 20;
const REMEMBERED_RESETS_MAX: usize = 50;

/// What admits connections.
pub struct Admission {
    /// Which listener it is.
    pub listener: Listener,
    /// Connections at once.
    pub connections_max: usize,
    /// Streams at once on one connection.
    pub streams_max: u32,
    /// How it shows itself and whom it asks.
    pub tls: TlsServer,
}

/// A listener that serves.
pub struct Front {
    admission: Admission,
    app: Arc<App>,
    bounds: HeaderBounds,
    handshake: Duration,
    stop: ShutdownWatch,
    drain: Drain,
    metrics: ListenerMetrics,
}

impl Front {
    /// Puts a gateway behind a listener. `stop` must not have been seen `true` by anybody: Pingora waits for its change.
    #[must_use]
    pub fn new(
        admission: Admission,
        gateway: Gateway,
        limits: &Limits,
        stop: ShutdownWatch,
        drain: Drain,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let metrics = metrics.of(admission.listener);
        // The exact bound is the gateway's, which can say what is wrong; this one only ends a flood.
        let flood_bytes = limits.header_bytes_max * 2;
        let mut h2 = default_h2_options();
        h2.max_concurrent_streams(admission.streams_max)
            .max_header_list_size(u32::try_from(flood_bytes).unwrap_or(u32::MAX))
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_concurrent_reset_streams(REMEMBERED_RESETS_MAX);
        if admission.listener == Listener::Mesh {
            let window = mesh_window_bytes(admission.streams_max);
            // h2 counts up to 256 bytes of overhead for every small frame it buffers and closes the connection above a budget.
            // Its own choice, half a window of strangers, is spent by one client stream of tiny messages that nobody reads, and
            // every other call of that service would go down with it.
            h2.initial_connection_window_size(window)
                .data_frame_budget(usize::try_from(window).unwrap_or(usize::MAX));
        }
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(limits.idle());
        let app = App { gateway, h2, options, over: CancellationToken::new() };
        let bounds = HeaderBounds { deadline: limits.header(), bytes_max: flood_bytes };
        let handshake = limits.handshake();
        Arc::new(Self { admission, app: Arc::new(app), bounds, handshake, stop, drain, metrics })
    }

    /// Which listener it is.
    #[must_use]
    pub const fn listener(&self) -> Listener {
        self.admission.listener
    }

    /// Accepts and serves until the drain begins. Connections live on as tasks of the drain.
    pub async fn serve(self: Arc<Self>, socket: TcpListener) {
        let drain = self.drain.clone();
        let connections_max = self.admission.connections_max;
        accept(socket, connections_max, &drain, move |stream, peer, permit| {
            Arc::clone(&self).connection(stream, peer, permit)
        })
        .await;
    }

    /// Ends kept-alive connections that wait for another request.
    pub async fn cleanup(&self) {
        ServerApp::cleanup(&*self.app).await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, _permit: Permit) {
        let Some((stream, connection)) = self.shake_hands(stream, peer).await else {
            self.metrics.handshake_failed();
            return;
        };
        let _open = self.metrics.connection_begins();
        let serving = async {
            let mut next = Some(stream);
            while let Some(stream) = next {
                next = ServerApp::process_new(&self.app, stream, &self.stop).await;
            }
        };
        // Of HTTP/2 this is only the connection, its streams are tasks of their own; HTTP/1 does all its work here.
        let serving: Pin<Box<dyn Future<Output = ()> + Send>> =
            if connection.is_h2() { Box::pin(Gather::new(serving)) } else { Box::pin(serving) };
        tokio::select! {
            biased;
            () = serving => (),
            () = self.stands_still(&connection) => (),
        }
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(PingoraStream, Arc<Connection>)> {
        let listener = self.admission.listener;
        let socket = Socket::new(stream, peer).ok()?;
        // A new configuration serves the next handshake; open connections keep theirs.
        let acceptor = Acceptor::from_server_config(self.admission.tls.current());
        let stopped = async {
            self.drain.stopping().await;
            sleep(LINGER).await;
        };
        let shaken = tokio::select! {
            shaken = timeout(self.handshake, acceptor.tls_handshake(socket)) => shaken,
            () = stopped => return None,
        };
        let tls = match shaken {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                tracing::debug!(
                    listener = listener.as_str(),
                    kind = error.etype().as_str(),
                    "handshake failed"
                );
                return None;
            }
            Err(_) => {
                tracing::debug!(listener = listener.as_str(), "handshake took too long");
                return None;
            }
        };
        let certificate = match tls.get_ssl().and_then(|tls| tls.peer_certificate_der()) {
            // A certificate that TLS has verified but nobody here can read identifies no one: refused, not ignored.
            Some(der) => Some(Arc::new(PeerCertificate::from_der(der).ok()?)),
            None => None,
        };
        let (stream, connection) = connection::Stream::new(tls, certificate, self.bounds).ok()?;
        Some((Box::new(stream), connection))
    }

    /// Resolves after the stop, when no request is open and no byte has moved for a while.
    async fn stands_still(&self, connection: &Connection) {
        self.drain.stopping().await;
        let (mut moved, mut since) = (connection.moved(), Instant::now());
        loop {
            sleep(LINGER / 5).await;
            let moving = connection.moved();
            if moving != moved || connection.requests() > 0 {
                (moved, since) = (moving, Instant::now());
            } else if since.elapsed() >= LINGER {
                return;
            }
        }
    }
}
