//! The configuration of svc-cache: the chassis's four tables and where Redis is. Plain connections are not possible: the
//! URL must be `rediss://`, and the certificate is verified against a private CA.
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use chassis::config::{Edge, Identity, SecretFile, Server, ServiceConfig, Telemetry};
use serde::{Deserialize, Serialize};

/// `svc-cache.toml`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub identity: Identity,
    pub edge: Edge,
    #[serde(default)]
    pub telemetry: Telemetry,
    pub store: StoreConfig,
}

/// Where Redis is and how long to wait for it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `rediss://<acl user>@<host>:<port>/<database>`, without a password. The user needs no more than
    /// `~cache:* -@all +@hash +@sortedset +@keyspace +@scripting +@connection +get +set +time -@dangerous`. If Redis may evict,
    /// then only what is volatile (`maxmemory-policy volatile-ttl`): revoked tokens are not, and must not be forgotten.
    pub url: String,
    /// The password of the ACL user; read again whenever the connection is made anew, so that it can be rotated.
    pub password_file: SecretFile,
    /// The CA that signed Redis's certificate, PEM.
    pub ca: PathBuf,
    /// How long a command may take before the answer is UNAVAILABLE. A cache that is slower than the store behind it is
    /// worth nothing, so this is well below the 500 ms that callers allow by default.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

fn timeout_ms() -> u64 {
    250
}

impl StoreConfig {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

impl ServiceConfig for Config {
    fn server(&self) -> &Server {
        &self.server
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn check(&self) -> anyhow::Result<()> {
        self.store.check()
    }
}

impl StoreConfig {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.url.starts_with("rediss://"), "store.url must begin with rediss://");
        ensure!(
            !self.url.contains('#'),
            "store.url must not have a fragment: it could turn verification off"
        );
        let authority = self.url.trim_start_matches("rediss://").split('/').next().unwrap_or_default();
        let user = authority.split_once('@').map(|(user, _)| user).unwrap_or_default();
        ensure!(!user.is_empty(), "store.url must name the acl user");
        ensure!(
            !user.contains(':'),
            "store.url must not hold a password: it belongs into store.password_file"
        );
        ensure!((10..=10_000).contains(&self.timeout_ms), "store.timeout_ms must be between 10 and 10000");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_encrypted_authenticated_and_holds_no_password() {
        let cases = [
            ("rediss://causeway@127.0.0.1:7379/0", true),
            ("redis://causeway@127.0.0.1:7379/0", false),
            ("rediss://127.0.0.1:7379/0", false),
            ("rediss://causeway:secret@127.0.0.1:7379/0", false),
            ("rediss://causeway@127.0.0.1:7379/0#insecure", false),
        ];
        for (url, good) in cases {
            let config: StoreConfig = serde_json::from_value(serde_json::json!({
                "url": url, "password_file": "/nowhere", "ca": "/nowhere",
            }))
            .unwrap();
            assert_eq!(config.check().is_ok(), good, "{url}");
        }
    }
}
