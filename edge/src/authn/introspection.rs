//! Tokens that are no JWTs: their issuer is asked about each (RFC 7662). What it answers is judged by the same rules as the
//! claims of a JWT and kept for a short while, refusals too; many requests with one token are one question. Invented tokens cost
//! the issuer a question each, so the questions that are open at once are bounded and whoever comes on top is turned away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use moka::Expiry;
use moka::future::Cache;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::config::{self, ConfigError};
use super::jws;
use super::refusal::Refusal;
use super::tokens::Token;
use crate::jwks::{FetchError, Fetcher};

/// The longest token an issuer is asked about.
const BYTES_MAX: usize = 2 * 1024;
/// Idle connections to the issuer.
const IDLE_MAX: usize = 4;

/// Whether a token is one to ask about: in the alphabet of RFC 6750, and not in three parts as a JWT is. A JWT that does not
/// hold is refused here and not elsewhere once more.
pub fn is_opaque(token: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    token.len() <= BYTES_MAX
        && token.bytes().filter(|byte| *byte == b'.').count() != 2
        && token.bytes().all(plain)
}

/// What became of a token that was asked about.
type Verdict = Result<Arc<Token>, Refusal>;

/// Asks one issuer.
pub struct Introspector {
    fetcher: Fetcher,
    url: String,
    client_id: String,
    secret: PathBuf,
    deadline: Duration,
    room: Semaphore,
    verdicts: Cache<[u8; 32], Verdict>,
    counts: Counts,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("the secret cannot be read")]
    Secret(#[source] std::io::Error),
    #[error("client id or secret cannot be written")]
    Credentials,
    #[error("not asked")]
    Fetch(#[from] FetchError),
    #[error("no answer in time")]
    Slow,
    #[error("the answer is no JSON object")]
    Malformed,
}

/// Questions, by what became of them; shared by all that ask.
#[derive(Clone)]
pub struct Counts {
    active: Counter,
    refused: Counter,
    failed: Counter,
    crowded: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// Keeps a belief as long as the token says, a refusal for a moment.
struct Kept {
    refused: Duration,
}

impl Expiry<[u8; 32], Verdict> for Kept {
    fn expire_after_create(&self, _: &[u8; 32], verdict: &Verdict, _: Instant) -> Option<Duration> {
        Some(verdict.as_ref().map_or(self.refused, |token| token.lives))
    }
}

impl Introspector {
    /// Reads nothing yet: the secret is read for each question.
    pub fn new(
        issuer: &str,
        config: &config::Introspection,
        development: bool,
        counts: Counts,
    ) -> Result<Self, ConfigError> {
        let fetcher = Fetcher::new(&config.url, &[], config.ca.as_deref(), development, IDLE_MAX)
            .map_err(|source| ConfigError::Introspection { issuer: issuer.to_owned(), source })?;
        let kept = Kept { refused: Duration::from_secs(config.refused_ttl_s) };
        Ok(Self {
            fetcher,
            url: config.url.clone(),
            client_id: config.client_id.clone(),
            secret: config.client_secret_file.clone(),
            deadline: Duration::from_millis(config.deadline_ms),
            room: Semaphore::new(config.in_flight_max),
            verdicts: Cache::builder().max_capacity(config.entries_max).expire_after(kept).build(),
            counts,
        })
    }

    /// Believes or refuses a token whose hash is `hash`. `judge` makes a verdict of the issuer's answer, `holds` says whether one
    /// that is kept still counts.
    pub async fn of(
        &self,
        hash: [u8; 32],
        token: &str,
        judge: impl Fn(&Map<String, Value>) -> Result<Token, Refusal>,
        holds: impl Fn(&Token) -> bool,
    ) -> Verdict {
        if let Some(kept) = self.verdicts.get(&hash).await {
            if kept.as_ref().map_or(true, |token| holds(token)) {
                return kept;
            }
            self.verdicts.invalidate(&hash).await;
        }
        let asked = self.verdicts.try_get_with(hash, async {
            let Ok(_place) = self.room.try_acquire() else {
                self.counts.crowded.inc();
                return Err(Refusal::IssuerUnavailable);
            };
            let answer = match self.ask(token).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.counts.failed.inc();
                    tracing::warn!(error = chassis::error::chain(&error), "a token's issuer did not answer");
                    return Err(Refusal::IssuerUnavailable);
                }
            };
            match judge(&answer) {
                // That is no verdict on the token, and must not be kept as one.
                Err(Refusal::IssuerUnavailable) => {
                    self.counts.failed.inc();
                    Err(Refusal::IssuerUnavailable)
                }
                Ok(token) => {
                    self.counts.active.inc();
                    Ok(Ok(Arc::new(token)))
                }
                Err(refusal) => {
                    self.counts.refused.inc();
                    Ok(Err(refusal))
                }
            }
        });
        asked.await.unwrap_or_else(|refusal| Err(*refusal))
    }

    async fn ask(&self, token: &str) -> Result<Map<String, Value>, Unanswered> {
        let asked = async {
            let secret = tokio::fs::read_to_string(&self.secret).await.map_err(Unanswered::Secret)?;
            let form = format!("token={}&token_type_hint=access_token", encoded(token));
            let answer = self.fetcher.post(&self.url, self.authorization(secret.trim_end())?, form).await?;
            Ok::<_, Unanswered>(answer)
        };
        let answer = tokio::time::timeout(self.deadline, asked).await.map_err(|_| Unanswered::Slow)??;
        jws::json_object(&answer).map_err(|_| Unanswered::Malformed)
    }

    /// RFC 6749 section 2.3.1: both parts are encoded as in a form before they are joined.
    fn authorization(&self, secret: &str) -> Result<HeaderValue, Unanswered> {
        let pair = format!("{}:{}", encoded(&self.client_id), encoded(secret));
        let value = format!("Basic {}", STANDARD.encode(pair));
        HeaderValue::try_from(value).map_err(|_| Unanswered::Credentials)
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Counts {
    /// Registers the numbers of questions.
    pub fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let asked = Family::<Labels, Counter>::default();
        metrics.register(
            "authn_introspections",
            "Questions to an issuer about a token, by result",
            asked.clone(),
        );
        let count = |result| asked.get_or_create(&Labels { result }).clone();
        Self {
            active: count("active"),
            refused: count("refused"),
            failed: count("failed"),
            crowded: count("crowded"),
        }
    }
}

#[cfg(test)]
mod tests;
