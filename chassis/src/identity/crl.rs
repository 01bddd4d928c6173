//! Lists of revoked certificates (RFC 5280 section 5), from files that somebody else keeps fresh. Nothing is fetched here: a
//! distribution point is a URL in a stranger's certificate.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::RootCertStore;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::crypto;

/// The lists that client certificates are held against, and what to make of doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Crls {
    /// PEM with one or more lists, or one in DER; watched. Without any, nothing is known to be revoked.
    pub files: Vec<PathBuf>,
    /// A certificate whose list should have been replaced by now (`nextUpdate`).
    pub expired: Doubt,
    /// A certificate of an authority, in the chain too, that has no list here.
    pub missing: Doubt,
}

/// What to make of a certificate that may have been revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// Whoever keeps a list from us must not keep a stolen certificate alive with it.
    #[default]
    Refuse,
    /// Whoever keeps a list from us must not keep everybody out with it.
    Accept,
}

/// The lists as they were read.
pub(super) struct Lists {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// Changes with what they say, and when one of them expires.
    pub(super) fingerprint: Vec<u8>,
}

impl Crls {
    pub(super) fn read(&self) -> anyhow::Result<Lists> {
        let (mut lists, mut fingerprint) = (Vec::new(), Vec::new());
        for path in &self.files {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let found = parse(&bytes).with_context(|| format!("in {}", path.display()))?;
            for list in &found {
                let expired = is_expired(list).with_context(|| format!("in {}", path.display()))?;
                if expired {
                    tracing::debug!(path = %path.display(), "a list of revoked certificates has expired");
                }
                fingerprint.push(u8::from(expired));
            }
            fingerprint.extend_from_slice(&bytes);
            lists.extend(found);
        }
        Ok(Lists { lists, fingerprint })
    }
}

impl Lists {
    pub(super) fn verifier(
        &self,
        roots: &Arc<RootCertStore>,
        crls: &Crls,
    ) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), crypto())
            .with_crls(self.lists.iter().cloned());
        if crls.expired == Doubt::Refuse {
            verifier = verifier.enforce_revocation_expiration();
        }
        if crls.missing == Doubt::Accept {
            verifier = verifier.allow_unknown_revocation_status();
        }
        verifier.build().context("the roots or lists of revoked certificates cannot be used")
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<Vec<CertificateRevocationListDer<'static>>> {
    /// The first byte of a DER sequence, and of no PEM.
    const SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&SEQUENCE) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .context("a list of revoked certificates does not parse")?;
    anyhow::ensure!(!lists.is_empty(), "there is no list of revoked certificates");
    Ok(lists)
}

fn is_expired(list: &CertificateRevocationListDer<'_>) -> anyhow::Result<bool> {
    let (_, list) = CertificateRevocationList::from_der(list)
        .map_err(|_| anyhow::anyhow!("a list of revoked certificates does not parse"))?;
    let now = x509_parser::time::ASN1Time::now();
    Ok(list.next_update().is_some_and(|next_update| next_update <= now))
}
