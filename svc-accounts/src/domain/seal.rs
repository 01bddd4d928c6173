//! Keyed marks: what stands in the table in the place of what must not be read there. An email address, a request's scope
//! and its body become marks, because a plain digest of an address is found by guessing. One key, one mark space for each
//! purpose. The key is never changed alone: every email and every request would become unknown.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The key is shorter than the digest it keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key must have at least {min} bytes", min = Seal::KEY_BYTES_MIN)]
pub struct ShortKey;

/// What a mark is for. Marks of different purposes never meet, whatever they cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A folded email address, for uniqueness.
    Email,
    /// A principal and its request id, for idempotency.
    Request,
    /// A field of a request's body, to notice a changed one.
    Field,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Email => b"causeway/accounts/email",
            Self::Request => b"causeway/accounts/request",
            Self::Field => b"causeway/accounts/field",
        }
    }
}

/// Makes and checks marks: HMAC-SHA-256.
#[derive(Clone)]
pub struct Seal(Hmac<Sha256>);

impl Seal {
    /// RFC 2104, 3: a key shorter than the digest weakens it.
    pub const KEY_BYTES_MIN: usize = 32;

    /// Takes the key.
    pub fn new(key: &[u8]) -> Result<Self, ShortKey> {
        if key.len() < Self::KEY_BYTES_MIN {
            return Err(ShortKey);
        }
        Hmac::new_from_slice(key).map(Self).map_err(|_| ShortKey)
    }

    /// A mark as text: 43 characters of base64url.
    pub fn mark(&self, purpose: Purpose, parts: &[&[u8]]) -> String {
        URL_SAFE_NO_PAD.encode(self.keyed(purpose, parts).finalize().into_bytes())
    }

    /// Each part goes in with its length, so that no two lists of parts read the same.
    fn keyed(&self, purpose: Purpose, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in std::iter::once(&purpose.label()).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(Seal::new(&[7; 31]).err(), Some(ShortKey));
        assert!(Seal::new(&[7; 32]).is_ok());
    }

    #[test]
    fn marks_differ_by_key_purpose_and_parts() {
        let seal = Seal::new(&[7; 32]).expect("long enough");
        let mark = seal.mark(Purpose::Email, &[b"a", b"bc"]);
        assert_eq!(mark.len(), 43);
        assert_eq!(mark, seal.mark(Purpose::Email, &[b"a", b"bc"]));
        assert_ne!(mark, seal.mark(Purpose::Email, &[b"ab", b"c"]), "parts do not run into one another");
        assert_ne!(mark, seal.mark(Purpose::Request, &[b"a", b"bc"]));
        let other = Seal::new(&[8; 32]).expect("long enough");
        assert_ne!(mark, other.mark(Purpose::Email, &[b"a", b"bc"]));
    }
}
