//! Who sends a request: a person by token, a partner by certificate, a service by workload certificate, or nobody. Each
//! listener takes its own kinds of credentials and no others. What comes out is a `Caller` of the chassis, ready to be stamped;
//! whether that caller may call the method is for `authz`.
//!
//! [`jws`] takes a token apart, [`claims`] judges it, both pure; the keys are [`crate::jwks`]'. A token that was verified once
//! is remembered until it expires or its issuer's keys change, so that the common request costs one hash and one lookup.

mod bearer;
mod claims;
mod config;
mod jws;
mod memory;
mod mesh;
mod peer;
mod refusal;
mod tokens;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chassis::call::{Caller, Partner, Principal};
use chassis::drain::Drain;
use chassis::metrics::Metrics;
use http::{HeaderMap, HeaderValue};

use crate::policy::Listener;
use crate::rate::Who;
use tokens::Tokens;

pub use config::{Config, ConfigError};
pub use memory::Memory;
pub use peer::{PeerCertificate, Unreadable};
pub use refusal::{Cause, CertificateCause, Refusal};

/// Decides who sends a request. Built once per configuration; keeps its issuers' keys fresh until dropped.
pub struct Authenticator {
    tokens: Tokens,
    /// Partner ids by the URI of their certificates.
    partners: HashMap<String, String>,
    trust_domain: String,
    /// The stamp of nobody.
    anonymous: Authenticated,
}

/// A believed caller.
#[derive(Clone, Debug)]
pub struct Authenticated {
    pub caller: Arc<Caller>,
    /// Whose bucket its requests are counted in.
    pub who: Who,
    /// The caller as the value of `causeway-caller`.
    pub stamp: HeaderValue,
    /// From when the credentials are no longer good; none for nobody, who has none.
    pub expires_at: Option<SystemTime>,
}

/// Why an authenticator cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the caller of nobody cannot be written")]
    Stamp,
}

impl Authenticator {
    /// Checks the configuration, reads the issuers' keys and begins to keep them fresh. `trust_domain` is the mesh's own.
    pub async fn start(
        config: &Config,
        trust_domain: &str,
        drain: &Drain,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        config.check(trust_domain)?;
        let nobody = Caller { principal: Principal::Anonymous, service: None };
        let partners = config.partners.iter().map(|partner| (partner.uri.clone(), partner.id.clone()));
        Ok(Self {
            tokens: Tokens::start(config, drain, metrics).await?,
            partners: partners.collect(),
            trust_domain: trust_domain.to_owned(),
            anonymous: Authenticated::new(nobody, None).map_err(|_| StartError::Stamp)?,
        })
    }

    /// Believes or refuses the credentials of one request. Waits only for an issuer's keys, and only when a token names a key
    /// nobody has seen. `memory` is the connection's.
    pub async fn authenticate(
        &self,
        listener: Listener,
        peer: Option<&PeerCertificate>,
        memory: &Memory,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Authenticated, Refusal> {
        match listener {
            Listener::Public => self.person(peer, memory, headers, now).await,
            Listener::Partner => self.partner(peer, memory, headers, now).await,
            Listener::Mesh => mesh::authenticate(&self.trust_domain, peer, headers, now),
        }
    }

    async fn person(
        &self,
        peer: Option<&PeerCertificate>,
        memory: &Memory,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Authenticated, Refusal> {
        let Some(token) = self.tokens.of(headers, memory, now).await? else {
            return Ok(self.anonymous.clone());
        };
        // A bound token works with its certificate only, wherever it is shown, and no longer than that is valid.
        let proven = peer.filter(|peer| peer.is_valid(now)).map(|peer| peer.sha256);
        if token.bound_to.is_some_and(|bound_to| proven != Some(bound_to)) {
            return Err(Cause::Binding.into());
        }
        Ok(token.authenticated.clone())
    }

    async fn partner(
        &self,
        peer: Option<&PeerCertificate>,
        memory: &Memory,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Authenticated, Refusal> {
        let peer = peer.ok_or(Refusal::CertificateRequired)?;
        let id = self.partners.get(peer.name(now)?).ok_or(CertificateCause::Name)?;
        let token = self.tokens.of(headers, memory, now).await?;
        // RFC 8705 section 3: a partner's token must be bound, and to this certificate; a stolen one is of no use.
        if token.as_ref().is_some_and(|token| token.bound_to != Some(peer.sha256)) {
            return Err(Cause::Binding.into());
        }
        let subject = token.as_ref().and_then(|token| token.authenticated.caller.subject().cloned());
        let token_ends = token.and_then(|token| token.authenticated.expires_at);
        let ends = token_ends.map_or(peer.not_after, |token_ends| token_ends.min(peer.not_after));
        let principal = Principal::Partner(Partner { id: id.clone(), subject });
        Authenticated::new(Caller { principal, service: None }, Some(ends))
    }
}

impl Authenticated {
    fn new(caller: Caller, expires_at: Option<SystemTime>) -> Result<Self, Refusal> {
        // A caller is base64 on the wire; failing to write one is not a thing that names from tokens can bring about.
        let stamp = caller.to_header().ok_or(Refusal::CallerMalformed)?;
        Ok(Self { who: Who::of(&caller), caller: Arc::new(caller), stamp, expires_at })
    }

    /// How long the credentials are still good.
    #[must_use]
    pub fn left(&self, now: SystemTime) -> Duration {
        self.expires_at.map_or(Duration::MAX, |end| end.duration_since(now).unwrap_or(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests;
