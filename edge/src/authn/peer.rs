//! What the edge keeps of a client certificate that the handshake has verified: its names, its time and its fingerprint. Chain,
//! signature and path constraints are rustls' business. Read once per connection; its time and its standing are checked again on
//! each request, for a connection can outlive its certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chassis::identity::Standing;
use ring::digest;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::refusal::{CertificateCause, Refusal};

/// A verified client certificate.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// The URIs among its names, byte for byte: no case folding, no percent decoding (SPIFFE compares so).
    pub uri_sans: Vec<String>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Whether it was issued for client authentication. Having no extended key usage at all does not count as a yes.
    pub for_clients: bool,
    /// SHA-256 of the DER: `x5t#S256` of RFC 8705.
    pub sha256: [u8; 32],
    /// Whether its authority still vouches for it; none where nobody asks.
    pub standing: Option<Arc<Standing>>,
}

/// The same certificate is the same bytes.
impl PartialEq for PeerCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

/// The bytes are not a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer's certificate cannot be read")]
pub struct Unreadable;

impl PeerCertificate {
    /// Reads a leaf.
    pub fn from_der(der: &[u8]) -> Result<Self, Unreadable> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let names = certificate.subject_alternative_name().map_err(|_| Unreadable)?;
        let uri_sans = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None })
            .collect();
        let usage = certificate.extended_key_usage().map_err(|_| Unreadable)?;
        Ok(Self {
            uri_sans,
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
            for_clients: usage.is_some_and(|usage| usage.value.client_auth),
            sha256: sha256(der),
            standing: None,
        })
    }

    /// Whether its time has come and is not over, and its authority still vouches for it.
    pub(super) fn is_good(&self, now: SystemTime) -> bool {
        self.is_valid(now) && self.stands(now)
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    fn stands(&self, now: SystemTime) -> bool {
        self.standing.as_ref().is_none_or(|standing| standing.holds(now))
    }

    /// The one name of a certificate that is good at this moment.
    pub(super) fn name(&self, now: SystemTime) -> Result<&str, Refusal> {
        if !self.is_valid(now) {
            return Err(CertificateCause::Validity.into());
        }
        if !self.stands(now) {
            return Err(CertificateCause::Standing.into());
        }
        if !self.for_clients {
            return Err(CertificateCause::Purpose.into());
        }
        match self.uri_sans.as_slice() {
            [name] => Ok(name),
            _ => Err(CertificateCause::Name.into()),
        }
    }
}

/// Certificates speak of whole seconds since 1970, negative before.
fn time(seconds: i64) -> Result<SystemTime, Unreadable> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment =
        if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moment.ok_or(Unreadable)
}

/// SHA-256 of anything.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}
