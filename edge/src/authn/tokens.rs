//! Verified tokens: the issuers with their rules and keys, and the memory of what they have vouched for. The memory is bounded,
//! keyed by a hash of the whole token (a token that differs in one bit is another token), and forgets at expiry and whenever
//! the issuer's keys change, so that a removed key takes its tokens along. A token that was taken back is looked for each time.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use chassis::call::{Caller, Principal};
use chassis::drain::Drain;
use chassis::transaction_token::Signer;
use http::header::AUTHORIZATION;
use moka::Expiry;
use moka::sync::Cache;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::{Map, Value};

use super::Authenticated;
use super::claims::{Binding, Rules, Verified};
use super::config::{self, Config, ConfigError};
use super::credentials::{self, Asked, Scheme};
use super::introspection::{self, Introspector, is_opaque};
use super::jws::{self, Jws};
use super::memory::Memory;
use super::peer::sha256;
use super::proof;
use super::refusal::{Cause, Refusal};
use super::revocation::{Revocations, TokenId};
use crate::files;
use crate::jwks::{self, Algorithm, Found, Keys};

/// The issuers and what they have vouched for.
pub struct Tokens {
    signer: Signer,
    issuers: Vec<Arc<Issuer>>,
    verified: Cache<[u8; 32], Arc<Token>>,
    verified_max: u64,
    /// What was taken back.
    pub revocations: Arc<Revocations>,
    proofs: Arc<proof::Seen>,
    bounds: Bounds,
    counts: Counts,
    key_metrics: jwks::Metrics,
    asking_counts: introspection::Counts,
}

/// What of a configuration bounds memories that outlive it.
#[derive(Clone, Copy)]
struct Bounds {
    revocations_max: usize,
    proofs_max: usize,
    /// The longest that any issuer takes proofs for.
    window_s: u64,
}

struct Issuer {
    rules: Rules,
    keys: Option<Arc<Keys>>,
    introspection: Option<Asking>,
    proofs: Option<proof::Rules>,
    written: Written,
}

/// Asks an issuer, and keeps what it says for so long.
struct Asking {
    introspector: Introspector,
    ttl: Duration,
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
    /// What it may only come with.
    pub binding: Binding,
    /// SHA-256 of the token as it came.
    hash: [u8; 32],
    /// From here on it is judged anew: its expiry, or earlier for one that its issuer was asked about.
    good_until: SystemTime,
    /// Who vouched for it, and with which keys. A token does not keep its issuer alive: of one that is configured no more, or
    /// differently, it is worth nothing.
    issuer: Weak<Issuer>,
    generation: u64,
    /// From the moment of verification to then.
    pub(super) lives: Duration,
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
            revocations: Arc::new(Revocations::new(config.revocations_max, metrics)),
            proofs: Arc::default(),
            bounds: Bounds::from(config),
            counts: Counts::register(metrics),
            key_metrics: jwks::Metrics::register(metrics),
            asking_counts: introspection::Counts::register(metrics),
        };
        none.proofs.bound(none.bounds.proofs_max, none.bounds.window_s);
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
            let keys = match (known.filter(|known| known.written.same_source(&written)), &issuer.jwks) {
                (Some(known), _) => known.keys.clone(),
                (None, Some(source)) => {
                    let keys =
                        Keys::start(&issuer.issuer, source, config.development, drain, &self.key_metrics)
                            .await;
                    let failed = |source| ConfigError::Keys { issuer: issuer.issuer.clone(), source };
                    Some(Arc::new(keys.map_err(failed)?))
                }
                (None, None) => None,
            };
            let introspection = match &issuer.introspection {
                Some(asked) => {
                    Some(Asking::new(&issuer.issuer, asked, config.development, &self.asking_counts)?)
                }
                None => None,
            };
            let proofs = issuer.dpop.as_ref().map(proof::Rules::from);
            let rules = Rules::from(issuer);
            issuers.push(Arc::new(Issuer { rules, keys, introspection, proofs, written }));
        }
        let verified_max = config.token_cache_entries_max;
        let verified =
            if verified_max == self.verified_max { self.verified.clone() } else { remembering(verified_max) };
        Ok(Self {
            signer: self.signer.clone(),
            issuers,
            verified,
            verified_max,
            revocations: Arc::clone(&self.revocations),
            proofs: Arc::clone(&self.proofs),
            bounds: Bounds::from(config),
            counts: self.counts.clone(),
            key_metrics: self.key_metrics.clone(),
            asking_counts: self.asking_counts.clone(),
        })
    }

    /// Comes into force in the place of `old`: bounds what both remember, and forgets the numbers of issuers that only `old` had.
    pub fn forget(&self, old: &Self) {
        self.revocations.bound(self.bounds.revocations_max);
        self.proofs.bound(self.bounds.proofs_max, self.bounds.window_s);
        let names = |tokens: &Self| {
            tokens.issuers.iter().map(|issuer| issuer.written.issuer.issuer.clone()).collect::<Vec<_>>()
        };
        let current = names(self);
        for gone in names(old).iter().filter(|name| !current.contains(name)) {
            self.key_metrics.forget(gone);
        }
    }

    /// Believes or refuses the token of a request, if it has one. How it was shown, and whether it may be, is the caller's to see.
    pub async fn of(
        &self,
        asked: Asked<'_>,
        memory: &Memory,
        now: SystemTime,
    ) -> Result<Option<(Scheme, Arc<Token>)>, Refusal> {
        let mut values = asked.headers.get_all(AUTHORIZATION).iter();
        if let (Some(value), None) = (values.next(), values.next())
            && let Some((scheme, token)) = memory.recall(value)
            && self.holds(&token, now)?
        {
            self.counts.remembered.inc();
            return Ok(Some((scheme, token)));
        }
        let Some(shown) = credentials::read(asked.headers)? else { return Ok(None) };
        let token = self.verify(shown.token, now).await?;
        if let Some(value) = asked.headers.get(AUTHORIZATION) {
            memory.keep(value, shown.scheme, &token);
        }
        Ok(Some((shown.scheme, token)))
    }

    /// Checks the proof that a request brings for its token, which names `key`.
    pub fn proven(
        &self,
        asked: Asked<'_>,
        token: &Token,
        key: &[u8; 32],
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let issuer = token.issuer.upgrade().ok_or(Cause::Issuer)?;
        let rules = issuer.proofs.as_ref().ok_or(Cause::Binding)?;
        rules.check(asked, &token.hash, key, &self.proofs, now)
    }

    /// Believes or refuses a token. Without waiting when it is remembered or its key is known.
    async fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Token>, Refusal> {
        // Before anything that costs by the byte.
        if token.len() > jws::BYTES_MAX {
            self.counts.refused.inc();
            return Err(Cause::Malformed.into());
        }
        let hash = sha256(token.as_bytes());
        if let Some(token) = self.verified.get(&hash)
            && self.holds(&token, now)?
        {
            self.counts.remembered.inc();
            return Ok(token);
        }
        // Boxed: the rare path must not make every request's future as large as its own.
        let judged = Box::pin(async {
            if is_opaque(token)
                && let Some((issuer, asking)) = self.asking()
            {
                return self.asked(issuer, asking, hash, token, now).await;
            }
            let token = Arc::new(self.judge(token, hash, now).await?);
            self.verified.insert(hash, Arc::clone(&token));
            Ok(token)
        });
        match judged.await.and_then(|token| token.unless_revoked()) {
            Ok(token) => {
                self.counts.verified.inc();
                Ok(token)
            }
            Err(refusal) => {
                self.counts.refused.inc();
                Err(refusal)
            }
        }
    }

    /// Whether a token that was verified once is still good: it has not expired, its issuer is believed by the rules it was
    /// verified under, and that issuer's keys are the same. One that was taken back is refused without another look at its
    /// signature.
    fn holds(&self, token: &Token, now: SystemTime) -> Result<bool, Refusal> {
        if !self.is_current(token, now) {
            return Ok(false);
        }
        if token.is_revoked() {
            self.counts.refused.inc();
            return Err(Refusal::TokenRevoked);
        }
        Ok(true)
    }

    fn is_current(&self, token: &Token, now: SystemTime) -> bool {
        // A Weak keeps its allocation, so that equal addresses mean the same issuer and not a later one in its place.
        let vouched = |issuer: &&Arc<Issuer>| std::ptr::eq(Arc::as_ptr(issuer), token.issuer.as_ptr());
        let unchanged = |issuer: &Arc<Issuer>| issuer.generation() == token.generation;
        token.good_until > now && self.issuers.iter().find(vouched).is_some_and(unchanged)
    }

    async fn judge(&self, token: &str, hash: [u8; 32], now: SystemTime) -> Result<Token, Refusal> {
        let jws = Jws::parse(token)?;
        let issuer =
            self.issuers.iter().find(|issuer| issuer.rules.issued(&jws.claims)).ok_or(Cause::Issuer)?;
        let algorithm = issuer.rules.head(&jws.header)?;
        let generation = issuer.signed(&jws, algorithm).await?;
        let verified = issuer.rules.verify(&jws.claims, now)?;
        let good_until = verified.expires_at;
        Ok(self.token(issuer, generation, hash, verified, good_until, now))
    }

    /// The issuer that is asked about tokens that do not say whose they are.
    fn asking(&self) -> Option<(&Arc<Issuer>, &Asking)> {
        self.issuers.iter().find_map(|issuer| Some((issuer, issuer.introspection.as_ref()?)))
    }

    async fn asked(
        &self,
        issuer: &Arc<Issuer>,
        asking: &Asking,
        hash: [u8; 32],
        token: &str,
        now: SystemTime,
    ) -> Result<Arc<Token>, Refusal> {
        let judge = |answer: &Map<String, Value>| {
            let verified = issuer.rules.answered(answer, now)?;
            let good_until = verified.expires_at.min(now + asking.ttl);
            Ok(self.token(issuer, issuer.generation(), hash, verified, good_until, now))
        };
        asking.introspector.of(hash, token, judge, |token| self.is_current(token, now)).await
    }

    fn token(
        &self,
        issuer: &Arc<Issuer>,
        generation: u64,
        hash: [u8; 32],
        verified: Verified,
        good_until: SystemTime,
        now: SystemTime,
    ) -> Token {
        let id = verified.id.map(|jti| TokenId::new(&verified.subject.issuer, &jti));
        let caller = Caller { principal: Principal::Subject(verified.subject), service: None };
        let mut authenticated = Authenticated::new(&self.signer, Arc::new(caller), Some(verified.expires_at));
        authenticated.credentials.token = id.map(|id| self.revocations.revocable(id));
        Token {
            authenticated,
            binding: verified.binding,
            hash,
            good_until,
            issuer: Arc::downgrade(issuer),
            generation,
            lives: good_until.duration_since(now).unwrap_or(Duration::ZERO),
        }
    }
}

impl Token {
    fn is_revoked(&self) -> bool {
        self.authenticated.credentials.token.as_ref().is_some_and(|token| token.is_revoked())
    }

    fn unless_revoked(self: Arc<Self>) -> Result<Arc<Self>, Refusal> {
        if self.is_revoked() { Err(Refusal::TokenRevoked) } else { Ok(self) }
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

impl From<&Config> for Bounds {
    fn from(config: &Config) -> Self {
        let windows = config.issuers.iter().filter_map(|issuer| Some(issuer.dpop.as_ref()?.window_s));
        Self {
            revocations_max: config.revocations_max,
            proofs_max: config.proofs_max,
            window_s: windows.max().unwrap_or_default(),
        }
    }
}

impl Asking {
    fn new(
        issuer: &str,
        config: &config::Introspection,
        development: bool,
        counts: &introspection::Counts,
    ) -> Result<Self, ConfigError> {
        let introspector = Introspector::new(issuer, config, development, counts.clone())?;
        Ok(Self { introspector, ttl: Duration::from_secs(config.ttl_s) })
    }
}

impl Issuer {
    /// Rises whenever the keys change.
    fn generation(&self) -> u64 {
        self.keys.as_ref().map_or(0, |keys| keys.current().generation)
    }

    /// Checks the signature; says under which generation of keys it held. An unknown key id is worth one look at the source.
    async fn signed(&self, jws: &Jws<'_>, algorithm: Algorithm) -> Result<u64, Refusal> {
        let keys = self.keys.as_ref().ok_or(Cause::Key)?;
        let mut may_ask = true;
        loop {
            {
                let current = keys.current();
                match current.set.find(jws.header.key_id.as_deref(), algorithm) {
                    Found::Key(key) if key.verifies(algorithm, jws.signed, &jws.signature) => {
                        return Ok(current.generation);
                    }
                    Found::Key(_) => return Err(Cause::Signature.into()),
                    Found::Unfit if !current.set.is_empty() => return Err(Cause::Key.into()),
                    Found::Unfit | Found::UnknownId => (),
                }
            }
            if may_ask && keys.refetched().await {
                may_ask = false;
                continue;
            }
            // Without any key nothing is known against the token: the client may come again.
            let none = keys.current().set.is_empty();
            return Err(if none { Refusal::KeysUnavailable } else { Cause::Key.into() });
        }
    }
}

impl Counts {
    fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let tokens = Family::<Labels, Counter>::default();
        metrics.register("authn_tokens", "Tokens seen, by what became of them", tokens.clone());
        // Resolved once: a family looks its labels up under a lock.
        let count = |result| tokens.get_or_create(&Labels { result }).clone();
        Self { remembered: count("remembered"), verified: count("verified"), refused: count("refused") }
    }
}
