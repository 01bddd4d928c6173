//! The configuration a request is served by, from its first byte to its last. A [`Plan`] is what the files say: the contract, the
//! bounds, the lists of headers. A [`Snapshot`] is a plan that serves: with whom to believe and where to go. Both are built whole or
//! not at all, then shared and never changed; a reload builds the next snapshot beside the one in force and swaps them at once. What
//! lives behind a snapshot (connections, verdicts on endpoints, keys, verified tokens) is handed on to the next as far as its
//! configuration is the same.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use chassis::transaction_token::Signer;
use chassis::{Drain, Identity, Metrics};
use http::uri::PathAndQuery;
use prometheus_client::metrics::gauge::Gauge;

use crate::authn::Authenticator;
use crate::builtin::Builtin;
use crate::config::{Config, Limits};
use crate::contract::{Contract, Method, Overrides};
use crate::cors::Cors;
use crate::files::{self, Digest};
use crate::headers::Pass;
use crate::provider::Providers;
use crate::upstream::Upstreams;

/// How long a reload waits for the first addresses of new upstreams. A name server that is slower than this would make every call
/// wait, whenever the snapshot came into force.
const RESOLVED_WITHIN: Duration = Duration::from_secs(5);

/// The snapshot in force, for whoever begins something. Whoever has begun keeps the one it has begun with.
pub type Current = Arc<ArcSwap<Snapshot>>;

/// What the files say, compiled. `edge check` stops here: nothing has been started.
#[derive(Debug)]
pub struct Plan {
    /// What can be called, and how.
    pub contract: Contract,
    /// What the edge answers itself.
    pub builtin: Builtin,
    /// The bounds of every request.
    pub limits: Limits,
    /// The request headers let through to services.
    pub request_headers: Pass,
    /// The response headers of services let through to REST.
    pub response_headers: Pass,
    /// What the files held that it was made from.
    pub files: Digest,
    /// Whether browsers are told to come by TLS only.
    pub hsts: bool,
    /// Which pages of other origins may call.
    pub cors: Cors,
    paths: HashMap<Arc<str>, PathAndQuery>,
}

impl Plan {
    /// Reads the descriptor sets that `config` names and compiles them.
    ///
    /// # Errors
    /// One line naming the file, RPC, template or key at fault.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        // Before they are read: what changes meanwhile is a change.
        let files = files::digest(config.files());
        let overrides = Overrides { methods: config.method.clone(), services: config.service.clone() };
        let contract =
            Contract::load(&config.descriptor_set, &overrides, &config.routing, &config.transcoding)?;
        for method in contract.methods() {
            let known = config.upstream.iter().any(|upstream| *upstream.name == *method.upstream);
            anyhow::ensure!(known, "{}: there is no [[upstream]] named {:?}", method.path, method.upstream);
        }
        let paths = contract
            .methods()
            .iter()
            .map(|method| Ok((Arc::clone(&method.path), PathAndQuery::try_from(&*method.path)?)))
            .collect::<Result<_, http::uri::InvalidUri>>()
            .context("a method's name is no path")?;
        let builtin = Builtin::new(&config.builtin, &contract, &config.transcoding).context("[builtin]")?;
        Ok(Self {
            contract,
            builtin,
            limits: config.limits.clone(),
            request_headers: Pass::new(&config.headers.request)
                .context("headers.request")?
                .with_gateway_names(config.transcoding.grpc_gateway),
            response_headers: Pass::new(&config.headers.response).context("headers.response")?,
            files,
            hsts: config.listener.public.as_ref().is_some_and(|public| public.hsts),
            cors: Cors::new(&config.cors).context("[[cors]]")?,
            paths,
        })
    }

    /// The `:path` of a method, parsed once.
    #[must_use]
    pub fn path(&self, method: &Method) -> Option<&PathAndQuery> {
        self.paths.get(&method.path)
    }
}

/// What snapshots stand on: it is there before the first and outlives the last.
#[derive(Clone, Debug)]
pub struct Ground {
    identity: Identity,
    signer: Signer,
    drain: Drain,
    metrics: Metrics,
    alive: Gauge,
}

impl Ground {
    /// Who the edge is to its services, what it signs for them with, where tasks run, and where numbers are kept.
    #[must_use]
    pub fn new(identity: Identity, signer: Signer, drain: Drain, metrics: Metrics) -> Self {
        let alive = Gauge::default();
        metrics.register(
            "edge_config_snapshots",
            "Configurations that serve: the one in force, and those before it whose last request has not ended",
            alive.clone(),
        );
        Self { identity, signer, drain, metrics, alive }
    }

    /// The drain of the process.
    #[must_use]
    pub const fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The numbers of the process.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn count(&self) -> Alive {
        self.alive.inc();
        Alive(self.alive.clone())
    }
}

/// Counts a snapshot until it is dropped.
struct Alive(Gauge);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// See the module. It reads like the plan it was made from.
pub struct Snapshot {
    plan: Plan,
    /// Whom to believe.
    pub authenticator: Authenticator,
    /// Where calls go.
    pub upstreams: Upstreams,
    /// What the edge itself asks for. The same for the life of the process, by the upstreams of the snapshot in force.
    pub providers: Providers,
    /// From 1; rises with every reload.
    pub generation: u64,
    /// Since when it has been in force.
    pub since: SystemTime,
    _alive: Alive,
}

impl Deref for Snapshot {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl Snapshot {
    /// The first snapshot of a process. Begins to fetch keys and to resolve, check and connect; waits for no upstream.
    ///
    /// # Errors
    /// One line naming the table at fault.
    pub async fn start(plan: Plan, config: &Config, ground: &Ground) -> anyhow::Result<Self> {
        let Ground { identity, signer, drain, metrics, .. } = ground;
        let domain = identity.trust_domain();
        let authenticator = Authenticator::start(&config.authn, domain, signer, drain, metrics);
        let upstreams = Upstreams::start(&config.upstream, Some(identity), drain, metrics)?;
        let authenticator = authenticator.await.context("[authn]")?;
        let providers = Providers::new(&config.providers, &upstreams, signer);
        if let Some(provider) = &providers.revocation {
            authenticator.follow_revocations(provider.clone(), drain);
        }
        Ok(Self {
            plan,
            authenticator,
            providers,
            upstreams,
            generation: 1,
            since: SystemTime::now(),
            _alive: ground.count(),
        })
    }

    /// The snapshot that takes the place of this one, fit to serve: what is new in it has had the time to find its addresses.
    ///
    /// # Errors
    /// One line naming the table at fault; this one serves on then, and nothing of it has changed.
    pub async fn next(&self, plan: Plan, config: &Config, ground: &Ground) -> anyhow::Result<Self> {
        let Ground { identity, drain, .. } = ground;
        let authenticator = self.authenticator.renewed(&config.authn, drain).await.context("[authn]")?;
        let upstreams = self.upstreams.renewed(&config.upstream, Some(identity), drain)?;
        upstreams.resolved(RESOLVED_WITHIN).await;
        let (generation, since) = (self.generation + 1, SystemTime::now());
        let providers = self.providers.clone();
        Ok(Self { plan, authenticator, upstreams, providers, generation, since, _alive: ground.count() })
    }

    /// Has taken the place of `old`: the edge's own questions go where `config` says, and the numbers of what is configured no
    /// more are forgotten.
    pub fn took_over(&self, old: &Self, config: &Config) {
        self.providers.follow(&config.providers, &self.upstreams);
        self.authenticator.forget(&old.authenticator);
        self.upstreams.forget(&old.upstreams);
    }
}
