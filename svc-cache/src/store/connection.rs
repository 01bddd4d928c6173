//! The connection to Redis: TLS against a private CA, an ACL user, one multiplexed connection that is made again when it
//! breaks. The monitor asks Redis every second whether it is there; while it is not, commands fail at once instead of each
//! waiting for its timeout, because a caller with a store of its own to turn to must not wait for a cache.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, IntoConnectionInfo as _, RedisError, ServerErrorKind, TlsCertificates};
use tokio::sync::Notify;

use super::StoreError;
use crate::config::StoreConfig;

/// How often the monitor asks. Readiness and the fast refusal follow Redis within this time.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long TCP, TLS and AUTH may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// After how many failed probes in a row the connection is thrown away. The manager reconnects by itself when a connection
/// breaks, but not after a failed AUTH and not from a peer that has gone silent.
const PROBES_BEFORE_RENEWAL: u32 = 3;

/// Commands that may wait to be written. The chassis bounds the calls in flight; this only has to be out of their way.
const QUEUE: usize = 1024;

/// The connection as the store uses it.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    manager: ArcSwap<ConnectionManager>,
    /// What the last probe found. True at first, so that commands before the first probe are tried.
    up: AtomicBool,
    /// Rung by a command that found Redis away, so that the monitor looks at once.
    doubt: Notify,
    /// Set by a command that Redis refused as a replica does: after a failover, the old primary must be left.
    demoted: AtomicBool,
    timeout: Duration,
}

/// Watches Redis for as long as it runs.
pub struct Monitor {
    shared: Arc<Shared>,
    source: Source,
}

/// What a connection is made from.
struct Source {
    url: String,
    ca: Vec<u8>,
    password: chassis::config::SecretFile,
    timeout: Duration,
}

impl Connection {
    pub(super) fn open(config: &StoreConfig) -> anyhow::Result<(Self, Monitor)> {
        let source = Source {
            url: config.url.clone(),
            ca: std::fs::read(&config.ca).with_context(|| format!("reading {}", config.ca.display()))?,
            password: config.password_file.clone(),
            timeout: config.timeout(),
        };
        let shared = Arc::new(Shared {
            manager: ArcSwap::from_pointee(source.manager()?),
            up: AtomicBool::new(true),
            doubt: Notify::new(),
            demoted: AtomicBool::new(false),
            timeout: source.timeout,
        });
        Ok((Self { shared: shared.clone() }, Monitor { shared, source }))
    }

    /// Runs commands, bounded in time, or refuses at once while Redis is known to be away.
    pub(super) async fn run<T>(
        &self,
        commands: impl AsyncFnOnce(ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let shared = &self.shared;
        if !shared.up.load(Ordering::Relaxed) {
            return Err(StoreError::Away);
        }
        let manager = ConnectionManager::clone(&shared.manager.load());
        // The manager's own response timeout does not cover the wait for a reconnection: this one does.
        let result = match tokio::time::timeout(shared.timeout, commands(manager)).await {
            Ok(result) => result.map_err(StoreError::Redis),
            Err(_) => Err(StoreError::TimedOut),
        };
        if let Err(error) = &result
            && !error.is_refusal()
        {
            if is_demotion(error) {
                shared.demoted.store(true, Ordering::Relaxed);
            }
            shared.doubt.notify_one();
        }
        result
    }
}

impl Monitor {
    /// Probes until dropped, and tells whether Redis is there after every probe.
    pub async fn run(self, tell: impl Fn(bool)) {
        let mut failed = 0;
        let mut was_up = true;
        loop {
            let answer = self.probe().await;
            let up = answer.is_ok();
            self.shared.up.store(up, Ordering::Relaxed);
            tell(up);
            if let Err(error) = answer
                && was_up
            {
                tracing::warn!(%error, "redis is away");
            }
            was_up = up;
            failed = if up { 0 } else { failed + 1 };
            if self.shared.demoted.swap(false, Ordering::Relaxed) || failed >= PROBES_BEFORE_RENEWAL {
                self.renew();
                failed = 0;
            }
            // Bounded below, so that many failing commands do not make the monitor spin.
            tokio::time::sleep(PROBE_INTERVAL / 10).await;
            let doubted =
                async { if up { self.shared.doubt.notified().await } else { std::future::pending().await } };
            let _ = tokio::time::timeout(PROBE_INTERVAL, doubted).await;
        }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let mut manager = ConnectionManager::clone(&self.shared.manager.load());
        let ping = redis::cmd("PING");
        match tokio::time::timeout(CONNECT_TIMEOUT, ping.query_async::<()>(&mut manager)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::TimedOut),
        }
    }

    fn renew(&self) {
        match self.source.manager() {
            Ok(manager) => self.shared.manager.store(Arc::new(manager)),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "cannot prepare a redis connection"),
        }
    }
}

impl Source {
    fn manager(&self) -> anyhow::Result<ConnectionManager> {
        let password = self.password.read()?;
        let info = self.url.as_str().into_connection_info()?;
        let settings = info.redis_settings().clone().set_password(password.expose());
        let tls = TlsCertificates { client_tls: None, root_cert: Some(self.ca.clone()) };
        let client = Client::build_with_tls(info.set_redis_settings(settings), tls)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.timeout))
            // The monitor is the one place that tries again.
            .set_number_of_retries(0)
            .set_pipeline_buffer_size(QUEUE);
        Ok(ConnectionManager::new_lazy_with_config(client, config)?)
    }
}

fn is_demotion(error: &StoreError) -> bool {
    matches!(error, StoreError::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly))
}
