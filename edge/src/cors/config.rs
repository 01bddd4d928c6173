//! `[[cors]]` of `edge.toml`: what pages of some origins may do. Absent, pages of other origins may do nothing.

use anyhow::Context as _;
use http::{HeaderName, HeaderValue, Method as Verb};
use serde::{Deserialize, Serialize};

use super::Policy;

/// What a gRPC-Web client reads its status from when an answer has no messages: without it every failure is the same to it.
const EXPOSE_ALWAYS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// One `[[cors]]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://app.example`, or `https://*.example.com` for one label in place of the star. `http` on loopback only.
    pub origins: Vec<String>,
    /// The verbs, as far as a path answers to them. Empty: all that it answers to.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The request headers a page may set besides those that every page may.
    #[serde(default = "headers")]
    pub headers: Vec<String>,
    /// The response headers a page may read besides those that every page may, and those of gRPC-Web.
    #[serde(default = "expose")]
    pub expose: Vec<String>,
    /// Whether browsers send their own credentials along: cookies, which nothing here reads, and client certificates.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight. Most cut it to two hours or less.
    #[serde(default = "max_age_s")]
    pub max_age_s: u32,
    /// Whether a page that came from the public network may call this edge at an address in a private one.
    #[serde(default)]
    pub private_network: bool,
}

impl Config {
    pub(super) fn policy(&self) -> anyhow::Result<Policy> {
        let verb = |text: &String| {
            let upper = text.bytes().all(|byte| byte.is_ascii_uppercase());
            let verb = Verb::from_bytes(text.as_bytes()).ok().filter(|_| upper);
            verb.with_context(|| format!("methods = {text:?}: a verb is a word in capitals"))
        };
        let always = EXPOSE_ALWAYS.map(str::to_owned);
        let expose = self.expose.iter().chain(always.iter().filter(|name| !self.expose.contains(name)));
        Ok(Policy {
            methods: self.methods.iter().map(verb).collect::<Result<_, _>>()?,
            headers: list("headers", self.headers.iter())?,
            expose: list("expose", expose)?,
            max_age: HeaderValue::from(self.max_age_s),
            credentials: self.credentials,
            private_network: self.private_network,
        })
    }
}

/// The names as one value. A star is no name here: with credentials it means nothing, without it would open what nobody listed.
fn list<'a>(key: &str, names: impl Iterator<Item = &'a String>) -> anyhow::Result<HeaderValue> {
    let mut list = Vec::new();
    for text in names {
        let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(|_| text != "*");
        list.push(name.with_context(|| format!("{key} = {text:?}: it is not the name of a header"))?);
    }
    let list: Vec<_> = list.iter().map(HeaderName::as_str).collect();
    Ok(HeaderValue::try_from(list.join(", "))?)
}

fn owned<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).into()
}

/// What the edge reads of a request: credentials, conditions, budgets, and what gRPC-Web clients set.
fn headers() -> Vec<String> {
    owned([
        "authorization",
        "content-type",
        "dpop",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "last-event-id",
        "prefer",
        "grpc-timeout",
        "x-grpc-web",
        "x-server-timeout",
        "x-user-agent",
        "traceparent",
    ])
}

/// What the edge writes that a page has a use for.
fn expose() -> Vec<String> {
    owned([
        "etag",
        "location",
        "retry-after",
        "www-authenticate",
        "dpop-nonce",
        "ratelimit",
        "ratelimit-policy",
    ])
}

// Long enough for one visit, short enough for a change to be seen the same day.
const fn max_age_s() -> u32 {
    600
}
