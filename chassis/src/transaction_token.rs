//! Transaction tokens (draft-ietf-oauth-transaction-tokens): how the edge tells a service who asks, so that nobody else can. A
//! token is a JWS of the edge's over a [`Caller`], for one workload and a few minutes. The service it was minted for hands it back
//! with a call onward, and the edge mints another with the name on that service's certificate and never a later expiry. So no
//! service can invent a subject, use a token that another was given, or outlive what the subject brought.
//!
//! How a caller crosses the wire is known to this module alone. The keys are [`keys`]'; a token that was verified once is
//! remembered as long as it and its keys live.

mod claims;
mod keys;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use moka::sync::Cache;

use crate::call::Caller;
use crate::drain::Drain;
use crate::error::{Failure, Kind};
use claims::{Claims, Header};
use keys::KeyFile;

pub use keys::{generate, public_half};

/// The field a token travels in, as the draft names it.
pub const TXN_TOKEN: &str = "txn-token";

/// How far the clocks of two machines of one mesh may be apart.
const LEEWAY: Duration = Duration::from_secs(5);
/// Verified tokens a process remembers, at about a kilobyte each.
const REMEMBERED_MAX: u64 = 20_000;
/// Longer than any token lives, so that what nobody asks for again does not lie in memory for ever.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// A token of the most scopes a subject may have fits.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Mints tokens. Clones share the keys.
#[derive(Clone, Debug)]
pub struct Signer {
    issuer: Arc<str>,
    lifetime: Duration,
    keys: Arc<KeyFile>,
}

/// A token and when to make another.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The value of [`TXN_TOKEN`].
    pub value: HeaderValue,
    /// From here on nobody believes it.
    pub expires_at: SystemTime,
    /// From here on it should not be used for another request: what is left would be too short for one.
    pub renew_at: SystemTime,
}

impl Signer {
    /// A signer with the keys of a PEM file: the first private key signs, all are believed on the way back. Tokens live for
    /// `lifetime`, if what they were minted for does. Without a file it makes up a key that nobody else knows: enough where no
    /// service behind asks who calls.
    ///
    /// # Errors
    /// One line naming the file and what is wrong with it.
    pub fn load(path: Option<&Path>, trust_domain: &str, lifetime: Duration) -> anyhow::Result<Self> {
        let keys = match path {
            Some(path) => KeyFile::load(path)?,
            None => KeyFile::of_pem(generate()?.as_bytes())?,
        };
        anyhow::ensure!(keys.current().signing.is_some(), "{keys}: there is no private key to sign with");
        Ok(Self { issuer: issuer(trust_domain).into(), lifetime, keys: Arc::new(keys) })
    }

    /// Follows the file until the drain.
    pub fn watch(&self, drain: &Drain) {
        Arc::clone(&self.keys).watch(drain, |keys| keys.signing.is_some());
    }

    /// A token that says to `audience` that `caller` asks, at the longest until `not_after`.
    ///
    /// # Errors
    /// When the caller cannot be written; its parts are text, so that this does not happen.
    pub fn mint(
        &self,
        caller: &Caller,
        audience: &str,
        now: SystemTime,
        not_after: Option<SystemTime>,
    ) -> Result<Minted, TokenError> {
        let lasting = now + self.lifetime;
        let expires_at = not_after.map_or(lasting, |end| end.min(lasting));
        let claims = Claims::new(&self.issuer, audience, caller, seconds(now), seconds(expires_at));
        let keys = self.keys.current();
        let key = keys.signing.as_ref().ok_or(TokenError::Malformed)?;
        let mut text = String::with_capacity(512);
        let header = serde_json::to_vec(&Header::new(&key.id)).map_err(|_| TokenError::Malformed)?;
        let claims = serde_json::to_vec(&claims).map_err(|_| TokenError::Malformed)?;
        URL_SAFE_NO_PAD.encode_string(header, &mut text);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut text);
        let signature = key.pair.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
        let value = HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| TokenError::Malformed)?;
        let renew_at = (now + self.lifetime / 2).min(expires_at);
        Ok(Minted { value, expires_at, renew_at })
    }

    /// Verifies what this signer has minted, or another of the same keys.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier::new(&self.issuer, Arc::clone(&self.keys))
    }
}

/// Verifies tokens. Clones share the keys and what was verified.
#[derive(Clone, Debug)]
pub struct Verifier {
    issuer: Arc<str>,
    keys: Arc<KeyFile>,
    /// By the whole token: one that differs in a bit is another token.
    verified: Cache<HeaderValue, Arc<Verified>>,
}

/// What a token says.
#[derive(Debug)]
pub struct Verified {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// From here on the token is not believed.
    pub expires_at: SystemTime,
    audience: String,
    /// The keys it was verified with: a key that is taken away takes its tokens along.
    generation: u64,
}

impl Verifier {
    fn new(issuer: &Arc<str>, keys: Arc<KeyFile>) -> Self {
        let verified = Cache::builder().max_capacity(REMEMBERED_MAX).time_to_idle(FORGOTTEN_AFTER).build();
        Self { issuer: Arc::clone(issuer), keys, verified }
    }

    /// A verifier with the public keys of a PEM file.
    ///
    /// # Errors
    /// One line naming the file and what is wrong with it; a private key in it is wrong, because with it every reader could mint.
    pub fn load(path: &Path, trust_domain: &str) -> anyhow::Result<Self> {
        let keys = KeyFile::load(path).context("the keys of the edge's tokens")?;
        anyhow::ensure!(
            keys.current().signing.is_none(),
            "{keys}: holds a private key, which belongs to the edge alone"
        );
        Ok(Self::new(&issuer(trust_domain).into(), Arc::new(keys)))
    }

    /// Follows the file until the drain.
    pub fn watch(&self, drain: &Drain) {
        Arc::clone(&self.keys).watch(drain, |keys| keys.signing.is_none());
    }

    /// Who asks, from the one token among `headers`, minted for `audience`.
    ///
    /// # Errors
    /// When there is no token, or none that can be believed at this moment.
    pub fn of(
        &self,
        headers: &HeaderMap,
        audience: &str,
        now: SystemTime,
    ) -> Result<Arc<Verified>, TokenError> {
        let mut values = headers.get_all(TXN_TOKEN).iter();
        let value = values.next().ok_or(TokenError::Missing)?;
        // Two answers to one question are a smuggling attempt or a bug.
        if values.next().is_some() {
            return Err(TokenError::Malformed);
        }
        self.verify(value, audience, now)
    }

    /// What a token says, if it was minted for `audience`.
    ///
    /// # Errors
    /// When it cannot be believed at this moment.
    pub fn verify(
        &self,
        value: &HeaderValue,
        audience: &str,
        now: SystemTime,
    ) -> Result<Arc<Verified>, TokenError> {
        let generation = self.keys.current().generation;
        let remembered = self.verified.get(value).filter(|verified| verified.generation == generation);
        let verified = match remembered {
            Some(verified) => verified,
            None => {
                let verified = Arc::new(self.read(value, now)?);
                self.verified.insert(value.clone(), Arc::clone(&verified));
                verified
            }
        };
        if now >= verified.expires_at + LEEWAY {
            return Err(TokenError::Expired);
        }
        if verified.audience != audience {
            return Err(TokenError::Audience);
        }
        Ok(verified)
    }

    fn read(&self, value: &HeaderValue, now: SystemTime) -> Result<Verified, TokenError> {
        let text = value.to_str().map_err(|_| TokenError::Malformed)?;
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header = decode(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        if !header.is_ours() {
            return Err(TokenError::Malformed);
        }
        let keys = self.keys.current();
        let key = keys.find(&header.kid).ok_or(TokenError::Key)?;
        key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| TokenError::Key)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
        if *claims.iss != *self.issuer {
            return Err(TokenError::Issuer);
        }
        // Not before: the edge's clock is ahead by more than clocks may be apart.
        if UNIX_EPOCH + Duration::from_secs(claims.iat) > now + LEEWAY {
            return Err(TokenError::Expired);
        }
        let expires_at = UNIX_EPOCH + Duration::from_secs(claims.exp);
        let audience = claims.aud.clone();
        let caller = Arc::new(claims.into_caller()?);
        Ok(Verified { caller, expires_at, audience, generation: keys.generation })
    }
}

/// The edge as an issuer: its SPIFFE id. Another trust domain has another edge.
fn issuer(trust_domain: &str) -> String {
    format!("spiffe://{trust_domain}/edge")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("the request carries no transaction token")]
    Missing,
    /// Not a token of this mesh at all.
    #[error("the transaction token is malformed")]
    Malformed,
    /// Signed by nobody who may.
    #[error("the transaction token is not signed by the edge")]
    Key,
    /// Of another trust domain.
    #[error("the transaction token is of another trust domain")]
    Issuer,
    /// Its time is over, or has not come.
    #[error("the transaction token is not valid at this time")]
    Expired,
    /// Minted for another workload.
    #[error("the transaction token was not minted for this workload")]
    Audience,
}

impl Failure for TokenError {
    const DOMAIN: &'static str = "causeway";

    fn kind(&self) -> Kind {
        match self {
            Self::Missing | Self::Malformed | Self::Key | Self::Issuer | Self::Expired | Self::Audience => {
                Kind::Unauthenticated
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "TRANSACTION_TOKEN_MISSING",
            Self::Malformed | Self::Key | Self::Issuer | Self::Expired | Self::Audience => {
                "TRANSACTION_TOKEN_INVALID"
            }
        }
    }
}

#[cfg(test)]
mod tests;
