//! Which pages of other origins may call this one, and what they may see of the answers (CORS, as the Fetch standard has it). Each
//! origin has one policy of `edge.toml`; an origin that has none gets no word of it, and its browser keeps the answer from the
//! page. Nothing is granted to whoever asks: an origin is compared, not reflected. Pure, and made at load but for the origin.
//!
//! No policy says who may call a method. Tokens come in a header that no page can make a browser add, so CORS here keeps pages
//! from reading, and authorization keeps people from acting.

mod config;
mod origin;

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method as Verb};

pub use config::Config;
use origin::{Named, Wildcard};

/// Of a page in the public network that calls one in a private network: Private Network Access.
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The policies of a configuration, by origin.
#[derive(Debug, Default)]
pub struct Cors {
    exact: HashMap<Box<str>, Arc<Policy>>,
    wildcards: Vec<(Wildcard, Arc<Policy>)>,
}

/// What pages of some origins may do.
#[derive(Debug)]
struct Policy {
    /// Empty: whatever the path answers to.
    methods: Vec<Verb>,
    headers: HeaderValue,
    expose: HeaderValue,
    max_age: HeaderValue,
    credentials: bool,
    private_network: bool,
}

/// What a request's origin is to the edge.
#[derive(Clone, Debug, Default)]
pub enum Asked {
    /// There is no CORS here.
    #[default]
    Off,
    /// No page of another origin asks, or one that may not.
    Nobody,
    /// A page that may.
    Granted(Grant),
}

/// An origin with its policy.
#[derive(Clone, Debug)]
pub struct Grant {
    origin: HeaderValue,
    policy: Arc<Policy>,
}

impl Cors {
    /// Reads the policies.
    ///
    /// # Errors
    /// One line naming the key and the value that will not do.
    pub fn new(configs: &[Config]) -> anyhow::Result<Self> {
        let mut cors = Self::default();
        for config in configs {
            let policy = Arc::new(config.policy()?);
            anyhow::ensure!(!config.origins.is_empty(), "origins is empty: nobody would have the policy");
            for text in &config.origins {
                let twice = match origin::parse(text)? {
                    Named::Exact(origin) => cors.exact.insert(origin, Arc::clone(&policy)).is_some(),
                    Named::Wildcard(wildcard) => {
                        let known = cors.wildcards.iter().any(|(other, _)| *other == wildcard);
                        cors.wildcards.push((wildcard, Arc::clone(&policy)));
                        known
                    }
                };
                anyhow::ensure!(!twice, "origins = {text:?}: it is there twice");
            }
        }
        Ok(cors)
    }

    /// What the origin of a request is. Browsers send one, and so does nobody who sends several.
    #[must_use]
    pub fn ask(&self, headers: &HeaderMap) -> Asked {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return Asked::Off;
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => self.grant(origin).map_or(Asked::Nobody, Asked::Granted),
            _ => Asked::Nobody,
        }
    }

    fn grant(&self, origin: &HeaderValue) -> Option<Grant> {
        let text = origin.to_str().ok()?;
        // The one that says more wins: an origin may have another policy than those around it.
        let wildcard = || self.wildcards.iter().find(|(wildcard, _)| wildcard.covers(text));
        let policy = self.exact.get(text).or_else(|| wildcard().map(|(_, policy)| policy))?;
        Some(Grant { origin: origin.clone(), policy: Arc::clone(policy) })
    }
}

impl Asked {
    /// What every answer carries: who may see it, or that this depends on who asks.
    pub fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let (vary, grant) = match self {
            Self::Off => (None, None),
            Self::Nobody => (Some((VARY, HeaderValue::from_static("origin"))), None),
            Self::Granted(grant) => (Some((VARY, HeaderValue::from_static("origin"))), Some(grant)),
        };
        let seen = grant.map(|grant| {
            let credentials = grant.policy.credentials.then_some((ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE));
            let expose = (ACCESS_CONTROL_EXPOSE_HEADERS, grant.policy.expose.clone());
            [(ACCESS_CONTROL_ALLOW_ORIGIN, grant.origin.clone()), expose].into_iter().chain(credentials)
        });
        vary.into_iter().chain(seen.into_iter().flatten())
    }

    /// The grant and the verb that is asked for, if a request is the preflight of a page that may call.
    #[must_use]
    pub fn preflight(&self, verb: &Verb, headers: &HeaderMap) -> Option<(&Grant, Verb)> {
        let Self::Granted(grant) = self else { return None };
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| verb == Verb::OPTIONS)?;
        Some((grant, Verb::from_bytes(wanted.as_bytes()).ok()?))
    }
}

impl Grant {
    /// What the answer to a preflight carries besides [`Asked::fields`]. `routed` are the verbs of the path, `None` for all.
    /// `None` if the page may not even ask: it is in the public network and this is not.
    #[must_use]
    pub fn preflight(
        &self,
        headers: &HeaderMap,
        wanted: &Verb,
        routed: Option<&str>,
    ) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let policy = &self.policy;
        let mut fields = vec![
            (ACCESS_CONTROL_ALLOW_METHODS, policy.verbs(wanted, routed)),
            (ACCESS_CONTROL_ALLOW_HEADERS, policy.headers.clone()),
            (ACCESS_CONTROL_MAX_AGE, policy.max_age.clone()),
            (
                VARY,
                HeaderValue::from_static(
                    "origin, access-control-request-method, access-control-request-headers",
                ),
            ),
        ];
        if headers.contains_key(REQUEST_PRIVATE_NETWORK) {
            fields.push((ALLOW_PRIVATE_NETWORK, TRUE));
            return policy.private_network.then_some(fields);
        }
        Some(fields)
    }
}

impl Policy {
    /// The verbs that are both routed and open to these origins.
    fn verbs(&self, wanted: &Verb, routed: Option<&str>) -> HeaderValue {
        let open =
            |verb: &str| self.methods.is_empty() || self.methods.iter().any(|open| open.as_str() == verb);
        let routed = routed.unwrap_or(wanted.as_str());
        let verbs: Vec<_> = routed.split(", ").filter(|verb| open(verb)).collect();
        // Verbs are tokens and always a header value; the fallback allows nothing.
        HeaderValue::try_from(verbs.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests;
