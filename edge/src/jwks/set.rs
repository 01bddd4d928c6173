//! A key set as RFC 7517 writes it, and the choice of a key for a token. Keys that cannot be used are left aside and named to
//! the log; a set of which nothing can be used is refused, so that an issuer's mishap does not wipe out the keys we have.

use serde::Deserialize;

use super::key::{Algorithm, Jwk, Key, Unusable};

/// Issuers rotate among a handful of keys. The bound keeps the search for a key short whatever a source answers.
const KEYS_MAX: usize = 64;

/// The keys of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// The key for a token, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Key(&'a Key),
    /// Nobody has seen this key id: the issuer may have rotated.
    UnknownId,
    /// The id is known but is not a key for the algorithm, or the token names none and the choice is not clear.
    Unfit,
}

/// Why a document is no key set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("not a key set")]
    Malformed(#[source] serde_json::Error),
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
    #[error("none of its {count} keys can be used")]
    Nothing { count: usize },
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Parses a document. `aside` is told of each key that is not used.
    pub fn parse(bytes: &[u8], mut aside: impl FnMut(usize, Unusable)) -> Result<Self, SetError> {
        let document: Document = serde_json::from_slice(bytes).map_err(SetError::Malformed)?;
        let count = document.keys.len();
        if count > KEYS_MAX {
            return Err(SetError::TooMany);
        }
        let mut keys = Vec::with_capacity(count);
        for (index, value) in document.keys.into_iter().enumerate() {
            let key =
                serde_json::from_value::<Jwk>(value).map_err(|_| Unusable::Material).and_then(Key::try_from);
            match key {
                Ok(key) => keys.push(key),
                Err(why) => aside(index, why),
            }
        }
        if keys.is_empty() { Err(SetError::Nothing { count }) } else { Ok(Self { keys }) }
    }

    /// The key a token means. The id is compared as bytes and used for nothing else: it is never a path, a query or a URL.
    #[must_use]
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        let Some(id) = id else {
            // RFC 7515 section 4.1.4 makes the id optional; without one only a single possible key is a clear choice.
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Found::Key(key),
                _ => Found::Unfit,
            };
        };
        if let Some(key) = fitting.find(|key| key.id.as_deref() == Some(id)) {
            return Found::Key(key);
        }
        let known = self.keys.iter().any(|key| key.id.as_deref() == Some(id));
        if known { Found::Unfit } else { Found::UnknownId }
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
