//! Whom the edge believes, as `edge.toml` says it: token issuers and partners.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::jwks::{FetchError, SourceError};

mod issuer;

pub use issuer::LEEWAY_S_MAX;
pub use issuer::{DPoP, Introspection, Issuer, RequiredClaim};

/// The `[authn]` table.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[[authn.issuer]]`: who may issue tokens.
    #[serde(default, rename = "issuer")]
    pub issuers: Vec<Issuer>,
    /// `[[authn.partner]]`: who may come with a certificate.
    #[serde(default, rename = "partner")]
    pub partners: Vec<Partner>,
    /// How many verified tokens are remembered, at about a kilobyte each. A token that has fallen out is verified again.
    #[serde(default = "token_cache_entries_max")]
    pub token_cache_entries_max: u64,
    /// How many revoked tokens are kept, at about a hundred bytes each. Those that expire first are given up.
    #[serde(default = "revocations_max")]
    pub revocations_max: usize,
    /// How many proofs of possession are remembered, so that none is taken twice; the next is turned away.
    #[serde(default = "proofs_max")]
    pub proofs_max: usize,
    /// Lets issuers on loopback addresses be asked over plain HTTP. For development only.
    #[serde(default)]
    pub development: bool,
}

const fn token_cache_entries_max() -> u64 {
    50_000
}

const fn revocations_max() -> usize {
    200_000
}

const fn proofs_max() -> usize {
    200_000
}

/// Someone who comes with a certificate.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// The one URI of its certificate, exactly.
    pub uri: String,
    /// What the mesh calls it.
    pub id: String,
}

/// Why the table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("issuer {issuer:?} is listed twice")]
    IssuerTwice { issuer: String },
    #[error("issuer {issuer:?}: {key} must not be empty")]
    Empty { issuer: String, key: &'static str },
    #[error("issuer {issuer:?}: leeway_s must be at most {LEEWAY_S_MAX}")]
    Leeway { issuer: String },
    #[error("issuer {issuer:?}: lifetime_s_max must be positive")]
    Lifetime { issuer: String },
    #[error("issuer {issuer:?}: has neither jwks nor introspection, so none of its tokens could be judged")]
    NoWay { issuer: String },
    #[error("issuer {issuer:?}: introspection")]
    Introspection {
        issuer: String,
        #[source]
        source: FetchError,
    },
    #[error("only one issuer may have introspection: a token that is no JWT does not say whose it is")]
    IntrospectionTwice,
    #[error("issuer {issuer:?}: introspection.{key} must be positive")]
    IntrospectionBound { issuer: String, key: &'static str },
    #[error(
        "issuer {issuer:?}: dpop.origins must name at least one https origin, without a path: {origin:?}"
    )]
    Origin { issuer: String, origin: String },
    #[error("issuer {issuer:?}: dpop.window_s must be from 1 to {LEEWAY_S_MAX}")]
    Window { issuer: String },
    #[error("{key} must be positive")]
    Zero { key: &'static str },
    #[error("issuer {issuer:?}: jwks")]
    Keys {
        issuer: String,
        #[source]
        source: SourceError,
    },
    #[error("partner {id:?}: its URI {uri:?} is listed twice")]
    PartnerTwice { id: String, uri: String },
    #[error(
        "partner {id:?}: id and uri must not be empty, and the id is of letters, digits, dashes, points and underscores"
    )]
    PartnerName { id: String },
    #[error("partner {id:?}: {uri:?} is a workload of the mesh's own trust domain")]
    PartnerIsWorkload { id: String, uri: String },
}

impl Config {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.issuers.iter().flat_map(Issuer::files)
    }

    /// Checks everything that can be checked without reading keys.
    pub fn check(&self, trust_domain: &str) -> Result<(), ConfigError> {
        let bounds = [("revocations_max", self.revocations_max), ("proofs_max", self.proofs_max)];
        if let Some((key, _)) = bounds.into_iter().find(|(_, bound)| *bound == 0) {
            return Err(ConfigError::Zero { key });
        }
        if self.issuers.iter().filter(|issuer| issuer.introspection.is_some()).count() > 1 {
            return Err(ConfigError::IntrospectionTwice);
        }
        let mut names = BTreeSet::new();
        for issuer in &self.issuers {
            if !names.insert(&issuer.issuer) {
                return Err(ConfigError::IssuerTwice { issuer: issuer.issuer.clone() });
            }
            issuer.check(self.development)?;
        }
        let mut uris = BTreeSet::new();
        for Partner { uri, id } in &self.partners {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if uri.is_empty() || id.is_empty() || !id.bytes().all(plain) {
                return Err(ConfigError::PartnerName { id: id.clone() });
            }
            if uri.starts_with(&format!("spiffe://{trust_domain}/")) {
                return Err(ConfigError::PartnerIsWorkload { id: id.clone(), uri: uri.clone() });
            }
            if !uris.insert(uri) {
                return Err(ConfigError::PartnerTwice { id: id.clone(), uri: uri.clone() });
            }
        }
        Ok(())
    }
}
