//! Verified tokens: the issuers with their rules and keys, and the memory of what they have vouched for. The memory is bounded,
//! keyed by a hash of the whole token (a token that differs in one bit is another token), and forgets at expiry and whenever
//! the issuer's keys change, so that a removed key takes its tokens along.

use std::sync::{Arc, Weak};
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
use super::config::{self, Config, ConfigError};
use super::jws::Jws;
use super::memory::Memory;
use super::peer::sha256;
use super::refusal::{Cause, Refusal};
use crate::files;
use crate::jwks::{self, Algorithm, Found, Keys};

/// The issuers and what they have vouched for.
pub struct Tokens {
    signer: Signer,
    issuers: Vec<Arc<Issuer>>,
    verified: Cache<[u8; 32], Arc<Token>>,
    verified_max: u64,
    counts: Counts,
    key_metrics: jwks::Metrics,
}

struct Issuer {
    rules: Rules,
    keys: Arc<Keys>,
    written: Written,
}

/// How an issuer was configured: its table, the files it names, and whether the whole is for development. What is written the same
/// is the same issuer.
#[derive(PartialEq, Eq)]
struct Written {
    issuer: config::Issuer,
    files: files::Digest,
    development: bool,
}

/// A token that holds.
#[derive(Debug)]
pub struct Token {
    pub authenticated: Authenticated,
    /// The only certificate it may come with.
    pub bound_to: Option<[u8; 32]>,
    expires_at: SystemTime,
    /// Who vouched for it, and with which keys. A token does not keep its issuer alive: of one that is configured no more, or
    /// differently, it is worth nothing.
    issuer: Weak<Issuer>,
    generation: u64,
    /// From the moment of verification to expiry.
    lives: Duration,
}

/// Tokens seen, by what became of them.
#[derive(Clone)]
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
        let none = Self {
            signer: signer.clone(),
            issuers: Vec::new(),
            verified: remembering(config.token_cache_entries_max),
            verified_max: config.token_cache_entries_max,
            counts: Counts::register(metrics),
            key_metrics: jwks::Metrics::register(metrics),
        };
        none.renewed(config, drain).await
    }

    /// The issuers of another configuration. One that is written the same goes on with its keys and with what it has vouched for;
    /// one whose rules have changed keeps the keys it has fetched.
    pub async fn renewed(&self, config: &Config, drain: &Drain) -> Result<Self, ConfigError> {
        let mut issuers = Vec::with_capacity(config.issuers.len());
        for issuer in &config.issuers {
            let written = Written {
                issuer: issuer.clone(),
                files: files::digest(issuer.files()),
                development: config.development,
            };
            let known = self.issuers.iter().find(|known| known.written.issuer.issuer == issuer.issuer);
            if let Some(known) = known.filter(|known| known.written == written) {
                issuers.push(Arc::clone(known));
                continue;
            }
            let keys = match known.filter(|known| known.written.same_source(&written)) {
                Some(known) => Arc::clone(&known.keys),
                None => Arc::new(
                    Keys::start(&issuer.issuer, &issuer.jwks, config.development, drain, &self.key_metrics)
                        .await
                        .map_err(|source| ConfigError::Keys { issuer: issuer.issuer.clone(), source })?,
                ),
            };
            issuers.push(Arc::new(Issuer { rules: Rules::from(issuer), keys, written }));
        }
        let verified_max = config.token_cache_entries_max;
        let verified =
            if verified_max == self.verified_max { self.verified.clone() } else { remembering(verified_max) };
        let (signer, counts, key_metrics) =
            (self.signer.clone(), self.counts.clone(), self.key_metrics.clone());
        Ok(Self { signer, issuers, verified, verified_max, counts, key_metrics })
    }

    /// Forgets the numbers of issuers that `old` had and these are not.
    pub fn forget(&self, old: &Self) {
        let names = |tokens: &Self| {
            tokens.issuers.iter().map(|issuer| issuer.written.issuer.issuer.clone()).collect::<Vec<_>>()
        };
        let current = names(self);
        for gone in names(old).iter().filter(|name| !current.contains(name)) {
            self.key_metrics.forget(gone);
        }
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

    /// Whether a token that was verified once is still good: it has not expired, its issuer is believed by the rules it was
    /// verified under, and that issuer's keys are the same.
    fn holds(&self, token: &Token, now: SystemTime) -> bool {
        // A Weak keeps its allocation, so that equal addresses mean the same issuer and not a later one in its place.
        let vouched = |issuer: &&Arc<Issuer>| std::ptr::eq(Arc::as_ptr(issuer), token.issuer.as_ptr());
        let unchanged = |issuer: &Arc<Issuer>| issuer.keys.current().generation == token.generation;
        token.expires_at > now && self.issuers.iter().find(vouched).is_some_and(unchanged)
    }

    async fn judge(&self, token: &str, now: SystemTime) -> Result<Token, Refusal> {
        let jws = Jws::parse(token)?;
        let issuer =
            self.issuers.iter().find(|issuer| issuer.rules.issued(&jws.claims)).ok_or(Cause::Issuer)?;
        let algorithm = issuer.rules.head(&jws.header)?;
        let generation = issuer.signed(&jws, algorithm).await?;
        let verified = issuer.rules.verify(&jws.claims, now)?;
        let caller = Caller { principal: Principal::Subject(verified.subject), service: None };
        Ok(Token {
            authenticated: Authenticated::new(&self.signer, Arc::new(caller), Some(verified.expires_at)),
            bound_to: verified.bound_to,
            expires_at: verified.expires_at,
            issuer: Arc::downgrade(issuer),
            generation,
            lives: verified.expires_at.duration_since(now).unwrap_or(Duration::ZERO),
        })
    }
}

/// A memory of so many tokens.
fn remembering(entries_max: u64) -> Cache<[u8; 32], Arc<Token>> {
    Cache::builder().max_capacity(entries_max).expire_after(AtExpiry).build()
}

impl Written {
    /// Whether the keys come from the same place.
    fn same_source(&self, other: &Self) -> bool {
        self.issuer.jwks == other.issuer.jwks
            && self.files == other.files
            && self.development == other.development
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
