//! What an issuer's rules make of a token: is it of the right kind, meant for us, alive, and whom does it speak of. Pure: the
//! clock is an argument. Called only with claims whose signature has been checked, but for [`Rules::head`], which decides with
//! which key to check it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::call::{Scopes, Subject};
use serde_json::{Map, Value};

use super::config::{Issuer, RequiredClaim};
use super::jws::Header;
use super::refusal::{Cause, Refusal};
use crate::jwks::Algorithm;

/// Identifiers are stamped into headers and printed in logs: bounded, and without control characters.
const IDENTIFIER_BYTES_MAX: usize = 256;
/// More scopes than any method could ask for.
const SCOPES_MAX: usize = 128;
/// The end of the year 9999: later instants are no dates but mistakes, and would overflow what computes with them.
const INSTANT_MAX: u64 = 253_402_300_799;

/// An issuer's rules.
#[derive(Clone, Debug)]
pub struct Rules {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    /// Lower case, without "application/".
    kinds: Vec<String>,
    customer_claim: String,
    scope_claim: String,
    leeway_s: u64,
    lifetime_s_max: u64,
    required: Vec<RequiredClaim>,
    /// Whether proofs of keys are taken.
    keys_bind: bool,
    must_bind: bool,
}

/// A token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub subject: Subject,
    /// From here on the token is refused: its expiry and the leeway.
    pub expires_at: SystemTime,
    /// What it may only come with.
    pub binding: Binding,
    /// Its `jti`.
    pub id: Option<String>,
}

/// What a token may only come with, by its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Whoever bears it may use it.
    None,
    /// A client certificate (RFC 8705 section 3.1).
    Certificate([u8; 32]),
    /// The key that a proof is signed with (RFC 9449 section 6.1).
    Key([u8; 32]),
}

impl From<&Issuer> for Rules {
    fn from(issuer: &Issuer) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            audiences: issuer.audiences.clone(),
            algorithms: issuer.algorithms.clone(),
            kinds: issuer.typ.iter().map(|kind| media_type(kind)).collect(),
            customer_claim: issuer.customer_claim.clone(),
            scope_claim: issuer.scope_claim.clone(),
            leeway_s: issuer.leeway_s,
            lifetime_s_max: issuer.lifetime_s_max,
            required: issuer.required_claims.clone(),
            keys_bind: issuer.dpop.is_some(),
            must_bind: issuer.dpop.as_ref().is_some_and(|dpop| dpop.required),
        }
    }
}

impl Rules {
    /// Whether a token names this issuer: equal character by character (RFC 8725 section 3.8).
    #[must_use]
    pub fn issued(&self, claims: &Map<String, Value>) -> bool {
        claims.get("iss").and_then(Value::as_str) == Some(self.issuer.as_str())
    }

    /// The algorithm to check with, if kind and algorithm are the issuer's.
    pub fn head(&self, header: &Header) -> Result<Algorithm, Cause> {
        let kind = header.kind.as_deref().map(media_type);
        if !kind.is_some_and(|kind| self.kinds.contains(&kind)) {
            return Err(Cause::Type);
        }
        let algorithm = Algorithm::of_name(&header.algorithm).ok_or(Cause::Algorithm)?;
        if self.algorithms.contains(&algorithm) { Ok(algorithm) } else { Err(Cause::Algorithm) }
    }

    /// What verified claims say at a moment.
    pub fn verify(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<Verified, Refusal> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.audience(claims)?;
        let expires = self.times(claims, now)?;
        if !self.required.iter().all(|required| met(required, claims)) {
            return Err(Cause::Claim.into());
        }
        Ok(Verified {
            subject: self.subject(claims)?,
            expires_at: UNIX_EPOCH + Duration::from_secs(expires),
            binding: self.binding(claims)?,
            id: identifier(claims.get("jti"))?,
        })
    }

    /// What an issuer has answered about a token that is no JWT (RFC 7662 section 2.2). It says less than a token would; what it
    /// does say must hold all the same, and audience, subject and expiry it must say.
    pub fn answered(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<Verified, Refusal> {
        match claims.get("active") {
            Some(Value::Bool(true)) => (),
            Some(Value::Bool(false)) => return Err(Cause::Inactive.into()),
            Some(_) | None => return Err(Refusal::IssuerUnavailable),
        }
        if claims.contains_key("iss") && !self.issued(claims) {
            return Err(Cause::Issuer.into());
        }
        self.verify(claims, now)
    }

    fn audience(&self, claims: &Map<String, Value>) -> Result<(), Cause> {
        let ours = |audience: &Value| {
            audience.as_str().is_some_and(|name| self.audiences.iter().any(|own| own == name))
        };
        let meant = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if meant { Ok(()) } else { Err(Cause::Audience) }
    }

    /// The second from which the token is refused.
    fn times(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Refusal> {
        let expiry = instant(claims, "exp")?.ok_or(Cause::Claim)?;
        let not_before = instant(claims, "nbf")?;
        let issued = instant(claims, "iat")?;
        let refused_from = expiry + self.leeway_s;
        if now >= refused_from {
            return Err(Refusal::TokenExpired);
        }
        if [not_before, issued].into_iter().flatten().any(|instant| instant > now + self.leeway_s) {
            return Err(Cause::NotYet.into());
        }
        // Without `iat` the token may have been issued just now, and not in the future.
        if expiry.saturating_sub(issued.unwrap_or(now)) > self.lifetime_s_max {
            return Err(Cause::Lifetime.into());
        }
        Ok(refused_from)
    }

    /// `cnf`: a confirmation that cannot be checked here makes the token useless, not free.
    fn binding(&self, claims: &Map<String, Value>) -> Result<Binding, Cause> {
        let Some(confirmation) = claims.get("cnf") else {
            return if self.must_bind { Err(Cause::Binding) } else { Ok(Binding::None) };
        };
        let confirmation = confirmation.as_object().ok_or(Cause::Claim)?;
        let mut members = confirmation.iter();
        let (Some((name, Value::String(text))), None) = (members.next(), members.next()) else {
            return Err(Cause::Binding);
        };
        match name.as_str() {
            "x5t#S256" => thumbprint(text).map(Binding::Certificate),
            "jkt" if self.keys_bind => thumbprint(text).map(Binding::Key),
            _ => Err(Cause::Binding),
        }
    }

    fn subject(&self, claims: &Map<String, Value>) -> Result<Subject, Cause> {
        Ok(Subject {
            issuer: self.issuer.clone(),
            id: identifier(claims.get("sub"))?.ok_or(Cause::Claim)?,
            customer_id: identifier(claims.get(&self.customer_claim))?,
            scopes: scopes(claims.get(&self.scope_claim))?,
        })
    }
}

/// Whether the claims have what the issuer's tokens must have.
fn met(required: &RequiredClaim, claims: &Map<String, Value>) -> bool {
    let one_of = |value: &Value| {
        value.as_str().is_some_and(|text| required.values.iter().any(|allowed| allowed == text))
    };
    match claims.get(&required.claim) {
        None | Some(Value::Null) => false,
        Some(_) if required.values.is_empty() => true,
        Some(Value::Array(several)) => several.iter().any(one_of),
        Some(one) => one_of(one),
    }
}

/// RFC 7515 section 4.1.9: "at+jwt" is short for "application/at+jwt", and media types have no case.
fn media_type(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("application/").map_or(name.clone(), str::to_owned)
}

/// A NumericDate. Whole seconds only: RFC 7519 allows fractions, no issuer sends them, and a float is a way to say 1e400.
fn instant(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Cause> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(instant) if instant <= INSTANT_MAX => Ok(Some(instant)),
            _ => Err(Cause::Claim),
        },
    }
}

fn identifier(claim: Option<&Value>) -> Result<Option<String>, Cause> {
    match claim {
        None => Ok(None),
        Some(Value::String(text)) => {
            let plain =
                (1..=IDENTIFIER_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
            if plain { Ok(Some(text.clone())) } else { Err(Cause::Claim) }
        }
        Some(_) => Err(Cause::Claim),
    }
}

/// A string of words (RFC 8693 section 4.2) or an array of them, as some issuers write `scp`.
fn scopes(claim: Option<&Value>) -> Result<Scopes, Cause> {
    let scopes: Vec<&str> = match claim {
        None => Vec::new(),
        Some(Value::String(text)) => text.split(' ').filter(|scope| !scope.is_empty()).collect(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().ok_or(Cause::Claim)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Cause::Claim),
    };
    // RFC 6749 section 3.3: visible ASCII without quotes and backslashes. A space inside an array's item would be two scopes.
    let well_formed = |scope: &&str| {
        !scope.is_empty()
            && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    if scopes.len() <= SCOPES_MAX && scopes.iter().all(well_formed) {
        Ok(scopes.into_iter().map(str::to_owned).collect())
    } else {
        Err(Cause::Claim)
    }
}

/// A SHA-256 in base64url.
fn thumbprint(text: &str) -> Result<[u8; 32], Cause> {
    let hash = URL_SAFE_NO_PAD.decode(text).map_err(|_| Cause::Claim)?;
    hash.try_into().map_err(|_| Cause::Claim)
}

#[cfg(test)]
mod tests;
