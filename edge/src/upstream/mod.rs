//! The services behind the edge, and a stream to one of them. An [`Upstream`] is a name with a set of endpoints: addresses
//! resolved in the background, checked by grpc.health.v1, reached over pooled HTTP/2 connections. [`Upstream::open`] picks an
//! endpoint and opens a stream; what was certainly never processed, and what may be processed twice, is tried again without the
//! caller's help.
//!
//! Connections are the edge's own, on `h2`, and not those of Pingora's connector: that one takes a connection out of its pool
//! while a stream opens (so a burst dials one connection a call), asks the kernel for the peer's address and clones the header
//! map on every request, spawns a task whenever a connection falls idle, and cannot be told the certificates of this minute.
//!
//! What is said on a stream is the business of `relay` and `rest`; who may open one has been decided before.

mod attempt;
mod balance;
mod breaker;
mod config;
mod connection;
mod dial;
mod endpoint;
mod error;
mod fault;
mod group;
mod health;
mod limits;
mod load;
mod metrics;
mod place;
mod replay;
mod resolve;
mod retry;
mod stream;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::{Drain, Identity, Metrics};
use http::HeaderMap;
use http::uri::PathAndQuery;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use balance::Balance;
use dial::Dialer;
use limits::Limits;
use replay::Call;

pub use config::{Ejection, Retry, Tls, UpstreamConfig};
pub use error::{DialError, OpenError, StreamError};
pub use limits::Limit;
pub use stream::UpstreamStream;

/// Which connections a call travels on. A stream may move bulk for minutes; it never shares a socket with calls that somebody
/// waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamClass {
    /// One request, one answer.
    Unary,
    /// Streams in either direction.
    Streaming,
}

/// On which terms a call is made.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub class: StreamClass,
    /// Whether the contract says that a second time does no harm.
    pub idempotent: bool,
    /// When whoever called stops waiting.
    pub deadline: Option<Instant>,
    /// Whether the upstream's errors are to say what became of the call.
    pub outcome: bool,
}

/// Every upstream of a configuration, by name.
#[derive(Debug)]
pub struct Upstreams {
    by_name: HashMap<String, Arc<Upstream>>,
    metrics: metrics::UpstreamMetrics,
}

impl Upstreams {
    /// Begins to resolve, check and connect. Returns at once: the edge is ready without its upstreams.
    ///
    /// # Errors
    /// When a value is out of range, a name is given twice, or an upstream asks for the workload identity and there is none.
    pub fn start(
        config: &[UpstreamConfig],
        identity: Option<&Identity>,
        drain: &Drain,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let none = Self { by_name: HashMap::new(), metrics: metrics::UpstreamMetrics::register(metrics) };
        none.renewed(config, identity, drain)
    }

    /// The upstreams of another configuration, which take the place of these. One whose table is the same serves on as it is,
    /// with its connections and what is known about its endpoints. One that is gone or has changed ends with the last call that
    /// holds it.
    ///
    /// # Errors
    /// As [`Upstreams::start`]; these serve on then.
    pub fn renewed(
        &self,
        config: &[UpstreamConfig],
        identity: Option<&Identity>,
        drain: &Drain,
    ) -> anyhow::Result<Self> {
        let mut by_name = HashMap::with_capacity(config.len());
        for config in config {
            let unchanged = self.by_name.get(&config.name).filter(|upstream| upstream.config == *config);
            let upstream = match unchanged {
                Some(upstream) => Arc::clone(upstream),
                None => Upstream::start(config, identity, drain, &self.metrics)
                    .with_context(|| format!("upstream {:?}", config.name))?,
            };
            let known = by_name.insert(config.name.clone(), upstream);
            anyhow::ensure!(known.is_none(), "upstream {:?} is configured twice", config.name);
        }
        Ok(Self { by_name, metrics: self.metrics.clone() })
    }

    /// Waits until each upstream has an address to be called at, but no longer than `within`: a name that does not resolve is
    /// one upstream's trouble and keeps the others waiting no longer.
    pub async fn resolved(&self, within: Duration) {
        let resolved = async {
            for upstream in self.by_name.values() {
                while upstream.balance.endpoints().is_empty() {
                    tokio::time::sleep(LOOK_FOR_ADDRESSES_EVERY).await;
                }
            }
        };
        // What the name server does not say in time it says later, to the upstream itself.
        let _ = tokio::time::timeout(within, resolved).await;
    }

    /// Forgets the numbers of upstreams that `old` had and these have not.
    pub fn forget(&self, old: &Self) {
        for name in old.by_name.keys().filter(|name| !self.by_name.contains_key(*name)) {
            self.metrics.forget(name);
        }
    }

    /// The upstream of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name.get(name)
    }
}

/// How often a new upstream is looked at for its first address. Only a reload waits for it.
const LOOK_FOR_ADDRESSES_EVERY: Duration = Duration::from_millis(20);

/// A service behind the edge.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    /// As it was configured.
    config: UpstreamConfig,
    /// Ends what runs in the background for it.
    life: CancellationToken,
    _ends: DropGuard,
    balance: Balance,
    /// How long one `open` may wait for a connection or a free stream, over all its attempts.
    ready: Duration,
    /// Whether health checks say what is fit.
    checked: bool,
    ejection: Ejection,
    limits: Arc<Limits>,
    retries: retry::Budget,
    drain: Drain,
    scheme: http::uri::Scheme,
    authority: http::uri::Authority,
    audience: Arc<str>,
    metrics: metrics::UpstreamMetrics,
}

impl Upstream {
    fn start(
        config: &UpstreamConfig,
        identity: Option<&Identity>,
        drain: &Drain,
        metrics: &metrics::UpstreamMetrics,
    ) -> anyhow::Result<Arc<Self>> {
        config.check()?;
        let server_name = config.server_name(identity)?;
        let limits = Arc::new(Limits::new(config, metrics.in_flight(&config.name)));
        let dialer = Arc::new(Dialer::new(config, &server_name, identity, &limits, drain, metrics)?);
        let scheme = match config.tls {
            Tls::Workload => http::uri::Scheme::HTTPS,
            Tls::Off => http::uri::Scheme::HTTP,
        };
        let life = CancellationToken::new();
        let upstream = Arc::new(Self {
            name: config.name.clone(),
            config: config.clone(),
            _ends: life.clone().drop_guard(),
            life,
            balance: Balance::new(dialer.clone()),
            ready: Duration::from_millis(config.ready_ms),
            checked: config.health,
            ejection: config.ejection,
            limits,
            retries: retry::Budget::new(config.retry, Instant::now()),
            drain: drain.clone(),
            scheme,
            audience: config.audience(&server_name, identity).into(),
            authority: server_name.parse().context("the server name is no authority")?,
            metrics: metrics.clone(),
        });
        resolve::start(&upstream, config, drain);
        if config.health {
            health::start(&upstream, config, drain);
        }
        dialer.follow_identity(&upstream, drain);
        Ok(upstream)
    }

    /// The name routes know it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The workload that answers there, as transaction tokens name it.
    #[must_use]
    pub const fn audience(&self) -> &Arc<str> {
        &self.audience
    }

    /// Resolves when the drain begins, or when the last call has let go of an upstream that the configuration no longer has.
    fn over(&self, drain: &Drain) -> impl Future<Output = ()> + Send + 'static {
        let (life, stopping) = (self.life.clone(), drain.stopping());
        async move {
            tokio::select! {
                () = life.cancelled() => (),
                () = stopping => (),
            }
        }
    }

    /// Opens a gRPC call: POST `path` with these headers (`:scheme` and `:authority` are the upstream's; `te` and
    /// `content-type` are the caller's to set). A call that was certainly not processed (connection refused, GOAWAY,
    /// REFUSED_STREAM) moves to another connection or endpoint, also after this function has returned, as long as the
    /// answer has not begun; one that is idempotent is made again within the retry budget.
    ///
    /// # Errors
    /// When no endpoint takes the call, or a bound of the upstream is met. It was not processed: trying again later is safe (UNAVAILABLE).
    pub async fn open(
        self: &Arc<Self>,
        terms: Terms,
        path: &PathAndQuery,
        headers: HeaderMap,
        end_of_stream: bool,
    ) -> Result<UpstreamStream, OpenError> {
        let call = Call::new(terms, path.clone(), headers, end_of_stream);
        UpstreamStream::open(self, call).await
    }
}
