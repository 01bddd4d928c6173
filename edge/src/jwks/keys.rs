//! The current keys of one issuer. One task owns the fetching: it refreshes on time, fetches early when a request asks because
//! of an unknown key id, and never more often than the cool-down. So the fetch is single by construction, no lock is held while
//! it runs, and a storm of invented key ids costs the issuer nothing.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use chassis::drain::Drain;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::set::KeySet;
use super::source::{Reader, Source, SourceError};

/// How long a request waits for an early fetch. Shorter than most budgets: a slow issuer turns away tokens of new keys, it does
/// not hold requests.
const WAIT: Duration = Duration::from_secs(3);
/// How many requests wait for it at once. Whoever makes up key ids must not fill the edge while an issuer is slow; the tokens of
/// a new key are known to all as soon as the fetch is done.
const WAITING_MAX: usize = 64;

/// The keys of one issuer, kept fresh until dropped.
pub struct Keys {
    shared: Arc<Shared>,
    _running: DropGuard,
}

struct Shared {
    current: ArcSwap<Current>,
    round: watch::Sender<Round>,
    ask: Notify,
    cooldown: Duration,
    waiting: Semaphore,
}

/// The keys at a moment.
#[derive(Debug, Default)]
pub struct Current {
    pub set: KeySet,
    /// Rises whenever the set changes; what was verified under an older one is verified again.
    pub generation: u64,
    /// When the source was last read.
    read_at: Option<Instant>,
}

/// Where the fetching stands.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    finished: u64,
    running: bool,
    started: Option<Instant>,
}

/// The numbers of key sets, shared by all issuers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    fetches: Family<FetchLabels, Counter>,
    keys: Family<IssuerLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    issuer: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

impl Metrics {
    /// Registers the numbers of key sets.
    #[must_use]
    pub fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let own = Self::default();
        metrics.register("jwks_fetches", "Readings of an issuer's key set, by result", own.fetches.clone());
        metrics.register("jwks_keys", "Usable keys of an issuer", own.keys.clone());
        own
    }

    /// An issuer is believed no more.
    pub fn forget(&self, issuer: &str) {
        self.keys.remove(&IssuerLabels { issuer: issuer.to_owned() });
    }
}

impl Keys {
    /// Reads the set once and keeps it fresh. An issuer that cannot be reached does not keep the edge from starting: its tokens
    /// are refused until it can. A file that cannot be read is a mistake and does.
    pub async fn start(
        issuer: &str,
        source: &Source,
        development: bool,
        drain: &Drain,
        metrics: &Metrics,
    ) -> Result<Self, SourceError> {
        let reader = source.reader(issuer, development)?;
        let must_read = reader.is_local();
        let shared = Arc::new(Shared {
            current: ArcSwap::default(),
            round: watch::Sender::default(),
            ask: Notify::new(),
            cooldown: Duration::from_secs(source.cooldown_s),
            waiting: Semaphore::new(WAITING_MAX),
        });
        let running = CancellationToken::new();
        let refresh = Refresh {
            issuer: issuer.to_owned(),
            reader,
            every: Duration::from_secs(source.refresh_s),
            stale: Duration::from_secs(source.stale_s),
            failures: 0,
            shared: shared.clone(),
            metrics: metrics.clone(),
        };
        let refresh = refresh.first(must_read).await?;
        let (dropped, stopping) = (running.clone(), drain.stopping());
        drain.spawn("jwks", async move {
            tokio::select! {
                () = dropped.cancelled() => (),
                () = stopping => (),
                () = refresh.run() => (),
            }
        });
        Ok(Self { shared, _running: running.drop_guard() })
    }

    /// The keys of this moment; empty while the source has never been read, or not for too long.
    #[must_use]
    pub fn current(&self) -> Guard<Arc<Current>> {
        self.shared.current.load()
    }

    #[cfg(test)]
    pub(super) fn cooling(&self) -> bool {
        self.shared.round.borrow().cooling(self.shared.cooldown)
    }

    /// Asks for an early fetch and waits for it, or for the one that is running. False at once during the cool-down: the keys
    /// are then as fresh as they may be. False at once, too, when enough others wait.
    pub async fn refetched(&self) -> bool {
        let Ok(_place) = self.shared.waiting.try_acquire() else { return false };
        let mut round = self.shared.round.subscribe();
        let seen = *round.borrow_and_update();
        if !seen.running {
            if seen.cooling(self.shared.cooldown) {
                return false;
            }
            self.shared.ask.notify_one();
        }
        let finished = round.wait_for(|round| round.finished > seen.finished);
        tokio::time::timeout(WAIT, finished).await.is_ok_and(|round| round.is_ok())
    }
}

impl Round {
    fn cooling(&self, cooldown: Duration) -> bool {
        self.started.is_some_and(|started| started.elapsed() < cooldown)
    }
}

/// The task that owns the fetching.
struct Refresh {
    issuer: String,
    reader: Reader,
    every: Duration,
    stale: Duration,
    failures: u32,
    shared: Arc<Shared>,
    metrics: Metrics,
}

impl Refresh {
    async fn first(mut self, must_read: bool) -> Result<Self, SourceError> {
        match self.read().await {
            Err(error) if must_read => Err(error),
            Ok(()) | Err(_) => Ok(self),
        }
    }

    async fn run(mut self) {
        loop {
            let asked = self.shared.ask.notified();
            let early = tokio::select! {
                () = tokio::time::sleep(self.pause()) => false,
                () = asked => true,
            };
            // A permit left over from requests that asked while a fetch was on its way.
            if early && self.shared.round.borrow().cooling(self.shared.cooldown) {
                continue;
            }
            // The failure is logged where it is counted; the next round is the only thing to do about it.
            let _ = self.read().await;
        }
    }

    /// A refresh is early by up to a tenth, so that replicas do not ask in step. After a failure the pause is the cool-down,
    /// doubled each time up to the regular one.
    fn pause(&self) -> Duration {
        if self.failures == 0 {
            return self.every.mul_f64(rand::random_range(0.9..=1.0));
        }
        let backoff = self.shared.cooldown.saturating_mul(1 << (self.failures - 1).min(16));
        backoff.min(self.every).mul_f64(rand::random_range(0.9..=1.0))
    }

    async fn read(&mut self) -> Result<(), SourceError> {
        self.shared.round.send_modify(|round| (round.running, round.started) = (true, Some(Instant::now())));
        let read = self.reader.read().await;
        let (result, read) = match read {
            Ok(set) => {
                self.failures = 0;
                self.publish(set);
                ("ok", Ok(()))
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                tracing::warn!(
                    issuer = self.issuer,
                    error = chassis::error::chain(&error),
                    "key set not refreshed"
                );
                self.drop_stale();
                ("failed", Err(error))
            }
        };
        self.metrics.fetches.get_or_create(&FetchLabels { issuer: self.issuer.clone(), result }).inc();
        self.shared.round.send_modify(|round| (round.finished, round.running) = (round.finished + 1, false));
        read
    }

    fn publish(&self, set: KeySet) {
        let old = self.shared.current.load();
        let changed = set != old.set;
        if changed {
            tracing::info!(issuer = self.issuer, keys = set.len(), "key set changed");
        }
        let keys = i64::try_from(set.len()).unwrap_or(i64::MAX);
        self.metrics.keys.get_or_create(&IssuerLabels { issuer: self.issuer.clone() }).set(keys);
        let generation = old.generation + u64::from(changed);
        self.shared.current.store(Arc::new(Current { set, generation, read_at: Some(Instant::now()) }));
    }

    fn drop_stale(&self) {
        let old = self.shared.current.load();
        if old.set.is_empty() || old.read_at.is_some_and(|read_at| read_at.elapsed() < self.stale) {
            return;
        }
        tracing::error!(issuer = self.issuer, "key set dropped: the source has failed for too long");
        self.metrics.keys.get_or_create(&IssuerLabels { issuer: self.issuer.clone() }).set(0);
        let generation = old.generation + 1;
        self.shared.current.store(Arc::new(Current { generation, ..Current::default() }));
    }
}
