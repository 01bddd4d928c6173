//! A process's life, the same for all: configuration, telemetry, one "starting" line, identity, admin up (live, not ready),
//! store, listener, ready, serve; on SIGTERM not ready, lame duck, drain, flush, exit 0.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::Routes;

use crate::accept;
use crate::admin::Admin;
use crate::config::{self, ServiceConfig};
use crate::drain::Drain;
use crate::edge_channel::EdgeChannel;
use crate::health::Health;
use crate::identity::{Clients, Identity};
use crate::metrics::Metrics;
use crate::serve;
use crate::spans::Spans;
use crate::telemetry;
use crate::transaction_token::Verifier;

/// The exit code of a configuration that cannot be used (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// The workload that alone may call a service.
const EDGE: &str = "edge";

/// How long the last answers may take to leave and their connections to close, once every RPC has ended. The edge closes its
/// side at once; only one that is gone takes as long.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How long the admin listener's own connections may take to close once all else is done.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// A service of the mesh.
pub trait Service: Sized + Send + Sync + 'static {
    /// The workload's name ("svc-ledger").
    const NAME: &'static str;
    /// Its configuration file.
    type Config: ServiceConfig;

    /// Connects the store, checks the schema, and starts what runs in the background.
    ///
    /// # Errors
    /// One line: the process ends with it.
    fn start(config: &Self::Config, start: Start) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Its RPCs.
    fn routes(&self) -> Routes;
}

/// What a service is given to start with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The way out to other services.
    pub edge: EdgeChannel,
    /// For its background tasks.
    pub drain: Drain,
    /// For the conditions it is ready under.
    pub health: Health,
    /// For its own numbers.
    pub metrics: Metrics,
}

/// The command line of a service.
#[derive(Debug, Parser)]
struct Arguments {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Only check the configuration.
    #[arg(long)]
    check: bool,
}

/// Runs a service from its command line to its exit code.
#[must_use]
pub fn service<S: Service>() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let config = match config::load::<S::Config>(&arguments.config).map_err(anyhow::Error::from) {
        Ok(config) => config,
        Err(error) => return refuse(S::NAME, &error),
    };
    if let Err(error) = config.check() {
        return refuse(S::NAME, &error);
    }
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    process(S::NAME, config.telemetry(), &config, async |process| serve_service::<S>(&config, process).await)
}

/// Runs the life around `body`: runtime, crypto provider, telemetry, the starting line, and the flush at the end.
#[must_use]
pub fn process<C: Serialize>(
    name: &'static str,
    telemetry: &config::Telemetry,
    redacted: &C,
    body: impl AsyncFnOnce(Process) -> anyhow::Result<()>,
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(name, &error.into()),
    };
    // Drivers that build their own TLS take the process's provider; a second start in one process finds it in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = runtime.block_on(async {
        let telemetry = telemetry::start(name, telemetry)?;
        let redacted = serde_json::to_string(redacted).unwrap_or_default();
        tracing::info!(process = name, version = VERSION, git = GIT, config = redacted, "starting");
        let spans = telemetry.spans();
        let outcome = body(Process { spans, ..Process::default() }).await;
        match &outcome {
            Ok(()) => tracing::info!(process = name, "stopped"),
            Err(error) => tracing::error!(process = name, error = format!("{error:#}"), "failed"),
        }
        telemetry.flush();
        outcome
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &error),
    }
}

/// The version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit the process was built from, when the build says so by `CAUSEWAY_GIT_SHA`.
pub const GIT: &str = match option_env!("CAUSEWAY_GIT_SHA") {
    Some(sha) => sha,
    None => "unknown",
};

/// What every process has before it has anything of its own.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Ends it.
    pub drain: Drain,
    /// What it says about itself.
    pub health: Health,
    /// Its numbers.
    pub metrics: Metrics,
    /// Where its own spans go.
    pub spans: Spans,
}

impl Process {
    /// The admin endpoints of this process, before anything is added.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.health.clone(), self.metrics.clone())
    }

    /// Resolves when the process is told to stop, by SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the signals cannot be watched.
    pub fn told_to_stop(&self) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
        })
    }

    /// Waits for the word to stop, then: not ready, lame duck, drain. Returns whether all work in flight ended within `grace`.
    pub async fn until_drained(
        &self,
        stop: impl Future<Output = ()>,
        lame_duck: Duration,
        grace: Duration,
    ) -> bool {
        stop.await;
        tracing::info!("draining");
        self.health.begin_drain();
        // Whoever balances over us must hear that we are not ready before we refuse connections.
        tokio::time::sleep(lame_duck).await;
        self.drain.stop();
        let clean = self.drain.finished(grace).await;
        if !clean {
            tracing::warn!(grace_ms = grace.as_millis(), "work in flight was cut off");
        }
        clean
    }
}

/// Runs the admin listener until the returned drain is stopped.
pub fn spawn_admin(admin: Admin, listener: TcpListener) -> Drain {
    let until = Drain::default();
    until.spawn("admin", admin.serve(listener, until.clone()));
    until
}

async fn serve_service<S: Service>(config: &S::Config, process: Process) -> anyhow::Result<()> {
    let server = config.server();
    let stop = process.told_to_stop()?;
    let identity = Identity::load(config.identity()).context("identity")?;
    let only_edge = Clients::Only(vec![identity.spiffe_id(EDGE)]);
    let tls = identity.server(only_edge, &[b"h2"]).context("identity")?;
    let own = identity.workload(&identity.material().chain[0]);
    anyhow::ensure!(
        own.as_deref() == Some(S::NAME),
        "the certificate is not {}'s but {}'s",
        S::NAME,
        own.as_deref().unwrap_or("nobody")
    );
    identity.watch(&process.drain);
    let verifier = Verifier::load(&server.edge_keys, identity.trust_domain()).context("server.edge_keys")?;
    verifier.watch(&process.drain);
    let callers = serve::Callers { verifier, own: identity.spiffe_id(S::NAME).into() };
    let border = serve::Border { tls, callers };
    process.health.set_ready("listener", false);
    let admin = spawn_admin(process.admin(), accept::bind(server.admin).await?);
    let edge = EdgeChannel::start(config.edge(), &identity, &process.drain)?;
    let start = Start {
        edge,
        drain: process.drain.clone(),
        health: process.health.clone(),
        metrics: process.metrics.clone(),
    };
    tokio::pin!(stop);
    let service = tokio::select! {
        started = S::start(config, start) => started?,
        // Told to stop while the store is still awaited: there is nothing to drain.
        () = &mut stop => return Ok(()),
    };
    let listener = accept::bind(server.listen).await?;
    let drain = process.drain.clone();
    let (health, metrics) = (process.health.clone(), process.metrics.clone());
    let serving = serve::serve(service.routes(), listener, border, server, &health, &metrics, &drain);
    process.health.set_ready("listener", true);
    tracing::info!(listen = %server.listen, admin = %server.admin, "serving");
    let drained = process.until_drained(stop, server.lame_duck(), server.drain());
    tokio::pin!(serving, drained);
    tokio::select! {
        failed = &mut serving => failed?,
        clean = &mut drained => {
            // To the drain an RPC has ended when the transport has taken its last byte; to the edge, when that byte has
            // arrived. Exiting in between would lose answers of what is done.
            if clean && let Ok(served) = tokio::time::timeout(CLOSE_GRACE, &mut serving).await {
                served?;
            }
            return end(admin).await;
        }
    }
    drained.await;
    end(admin).await
}

async fn end(admin: Drain) -> anyhow::Result<()> {
    admin.stop();
    admin.finished(ADMIN_GRACE).await;
    Ok(())
}

#[allow(clippy::print_stderr, reason = "there is no telemetry before there is a configuration")]
fn refuse(name: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{name}: {error:#}");
    ExitCode::from(EXIT_CONFIG)
}

#[allow(clippy::print_stderr, reason = "whoever started the process reads why it ended")]
fn fail(name: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{name}: {error:#}");
    ExitCode::FAILURE
}

/// Prints what clap has to say: help is no failure, a mistake is one of configuration.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS }
}
