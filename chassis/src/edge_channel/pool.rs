//! The connections behind the edge channel: one to each address the edge resolves to, picked in turn, replaced when they are
//! old. A connection that is replaced serves its calls to their end.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::config;
use crate::drain::Drain;
use crate::error::chain;
use crate::identity::Identity;

/// How often names are resolved; a rolling update of the edge takes longer.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
/// A dead edge is noticed within two of these.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// As the services' own listeners.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;

/// See the module.
#[derive(Debug)]
pub(super) struct Pool {
    names: Vec<String>,
    dialer: Dialer,
    connection_age: Duration,
    slots: ArcSwap<Vec<Slot>>,
    next: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Slot {
    /// None for a name that has not been resolved yet; its connector resolves it.
    address: Option<SocketAddr>,
    born: Instant,
    generation: u64,
    channel: Channel,
}

#[derive(Clone, Debug)]
struct Dialer {
    identity: Identity,
    server: String,
    connect: Duration,
}

impl Pool {
    pub(super) fn start(
        config: &config::Edge,
        identity: Identity,
        workload: &str,
        drain: &Drain,
    ) -> anyhow::Result<Arc<Self>> {
        anyhow::ensure!(!config.addresses.is_empty(), "edge.addresses is empty");
        let dialer = Dialer {
            server: identity.dns_name(workload),
            identity,
            connect: Duration::from_millis(config.connect_ms),
        };
        ServerName::try_from(dialer.server.as_str()).context("identity.trust_domain is not a DNS name")?;
        let slots = config
            .addresses
            .iter()
            .map(|name| {
                dialer.slot(name.parse().map_or_else(|_| Target::Name(name.clone()), Target::Address))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let pool = Arc::new(Self {
            names: config.addresses.clone(),
            dialer,
            connection_age: Duration::from_millis(config.connection_age_ms),
            slots: ArcSwap::from_pointee(slots),
            next: AtomicUsize::new(0),
        });
        let (refreshed, stopping) = (pool.clone(), drain.stopping());
        // What stood before a rotation must not outlive the trust in it until names are next resolved.
        let mut identities = pool.dialer.identity.changes();
        drain.spawn("edge channel", async move {
            tokio::pin!(stopping);
            loop {
                let turn = async {
                    refreshed.refresh().await;
                    // A change wakes it, and so does the time: no answer is waited for.
                    let _ = tokio::time::timeout(RESOLVE_EVERY, identities.changed()).await;
                };
                tokio::select! {
                    () = &mut stopping => return,
                    () = turn => (),
                }
            }
        });
        Ok(pool)
    }

    /// The connection whose turn it is.
    pub(super) fn pick(&self) -> Channel {
        let slots = self.slots.load();
        // Never empty: `start` makes one for each name and `refresh` keeps the last set that was not.
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % slots.len();
        slots[turn].channel.clone()
    }

    async fn refresh(&self) {
        let mut addresses = BTreeSet::new();
        for name in &self.names {
            match tokio::net::lookup_host(name).await {
                Ok(found) => addresses.extend(found),
                Err(error) => tracing::warn!(name, %error, "the edge's name does not resolve"),
            }
        }
        if addresses.is_empty() {
            return;
        }
        let old = self.slots.load_full();
        let generation = self.dialer.identity.material().generation;
        let fresh = |slot: &&Slot| slot.born.elapsed() < self.connection_age && slot.generation == generation;
        let slots: anyhow::Result<Vec<_>> = addresses
            .into_iter()
            .map(|address| match old.iter().filter(fresh).find(|slot| slot.address == Some(address)) {
                Some(slot) => Ok(slot.clone()),
                None => self.dialer.slot(Target::Address(address)),
            })
            .collect();
        match slots {
            Ok(slots) => self.slots.store(Arc::new(slots)),
            Err(error) => tracing::error!(error = format!("{error:#}"), "no new connections to the edge"),
        }
    }
}

#[derive(Clone, Debug)]
enum Target {
    Name(String),
    Address(SocketAddr),
}

impl Dialer {
    /// A connection that is dialled by its first call, and again after it broke.
    fn slot(&self, target: Target) -> anyhow::Result<Slot> {
        let address = match target {
            Target::Name(_) => None,
            Target::Address(address) => Some(address),
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server))?
            .connect_timeout(self.connect)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        let dialer = self.clone();
        let connector = tower::service_fn(move |_: Uri| dialer.clone().dial(target.clone()));
        Ok(Slot {
            address,
            born: Instant::now(),
            generation: self.identity.material().generation,
            channel: endpoint.connect_with_connector_lazy(connector),
        })
    }

    fn dial(self, target: Target) -> BoxFuture<'static, io::Result<TokioIo<TlsStream<TcpStream>>>> {
        Box::pin(async move {
            let config = self.identity.client_config().map_err(io::Error::other)?;
            let stream = match target {
                Target::Name(name) => TcpStream::connect(name).await?,
                Target::Address(address) => TcpStream::connect(address).await?,
            };
            stream.set_nodelay(true)?;
            let server = ServerName::try_from(self.server).map_err(io::Error::other)?;
            let stream =
                TlsConnector::from(Arc::new(config)).connect(server, stream).await.inspect_err(|error| {
                    tracing::warn!(error = chain(error), "the edge refused the handshake");
                })?;
            Ok(TokioIo::new(stream))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::{ca, issue, write};

    /// A peer may stop trusting the old certificate as soon as every workload had time to read the new one.
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_replaced_as_soon_as_the_identity_is() {
        let folder = tempfile::tempdir().unwrap();
        let ca = ca();
        let (certificate, key, _) = issue(&ca, &["spiffe://causeway.test/svc-docs"]);
        let files = write(folder.path(), &ca, &certificate, &key);
        let identity = Identity::load(&files).unwrap();
        let drain = Drain::default();
        identity.watch(&drain);
        let config = config::Edge {
            addresses: vec!["127.0.0.1:1".to_owned()],
            connect_ms: 1_000,
            connection_age_ms: 3_600_000,
        };
        let pool = Pool::start(&config, identity.clone(), "edge", &drain).unwrap();

        let (certificate, key, _) = issue(&ca, &["spiffe://causeway.test/svc-docs"]);
        write(folder.path(), &ca, &certificate, &key);
        let mut changes = identity.changes();
        changes.changed().await.unwrap();
        // Short beside the time between two resolutions.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(pool.slots.load()[0].generation, 2);
    }
}
