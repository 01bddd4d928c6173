//! Verified tokens: the issuers with their rules and keys, and the memory of what they have vouched for. The memory is bounded,
//! keyed by a hash of the whole token (a token that differs in one bit is another token), and forgets at expiry and whenever
//! the issuer's keys change, so that a removed key takes its tokens along.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chassis::call::{Caller, Principal};
use chassis::drain::Drain;
use chassis::transaction_token::Signer;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use moka::Expiry;
use moka::sync::Cache;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Authenticated;
use super::bearer;
use super::claims::Rules;
use super::config::{Config, ConfigError};
use super::jws::Jws;
use super::memory::Memory;
use super::peer::sha256;
use super::refusal::{Cause, Refusal};
use crate::jwks::{self, Algorithm, Found, Keys};

/// The issuers and what they have vouched for.
pub struct Tokens {
    signer: Signer,
    issuers: Vec<Issuer>,
    verified: Cache<[u8; 32], Arc<Token>>,
    counts: Counts,
}

struct Issuer {
    rules: Rules,
    keys: Keys,
}

/// A token that holds.
#[derive(Debug)]
pub struct Token {
    pub authenticated: Authenticated,
    /// The only certificate it may come with.
    pub bound_to: Option<[u8; 32]>,
    expires_at: SystemTime,
    /// The issuer's place among the issuers, and its keys when the token was verified.
    issuer: usize,
    generation: u64,
    /// From the moment of verification to expiry.
    lives: Duration,
}

/// Tokens seen, by what became of them.
struct Counts {
    remembered: Counter,
    verified: Counter,
    refused: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// Drops a token from memory when it expires, not when room is needed.
struct AtExpiry;

impl Expiry<[u8; 32], Arc<Token>> for AtExpiry {
    fn expire_after_create(&self, _: &[u8; 32], token: &Arc<Token>, _: Instant) -> Option<Duration> {
        Some(token.lives)
    }

    fn expire_after_update(
        &self,
        _: &[u8; 32],
        token: &Arc<Token>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(token.lives)
    }
}

impl Tokens {
    /// Starts keeping the issuers' keys.
    pub async fn start(
        config: &Config,
        signer: &Signer,
        drain: &Drain,
        metrics: &chassis::metrics::Metrics,
    ) -> Result<Self, ConfigError> {
        let key_metrics = jwks::Metrics::register(metrics);
        let mut issuers = Vec::with_capacity(config.issuers.len());
        for issuer in &config.issuers {
            let keys = Keys::start(&issuer.issuer, &issuer.jwks, config.development, drain, &key_metrics)
                .await
                .map_err(|source| ConfigError::Keys { issuer: issuer.issuer.clone(), source })?;
            issuers.push(Issuer { rules: Rules::from(issuer), keys });
        }
        let verified =
            Cache::builder().max_capacity(config.token_cache_entries_max).expire_after(AtExpiry).build();
        Ok(Self { signer: signer.clone(), issuers, verified, counts: Counts::register(metrics) })
    }

    /// Believes or refuses the token of a request, if it has one.
    pub async fn of(
        &self,
        headers: &HeaderMap,
        memory: &Memory,
        now: SystemTime,
    ) -> Result<Option<Arc<Token>>, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        if let (Some(value), None) = (values.next(), values.next())
            && let Some(token) = memory.recall(value)
            && self.holds(&token, now)
        {
            self.counts.remembered.inc();
            return Ok(Some(token));
        }
        let Some(text) = bearer::token(headers)? else { return Ok(None) };
        let token = self.verify(text, now).await?;
        if let Some(value) = headers.get(AUTHORIZATION) {
            memory.keep(value, &token);
        }
        Ok(Some(token))
    }

    /// Believes or refuses a token. Without waiting when it is remembered or its key is known.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Token>, Refusal> {
        let hash = sha256(token.as_bytes());
        if let Some(token) = self.verified.get(&hash)
            && self.holds(&token, now)
        {
            self.counts.remembered.inc();
            return Ok(token);
        }
        // Boxed: the rare path must not make every request's future as large as its own.
        match Box::pin(self.judge(token, now)).await {
            Ok(token) => {
                self.counts.verified.inc();
                let token = Arc::new(token);
                self.verified.insert(hash, token.clone());
                Ok(token)
            }
            Err(refusal) => {
                self.counts.refused.inc();
                Err(refusal)
            }
        }
    }

    /// Whether a token that was verified once is still good: it has not expired, and its issuer's keys are the same.
    fn holds(&self, token: &Token, now: SystemTime) -> bool {
        token.expires_at > now && self.issuers[token.issuer].keys.current().generation == token.generation
    }

    async fn judge(&self, token: &str, now: SystemTime) -> Result<Token, Refusal> {
        let jws = Jws::parse(token)?;
        let place =
            self.issuers.iter().position(|issuer| issuer.rules.issued(&jws.claims)).ok_or(Cause::Issuer)?;
        let issuer = &self.issuers[place];
        let algorithm = issuer.rules.head(&jws.header)?;
        let generation = issuer.signed(&jws, algorithm).await?;
        let verified = issuer.rules.verify(&jws.claims, now)?;
        let caller = Caller { principal: Principal::Subject(verified.subject), service: None };
        Ok(Token {
            authenticated: Authenticated::new(&self.signer, Arc::new(caller), Some(verified.expires_at)),
            bound_to: verified.bound_to,
            expires_at: verified.expires_at,
            issuer: place,
            generation,
            lives: verified.expires_at.duration_since(now).unwrap_or(Duration::ZERO),
        })
    }
}

impl Issuer {
    /// Checks the signature; says under which generation of keys it held. An unknown key id is worth one look at the source.
    async fn signed(&self, jws: &Jws<'_>, algorithm: Algorithm) -> Result<u64, Refusal> {
        let mut may_ask = true;
        loop {
            {
                let current = self.keys.current();
                match current.set.find(jws.header.key_id.as_deref(), algorithm) {
                    Found::Key(key) if key.verifies(algorithm, jws.signed, &jws.signature) => {
                        return Ok(current.generation);
                    }
                    Found::Key(_) => return Err(Cause::Signature.into()),
                    Found::Unfit if !current.set.is_empty() => return Err(Cause::Key.into()),
                    Found::Unfit | Found::UnknownId => (),
                }
            }
            if may_ask && self.keys.refetched().await {
                may_ask = false;
                continue;
            }
            // Without any key nothing is known against the token: the client may come again.
            let none = self.keys.current().set.is_empty();
            return Err(if none { Refusal::KeysUnavailable } else { Cause::Key.into() });
        }
    }
}

impl Counts {
    fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let tokens = Family::<Labels, Counter>::default();
        metrics.register("authn_tokens", "Bearer tokens seen, by what became of them", tokens.clone());
        // Resolved once: a family looks its labels up under a lock.
        let count = |result| tokens.get_or_create(&Labels { result }).clone();
        Self { remembered: count("remembered"), verified: count("verified"), refused: count("refused") }
    }
}
