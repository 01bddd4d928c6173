//! The names that `edge.toml` lets through as they are: metadata of a foreign service, an `accept-language`. Everything else a
//! client sends stays at the edge. A name the edge or HTTP itself owns cannot be listed, which is checked at load.

use http::header::{HeaderMap, HeaderName, InvalidHeaderName};

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
    "upgrade",
    "via",
    "x-real-ip",
    "x-server-timeout",
];

/// Families of such names.
const RESERVED_PREFIXES: &[&str] = &[OWN_PREFIX, "grpc-", "sec-", "x-forwarded-", "x-envoy-", "client-cert"];

/// The names let through.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    names: Vec<HeaderName>,
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
    /// Checks the names of a configuration.
    pub fn new(names: &[String]) -> Result<Self, PassError> {
        let names = names.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
        Ok(Self { names })
    }

    /// Copies the listed names. A text value that is not visible ASCII is left out: gRPC metadata knows no other.
    pub(super) fn copy(&self, from: &HeaderMap, to: &mut HeaderMap) {
        for name in &self.names {
            for value in from.get_all(name) {
                if value.to_str().is_ok() {
                    to.append(name.clone(), value.clone());
                }
            }
        }
    }
}

fn parse(name: &str) -> Result<HeaderName, PassError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|source| PassError::NotAName { name: name.to_owned(), source })?;
    // Two spellings of one name are one name to many a server behind.
    let spelled = parsed.as_str().replace('_', "-");
    let reserved = RESERVED.contains(&spelled.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| spelled.starts_with(prefix));
    if reserved { Err(PassError::Reserved { name: name.to_owned() }) } else { Ok(parsed) }
}
