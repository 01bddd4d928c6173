//! Configuration: one typed TOML file a process, unknown keys refused, secrets in files of their own. Everything a process of
//! the mesh has in common is here; a service adds its own tables beside it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// A service's configuration: the four tables of the chassis, and its own.
pub trait ServiceConfig: DeserializeOwned + Serialize + Send + Sync + 'static {
    /// `[server]`
    fn server(&self) -> &Server;
    /// `[identity]`
    fn identity(&self) -> &Identity;
    /// `[edge]`
    fn edge(&self) -> &Edge;
    /// `[telemetry]`
    fn telemetry(&self) -> &Telemetry;
    /// What the types cannot say. Called before anything starts.
    ///
    /// # Errors
    /// One line naming the key.
    fn check(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// `[server]`: where a service listens, and its bounds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// gRPC over mTLS.
    pub listen: SocketAddr,
    /// Plain: `/live`, `/ready`, `/metrics`, `grpc.health.v1`.
    pub admin: SocketAddr,
    /// How long work in flight may take after SIGTERM. Above the longest unary deadline (30 s by contract) nothing is gained.
    #[serde(default = "defaults::drain_ms")]
    pub drain_ms: u64,
    /// Between "not ready" and refusing connections: the edge's health check must see it first (every second, two failures).
    #[serde(default = "defaults::lame_duck_ms")]
    pub lame_duck_ms: u64,
    /// The public keys of the edge's transaction tokens, PEM; watched. Who asks is believed by these alone.
    pub edge_keys: PathBuf,
    /// RPCs served at once; more are refused with `RESOURCE_EXHAUSTED` while the answer is still cheap.
    #[serde(default = "defaults::in_flight_max")]
    pub in_flight_max: usize,
    /// Connections at once. Only edge replicas connect, each with a handful.
    #[serde(default = "defaults::connections_max")]
    pub connections_max: usize,
    /// From accept to the end of the TLS handshake.
    #[serde(default = "defaults::handshake_ms")]
    pub handshake_ms: u64,
    /// The budget of a call that names none; the edge always names one.
    #[serde(default = "defaults::deadline_ms")]
    pub deadline_ms: u64,
}

mod defaults {
    pub const fn drain_ms() -> u64 {
        25_000
    }
    pub const fn lame_duck_ms() -> u64 {
        2_000
    }
    pub const fn in_flight_max() -> usize {
        4_096
    }
    pub const fn connections_max() -> usize {
        512
    }
    pub const fn handshake_ms() -> u64 {
        5_000
    }
    pub const fn deadline_ms() -> u64 {
        30_000
    }
    pub const fn connect_ms() -> u64 {
        2_000
    }
    pub const fn connection_age_ms() -> u64 {
        300_000
    }
    pub fn log() -> String {
        "info".to_owned()
    }
    pub const fn sample_ratio() -> f64 {
        0.05
    }
}

impl Server {
    /// [`Server::drain_ms`] as a duration.
    #[must_use]
    pub const fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// [`Server::lame_duck_ms`] as a duration.
    #[must_use]
    pub const fn lame_duck(&self) -> Duration {
        Duration::from_millis(self.lame_duck_ms)
    }
}

/// `[identity]`: who the process is, and whom it trusts. The files are watched.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The certificate chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key, PEM.
    pub key: PathBuf,
    /// The roots of peers, PEM.
    pub trust_bundle: PathBuf,
    /// The SPIFFE trust domain ("causeway.internal").
    pub trust_domain: String,
}

/// `[edge]`: the way out to other services.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// `host:port` of the mesh listener of each edge, or one name that resolves to all of them.
    pub addresses: Vec<String>,
    /// How long a connection may take to stand.
    #[serde(default = "defaults::connect_ms")]
    pub connect_ms: u64,
    /// After how long a connection is replaced, so that new edge replicas get their share.
    #[serde(default = "defaults::connection_age_ms")]
    pub connection_age_ms: u64,
}

/// `[telemetry]`: logs and traces.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Filter directives ("info,sqlx=warn").
    #[serde(default = "defaults::log")]
    pub log: String,
    /// How a log line looks.
    #[serde(default)]
    pub format: LogFormat,
    /// Where spans go, OTLP over gRPC ("http://127.0.0.1:4317"); nowhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// The share of traces started here that are recorded, 0 to 1; a sampled parent is always followed.
    #[serde(default = "defaults::sample_ratio")]
    pub sample_ratio: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log: defaults::log(),
            format: LogFormat::default(),
            otlp_endpoint: None,
            sample_ratio: defaults::sample_ratio(),
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    #[default]
    Json,
    /// For people.
    Pretty,
}

/// The path of a file that holds a secret. The configuration names the file and never the secret, so it can be printed.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// A secret in `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Reads the secret; one newline at the end is not part of it.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, or is empty.
    pub fn read(&self) -> anyhow::Result<Secret> {
        let text = Zeroizing::new(
            std::fs::read_to_string(&self.0)
                .with_context(|| format!("cannot read the secret in {}", self.0.display()))?,
        );
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        anyhow::ensure!(!text.is_empty(), "the secret in {} is empty", self.0.display());
        Ok(Secret(Zeroizing::new(text.to_owned())))
    }
}

/// A secret: wiped when dropped, and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself. Hand it to the driver and to nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The bytes of the secret itself.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

/// What can be wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or not what the process expects.
    #[error("{}:{line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, on one line.
        message: String,
    },
}

/// Reads a configuration file.
///
/// # Errors
/// [`ConfigError`], naming the file, the line and the key.
pub fn load<C: DeserializeOwned>(path: &Path) -> Result<C, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1),
        message: error.message().replace('\n', " "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code, reason = "only parsed")]
        telemetry: Telemetry,
    }

    fn parse(text: &str) -> Result<Sample, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let name = file.path().display().to_string();
        load(file.path()).map_err(|error| error.to_string().replace(&name, "file"))
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        assert!(parse("[telemetry]\nlog = \"info\"").is_ok());
        let cases = [
            ("[telemetry]\nlogg = 1", "file:2: unknown field `logg`"),
            ("[telemetry]\nlog = 1", "file:2: invalid type: integer `1`, expected a string"),
            ("[telemetry", "file:1: "),
            ("", "file:1: missing field `telemetry`"),
        ];
        for (text, expect) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expect), "{error:?} does not begin with {expect:?}");
            assert_eq!(error.lines().count(), 1, "{error:?}");
        }
    }

    #[test]
    fn a_secret_never_prints() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let secret = SecretFile::new(file.path()).read().unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        std::fs::write(file.path(), "\n").unwrap();
        assert!(SecretFile::new(file.path()).read().is_err());
    }
}
