//! Where an issuer's key set comes from, as `edge.toml` says it: a file, a URL, or the URL of an OpenID discovery document that
//! names it. Reading it is the same question each time; when to ask is `keys`' business.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fetch::{FetchError, Fetcher};
use super::key::Unusable;
use super::set::{KeySet, SetError};

/// `jwks = { .. }` of an issuer: exactly one of `file`, `url` and `discovery`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A key set on disk, read again at every refresh.
    pub file: Option<PathBuf>,
    /// A key set over HTTPS.
    pub url: Option<String>,
    /// An OpenID discovery document over HTTPS; it must name the issuer, and its `jwks_uri` is fetched.
    pub discovery: Option<String>,
    /// Hosts that `jwks_uri` may name besides the discovery document's own: a document cannot send the edge elsewhere.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// PEM roots that alone are trusted for these fetches; the system's when absent.
    pub ca: Option<PathBuf>,
    /// How long a set is taken as current. A removed key stops working within this time.
    #[serde(default = "refresh_s")]
    pub refresh_s: u64,
    /// The least time between two fetches, however many tokens name unknown keys. Ten seconds: a rotation without overlap is
    /// noticed soon, and a storm costs the issuer six requests a minute.
    #[serde(default = "cooldown_s")]
    pub cooldown_s: u64,
    /// How long one refresh may take in all.
    #[serde(default = "deadline_ms")]
    pub deadline_ms: u64,
    /// How long the last good set serves while the source fails. An hour, the usual life of a token: an issuer that has been
    /// gone for longer has no living tokens, and a key must not live on because someone cuts the wire.
    #[serde(default = "stale_s")]
    pub stale_s: u64,
}

const fn refresh_s() -> u64 {
    300
}

const fn cooldown_s() -> u64 {
    10
}

const fn deadline_ms() -> u64 {
    5_000
}

const fn stale_s() -> u64 {
    3_600
}

/// Why a set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("name exactly one of file, url and discovery")]
    NotOne,
    #[error(
        "refresh_s, cooldown_s, deadline_ms and stale_s must be positive, and stale_s at least refresh_s"
    )]
    Times,
    #[error("cannot read {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is larger than {bytes_max} bytes")]
    FileTooLarge { path: PathBuf, bytes_max: u64 },
    #[error("cannot fetch {url}")]
    Fetch {
        url: String,
        #[source]
        source: FetchError,
    },
    #[error("the discovery document is malformed")]
    Discovery(#[source] serde_json::Error),
    #[error("the discovery document speaks for another issuer")]
    OtherIssuer,
    #[error("the key set is refused")]
    Set(#[source] SetError),
    #[error("the client for fetching keys cannot be built")]
    Client(#[source] FetchError),
    #[error("the refresh took longer than {}", humane(*after))]
    Slow { after: Duration },
}

fn humane(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// A source made ready for reading.
pub(super) struct Reader {
    issuer: String,
    place: Place,
    deadline: Duration,
}

enum Place {
    File(PathBuf),
    Url(String, Fetcher),
    Discovery(String, Fetcher),
}

/// Sets are a few kilobytes; the bound is for what is none.
pub(super) const BYTES_MAX: u64 = 256 * 1024;

impl Source {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.file.iter().chain(&self.ca).map(PathBuf::as_path)
    }

    /// Checks the source without reading it. `development` lets loopback addresses speak plain HTTP.
    pub fn check(&self, issuer: &str, development: bool) -> Result<(), SourceError> {
        self.reader(issuer, development).map(|_| ())
    }

    pub(super) fn reader(&self, issuer: &str, development: bool) -> Result<Reader, SourceError> {
        let times = [self.refresh_s, self.cooldown_s, self.deadline_ms, self.stale_s];
        if times.contains(&0) || self.stale_s < self.refresh_s {
            return Err(SourceError::Times);
        }
        let fetcher = |url: &String| {
            // Fetches are minutes apart: an idle connection would only be closed by the other side.
            let fetcher = Fetcher::new(url, &self.hosts, self.ca.as_deref(), development, 0);
            fetcher.map_err(SourceError::Client)
        };
        let place = match (&self.file, &self.url, &self.discovery) {
            (Some(path), None, None) => Place::File(path.clone()),
            (None, Some(url), None) => Place::Url(url.clone(), fetcher(url)?),
            (None, None, Some(url)) => Place::Discovery(url.clone(), fetcher(url)?),
            _ => return Err(SourceError::NotOne),
        };
        Ok(Reader { issuer: issuer.to_owned(), place, deadline: Duration::from_millis(self.deadline_ms) })
    }
}

impl Reader {
    /// Whether the set is on this machine, so that failing to read it is a mistake in the configuration.
    pub(super) const fn is_local(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Reads the set, all of it within the deadline.
    pub(super) async fn read(&self) -> Result<KeySet, SourceError> {
        tokio::time::timeout(self.deadline, self.bytes())
            .await
            .map_err(|_| SourceError::Slow { after: self.deadline })?
            .and_then(|bytes| {
                KeySet::parse(&bytes, |index, why| self.aside(index, why)).map_err(SourceError::Set)
            })
    }

    async fn bytes(&self) -> Result<Vec<u8>, SourceError> {
        match &self.place {
            Place::File(path) => read_file(path).await,
            Place::Url(url, fetcher) => fetch(fetcher, url).await,
            Place::Discovery(url, fetcher) => {
                let document: Discovery =
                    serde_json::from_slice(&fetch(fetcher, url).await?).map_err(SourceError::Discovery)?;
                // OpenID Connect Discovery section 4.3: the names must be equal, character by character.
                if document.issuer != self.issuer {
                    return Err(SourceError::OtherIssuer);
                }
                fetch(fetcher, &document.jwks_uri).await
            }
        }
    }

    fn aside(&self, index: usize, why: Unusable) {
        tracing::debug!(issuer = self.issuer, index, %why, "key left aside");
    }
}

async fn fetch(fetcher: &Fetcher, url: &str) -> Result<Vec<u8>, SourceError> {
    fetcher.get(url).await.map_err(|source| SourceError::Fetch { url: url.to_owned(), source })
}

async fn read_file(path: &PathBuf) -> Result<Vec<u8>, SourceError> {
    let failed = |source| SourceError::File { path: path.clone(), source };
    let length = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if length > BYTES_MAX {
        return Err(SourceError::FileTooLarge { path: path.clone(), bytes_max: BYTES_MAX });
    }
    tokio::fs::read(path).await.map_err(failed)
}
