//! From a listening socket to the gateway: the chassis accepts, Pingora's TLS shakes hands, and a wrapped stream is served until it
//! ends. It also ends what the drain would wait for in vain: a client that answers no GOAWAY would hold its connection for ever.

mod app;
pub(crate) mod connection;
mod frames;
mod http2;
mod socket;

use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chassis::accept::{Permit, accept};
use chassis::drain::Drain;
use chassis::identity::{Standing, TlsServer};
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::{Ssl as _, Stream as PingoraStream};
use pingora::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use app::App;
use connection::Connection;
pub use connection::WireBounds;
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
        stop: ShutdownWatch,
        drain: Drain,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let metrics = metrics.of(admission.listener);
        let (listener, streams_max) = (admission.listener, admission.streams_max);
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(gateway.snapshot().limits.idle());
        let app = App { gateway, listener, streams_max, options, over: CancellationToken::new() };
        Arc::new(Self { admission, app: Arc::new(app), stop, drain, metrics })
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
        // A connection keeps the bounds it was accepted under.
        let snapshot = self.app.gateway.snapshot();
        let bounds = wire_bounds(self.admission.streams_max, &snapshot.limits);
        let handshake = snapshot.limits.handshake();
        // Services renew their connections themselves, each when it has another to go on with.
        let age = if self.listener() == Listener::Mesh { None } else { snapshot.limits.age() };
        drop(snapshot);
        let Some((stream, connection)) = self.shake_hands(stream, peer, handshake, bounds).await else {
            self.metrics.handshake_failed();
            return;
        };
        let _open = self.metrics.connection_begins();
        let (stop, stopped) = watch::channel(false);
        let serving = async {
            let mut next = Some(stream);
            while let Some(stream) = next {
                next = ServerApp::process_new(&self.app, stream, &stopped).await;
            }
        };
        // Of HTTP/2 this is only the connection, its streams are tasks of their own; HTTP/1 does all its work here.
        let serving: Pin<Box<dyn Future<Output = ()> + Send>> =
            if connection.is_h2() { Box::pin(Gather::new(serving)) } else { Box::pin(serving) };
        tokio::select! {
            biased;
            () = serving => (),
            () = self.wind_down(&connection, age, stop) => (),
        }
        if let Some(bound) = connection.cut() {
            self.metrics.connection_cut(bound);
        }
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        within: Duration,
        bounds: WireBounds,
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
            shaken = timeout(within, acceptor.tls_handshake(socket)) => shaken,
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
        let certificate = match tls.get_ssl().and_then(|tls| tls.peer_cert_chain_der()) {
            // A certificate that TLS has verified but nobody here can read identifies no one: refused, not ignored.
            Some(chain) => {
                let mut certificate = PeerCertificate::from_der(chain.first()?).ok()?;
                certificate.standing = Some(Standing::new(self.admission.tls.clone(), chain.to_vec()));
                Some(Arc::new(certificate))
            }
            None => None,
        };
        let (stream, connection) = connection::Stream::new(tls, certificate, bounds).ok()?;
        Some((Box::new(stream), connection))
    }

    /// Tells a connection that its time is over, when it is old or the process stops. Resolves when no request is open and no byte
    /// has moved for a while: it is then cut, because a client that answers no GOAWAY would hold it for ever.
    async fn wind_down(&self, connection: &Connection, age: Option<Duration>, stop: watch::Sender<bool>) {
        let mut stopping = self.stop.clone();
        let stopping = stopping.wait_for(|stop| *stop);
        // Jitter: clients that came together, after a rollout or an outage, must not all come back together.
        let age = age.map(|age| age.mul_f64(rand::random_range(0.9..=1.0)));
        let grows_old = async {
            match age {
                Some(age) => sleep(age).await,
                None => pending().await,
            }
        };
        let is_old = tokio::select! {
            _ = stopping => false,
            () = grows_old => true,
        };
        // HTTP/2 says GOAWAY, twice as RFC 9113 section 6.8 advises: first with the highest number, so that what is on its way is
        // served, then, a round trip later, with the last that was. HTTP/1 says Connection: close with its next answer.
        let _ = stop.send(true);
        if is_old && !connection.is_h2() {
            // Cutting a connection of HTTP/1 that waits would lose the request that is on its way to it.
            self.drain.stopping().await;
        }
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

/// What the next connection may cost. Each of its streams may be cancelled once a second besides.
fn wire_bounds(streams_max: u32, limits: &Limits) -> WireBounds {
    let per_second = limits.http2.control_frames_per_s_max.saturating_add(streams_max);
    WireBounds {
        deadline: limits.header(),
        bytes_max: http2::flood_bytes(limits),
        control_frames_max: per_second.saturating_mul(10),
    }
}
