//! The names that `edge.toml` lets through as they are: metadata of a foreign service, an `accept-language`. Everything else a
//! client sends stays at the edge, unless the list says `*`. A name the edge or HTTP itself owns cannot be listed, which is
//! checked at load, and is not meant by `*`.

use http::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderName};

use super::OWN_PREFIX;

/// Names that a configuration cannot let through: connection-level fields (RFC 9110 section 7.6.1), credentials, what the edge
/// writes itself, and what others use to claim an identity or an origin.
const RESERVED: &[&str] = &[
    "authorization",
    "baggage",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "txn-token",
    "upgrade",
    "via",
    "x-real-ip",
    "x-server-timeout",
];

/// Families of such names.
const RESERVED_PREFIXES: &[&str] = &[OWN_PREFIX, "grpc-", "sec-", "x-forwarded-", "x-envoy-", "client-cert"];

/// In place of names: everything that is not reserved.
const EVERYTHING: &str = "*";

/// What grpc-gateway's clients put before the name of metadata.
const GATEWAY_PREFIX: &str = "grpc-metadata-";

/// The names let through.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    names: Vec<HeaderName>,
    everything: bool,
    gateway: bool,
}

/// Why a name cannot be let through.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("{name:?} is not a header name")]
    NotAName {
        name: String,
        #[source]
        source: InvalidHeaderName,
    },
    #[error("{name:?} belongs to the edge or to the connection and cannot be passed on")]
    Reserved { name: String },
}

impl Pass {
    /// Checks the names of a configuration. `*` stands for every name that could be listed.
    pub fn new(names: &[String]) -> Result<Self, PassError> {
        let everything = names.iter().any(|name| name == EVERYTHING);
        let names = names.iter().filter(|name| *name != EVERYTHING).map(|name| parse(name));
        Ok(Self { names: names.collect::<Result<_, _>>()?, everything, gateway: false })
    }

    /// Lets `Grpc-Metadata-<name>` through as `<name>` too, as grpc-gateway does, wherever that name is let through.
    #[must_use]
    pub fn with_gateway_names(self, gateway: bool) -> Self {
        Self { gateway, ..self }
    }

    /// Copies what is let through. A text value that is not visible ASCII is left out: gRPC metadata knows no other.
    pub(super) fn copy(&self, from: &HeaderMap, to: &mut HeaderMap) {
        if self.everything || self.gateway {
            return self.copy_all(from, to);
        }
        for name in &self.names {
            for value in from.get_all(name) {
                append(to, name, value);
            }
        }
    }

    fn copy_all(&self, from: &HeaderMap, to: &mut HeaderMap) {
        for (name, value) in from {
            let renamed = if self.gateway { name.as_str().strip_prefix(GATEWAY_PREFIX) } else { None };
            let renamed = renamed.and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
            let name = renamed.as_ref().unwrap_or(name);
            if (self.everything && !is_reserved(name)) || self.names.contains(name) {
                append(to, name, value);
            }
        }
    }
}

fn append(to: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    if value.to_str().is_ok() {
        to.append(name.clone(), value.clone());
    }
}

/// Two spellings of one name are one name to many a server behind.
fn is_reserved(name: &HeaderName) -> bool {
    let spelled = name.as_str().replace('_', "-");
    RESERVED.contains(&spelled.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| spelled.starts_with(prefix))
}

fn parse(name: &str) -> Result<HeaderName, PassError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|source| PassError::NotAName { name: name.to_owned(), source })?;
    if is_reserved(&parsed) { Err(PassError::Reserved { name: name.to_owned() }) } else { Ok(parsed) }
}
