//! One issuer of tokens as `edge.toml` says it: what its tokens must be, where its keys come from, and how else it may be asked.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::proof;
use super::ConfigError;
use crate::jwks::{Algorithm, Fetcher, Source};

/// Someone who issues tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// A token must be meant for one of these.
    pub audiences: Vec<String>,
    /// The only algorithms its tokens may be signed with.
    #[serde(default)]
    pub algorithms: Vec<Algorithm>,
    /// The `typ` of its access tokens. RFC 9068's by default, so that an ID token of the same issuer is none.
    #[serde(default = "typ")]
    pub typ: Vec<String>,
    /// Where its keys come from. Absent for an issuer whose tokens can only be asked about.
    pub jwks: Option<Source>,
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
    /// Where it is asked about tokens that are no JWTs (RFC 7662).
    pub introspection: Option<Introspection>,
    /// Lets its tokens be bound to keys of clients (RFC 9449).
    pub dpop: Option<DPoP>,
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
pub const LEEWAY_S_MAX: u64 = 300;

/// `[authn.issuer.introspection]`: the endpoint, who asks, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// The endpoint, over HTTPS. A redirect is not followed.
    pub url: String,
    /// As whom the edge asks (`client_secret_basic`).
    pub client_id: String,
    /// A file with the secret, read for each question: a rotated one is used at once.
    pub client_secret_file: PathBuf,
    /// PEM roots that alone are trusted for it; the system's when absent.
    pub ca: Option<PathBuf>,
    /// How long an answer that believes is taken as current, and never past the token's expiry. What was revoked at the issuer
    /// works no longer than this.
    #[serde(default = "ttl_s")]
    pub ttl_s: u64,
    /// How long an answer that refuses is: a client that repeats itself must not become the issuer's load.
    #[serde(default = "refused_ttl_s")]
    pub refused_ttl_s: u64,
    /// How many answers are kept.
    #[serde(default = "entries_max")]
    pub entries_max: u64,
    /// How many questions are open at once; the token after that is turned away with 503. It bounds what invented tokens cost
    /// the issuer.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
    /// How long one question may take.
    #[serde(default = "deadline_ms")]
    pub deadline_ms: u64,
}

const fn ttl_s() -> u64 {
    30
}
const fn refused_ttl_s() -> u64 {
    5
}
const fn entries_max() -> u64 {
    20_000
}
const fn in_flight_max() -> usize {
    32
}
const fn deadline_ms() -> u64 {
    2_000
}

/// `[authn.issuer.dpop]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DPoP {
    /// Where clients reach this edge, as they write it in `htu`: a proof for anybody else's server is none. Not taken from the
    /// request, which says what its sender likes.
    pub origins: Vec<String>,
    /// How old a proof may be, and how far ahead of the edge's clock.
    #[serde(default = "window_s")]
    pub window_s: u64,
    /// Refuses tokens of this issuer that are bound to nothing.
    #[serde(default)]
    pub required: bool,
}

const fn window_s() -> u64 {
    60
}

impl Issuer {
    /// The files it names. The secret is not among them: it is read for each question.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let asked = self.introspection.iter().filter_map(|introspection| introspection.ca.as_deref());
        self.jwks.iter().flat_map(Source::files).chain(asked)
    }

    pub(super) fn check(&self, development: bool) -> Result<(), ConfigError> {
        let issuer = || self.issuer.clone();
        let empties = [
            ("issuer", self.issuer.is_empty()),
            ("audiences", self.audiences.is_empty()),
            ("algorithms", self.jwks.is_some() && self.algorithms.is_empty()),
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
        if self.jwks.is_none() && self.introspection.is_none() {
            return Err(ConfigError::NoWay { issuer: issuer() });
        }
        if let Some(jwks) = &self.jwks {
            let checked = jwks.check(&self.issuer, development);
            checked.map_err(|source| ConfigError::Keys { issuer: issuer(), source })?;
        }
        if let Some(introspection) = &self.introspection {
            introspection.check(issuer, development)?;
        }
        match &self.dpop {
            Some(dpop) => dpop.check(issuer, development),
            None => Ok(()),
        }
    }
}

impl Introspection {
    fn check(&self, issuer: impl Fn() -> String, development: bool) -> Result<(), ConfigError> {
        let bounds = [
            ("ttl_s", self.ttl_s),
            ("refused_ttl_s", self.refused_ttl_s),
            ("entries_max", self.entries_max),
            ("in_flight_max", self.in_flight_max as u64),
            ("deadline_ms", self.deadline_ms),
        ];
        if let Some((key, _)) = bounds.into_iter().find(|(_, bound)| *bound == 0) {
            return Err(ConfigError::IntrospectionBound { issuer: issuer(), key });
        }
        let checked = Fetcher::new(&self.url, &[], self.ca.as_deref(), development, 0);
        checked.map(|_| ()).map_err(|source| ConfigError::Introspection { issuer: issuer(), source })
    }
}

impl DPoP {
    fn check(&self, issuer: impl Fn() -> String, development: bool) -> Result<(), ConfigError> {
        let wrong = self.origins.iter().find(|origin| !proof::is_origin(origin, development));
        let missing = String::new();
        if let Some(origin) = wrong.or(self.origins.is_empty().then_some(&missing)) {
            return Err(ConfigError::Origin { issuer: issuer(), origin: origin.clone() });
        }
        let window = (1..=LEEWAY_S_MAX).contains(&self.window_s);
        if window { Ok(()) } else { Err(ConfigError::Window { issuer: issuer() }) }
    }
}
