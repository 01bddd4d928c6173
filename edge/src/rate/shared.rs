//! The counts that all edges share. What this edge has let through is told to the provider every few milliseconds, never in a
//! request's path, and its answer is where the common bucket stands: the bucket here is emptied as far. So an edge admits by what
//! it knows, learns within one report what the others did, and refuses what all of them together have used up.
//!
//! A request that was let through while another edge took the last of the bucket cannot be refused any more. It is owed: told
//! again until the provider has counted it, and meanwhile the bucket here is as empty as if it had. Over time all edges
//! together let through what one bucket allows. While the provider is away each edge goes on by its own count, and what
//! happened meanwhile is not told afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use chassis::drain::Drain;
use proto::edge::v1::rate_limit_service_client::RateLimitServiceClient;
use proto::edge::v1::{BucketLimit, BucketTake, BucketTaken, TakeRequest};
use ring::hmac;
use tokio::time::sleep;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

use super::Limiter;
use super::config::Config;
use super::limits::Limit;
use super::who::Key;

/// The most takes of one call, as the contract has it.
const TAKES_MAX: usize = 100;
/// How long a report may take. Nobody waits for it; but what it says grows old.
const DEADLINE: Duration = Duration::from_millis(250);
/// The longest pause while the provider is away.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The key of the hashes when the configuration has no secret.
const NO_SECRET: &[u8] = b"causeway rate limits";

/// Tells the provider what a [`Limiter`] has let through.
pub struct Reporter<T> {
    limiter: Arc<Limiter>,
    client: RateLimitServiceClient<T>,
    names: hmac::Key,
    every: Duration,
    up: bool,
}

/// Requests that one bucket here has admitted.
struct Told {
    key: Key,
    limit: Arc<Limit>,
    requests: u32,
    /// How many of them the provider has counted.
    counted: u32,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Away {
    #[error("the provider is away")]
    Refused(#[from] tonic::Status),
    #[error("the provider answered {answered} of {asked} takes")]
    Short { asked: usize, answered: usize },
}

impl<T> Reporter<T>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    /// A reporter for `limiter` to whom `transport` leads.
    ///
    /// # Errors
    /// When the secret cannot be read.
    pub fn new(limiter: Arc<Limiter>, config: &Config, transport: T) -> anyhow::Result<Self> {
        let secret =
            config.secret_file.as_ref().map(|file| file.read().context("secret_file")).transpose()?;
        let secret = secret.as_ref().map_or(NO_SECRET, |secret| secret.expose_bytes());
        Ok(Self {
            limiter,
            client: RateLimitServiceClient::new(transport),
            names: hmac::Key::new(hmac::HMAC_SHA256, secret),
            every: Duration::from_millis(config.report_ms),
            up: true,
        })
    }

    /// Reports until the drain begins.
    pub async fn run(mut self, drain: Drain) {
        let mut pause = self.every;
        let stopping = drain.stopping();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = sleep(pause) => (),
                () = &mut stopping => return,
            }
            let up = self.report().await;
            pause = if up { self.every } else { PAUSE_MAX.min(pause * 2) };
        }
    }

    /// Tells everything that has not been told. Returns whether the provider was there.
    pub(super) async fn report(&mut self) -> bool {
        let limiter = Arc::clone(&self.limiter);
        let mut told = collect(&limiter);
        let mut lost: u64 = told.iter().map(|told| u64::from(told.requests)).sum();
        for batch in told.chunks_mut(TAKES_MAX) {
            let up = match self.tell(batch).await {
                Ok(()) => true,
                Err(error) => {
                    if self.up {
                        let error = chassis::error::chain(&error);
                        tracing::warn!(error, "no shared rate limits, each edge counts for itself");
                    }
                    limiter.metrics.lost.inc_by(lost);
                    false
                }
            };
            if up && !self.up {
                tracing::info!("shared rate limits again");
            }
            self.up = up;
            if !up {
                break;
            }
            lost -= batch.iter().map(|told| u64::from(told.requests)).sum::<u64>();
        }
        self.up
    }

    /// One call, and a second one for the buckets that held less than what is told: what they hold is taken.
    async fn tell(&mut self, batch: &mut [Told]) -> Result<(), Away> {
        let takes = batch.iter().map(|told| self.bucket(told, told.requests)).collect();
        let mut answers = self.take(takes).await?;
        let mut short = Vec::new();
        for (n, (told, answer)) in batch.iter_mut().zip(&answers).enumerate() {
            let left = u32::try_from(answer.remaining).unwrap_or(0).min(told.requests);
            if answer.allowed {
                told.counted = told.requests;
            } else if left > 0 {
                short.push((n, left));
            }
        }
        if !short.is_empty() {
            let takes = short.iter().map(|(n, left)| self.bucket(&batch[*n], *left)).collect();
            for ((n, left), answer) in short.into_iter().zip(self.take(takes).await?) {
                batch[n].counted = if answer.allowed { left } else { 0 };
                answers[n] = answer;
            }
        }
        for (told, answer) in batch.iter().zip(&answers) {
            self.settle(told, answer);
        }
        Ok(())
    }

    /// Moves the bucket here to where the common one stands, and beyond that by what that has not counted.
    fn settle(&self, told: &Told, answer: &BucketTaken) {
        let Limiter { buckets, metrics, .. } = &*self.limiter;
        metrics.counted.inc_by(u64::from(told.counted));
        let owed = buckets.report_again(told.key, told.requests - told.counted);
        let reset = answer.reset_after.and_then(|reset| Duration::try_from(reset).ok()).unwrap_or_default();
        let ahead = u64::try_from(reset.as_nanos()).unwrap_or(0) + u64::from(owed) * told.limit.rate.each;
        buckets.raise(told.key, told.limit.rate, ahead, buckets.time(Instant::now()));
    }

    async fn take(&mut self, takes: Vec<BucketTake>) -> Result<Vec<BucketTaken>, Away> {
        let asked = takes.len();
        let mut request = tonic::Request::new(TakeRequest { takes });
        request.set_timeout(DEADLINE);
        let taken = self.client.take(request).await?.into_inner().taken;
        if taken.len() == asked { Ok(taken) } else { Err(Away::Short { asked, answered: taken.len() }) }
    }

    fn bucket(&self, told: &Told, requests: u32) -> BucketTake {
        let Told { key, limit, .. } = told;
        let hash = hmac::sign(&self.names, &key.principal().to_be_bytes());
        let mut name = format!("{}:{}:", limit.class, limit.kind.as_str());
        for byte in &hash.as_ref()[..16] {
            use std::fmt::Write as _;
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        BucketTake {
            key: name,
            tokens: i64::from(requests),
            limit: Some(BucketLimit {
                tokens_per_period: i64::from(limit.quota.requests),
                period: Some(prost_types::Duration { seconds: i64::from(limit.quota.window_s), nanos: 0 }),
                burst: i64::from(limit.quota.requests),
            }),
        }
    }
}

/// What was admitted since the last report. No bucket gives more than it holds, so what is beyond that waits for the next one.
fn collect(limiter: &Limiter) -> Vec<Told> {
    let limits = limiter.limits.load();
    let mut told = Vec::new();
    limiter.buckets.reported(|key, requests| {
        // A limit that is gone is nobody's business any more.
        let Some(limit) = limits.at(key.limit()) else { return };
        told.push(Told { key, limit: Arc::clone(limit), requests, counted: 0 });
    });
    for told in &mut told {
        let most = told.limit.quota.requests;
        if told.requests > most {
            limiter.buckets.report_again(told.key, told.requests - most);
            told.requests = most;
        }
    }
    told
}
