//! One public key of an issuer and the check of a signature under it. ring does the arithmetic: it is the process's one crypto
//! provider anyway, and on the machine this was written on checks an ES256 signature in 51 us, where `jsonwebtoken` with its
//! pure Rust backend takes 328 us. What would be left for that crate, parsing, has to be stricter here than it is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// A signature algorithm of RFC 7518 or RFC 8037. There is no `none` and no HMAC in this type, so neither can be configured,
/// named by a token or reached by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Algorithm {
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
}

impl Algorithm {
    /// By the exact name of the JOSE registry. RFC 9864 calls EdDSA over Curve25519 "Ed25519".
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static signature::RsaParameters> {
        Some(match self {
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Es256 | Self::Es384 | Self::EdDsa => return None,
        })
    }
}

/// A public key with the id and the algorithm its issuer gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) id: Option<String>,
    algorithm: Option<Algorithm>,
    public: Public,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Public {
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// A key as RFC 7517 writes it; members that mean nothing here are left aside.
#[derive(Debug, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde::de::IgnoredAny>,
    k: Option<serde::de::IgnoredAny>,
}

/// Why a key of a set is left aside. The set's other keys are used all the same (RFC 7517 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("not a key for checking signatures")]
    Purpose,
    #[error("the key type, curve or algorithm is not supported")]
    Unsupported,
    #[error("the private half is published with it, so it proves nothing")]
    Private,
    #[error("the key material is malformed or too weak")]
    Material,
}

/// RSA moduli: NIST SP 800-131A asks for 2048 bits, ring checks up to 8192.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

impl TryFrom<Jwk> for Key {
    type Error = Unusable;

    fn try_from(jwk: Jwk) -> Result<Self, Unusable> {
        if jwk.d.is_some() || jwk.k.is_some() || jwk.kty == "oct" {
            return Err(Unusable::Private);
        }
        let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || !verifies {
            return Err(Unusable::Purpose);
        }
        let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => Public::P256(point(&jwk, 32)?),
            ("EC", Some("P-384")) => Public::P384(point(&jwk, 48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(exactly(jwk.x.as_deref(), 32)?),
            ("RSA", _) => rsa(&jwk)?,
            _ => return Err(Unusable::Unsupported),
        };
        let algorithm = match jwk.alg.as_deref() {
            Some(name) => Some(Algorithm::of_name(name).ok_or(Unusable::Unsupported)?),
            None => None,
        };
        let key = Self { id: jwk.kid, algorithm: None, public };
        if algorithm.is_some_and(|algorithm| !key.fits(algorithm)) {
            return Err(Unusable::Unsupported);
        }
        Ok(Self { algorithm, ..key })
    }
}

impl Key {
    /// A public key that stands by itself, as a client writes its own.
    pub fn from_jwk(jwk: serde_json::Value) -> Result<Self, Unusable> {
        serde_json::from_value::<Jwk>(jwk).map_err(|_| Unusable::Material)?.try_into()
    }

    /// SHA-256 of what the key is, in the one spelling of RFC 7638.
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
        };
        let canonical = match &self.public {
            Public::P256(bytes) => point("P-256", bytes),
            Public::P384(bytes) => point("P-384", bytes),
            Public::Ed25519(bytes) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(bytes)),
            Public::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, canonical.as_bytes()).as_ref());
        hash
    }

    /// Whether the key is one for the algorithm, and its issuer meant it for no other.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match self.public {
            Public::P256(_) => algorithm == Algorithm::Es256,
            Public::P384(_) => algorithm == Algorithm::Es384,
            Public::Ed25519(_) => algorithm == Algorithm::EdDsa,
            Public::Rsa { .. } => algorithm.rsa().is_some(),
        };
        kind && self.algorithm.is_none_or(|declared| declared == algorithm)
    }

    /// Whether `signature` over `signed` is this key's. A key of another kind than the algorithm's verifies nothing.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let verified =
            match &self.public {
                Public::P256(point) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(signed, signature),
                Public::P384(point) => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)
                    .verify(signed, signature),
                Public::Ed25519(point) => {
                    UnparsedPublicKey::new(&signature::ED25519, point).verify(signed, signature)
                }
                Public::Rsa { n, e } => match algorithm.rsa() {
                    Some(parameters) => RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature),
                    None => return false,
                },
            };
        verified.is_ok()
    }
}

fn point(jwk: &Jwk, bytes: usize) -> Result<Vec<u8>, Unusable> {
    // SEC 1 section 2.3.3: an uncompressed point is 4, x, y.
    let mut point = vec![4];
    point.extend(exactly(jwk.x.as_deref(), bytes)?);
    point.extend(exactly(jwk.y.as_deref(), bytes)?);
    Ok(point)
}

fn rsa(jwk: &Jwk) -> Result<Public, Unusable> {
    let n = decoded(jwk.n.as_deref())?;
    let e = decoded(jwk.e.as_deref())?;
    // A leading zero would count a short modulus as a long one, and be a second spelling of the same key.
    let strong = RSA_BYTES.contains(&n.len())
        && n.first().is_some_and(|byte| *byte != 0)
        && (1..=8).contains(&e.len())
        && e.first().is_some_and(|byte| *byte != 0);
    if strong { Ok(Public::Rsa { n, e }) } else { Err(Unusable::Material) }
}

fn exactly(text: Option<&str>, bytes: usize) -> Result<Vec<u8>, Unusable> {
    let value = decoded(text)?;
    if value.len() == bytes { Ok(value) } else { Err(Unusable::Material) }
}

fn decoded(text: Option<&str>) -> Result<Vec<u8>, Unusable> {
    URL_SAFE_NO_PAD.decode(text.ok_or(Unusable::Material)?).map_err(|_| Unusable::Material)
}
