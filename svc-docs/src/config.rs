//! The configuration of svc-docs: the chassis's four tables, where MongoDB is, and how large content may be. The connection is
//! always encrypted, verified against a private CA, and authenticated.
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use chassis::config::{Edge, Identity, SecretFile, Server, ServiceConfig, Telemetry};
use serde::{Deserialize, Serialize};

/// `svc-docs.toml`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub identity: Identity,
    pub edge: Edge,
    #[serde(default)]
    pub telemetry: Telemetry,
    pub store: StoreConfig,
    #[serde(default)]
    pub content: ContentConfig,
}

/// Where MongoDB is and how long to wait for it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `mongodb://<user>@<host>:<port>/?<options>`, or `mongodb+srv://`, without a password. The user is authenticated against
    /// `admin` unless `authSource` says otherwise. What it may do on the database is in docs/operations.md. The server must be a
    /// replica set, of one if need be: an effect and its audit event are one transaction.
    pub url: String,
    pub database: String,
    /// The password of the user.
    pub password_file: SecretFile,
    /// The CA that signed MongoDB's certificate, PEM.
    pub ca: PathBuf,
    /// How long one operation may take before the answer is UNAVAILABLE: longer than an election in a replica set would make
    /// callers wait for nothing, shorter would fail on every slow disk.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

/// Bounds of content.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ContentConfig {
    /// The most bytes of one document's content.
    #[serde(default = "bytes_max")]
    pub bytes_max: u64,
}

impl Default for ContentConfig {
    fn default() -> Self {
        Self { bytes_max: bytes_max() }
    }
}

fn timeout_ms() -> u64 {
    5_000
}

fn bytes_max() -> u64 {
    25 << 20
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
        self.store.check()?;
        ensure!(
            (1..=1 << 40).contains(&self.content.bytes_max),
            "content.bytes_max must be between 1 and 1 TiB"
        );
        Ok(())
    }
}

impl StoreConfig {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    fn check(&self) -> anyhow::Result<()> {
        let rest = self.url.strip_prefix("mongodb://").or_else(|| self.url.strip_prefix("mongodb+srv://"));
        let Some(rest) = rest else {
            anyhow::bail!("store.url must begin with mongodb:// or mongodb+srv://");
        };
        let user = rest
            .split('/')
            .next()
            .unwrap_or_default()
            .split_once('@')
            .map(|(user, _)| user)
            .unwrap_or_default();
        ensure!(!user.is_empty(), "store.url must name the user");
        ensure!(
            !user.contains(':'),
            "store.url must not hold a password: it belongs into store.password_file"
        );
        let options =
            rest.split_once('?').map(|(_, options)| options.to_ascii_lowercase()).unwrap_or_default();
        let weakens = |option: &str| option.starts_with("tls") || option.starts_with("ssl");
        ensure!(
            !options.split('&').any(weakens),
            "store.url must not have tls options: store.ca says all there is to say"
        );
        ensure!(!self.database.is_empty(), "store.database must be given");
        ensure!((100..=60_000).contains(&self.timeout_ms), "store.timeout_ms must be between 100 and 60000");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_names_a_user_and_cannot_weaken_the_connection() {
        let cases = [
            ("mongodb://docs@127.0.0.1:7017/?directConnection=true", true),
            ("mongodb+srv://docs@cluster.example/?authSource=docs", true),
            ("mongodb://127.0.0.1:7017/", false),
            ("mongodb://docs:secret@127.0.0.1:7017/", false),
            ("mongodb://docs@127.0.0.1:7017/?tlsInsecure=true", false),
            ("mongodb://docs@127.0.0.1:7017/?a=b&SSL=false", false),
            ("redis://docs@127.0.0.1:7017/", false),
        ];
        for (url, good) in cases {
            let config: StoreConfig = serde_json::from_value(serde_json::json!({
                "url": url, "database": "docs", "password_file": "/nowhere", "ca": "/nowhere",
            }))
            .unwrap();
            assert_eq!(config.check().is_ok(), good, "{url}");
        }
    }
}
