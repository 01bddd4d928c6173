//! Sizes and times of `edge.toml` that hold for every listener. The defaults are for a bank's API: small JSON bodies, documents
//! by stream, headers that carry one token.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[limits]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A request header: names, values and path together. A token of 4 KiB with room for the rest.
    pub header_bytes_max: usize,
    /// How many header fields.
    pub header_fields_max: usize,
    /// The JSON body of a REST call, and one message of any call. What tonic takes unless told otherwise.
    pub message_bytes_max: usize,
    /// The body of an upload over REST.
    pub upload_bytes_max: u64,
    /// From the first byte of a request header to its last.
    pub header_ms: u64,
    /// From accept to the end of the TLS handshake.
    pub handshake_ms: u64,
    /// How long an HTTP/2 connection may have no stream before it is closed.
    pub idle_ms: u64,
    /// How long a client may take to read or write the next piece of a body.
    pub body_idle_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 16 * 1024,
            header_fields_max: 100,
            message_bytes_max: 4 * 1024 * 1024,
            upload_bytes_max: 25 * 1024 * 1024,
            header_ms: 10_000,
            handshake_ms: 5_000,
            idle_ms: 300_000,
            body_idle_ms: 30_000,
        }
    }
}

/// `[drain]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long after SIGTERM connections are still accepted: until load balancers have seen that the edge is not ready.
    pub lame_duck_ms: u64,
    /// How long requests in flight may take to end after that.
    pub grace_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self { lame_duck_ms: 1_000, grace_ms: 25_000 }
    }
}

impl Drain {
    /// `lame_duck_ms`.
    #[must_use]
    pub const fn lame_duck(&self) -> Duration {
        Duration::from_millis(self.lame_duck_ms)
    }

    /// `grace_ms`.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// `[access_log]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// Whether requests are logged.
    pub enabled: bool,
    /// A file to append to; absent, the standard output.
    pub path: Option<PathBuf>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: true, path: None }
    }
}

impl Limits {
    /// `header_ms`.
    #[must_use]
    pub const fn header(&self) -> Duration {
        Duration::from_millis(self.header_ms)
    }

    /// `handshake_ms`.
    #[must_use]
    pub const fn handshake(&self) -> Duration {
        Duration::from_millis(self.handshake_ms)
    }

    /// `idle_ms`.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    /// `body_idle_ms`.
    #[must_use]
    pub const fn body_idle(&self) -> Duration {
        Duration::from_millis(self.body_idle_ms)
    }
}
