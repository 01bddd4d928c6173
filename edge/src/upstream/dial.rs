//! Making a connection: TCP, TLS under the workload identity of this minute, the HTTP/2 preface, all within one deadline. The
//! server proves by its certificate that it is the workload it is called by: webpki checks the DNS name, which is also the SNI.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use chassis::{Drain, Identity};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::Upstream;
use super::config::{Tls, UpstreamConfig};
use super::connection::{Connection, Keep, drive};
use super::error::DialError;
use super::group::Group;
use super::limits::Limits;
use super::metrics::UpstreamMetrics;
use crate::gather::Gather;

/// What a connection's bytes go through.
pub(super) type Socket = Either<TcpStream, TlsStream<TcpStream>>;

/// What a server may send on a stream before it is read. h2 buffers it, so this bounds memory; it also bounds a stream's
/// throughput to 256 KiB a round trip, plenty within a data centre.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Larger frames than the default 16 KiB mean fewer wakeups on bulk.
const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// A header list a server may answer with; the same bound as downstream.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// What a stream may have waiting in h2 before `relay` stops taking more from the client.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// How often the generation of the identity is compared.
const FOLLOW_IDENTITY_EVERY: Duration = Duration::from_secs(1);

/// Makes connections to the endpoints of one upstream.
pub(super) struct Dialer {
    upstream: String,
    tls: Option<WorkloadTls>,
    within: Duration,
    streams_max: usize,
    connections_max: usize,
    keep: Keep,
    limits: Arc<Limits>,
    drain: Drain,
    metrics: UpstreamMetrics,
}

struct WorkloadTls {
    identity: Identity,
    server_name: ServerName<'static>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("upstream", &self.upstream)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Dialer {
    pub(super) fn new(
        config: &UpstreamConfig,
        server_name: &str,
        identity: Option<&Identity>,
        limits: &Arc<Limits>,
        drain: &Drain,
        metrics: &UpstreamMetrics,
    ) -> anyhow::Result<Self> {
        let tls = match (config.tls, identity) {
            (Tls::Off, _) => None,
            (Tls::Workload, Some(identity)) => {
                // An IP address would be sent without SNI and checked against nothing a workload's certificate carries.
                let server_name = rustls::pki_types::DnsName::try_from(server_name.to_owned())?;
                Some(WorkloadTls {
                    identity: identity.clone(),
                    server_name: ServerName::DnsName(server_name),
                })
            }
            (Tls::Workload, None) => anyhow::bail!("tls = \"workload\" needs the workload identity"),
        };
        Ok(Self {
            upstream: config.name.clone(),
            tls,
            within: Duration::from_millis(config.dial_ms),
            streams_max: config.streams_max,
            connections_max: config.connections_max,
            keep: Keep {
                idle: Duration::from_millis(config.idle_ms),
                silent: Duration::from_millis(config.silent_ms),
                pong: Duration::from_millis(config.pong_ms),
                ping: Duration::from_millis(config.ping_ms),
                age: Duration::from_millis(config.age_ms),
            },
            limits: limits.clone(),
            drain: drain.clone(),
            metrics: metrics.clone(),
        })
    }

    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    pub(super) fn connections_max(&self) -> usize {
        self.connections_max
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }

    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.drain.spawn(name, task);
    }

    /// Connects to `endpoint` for `group` and sets the connection in motion.
    pub(super) async fn dial(
        &self,
        endpoint: SocketAddr,
        group: &Arc<Group>,
    ) -> Result<Arc<Connection>, DialError> {
        let dialled = timeout(self.within, self.connect(endpoint)).await.unwrap_or_else(|_elapsed| {
            Err(DialError::Timeout {
                endpoint,
                within_ms: u64::try_from(self.within.as_millis()).unwrap_or(u64::MAX),
            })
        });
        self.metrics.dialled(&self.upstream, dialled.is_ok());
        let (generation, send, http) = dialled?;
        let connection = Arc::new(Connection::new(send, Arc::downgrade(group), self.streams_max, generation));
        // The task must not keep the connection alive: it ends when the pool and all streams have let go of it.
        self.spawn(
            "upstream connection",
            Gather::new(drive(http, Arc::downgrade(&connection), self.keep, self.drain.stopping())),
        );
        Ok(connection)
    }

    async fn connect(
        &self,
        endpoint: SocketAddr,
    ) -> Result<(u64, h2::client::SendRequest<Bytes>, h2::client::Connection<Socket, Bytes>), DialError> {
        let connect = |source| DialError::Connect { endpoint, source };
        let tcp = TcpStream::connect(endpoint).await.map_err(connect)?;
        // Frames are written whole: waiting to fill a segment would only delay them.
        tcp.set_nodelay(true).map_err(connect)?;
        let (generation, socket) = match &self.tls {
            None => (0, Either::Left(tcp)),
            Some(tls) => {
                // The generation first: were the identity to change in between, the connection is let go once too often.
                let generation = tls.identity.material().generation;
                let config = tls.identity.client_config().map_err(|source| DialError::Identity { source })?;
                let stream = TlsConnector::from(Arc::new(config))
                    .connect(tls.server_name.clone(), tcp)
                    .await
                    .map_err(|source| DialError::Tls { endpoint, source })?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(DialError::Alpn { endpoint });
                }
                (generation, Either::Right(stream))
            }
        };
        let (send, http) =
            self.http2().handshake(socket).await.map_err(|source| DialError::Http2 { endpoint, source })?;
        Ok((generation, send, http))
    }

    fn http2(&self) -> h2::client::Builder {
        let streams = u32::try_from(self.streams_max).unwrap_or(u32::MAX);
        // A window for all streams at once: however many readers stall, the others find theirs open. 2^31-1 is HTTP/2's end.
        let connection_window = STREAM_WINDOW_BYTES.saturating_mul(streams).min(i32::MAX.unsigned_abs());
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(connection_window)
            .initial_max_send_streams(self.streams_max)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            // h2 counts up to 256 bytes of overhead for every small frame it buffers and closes the connection above a budget
            // of half its window. Two clients that stop reading a stream of tiny messages would reach that and take everyone's
            // calls along; four windows let a dozen do so until their idle bound ends them.
            .data_frame_budget(usize::try_from(connection_window).unwrap_or(usize::MAX).saturating_mul(4));
        builder
    }

    /// Lets go of connections whenever the identity has changed, so that a rotated certificate or trust bundle is in force
    /// everywhere within seconds. Streams that are open go on.
    pub(super) fn follow_identity(&self, upstream: &Arc<Upstream>, drain: &Drain) {
        let Some(tls) = &self.tls else { return };
        let over = upstream.over(drain);
        let (identity, upstream): (Identity, Weak<Upstream>) =
            (tls.identity.clone(), Arc::downgrade(upstream));
        self.spawn("upstream identity", async move {
            let mut over = std::pin::pin!(over);
            let mut generation = identity.material().generation;
            loop {
                tokio::select! {
                    () = &mut over => return,
                    () = tokio::time::sleep(FOLLOW_IDENTITY_EVERY) => (),
                }
                let Some(upstream) = upstream.upgrade() else { return };
                let current = identity.material().generation;
                if current != generation {
                    generation = current;
                    upstream.balance.retire_before(generation);
                }
            }
        });
    }
}
