//! A connection above TLS, as the proxy reads and writes it. It adds what Pingora does not have: one deadline and one size for a
//! whole request header (Pingora's timeout is per read and its bound is 1 MiB), and a record of what the connection is and
//! does, which the gateway finds in the session's digest and the drain watches.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora::proxy::Session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::authn::PeerCertificate;

/// A request header is being read: the deadline and the size bound hold.
const HEADER: u8 = 0;
/// A request is being served.
const ACTIVE: u8 = 1;
/// Kept alive between two requests of HTTP/1.
const IDLE: u8 = 2;

/// The client preface and the header of its SETTINGS frame. What follows may take as long as it likes: an idle gRPC channel is
/// legal, and the idle bound of the connection rules it.
const H2_PREFACE_BYTES: usize = 33;

/// What is known about a connection; one for all its requests.
#[derive(Debug)]
pub struct Connection {
    /// The certificate the client proved to hold.
    pub certificate: Option<Arc<PeerCertificate>>,
    h2: bool,
    phase: AtomicU8,
    requests: AtomicU64,
    moved: AtomicU64,
}

impl Connection {
    /// The connection a request came by, or `None` for a session that no listener of ours made.
    #[must_use]
    pub fn of(session: &Session) -> Option<&Arc<Self>> {
        session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Arc<Self>>()
    }

    /// Whether it speaks HTTP/2.
    #[must_use]
    pub const fn is_h2(&self) -> bool {
        self.h2
    }

    /// A request header was parsed.
    pub fn request_begins(&self) {
        self.enter(ACTIVE);
        self.requests.fetch_add(1, Relaxed);
    }

    /// A request was answered or given up.
    pub fn request_ends(&self) {
        self.enter(IDLE);
        self.requests.fetch_sub(1, Relaxed);
    }

    fn enter(&self, phase: u8) {
        if !self.h2 {
            self.phase.store(phase, Relaxed);
        }
    }

    /// How many requests are open.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// A number that changes whenever a byte moves.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.load(Relaxed)
    }
}

/// What a request header may cost.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBounds {
    /// From its first byte to its last.
    pub deadline: Duration,
    /// What may arrive before it is parsed; the exact bound is the gateway's, this one only ends a flood.
    pub bytes_max: usize,
}

/// The stream that the proxy serves.
#[derive(Debug)]
pub struct Stream<S> {
    io: S,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    bounds: HeaderBounds,
    deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    header_bytes: usize,
}

impl<S: IO> Stream<S> {
    /// Wraps a connection whose TLS handshake is done.
    ///
    /// # Errors
    /// Never in practice: Pingora cannot build an empty header.
    pub fn new(
        io: S,
        certificate: Option<Arc<PeerCertificate>>,
        bounds: HeaderBounds,
    ) -> pingora::Result<(Self, Arc<Connection>)> {
        let connection = Arc::new(Connection {
            certificate,
            h2: io.selected_alpn_proto() == Some(ALPN::H2),
            phase: AtomicU8::new(HEADER),
            requests: AtomicU64::new(0),
            moved: AtomicU64::new(0),
        });
        let header = Box::new(ResponseHeader::build_no_case(200, Some(0))?);
        let digest = Arc::new(ProxyDigest::new(header, Some(Box::new(Arc::clone(&connection)))));
        let deadline = Instant::now() + bounds.deadline;
        let stream = Self {
            io,
            connection: Arc::clone(&connection),
            digest,
            bounds,
            deadline,
            sleep: None,
            header_bytes: 0,
        };
        Ok((stream, connection))
    }

    /// Accounts for `count` bytes that arrived, and tells whether they are within the bounds.
    fn received(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let connection = &self.connection;
        connection.moved.fetch_add(1, Relaxed);
        if connection.phase.load(Relaxed) == IDLE {
            connection.phase.store(HEADER, Relaxed);
            self.deadline = Instant::now() + self.bounds.deadline;
            self.header_bytes = 0;
        }
        if connection.phase.load(Relaxed) != HEADER {
            self.sleep = None;
            return Ok(());
        }
        self.header_bytes += count;
        if connection.h2 && self.header_bytes >= H2_PREFACE_BYTES {
            connection.phase.store(ACTIVE, Relaxed);
            return Ok(());
        }
        if !connection.h2 && self.header_bytes > self.bounds.bytes_max {
            return Err(io::Error::other("request header too large"));
        }
        // A client that dribbles is always readable: the timer alone would never be asked.
        if Instant::now() >= self.deadline { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Pending while a header may still arrive; an error once its time is up.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.phase.load(Relaxed) != HEADER {
            return Poll::Pending;
        }
        let deadline = self.deadline;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: IO> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut me.io).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                result?;
                Poll::Ready(me.received(buffer.filled().len() - before))
            }
            Poll::Pending => me.poll_deadline(cx),
        }
    }
}

impl<S: IO> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.connection.moved.fetch_add(1, Relaxed);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        self.connection.moved.fetch_add(1, Relaxed);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<S: IO> UniqueID for Stream<S> {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl<S: IO> Ssl for Stream<S> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.io.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.io.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.io.selected_alpn_proto()
    }
}

impl<S: IO> Peek for Stream<S> {}

impl<S: IO> GetTimingDigest for Stream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.io.get_timing_digest()
    }
}

impl<S: IO> GetProxyDigest for Stream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl<S: IO> GetSocketDigest for Stream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.io.set_socket_digest(digest);
    }
}

#[async_trait]
impl<S: IO> Shutdown for Stream<S> {
    async fn shutdown(&mut self) {
        self.io.shutdown().await;
    }
}
