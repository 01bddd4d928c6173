//! An issuer of tokens by file, for what the mesh's own issuer does not do: its keys come and go while the edge looks on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dev::TokenRequest;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

/// Its `iss`.
pub const ISSUER: &str = "https://rotating.example";

/// See the module.
pub struct Keys {
    file: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: BTreeMap<String, EncodingKey>,
    signing: String,
}

impl Default for Keys {
    /// One key, "first", which signs.
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let keys = Self { file: folder.join("jwks.json"), known: Mutex::default() };
        keys.add("first");
        keys.sign_with("first");
        keys
    }
}

impl Keys {
    /// What makes the edge believe it.
    #[must_use]
    pub fn edge_toml(&self) -> String {
        format!(
            "[[authn.issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"causeway\"]\nalgorithms = [\"ES256\"]\n\
             jwks = {{ file = \"{}\", refresh_s = 1, cooldown_s = 1 }}\n",
            self.file.display()
        )
    }

    /// Publishes a new key.
    pub fn add(&self, kid: &str) {
        let pair = rcgen::KeyPair::generate().unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let mut known = self.known();
        known.keys.insert(kid.to_owned(), key);
        self.publish(&known);
    }

    /// Publishes a key no longer.
    pub fn remove(&self, kid: &str) {
        let mut known = self.known();
        known.keys.remove(kid);
        self.publish(&known);
    }

    /// Signs with this key from now on.
    pub fn sign_with(&self, kid: &str) {
        kid.clone_into(&mut self.known().signing);
    }

    /// A token of somebody without scopes.
    #[must_use]
    pub fn token(&self) -> String {
        let known = self.known();
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(known.signing.clone());
        let claims = TokenRequest::new("somebody").claims(ISSUER);
        jsonwebtoken::encode(&header, &claims, &known.keys[&known.signing]).unwrap()
    }

    fn publish(&self, known: &Known) {
        let jwk = |(kid, key): (&String, &EncodingKey)| {
            let mut jwk = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
            jwk.common.key_id = Some(kid.clone());
            jwk
        };
        let set = JwkSet { keys: known.keys.iter().map(jwk).collect() };
        // Whole or not at all, as a projected volume is written.
        let new = self.file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(&set).unwrap()).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
