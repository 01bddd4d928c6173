//! A configuration is replaced while it serves: on SIGHUP, or when a file has changed. The next one is built whole beside the one in
//! force, and takes its place at once or not at all. What is refused leaves a line in the log, a number and a word on `/config`, and
//! the old one serves on; a request is served to its end by the one it has begun with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use chassis::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::admin::Pages;
use crate::config::Config;
use crate::files::{self, Digest};
use crate::rate::Limiter;
use crate::snapshot::{Current, Ground, Plan, Snapshot};

/// Replaces the snapshot in force.
pub struct Reloader {
    /// What is in force.
    config: Config,
    current: Current,
    limiter: Arc<Limiter>,
    ground: Ground,
    pages: Pages,
    numbers: Numbers,
    hangup: Signal,
    /// What the files held when they were last read, whatever became of it.
    read: Digest,
}

/// How the configuration counts.
struct Numbers {
    generation: Gauge,
    since: Gauge,
    reloads: Family<Labels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

impl Reloader {
    /// Begins to listen for SIGHUP, which would end the process otherwise. `config` is what `current` was made from.
    ///
    /// # Errors
    /// When the signal cannot be watched.
    pub fn new(
        config: &Config,
        current: Current,
        limiter: Arc<Limiter>,
        ground: Ground,
        pages: Pages,
    ) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("cannot watch SIGHUP")?;
        let numbers = Numbers::register(ground.metrics());
        numbers.in_force(&current.load());
        let read = current.load().files;
        Ok(Self { config: config.clone(), current, limiter, ground, pages, numbers, hangup, read })
    }

    /// Replaces the configuration whenever there is reason to, until the drain begins.
    pub async fn run(mut self) {
        let stopping = self.ground.drain().stopping();
        tokio::select! {
            () = stopping => (),
            () = self.replace_for_ever() => (),
        }
    }

    async fn replace_for_ever(&mut self) {
        loop {
            let asked_for = self.reason().await;
            // Before they are read: what changes in between is seen by the next look.
            self.read = self.look().await;
            tracing::info!(asked_for, path = %self.config.path.display(), "configuration is read again");
            match self.replace().await {
                Ok(()) => self.numbers.count("ok"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "configuration not reloaded, the old one serves on");
                    self.numbers.count("refused");
                    self.pages.refused(error);
                }
            }
        }
    }

    /// Waits for a reason to read the files again, and names it.
    async fn reason(&mut self) -> &'static str {
        let Some(every) = self.config.reload.watch() else {
            self.hangup.recv().await;
            return "SIGHUP";
        };
        let mut seen = self.read;
        loop {
            tokio::select! {
                _ = self.hangup.recv() => return "SIGHUP",
                () = sleep(every) => (),
            }
            let now = self.look().await;
            if now == seen && now != self.read {
                return "a change";
            }
            seen = now;
        }
    }

    /// What the files hold at this moment: those of the configuration in force, the first of which is its own.
    async fn look(&self) -> Digest {
        let paths: Vec<PathBuf> = self.config.files().map(Path::to_owned).collect();
        // A disk may be slow. A look that is lost (the runtime is ending) has seen nothing new.
        let looked = spawn_blocking(move || files::digest(paths.iter().map(PathBuf::as_path)));
        looked.await.unwrap_or(self.read)
    }

    async fn replace(&mut self) -> anyhow::Result<()> {
        let path = self.config.path.clone();
        // Descriptors are compiled for tens of milliseconds, and requests go on meanwhile.
        let loaded = spawn_blocking(move || {
            let config = Config::load(&path)?;
            let plan = Plan::load(&config)?;
            anyhow::Ok((config, plan))
        });
        let (config, plan) = loaded.await.context("the configuration was not read to its end")??;
        let fixed = self.config.needs_restart(&config)?;
        anyhow::ensure!(fixed.is_empty(), "{} needs a restart", fixed.join(", "));
        let old = self.current.load_full();
        let new = old.next(plan, &config, &self.ground).await?;
        let new = Arc::new(new);
        self.current.store(Arc::clone(&new));
        self.limiter.adopt(&config.rate_limits);
        self.pages.replaced(config.clone(), &new, new.generation, new.since);
        self.numbers.in_force(&new);
        new.took_over(&old, &config);
        self.config = config;
        tracing::info!(generation = new.generation, "configuration reloaded");
        Ok(())
    }
}

impl Numbers {
    fn register(metrics: &Metrics) -> Self {
        let own = Self { generation: Gauge::default(), since: Gauge::default(), reloads: Family::default() };
        metrics.register(
            "edge_config_generation",
            "Which configuration is in force, counted from the start of the process",
            own.generation.clone(),
        );
        metrics.register(
            "edge_config_since_timestamp_seconds",
            "When the configuration in force was taken over",
            own.since.clone(),
        );
        metrics.register(
            "edge_config_reloads",
            "Attempts to replace the configuration, by result",
            own.reloads.clone(),
        );
        for result in ["ok", "refused"] {
            // There from the start: an alert on a rate needs a zero to rise from.
            let _ = own.reloads.get_or_create(&Labels { result });
        }
        own
    }

    fn in_force(&self, snapshot: &Snapshot) {
        self.generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        let since = snapshot.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.since.set(i64::try_from(since).unwrap_or(i64::MAX));
    }

    fn count(&self, result: &'static str) {
        self.reloads.get_or_create(&Labels { result }).inc();
    }
}
