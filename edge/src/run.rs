//! The life of the edge: configuration, identity, admin (live, not ready), key sets and upstreams, listeners, ready, serve; on
//! SIGTERM not ready, lame duck, drain, exit 0. Readiness does not depend on upstreams: an edge that cannot reach one service
//! still serves the others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use chassis::accept;
use chassis::drain::Drain;
use chassis::identity::{Clients, Crls, Identity, TlsServer};
use chassis::run::{EXIT_CONFIG, Process, process, spawn_admin, usage};
use chassis::transaction_token::Signer;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::access_log::{AccessLog, Writer};
use crate::admin::Pages;
use crate::audit::Audit;
use crate::check;
use crate::config::{Config, Listeners, TransactionTokens};
use crate::gateway::{Gateway, Shared, Shares, Shedding};
use crate::listener::{Admission, Front, LINGER};
use crate::metrics::Metrics;
use crate::policy::Listener;
use crate::provider::EDGE as NAME;
use crate::rate::{self, Limiter};
use crate::reload::Reloader;
use crate::room::Room;
use crate::snapshot::{Ground, Plan, Snapshot};

/// What the outer listeners speak, best first; services speak gRPC only.
const ALPN_OUTER: &[&[u8]] = &[b"h2", b"http/1.1"];
const ALPN_MESH: &[&[u8]] = &[b"h2"];

/// The command line.
#[derive(Debug, Parser)]
#[command(name = NAME, version = chassis::run::VERSION)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, default_value = "edge.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Checks the configuration and prints the route table, without starting anything.
    Check,
}

/// Runs the process from its command line to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let loaded = Config::load(&arguments.config).and_then(|config| Ok((Plan::load(&config)?, config)));
    let (plan, config) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    match arguments.command {
        Some(Command::Check) => check::print(&plan),
        None => process(NAME, &config.telemetry, &config, async |process| {
            let stop = process.told_to_stop()?;
            Edge::start(&config, plan, process).await?.serve(stop).await
        }),
    }
}

#[allow(clippy::print_stderr, reason = "there is no telemetry before there is a configuration")]
fn refuse(error: &anyhow::Error) -> ExitCode {
    eprintln!("{NAME}: {error:#}");
    ExitCode::from(EXIT_CONFIG)
}

/// An edge whose sockets are bound.
pub struct Edge {
    process: Process,
    admin: Drain,
    fronts: Vec<(Arc<Front>, TcpListener)>,
    reloader: Reloader,
    stop: watch::Sender<bool>,
    log: Option<Writer>,
    drain: crate::config::Drain,
}

impl Edge {
    /// Starts everything but the serving.
    ///
    /// # Errors
    /// One line: a file that cannot be read, an address that cannot be had.
    pub async fn start(config: &Config, plan: Plan, process: Process) -> anyhow::Result<Self> {
        let identity = Identity::load(&config.identity).context("identity")?;
        let own = identity.workload(&identity.material().chain[0]);
        anyhow::ensure!(own.as_deref() == Some(NAME), "the certificate is not the edge's but {:?}", own);
        identity.watch(&process.drain);
        process.health.set_ready("listeners", false);
        let pages = Pages::new(config, &plan);
        let admin = spawn_admin(pages.on(process.admin()), accept::bind(config.admin.listen).await?);

        let metrics = Metrics::register(&process.metrics);
        let TransactionTokens { keys, lifetime_s } = &config.transaction_tokens;
        let (domain, lifetime) = (&config.identity.trust_domain, Duration::from_secs(*lifetime_s));
        let signer = Signer::load(keys.as_deref(), domain, lifetime).context("[transaction_tokens]")?;
        signer.watch(&process.drain);
        let (access_log, log) = if config.access_log.enabled {
            let path = config.access_log.path.as_deref();
            let (log, writer) = AccessLog::open(path, metrics.access_log_dropped()).context("access_log")?;
            (log, Some(writer))
        } else {
            (AccessLog::off(), None)
        };
        let ground = Ground::new(identity.clone(), signer, process.drain.clone(), process.metrics.clone());
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::start(plan, config, &ground).await?));
        let provider = snapshot.load().providers.rate_limit.clone();
        let limiter = Limiter::new(&config.rate_limits, provider.is_some(), &process.metrics);
        if let Some(provider) = provider {
            let reporter = rate::Reporter::new(Arc::clone(&limiter), &config.rate_limits, provider);
            let reporter = reporter.context("[rate_limits]")?;
            process.drain.spawn("rate limits", reporter.run(process.drain.clone()));
        }
        let reloader = Reloader::new(config, Arc::clone(&snapshot), Arc::clone(&limiter), ground, pages)?;
        let shared = Arc::new(Shared {
            audit: Audit::start(Arc::clone(&snapshot), &process.drain, &process.metrics),
            snapshot,
            limiter,
            room: Room::register(&process.metrics),
            access_log,
            metrics,
            spans: process.spans.clone(),
            drain: process.drain.clone(),
            grace: config.drain.grace(),
            sample_per_million: per_million(config.telemetry.sample_ratio),
        });
        let (stop, stopped) = watch::channel(false);
        let mut fronts = Vec::new();
        let mut shedding = Shedding::new(config.overload, &process.metrics);
        for door in doors(config, &process.drain)? {
            let socket = accept::bind(door.listen).await?;
            let listener = door.admission.listener;
            let budget = shedding.budget(listener, door.in_flight_max);
            let shares = Shares::new(listener.as_str(), door.in_flight_each_max);
            let gateway = Gateway::new(Arc::clone(&shared), listener, budget, shares);
            let drain = process.drain.clone();
            let front = Front::new(door.admission, gateway, stopped.clone(), drain, &shared.metrics);
            fronts.push((front, socket));
        }
        shedding.start(&process.drain);
        Ok(Self { process, admin, fronts, reloader, stop, log, drain: config.drain.clone() })
    }

    /// Where a listener listens, for a configuration that leaves the port to the kernel.
    #[must_use]
    pub fn address(&self, listener: Listener) -> Option<SocketAddr> {
        let (_, socket) = self.fronts.iter().find(|(front, _)| front.listener() == listener)?;
        socket.local_addr().ok()
    }

    /// Serves until `stop`, and then until everything in flight has ended or its grace is over.
    ///
    /// # Errors
    /// None at present; the signature is that of a process's body.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { process, admin, fronts, reloader, stop: sender, log, drain } = self;
        let mut serving = Vec::new();
        for (front, socket) in fronts {
            tracing::info!(listener = front.listener().as_str(), listen = ?socket.local_addr().ok(), "serving");
            process.drain.spawn("listener", Arc::clone(&front).serve(socket));
            serving.push(front);
        }
        process.drain.spawn("reload", reloader.run());
        process.drain.spawn("wind-down", wind_down(process.drain.clone(), serving, sender));
        process.health.set_ready("listeners", true);
        process.until_drained(stop, drain.lame_duck(), drain.grace()).await;
        admin.stop();
        if let Some(log) = log {
            // Requests that were cut off may still hold the log; its last lines are not worth waiting for them.
            let _ = tokio::time::timeout(LINGER, tokio::task::spawn_blocking(|| log.finish())).await;
        }
        Ok(())
    }
}

/// Tells the connections that it is time, and lets those that only wait go a little later: a request may be on the wire.
async fn wind_down(drain: Drain, fronts: Vec<Arc<Front>>, stop: watch::Sender<bool>) {
    drain.stopping().await;
    let _ = stop.send(true);
    sleep(LINGER).await;
    for front in fronts {
        front.cleanup().await;
    }
}

/// A listener to be opened.
struct Door {
    listen: SocketAddr,
    in_flight_max: usize,
    in_flight_each_max: usize,
    admission: Admission,
}

fn doors(config: &Config, drain: &Drain) -> anyhow::Result<Vec<Door>> {
    let shown = |files: [&PathBuf; 3], crls: &Crls, clients, alpn: &[&[u8]]| -> anyhow::Result<TlsServer> {
        let [certificate, key, trust_bundle] = files.map(PathBuf::clone);
        let trust_domain = config.identity.trust_domain.clone();
        let files = chassis::config::Identity { certificate, key, trust_bundle, trust_domain };
        let identity = Identity::load_with(&files, crls)?;
        identity.watch(drain);
        identity.server(clients, alpn)
    };
    let Listeners { public, partner, mesh } = &config.listener;
    let mut doors = Vec::new();
    if let Some(public) = public {
        let files = [&public.certificate, &public.key, &public.client_ca];
        let tls = shown(files, &public.client_crl, Clients::Optional, ALPN_OUTER);
        let tls = tls.context("[listener.public]")?;
        doors.push(Door {
            listen: public.listen,
            in_flight_max: public.in_flight_max,
            in_flight_each_max: public.in_flight_each_max,
            admission: admission(Listener::Public, public.connections_max, public.streams_max, tls),
        });
    }
    if let Some(partner) = partner {
        let files = [&partner.certificate, &partner.key, &partner.client_ca];
        let tls = shown(files, &partner.client_crl, Clients::Required, ALPN_OUTER);
        let tls = tls.context("[listener.partner]")?;
        doors.push(Door {
            listen: partner.listen,
            in_flight_max: partner.in_flight_max,
            in_flight_each_max: partner.in_flight_each_max,
            admission: admission(Listener::Partner, partner.connections_max, partner.streams_max, tls),
        });
    }
    if let Some(mesh) = mesh {
        let chassis::config::Identity { certificate, key, trust_bundle, .. } = &config.identity;
        let files = [certificate, key, trust_bundle];
        let tls = shown(files, &mesh.client_crl, Clients::Required, ALPN_MESH).context("[listener.mesh]")?;
        doors.push(Door {
            listen: mesh.listen,
            in_flight_max: mesh.in_flight_max,
            // A person's calls onward are as many as those that came in; the services' own are the listener's to bound.
            in_flight_each_max: mesh.in_flight_max,
            admission: admission(Listener::Mesh, mesh.connections_max, mesh.streams_max, tls),
        });
    }
    Ok(doors)
}

const fn admission(
    listener: Listener,
    connections_max: usize,
    streams_max: u32,
    tls: TlsServer,
) -> Admission {
    Admission { listener, connections_max, streams_max, tls }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000000")]
fn per_million(ratio: f64) -> u32 {
    (ratio.clamp(0.0, 1.0) * 1e6) as u32
}
