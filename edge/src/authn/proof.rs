//! Proofs of possession (DPoP, RFC 9449): a client without a certificate shows with each request that it holds the key its token
//! is bound to. A proof is a small JWT signed with that key, made for one method, one URL and one token, and taken once.
//!
//! Nothing is taken from the proof on its own word: its key counts only because the token names it, and its URL is compared with
//! where clients are told to find this edge, not with the Host of the request. [`seen`] remembers proofs. It is one edge's memory:
//! a proof that is stolen within its window could be shown once to each other replica, for the same request and no other.

mod seen;

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HeaderName;
use http::uri::{Scheme, Uri};
use serde_json::{Map, Value};

use super::config;
use super::credentials::Asked;
use super::jws::Jws;
use super::refusal::{ProofCause, Refusal};
use crate::jwks::{Algorithm, Key};

pub use seen::Seen;

const DPOP: HeaderName = HeaderName::from_static("dpop");
/// What proofs may be signed with. Elliptic curves only: whoever sends a request chooses the key, and with it the work.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
/// [`ALGORITHMS`] as a challenge lists them.
pub const ALGORITHM_NAMES: &str = "ES256 ES384 EdDSA";
/// The longest `jti`. It is only hashed.
const ID_BYTES_MAX: usize = 256;

/// What one issuer's tokens ask of proofs.
#[derive(Debug)]
pub struct Rules {
    origins: Vec<Origin>,
    window_s: u64,
}

/// Scheme, host and port of a URL, normalised (RFC 3986 section 6.2).
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl From<&config::DPoP> for Rules {
    fn from(config: &config::DPoP) -> Self {
        let origins = config.origins.iter().filter_map(|origin| Origin::of(&origin.parse().ok()?));
        Self { origins: origins.collect(), window_s: config.window_s }
    }
}

impl Rules {
    /// Checks the proof that came with a request. `token` is the SHA-256 of the token, `key` the thumbprint it names.
    pub fn check(
        &self,
        asked: Asked<'_>,
        token: &[u8; 32],
        key: &[u8; 32],
        seen: &Seen,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut headers = asked.headers.get_all(DPOP).iter();
        let (Some(proof), None) = (headers.next(), headers.next()) else {
            return Err(ProofCause::Header.into());
        };
        let proof = proof.to_str().map_err(|_| ProofCause::Malformed)?;
        let proof = Jws::parse(proof).map_err(|_| ProofCause::Malformed)?;
        if !proof.header.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("dpop+jwt")) {
            return Err(ProofCause::Type.into());
        }
        let algorithm = Algorithm::of_name(&proof.header.algorithm).ok_or(ProofCause::Key)?;
        if !ALGORITHMS.contains(&algorithm) {
            return Err(ProofCause::Key.into());
        }
        let own = Key::from_jwk(proof.jwk.ok_or(ProofCause::Key)?).map_err(|_| ProofCause::Key)?;
        // First what is cheap: a signature is checked only if everything else is right.
        if own.thumbprint() != *key {
            return Err(ProofCause::Binding.into());
        }
        let id = self.claims(&proof.claims, asked, token, now)?;
        if !own.fits(algorithm) {
            return Err(ProofCause::Key.into());
        }
        if !own.verifies(algorithm, proof.signed, &proof.signature) {
            return Err(ProofCause::Signature.into());
        }
        // Last of all: only a proof that holds is worth remembering.
        seen.take(key, id, now)
    }

    /// Checks what a proof says it is for; returns its id.
    fn claims<'c>(
        &self,
        claims: &'c Map<String, Value>,
        asked: Asked<'_>,
        token: &[u8; 32],
        now: u64,
    ) -> Result<&'c str, ProofCause> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(ProofCause::Claim);
        if text("htm")? != asked.method.as_str() || !self.aims_at(text("htu")?, asked.uri) {
            return Err(ProofCause::Target);
        }
        let made = claims.get("iat").and_then(Value::as_u64).ok_or(ProofCause::Claim)?;
        if now.abs_diff(made) > self.window_s {
            return Err(ProofCause::Time);
        }
        if text("ath")? != URL_SAFE_NO_PAD.encode(token) {
            return Err(ProofCause::Token);
        }
        let id = text("jti")?;
        if (1..=ID_BYTES_MAX).contains(&id.len()) { Ok(id) } else { Err(ProofCause::Claim) }
    }

    fn aims_at(&self, target: &str, uri: &Uri) -> bool {
        // RFC 9449 section 4.3 (9): query and fragment are left aside.
        let Ok(target) = target.parse::<Uri>() else { return false };
        let ours = Origin::of(&target).is_some_and(|origin| self.origins.contains(&origin));
        ours && normalised(target.path()) == normalised(uri.path())
    }
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let secure = uri.scheme()? == &Scheme::HTTPS;
        let authority = uri.authority()?;
        let known = secure || uri.scheme()? == &Scheme::HTTP;
        if !known || authority.as_str().contains('@') {
            return None;
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Some(Self { secure, host: authority.host().to_ascii_lowercase(), port })
    }
}

/// Whether a text is an origin that proofs may be made for. `development` lets it be plain HTTP.
pub fn is_origin(text: &str, development: bool) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains('#');
    bare && Origin::of(&uri).is_some_and(|origin| origin.secure || development)
}

/// A path in which nothing is encoded that need not be, and the rest in capitals (RFC 3986 section 6.2.2).
fn normalised(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match byte {
            Some(byte) => {
                let character = char::from(byte);
                if character.is_ascii_alphanumeric() || "-._~".contains(character) {
                    plain.push(character);
                } else {
                    plain.push_str(&format!("%{byte:02X}"));
                }
                &after[2..]
            }
            None => {
                plain.push('%');
                after
            }
        };
    }
    plain.push_str(rest);
    plain.into()
}

#[cfg(test)]
mod tests;
