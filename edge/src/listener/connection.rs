//! A connection above TLS, as Pingora's HTTP sessions read and write it. It adds what Pingora does not have: one deadline and one
//! size for a whole request header (Pingora's timeout is per read and its bound is 1 MiB), the same deadline for a header block of
//! HTTP/2 and a bound on its frames that carry nothing, a buffer that makes one TLS record of
//! what is flushed together, and a record of what the connection is and does, which the gateway finds in the session's digest and
//! the drain watches.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use futures::FutureExt as _;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as Session;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::frames::Frames;
use crate::authn::{Memory, PeerCertificate};

/// A request header is being read: the deadline and the size bound hold.
const HEADER: u8 = 0;
/// A request is being served.
const ACTIVE: u8 = 1;
/// Kept alive between two requests of HTTP/1.
const IDLE: u8 = 2;

/// One TLS record. What HTTP/1 writes before it flushes leaves in one where it fits, not the header in one and the body in
/// another: each costs both ends a pass of the cipher of its own.
const RECORD_BYTES: usize = 16 * 1024;

/// From this size on a write costs less than a copy of it.
const DIRECT_BYTES: usize = 2048;

/// Room that an idle connection keeps for its next answer: most fit.
const KEPT_BYTES: usize = 2048;

/// What is known about a connection; one for all its requests.
#[derive(Debug)]
pub struct Connection {
    /// The certificate the client proved to hold.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// What its last request was believed by.
    pub memory: Memory,
    h2: bool,
    phase: AtomicU8,
    requests: AtomicU64,
    moved: AtomicU64,
    cut: OnceLock<&'static str>,
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

    /// Which bound the client has broken, if the connection ended with that.
    #[must_use]
    pub fn cut(&self) -> Option<&'static str> {
        self.cut.get().copied()
    }

    /// The error that ends the connection, for a bound that is broken.
    fn breaks(&self, bound: &'static str, kind: io::ErrorKind) -> io::Error {
        let _ = self.cut.set(bound);
        io::Error::new(kind, bound)
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

/// What a connection may cost before there is a request to answer for it.
#[derive(Clone, Copy, Debug)]
pub struct WireBounds {
    /// From its first byte to its last.
    pub deadline: Duration,
    /// What may arrive before it is parsed; the exact bound is the gateway's, this one only ends a flood.
    pub bytes_max: usize,
    /// Of HTTP/2: frames that carry nothing, in ten seconds.
    pub control_frames_max: u32,
}

/// The stream that sessions are served on.
#[derive(Debug)]
pub struct Stream<S: IO> {
    io: S,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    bounds: WireBounds,
    deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    header_bytes: usize,
    frames: Frames,
    /// What HTTP/1 has written and not flushed. HTTP/2 gathers its frames itself.
    unsent: BytesMut,
}

impl<S: IO> Stream<S> {
    /// Wraps a connection whose TLS handshake is done.
    ///
    /// # Errors
    /// Never in practice: Pingora cannot build an empty header.
    pub fn new(
        io: S,
        certificate: Option<Arc<PeerCertificate>>,
        bounds: WireBounds,
    ) -> pingora::Result<(Self, Arc<Connection>)> {
        let connection = Arc::new(Connection {
            certificate,
            memory: Memory::default(),
            h2: io.selected_alpn_proto() == Some(ALPN::H2),
            phase: AtomicU8::new(HEADER),
            requests: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            cut: OnceLock::new(),
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
            frames: Frames::new(bounds.control_frames_max),
            unsent: BytesMut::new(),
        };
        Ok((stream, connection))
    }

    /// Accounts for bytes that arrived, and tells whether they are within the bounds.
    fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        let connection = &self.connection;
        connection.moved.fetch_add(1, Relaxed);
        if connection.h2 {
            return self.received_frames(bytes);
        }
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
        if self.header_bytes > self.bounds.bytes_max {
            return Err(connection.breaks("large_header", io::ErrorKind::Other));
        }
        self.in_time()
    }

    /// The same for HTTP/2, whose header blocks stand in frames. What lies between them may take as long as it likes: an idle
    /// gRPC channel is legal, and the idle bound of the connection rules it.
    fn received_frames(&mut self, bytes: &[u8]) -> io::Result<()> {
        let connection = &self.connection;
        if self.frames.pass(bytes, Instant::now).is_err() {
            return Err(connection.breaks("frame_flood", io::ErrorKind::Other));
        }
        if !self.frames.is_waiting() {
            connection.phase.store(ACTIVE, Relaxed);
            self.sleep = None;
            return Ok(());
        }
        if connection.phase.swap(HEADER, Relaxed) != HEADER {
            self.deadline = Instant::now() + self.bounds.deadline;
        }
        self.in_time()
    }

    /// A client that dribbles is always readable: the timer alone would never be asked.
    fn in_time(&self) -> io::Result<()> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(self.connection.breaks("slow_header", io::ErrorKind::TimedOut))
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
        Poll::Ready(Err(self.connection.breaks("slow_header", io::ErrorKind::TimedOut)))
    }

    /// Passes bytes on to TLS.
    fn poll_pass(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.connection.moved.fetch_add(1, Relaxed);
        Poll::Ready(Ok(count))
    }

    /// Passes bytes on that are too many to be copied, behind what has gathered and in one record with it.
    fn poll_direct(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.unsent.is_empty() {
                return self.poll_pass(cx, bytes);
            }
            let slices = [io::IoSlice::new(&self.unsent), io::IoSlice::new(bytes)];
            let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices))?;
            self.connection.moved.fetch_add(1, Relaxed);
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let gathered = count.min(self.unsent.len());
            self.unsent.advance(gathered);
            if count > gathered {
                return Poll::Ready(Ok(count - gathered));
            }
        }
    }

    /// Passes on what has gathered.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut unsent = std::mem::take(&mut self.unsent);
        while !unsent.is_empty() {
            let passed = self.poll_pass(cx, &unsent);
            match passed {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => unsent.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.unsent = unsent;
                    return Poll::Pending;
                }
            }
        }
        if unsent.capacity() <= KEPT_BYTES {
            unsent.clear();
            self.unsent = unsent;
        }
        Poll::Ready(Ok(()))
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
                Poll::Ready(me.received(&buffer.filled()[before..]))
            }
            Poll::Pending => me.poll_deadline(cx),
        }
    }
}

impl<S: IO> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        if me.connection.h2 {
            return me.poll_pass(cx, bytes);
        }
        if bytes.len() >= DIRECT_BYTES {
            return me.poll_direct(cx, bytes);
        }
        if me.unsent.len() + bytes.len() > RECORD_BYTES {
            ready!(me.poll_unsent(cx))?;
        }
        me.unsent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        ready!(me.poll_unsent(cx))?;
        let count = ready!(Pin::new(&mut me.io).poll_write_vectored(cx, slices))?;
        me.connection.moved.fetch_add(1, Relaxed);
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
        // A client that is gone hears nothing more.
        let _ = poll_fn(|cx| self.poll_unsent(cx)).await;
        self.io.shutdown().await;
    }
}

impl<S: IO> Drop for Stream<S> {
    fn drop(&mut self) {
        // As below: what has gathered may be the last words of an answer.
        let _ = poll_fn(|cx| self.poll_unsent(cx)).now_or_never();
    }
}
