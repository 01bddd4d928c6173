//! A request of a service: its name comes from the workload certificate, and whom it acts for from the transaction token that the
//! edge minted for it, with the request it is working on. The service hands that back; the edge verifies that it was minted for
//! this very service, and mints another with the name it has seen itself and no later expiry. So a service can neither act for a
//! subject nobody sent it, nor as another service, nor for longer than the subject may.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chassis::call::{Caller, Principal};
use chassis::transaction_token::{Signer, TXN_TOKEN, TokenError, Verifier};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use moka::sync::Cache;

use super::refusal::{Cause, CertificateCause, Refusal};
use super::{Authenticated, PeerCertificate};
use crate::provider::EDGE;

/// Callers remembered. One is a token in the hands of a service; a token lives for minutes.
const REMEMBERED_MAX: u64 = 20_000;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The door of the services.
pub struct Mesh {
    trust_domain: String,
    signer: Signer,
    verifier: Verifier,
    /// What was made of a token, or of none, in the hands of a certificate.
    remembered: Cache<(Option<HeaderValue>, [u8; 32]), Authenticated>,
}

impl Mesh {
    pub(super) fn new(trust_domain: &str, signer: &Signer) -> Self {
        let remembered = Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(FORGOTTEN_AFTER).build();
        Self {
            trust_domain: trust_domain.to_owned(),
            verifier: signer.verifier(),
            signer: signer.clone(),
            remembered,
        }
    }

    pub(super) fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Believes a service, and whom it acts for.
    pub(super) fn authenticate(
        &self,
        peer: Option<&PeerCertificate>,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Authenticated, Refusal> {
        let peer = peer.ok_or(Refusal::CertificateRequired)?;
        let name = peer.name(now)?;
        let service = workload(&self.trust_domain, name).ok_or(CertificateCause::Name)?;
        // A token of a person would be ignored, and the service would believe that it acts for them.
        if headers.contains_key(AUTHORIZATION) {
            return Err(Cause::Listener.into());
        }
        let forwarded = match self.verifier.of(headers, name, now) {
            Ok(verified) => Some(verified),
            Err(TokenError::Missing) => None,
            Err(error) => return Err(Refusal::TransactionToken(error)),
        };
        let key = (headers.get(TXN_TOKEN).cloned(), peer.sha256);
        // Remembered for all connections with that certificate; its standing is this connection's.
        let on_this = |mut authenticated: Authenticated| {
            authenticated.credentials.certificate.clone_from(&peer.standing);
            authenticated
        };
        if let Some(known) = self.remembered.get(&key) {
            return Ok(on_this(known));
        }
        let principal = forwarded.as_ref().map_or(&Principal::Service, |token| &token.caller.principal);
        let caller = Caller { principal: principal.clone(), service: Some(service.to_owned()) };
        let ends = forwarded.map_or(peer.not_after, |token| token.expires_at.min(peer.not_after));
        let authenticated = Authenticated::new(&self.signer, Arc::new(caller), Some(ends));
        self.remembered.insert(key, authenticated.clone());
        Ok(on_this(authenticated))
    }
}

/// The service of a SPIFFE id of the trust domain: one path segment in the alphabet of the mesh's names. The edge's own workload
/// has no business on its own mesh listener: a call that claims to come from it is a loop or theft.
fn workload<'a>(trust_domain: &str, uri: &'a str) -> Option<&'a str> {
    let service = uri.strip_prefix("spiffe://")?.strip_prefix(trust_domain)?.strip_prefix('/')?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (!service.is_empty() && service.bytes().all(plain) && service != EDGE).then_some(service)
}
