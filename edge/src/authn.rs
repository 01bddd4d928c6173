//! Who sends a request: a person by token, a partner by certificate, a service by workload certificate, or nobody. Each
//! listener takes its own kinds of credentials and no others. What comes out is a `Caller` of the chassis, and for each upstream
//! the transaction token that says so; whether that caller may call the method is for `authz`.
//!
//! [`jws`] takes a token apart, [`claims`] judges it, both pure; the keys are [`crate::jwks`]'. A token that was verified once
//! is remembered until it expires or its issuer's keys change, so that the common request costs one hash and one lookup; one that
//! is no JWT is asked about ([`introspection`]). [`revocation`] knows the tokens that were taken back, [`proof`] checks that the
//! holder of a token has its key.

mod claims;
mod config;
mod credentials;
mod introspection;
mod jws;
mod memory;
mod mesh;
mod peer;
mod proof;
mod refusal;
mod revocation;
mod stamp;
mod standing;
mod tokens;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chassis::call::{Caller, Partner, Principal};
use chassis::drain::Drain;
use chassis::metrics::Metrics;
use chassis::transaction_token::{Signer, TokenError};
use http::HeaderValue;

use crate::policy::Listener;
use crate::provider::Provider;
use crate::rate::Who;
use claims::Binding;
use credentials::Scheme;
use mesh::Mesh;
use stamp::Stamps;
use tokens::Tokens;

pub use config::{Config, ConfigError};
pub use credentials::Asked;
pub use memory::Memory;
pub use peer::{PeerCertificate, Unreadable};
pub use proof::ALGORITHM_NAMES as PROOF_ALGORITHMS;
pub use refusal::{Cause, CertificateCause, ProofCause, Refusal};
pub use standing::Credentials;

/// Decides who sends a request. Built once per configuration; keeps its issuers' keys fresh until dropped.
pub struct Authenticator {
    tokens: Tokens,
    /// Partner ids by the URI of their certificates.
    partners: HashMap<String, String>,
    mesh: Arc<Mesh>,
    signer: Signer,
    anonymous: Authenticated,
}

/// A believed caller.
#[derive(Clone, Debug)]
pub struct Authenticated {
    pub caller: Arc<Caller>,
    /// Whose bucket its requests are counted in.
    pub who: Who,
    stamps: Arc<Stamps>,
    /// From when the credentials are no longer good; none for nobody, who has none.
    pub expires_at: Option<SystemTime>,
    /// What of them may be taken back before that.
    pub credentials: Credentials,
}

impl Authenticator {
    /// Checks the configuration, reads the issuers' keys and begins to keep them fresh. `trust_domain` is the mesh's own, `signer`
    /// mints what services are told.
    pub async fn start(
        config: &Config,
        trust_domain: &str,
        signer: &Signer,
        drain: &Drain,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        config.check(trust_domain)?;
        let nobody = Caller { principal: Principal::Anonymous, service: None };
        let partners = config.partners.iter().map(|partner| (partner.uri.clone(), partner.id.clone()));
        Ok(Self {
            tokens: Tokens::start(config, signer, drain, metrics).await?,
            partners: partners.collect(),
            mesh: Arc::new(Mesh::new(trust_domain, signer)),
            signer: signer.clone(),
            anonymous: Authenticated::new(signer, Arc::new(nobody), None),
        })
    }

    /// The authenticator of another configuration, which takes the place of this one: what has not changed is carried over, keys
    /// and remembered tokens included.
    pub async fn renewed(&self, config: &Config, drain: &Drain) -> Result<Self, ConfigError> {
        config.check(self.mesh.trust_domain())?;
        let partners = config.partners.iter().map(|partner| (partner.uri.clone(), partner.id.clone()));
        Ok(Self {
            tokens: self.tokens.renewed(config, drain).await?,
            partners: partners.collect(),
            mesh: Arc::clone(&self.mesh),
            signer: self.signer.clone(),
            anonymous: self.anonymous.clone(),
        })
    }

    /// Comes into force in the place of `old`: the bounds of what both remember are this one's, and the numbers of what only `old`
    /// had are forgotten.
    pub fn forget(&self, old: &Self) {
        self.tokens.forget(&old.tokens);
    }

    /// Follows what `provider` (`edge.v1.RevocationService`) says is revoked until the drain; once for all authenticators that take
    /// this one's place.
    pub fn follow_revocations(&self, provider: Provider, drain: &Drain) {
        self.tokens.revocations.follow(provider, drain);
    }

    /// Believes or refuses the credentials of one request. Waits only for an issuer's keys, and only when a token names a key
    /// nobody has seen. `memory` is the connection's.
    pub async fn authenticate(
        &self,
        listener: Listener,
        peer: Option<&PeerCertificate>,
        memory: &Memory,
        asked: Asked<'_>,
        now: SystemTime,
    ) -> Result<Authenticated, Refusal> {
        match listener {
            Listener::Public => self.person(peer, memory, asked, now).await,
            Listener::Partner => self.partner(peer, memory, asked, now).await,
            Listener::Mesh => self.mesh.authenticate(peer, asked.headers, now),
        }
    }

    async fn person(
        &self,
        peer: Option<&PeerCertificate>,
        memory: &Memory,
        asked: Asked<'_>,
        now: SystemTime,
    ) -> Result<Authenticated, Refusal> {
        let Some((scheme, token)) = self.tokens.of(asked, memory, now).await? else {
            return Ok(self.anonymous.clone());
        };
        let mut authenticated = token.authenticated.clone();
        match (token.binding, scheme) {
            (Binding::None, Scheme::Bearer) => (),
            // A bound token works with its certificate only, wherever it is shown, and no longer than that is good.
            (Binding::Certificate(sha256), Scheme::Bearer) => {
                let proven = peer.filter(|peer| peer.sha256 == sha256 && peer.is_good(now));
                let peer = proven.ok_or(Cause::Binding)?;
                authenticated.ends_by(peer.not_after);
                authenticated.credentials.certificate.clone_from(&peer.standing);
            }
            (Binding::Key(key), Scheme::DPoP) => self.tokens.proven(asked, &token, &key, now)?,
            // RFC 9449 section 7.2: neither may be shown as the other.
            (Binding::Key(_), Scheme::Bearer) => return Err(Refusal::ProofRequired),
            (Binding::None | Binding::Certificate(_), Scheme::DPoP) => return Err(Cause::Binding.into()),
        }
        Ok(authenticated)
    }

    async fn partner(
        &self,
        peer: Option<&PeerCertificate>,
        memory: &Memory,
        asked: Asked<'_>,
        now: SystemTime,
    ) -> Result<Authenticated, Refusal> {
        let peer = peer.ok_or(Refusal::CertificateRequired)?;
        let id = self.partners.get(peer.name(now)?).ok_or(CertificateCause::Name)?;
        let shown = self.tokens.of(asked, memory, now).await?;
        // RFC 8705 section 3: a partner's token must be bound, and to this certificate; a stolen one is of no use.
        let bound = (Scheme::Bearer, Binding::Certificate(peer.sha256));
        if shown.as_ref().is_some_and(|(scheme, token)| (*scheme, token.binding) != bound) {
            return Err(Cause::Binding.into());
        }
        let token = shown.map(|(_, token)| token);
        if let Some(known) = memory.partner(id, token.as_ref()) {
            return Ok(known);
        }
        let subject = token.as_ref().and_then(|token| token.authenticated.caller.subject().cloned());
        let token_ends = token.as_ref().and_then(|token| token.authenticated.expires_at);
        let principal = Principal::Partner(Partner { id: id.clone(), subject });
        let caller = Arc::new(Caller { principal, service: None });
        let mut authenticated = Authenticated::new(&self.signer, caller, token_ends);
        authenticated.ends_by(peer.not_after);
        let taken_back = token.as_ref().and_then(|token| token.authenticated.credentials.token.clone());
        authenticated.credentials = Credentials { token: taken_back, certificate: peer.standing.clone() };
        memory.keep_partner(token, &authenticated);
        Ok(authenticated)
    }
}

impl Authenticated {
    pub(crate) fn new(signer: &Signer, caller: Arc<Caller>, expires_at: Option<SystemTime>) -> Self {
        let stamps = Stamps::new(signer, Arc::clone(&caller));
        Self { who: Who::of(&caller), caller, stamps, expires_at, credentials: Credentials::default() }
    }

    fn ends_by(&mut self, end: SystemTime) {
        self.expires_at = Some(self.expires_at.map_or(end, |expires_at| expires_at.min(end)));
    }

    /// The transaction token that tells the workload `audience` who calls.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn stamp(&self, audience: &Arc<str>, now: SystemTime) -> Result<HeaderValue, TokenError> {
        self.stamps.of(audience, self.expires_at, now)
    }

    /// How long the credentials are still good.
    #[must_use]
    pub fn left(&self, now: SystemTime) -> Duration {
        self.expires_at.map_or(Duration::MAX, |end| end.duration_since(now).unwrap_or(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests;
