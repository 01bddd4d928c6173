//! `edge.toml`: one typed file, unknown keys refused. Each part of the edge owns the shape of its own tables; this module puts
//! them together, knows the listeners and the bounds, and checks what types cannot say. `edge.example.toml` beside the crate
//! shows every key.

mod bounds;
mod fixed;
mod listener;
mod overload;
mod reload;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub use bounds::{AccessLog, Drain, Http2, Limits};
pub use listener::{Listeners, Mesh, Partner, Public};
pub use overload::Overload;
pub use reload::Reload;

use crate::contract::{DescriptorSet, MethodOverride, ServiceOverride};
use crate::upstream::UpstreamConfig;
use crate::{authn, builtin, cors, provider, rate, route, transcode};

/// The whole file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where requests come in.
    pub listener: Listeners,
    /// The plain listener for the kubelet, scrapers and operators.
    pub admin: Admin,
    /// Who the edge is to services, and which workloads it believes.
    pub identity: chassis::config::Identity,
    /// Sizes and times.
    #[serde(default)]
    pub limits: Limits,
    /// When less is admitted.
    #[serde(default)]
    pub overload: Overload,
    /// The end of the process.
    #[serde(default)]
    pub drain: Drain,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: chassis::config::Telemetry,
    /// One line a request.
    #[serde(default)]
    pub access_log: AccessLog,
    /// How often a principal may call.
    #[serde(default)]
    pub rate_limits: rate::Config,
    /// How paths match.
    #[serde(default)]
    pub routing: route::Options,
    /// How JSON reads.
    #[serde(default)]
    pub transcoding: transcode::Options,
    /// Which headers pass.
    #[serde(default)]
    pub headers: Headers,
    /// Which pages of other origins may call.
    #[serde(default)]
    pub cors: Vec<cors::Config>,
    /// The contract.
    pub descriptor_set: Vec<DescriptorSet>,
    /// The last word on a service.
    #[serde(default)]
    pub service: Vec<ServiceOverride>,
    /// The last word on a method.
    #[serde(default)]
    pub method: Vec<MethodOverride>,
    /// The services behind the edge.
    pub upstream: Vec<UpstreamConfig>,
    /// Which of them the edge itself calls.
    #[serde(default)]
    pub providers: provider::Config,
    /// What the edge answers itself.
    #[serde(default)]
    pub builtin: builtin::Config,
    /// How services are told who calls.
    #[serde(default)]
    pub transaction_tokens: TransactionTokens,
    /// Whose tokens and certificates are believed.
    #[serde(default)]
    pub authn: authn::Config,
    /// When this file is read again.
    #[serde(default)]
    pub reload: Reload,
    /// Where this file is.
    #[serde(skip)]
    pub path: PathBuf,
}

/// `[admin]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Plain: `/live`, `/ready`, `/metrics`, `grpc.health.v1`; from loopback also `/routes` and `/config`.
    pub listen: SocketAddr,
}

/// `[transaction_tokens]`: how services are told who calls.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransactionTokens {
    /// Ed25519 private keys, PEM; watched. The first signs, all are believed when services hand their tokens back; every edge
    /// has the same. Without it each start makes up a key, which is enough where no service of the mesh stands behind.
    pub keys: Option<PathBuf>,
    /// How long a token lives. Half of it is the shortest a request finds left: it must outlast the longest unary call.
    pub lifetime_s: u64,
}

impl Default for TransactionTokens {
    fn default() -> Self {
        Self { keys: None, lifetime_s: 300 }
    }
}

/// `[headers]`: names that pass besides those the edge knows, or `*` for all but those that belong to the edge, the connection
/// or credentials. Empty by default: the contract is in the messages.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// From clients to services.
    pub request: Vec<String>,
    /// From services to REST clients.
    pub response: Vec<String>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// One line naming the file and the key.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let mut config: Self = chassis::config::load(path)?;
        path.clone_into(&mut config.path);
        config.check().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    /// This file and all that it names and that is read with it. Certificates and their keys are not: whoever shows them watches
    /// them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let sets = self.descriptor_set.iter().map(|set| set.path.as_path());
        std::iter::once(self.path.as_path()).chain(sets).chain(self.authn.files())
    }

    /// What the types cannot say.
    fn check(&self) -> anyhow::Result<()> {
        let Listeners { public, partner, mesh } = &self.listener;
        anyhow::ensure!(public.is_some() || partner.is_some() || mesh.is_some(), "[listener] is empty");
        anyhow::ensure!(!self.descriptor_set.is_empty(), "there is no [[descriptor_set]]");
        self.authn.check(&self.identity.trust_domain).context("[authn]")?;
        self.rate_limits.check().context("[rate_limits]")?;
        let mut names = BTreeSet::new();
        for upstream in &self.upstream {
            anyhow::ensure!(
                names.insert(&upstream.name),
                "upstream.name = {:?} is there twice",
                upstream.name
            );
        }
        for set in &self.descriptor_set {
            let known = names.iter().any(|name| **name == set.upstream);
            anyhow::ensure!(
                known,
                "descriptor_set.upstream = {:?}: there is no such [[upstream]]",
                set.upstream
            );
        }
        for (key, name) in self.providers.named() {
            anyhow::ensure!(
                names.contains(name),
                "providers.{key} = {name:?}: there is no such [[upstream]]"
            );
        }
        let needs_tokens = public.is_some() && self.authn.issuers.is_empty();
        anyhow::ensure!(!needs_tokens, "[listener.public] needs an [[authn.issuer]]: nobody could sign in");
        anyhow::ensure!(
            self.limits.header_bytes_max >= 1024 && self.limits.message_bytes_max >= 1024,
            "limits below 1024 bytes refuse every request"
        );
        anyhow::ensure!(
            (60..=3600).contains(&self.transaction_tokens.lifetime_s),
            "transaction_tokens.lifetime_s is 60 to 3600: longer than two unary calls, shorter than a subject's token"
        );
        self.limits.http2.check()?;
        anyhow::ensure!(
            self.limits.buffered_bytes_max >= self.limits.message_bytes_max.saturating_mul(4),
            "limits.buffered_bytes_max must have room for four messages of message_bytes_max"
        );
        let heartbeat_ms = self.transcoding.sse_heartbeat_ms;
        anyhow::ensure!(
            heartbeat_ms == 0 || heartbeat_ms >= 100,
            "transcoding.sse_heartbeat_ms is 0 for never, or at least 100"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
