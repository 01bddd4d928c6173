//! A request of a service: its name comes from the workload certificate, and whom it acts for from the caller that the edge
//! stamped on the request the service is working on. The service hands that on unread; the edge puts the name it has seen
//! itself in place of the one before, so that a service can neither act as another nor keep a name it was not given.

use std::time::SystemTime;

use chassis::call::{Caller, Principal};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::refusal::{Cause, CertificateCause, Refusal};
use super::{Authenticated, PeerCertificate};
use crate::headers::CALLER;

/// The edge's own workload. It has no business on its own mesh listener: a call that claims to come from it is a loop or theft.
const EDGE: &str = "edge";

/// Believes a service, and whom it acts for.
pub fn authenticate(
    trust_domain: &str,
    peer: Option<&PeerCertificate>,
    headers: &HeaderMap,
    now: SystemTime,
) -> Result<Authenticated, Refusal> {
    let peer = peer.ok_or(Refusal::CertificateRequired)?;
    let service = workload(trust_domain, peer.name(now)?).ok_or(CertificateCause::Name)?;
    // A token would be ignored, and the service would believe that it acts for the token's subject.
    if headers.contains_key(AUTHORIZATION) {
        return Err(Cause::Listener.into());
    }
    let principal = forwarded(headers)?.unwrap_or(Principal::Service);
    Authenticated::new(Caller { principal, service: Some(service.to_owned()) }, Some(peer.not_after))
}

/// The service of a SPIFFE id of the trust domain: one path segment in the alphabet of the mesh's names.
fn workload<'a>(trust_domain: &str, uri: &'a str) -> Option<&'a str> {
    let service = uri.strip_prefix("spiffe://")?.strip_prefix(trust_domain)?.strip_prefix('/')?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (!service.is_empty() && service.bytes().all(plain) && service != EDGE).then_some(service)
}

fn forwarded(headers: &HeaderMap) -> Result<Option<Principal>, Refusal> {
    let mut values = headers.get_all(CALLER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::CallerMalformed);
    }
    Caller::from_header(value).map(|caller| Some(caller.principal)).map_err(|_| Refusal::CallerMalformed)
}
