//! Whom the edge believes, as `edge.toml` says it: token issuers and partners.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::jwks::{Algorithm, Source, SourceError};

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
    /// Lets issuers on loopback addresses be asked over plain HTTP. For development only.
    #[serde(default)]
    pub development: bool,
}

const fn token_cache_entries_max() -> u64 {
    50_000
}

/// Someone who issues tokens.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// A token must be meant for one of these.
    pub audiences: Vec<String>,
    /// The only algorithms its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// The `typ` of its access tokens. RFC 9068's by default, so that an ID token of the same issuer is none.
    #[serde(default = "typ")]
    pub typ: Vec<String>,
    /// Where its keys come from.
    pub jwks: Source,
    /// The claim that holds the customer id.
    #[serde(default = "customer_claim")]
    pub customer_claim: String,
    /// The claim that holds the scopes, as a string of words or a list.
    #[serde(default = "scope_claim")]
    pub scope_claim: String,
    /// How far its clock may be off.
    #[serde(default = "leeway_s")]
    pub leeway_s: u64,
    /// The longest its tokens may live. Revocation reaches an edge only while its provider does, so nothing is said for long.
    #[serde(default = "lifetime_s_max")]
    pub lifetime_s_max: u64,
    /// Claims its tokens must have, besides those that every token must have.
    #[serde(default)]
    pub required_claims: Vec<RequiredClaim>,
}

/// A claim that must be there, and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredClaim {
    /// Its name.
    pub claim: String,
    /// The claim must be one of these, or a list that has one of them. Without any it may be whatever is not null.
    #[serde(default)]
    pub values: Vec<String>,
}

fn typ() -> Vec<String> {
    vec!["at+jwt".to_owned()]
}

fn customer_claim() -> String {
    "customer_id".to_owned()
}

fn scope_claim() -> String {
    "scope".to_owned()
}

/// Clocks kept by NTP differ by milliseconds; half a minute is for those that are not.
const fn leeway_s() -> u64 {
    30
}

const fn lifetime_s_max() -> u64 {
    3_600
}

/// The largest leeway: more would make expiry a suggestion.
const LEEWAY_S_MAX: u64 = 300;

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

impl Issuer {
    /// The files it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.jwks.files()
    }

    fn check(&self, development: bool) -> Result<(), ConfigError> {
        let issuer = || self.issuer.clone();
        let empties = [
            ("issuer", self.issuer.is_empty()),
            ("audiences", self.audiences.is_empty()),
            ("algorithms", self.algorithms.is_empty()),
            ("typ", self.typ.is_empty()),
            ("customer_claim", self.customer_claim.is_empty()),
            ("scope_claim", self.scope_claim.is_empty()),
            ("required_claims.claim", self.required_claims.iter().any(|required| required.claim.is_empty())),
        ];
        if let Some((key, _)) = empties.into_iter().find(|(_, empty)| *empty) {
            return Err(ConfigError::Empty { issuer: issuer(), key });
        }
        if self.leeway_s > LEEWAY_S_MAX {
            return Err(ConfigError::Leeway { issuer: issuer() });
        }
        if self.lifetime_s_max == 0 {
            return Err(ConfigError::Lifetime { issuer: issuer() });
        }
        self.jwks
            .check(&self.issuer, development)
            .map_err(|source| ConfigError::Keys { issuer: issuer(), source })
    }
}
