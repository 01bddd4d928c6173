//! The secrets of a mesh: random, made once, one file each, readable by the owner only. The stores are set up with them and the
//! services' configuration names their files.

use crate::state::{self, State};
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::path::PathBuf;

/// A secret and the file that holds it.
pub struct Secret {
    pub path: PathBuf,
    value: String,
}

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.path.display())
    }
}

/// Every secret of a mesh.
#[derive(Debug)]
pub struct Secrets {
    /// Of the role svc-ledger works as.
    pub postgres: Secret,
    /// Of the role that owns the database, which migrations run as.
    pub postgres_owner: Secret,
    pub redis: Secret,
    pub mongo: Secret,
    /// What MongoDB's replica set members would know one another by; a single member needs it to run with access control.
    pub mongo_key: Secret,
    /// Two lines, an access key id and a secret access key. The local engine takes any.
    pub aws: Secret,
    /// The key that svc-accounts hashes addresses with.
    pub email_key: Secret,
    /// What svc-accounts seals payee tokens with and svc-ledger opens them: 256 bits in base64url, one line a key.
    pub payee_keys: Secret,
}

impl Secrets {
    /// Reads what an earlier run has made and makes the rest.
    pub fn load(state: &State) -> Result<Self> {
        let secret = |name: &str, make: fn() -> String| -> Result<Secret> {
            let path = state.secret(name);
            let value = state::read_or_create(&path, || Ok(make()))?;
            Ok(Secret { path, value })
        };
        Ok(Self {
            postgres: secret("postgres-ledger.password", random)?,
            postgres_owner: secret("postgres-ledger-owner.password", random)?,
            redis: secret("redis-causeway.password", random)?,
            mongo: secret("mongo-docs.password", random)?,
            // MongoDB takes base64 characters only, and not the ones that are safe in URLs.
            mongo_key: secret("mongo.keyfile", || base64::engine::general_purpose::STANDARD.encode(bytes()))?,
            aws: secret("aws.credentials", || format!("causewaydev\n{}\n", random()))?,
            email_key: secret("accounts-email.key", random)?,
            payee_keys: secret("payee.keys", random)?,
        })
    }
}

/// 256 bits, in characters that need no quoting in SQL, configuration files and URLs.
fn random() -> String {
    URL_SAFE_NO_PAD.encode(bytes())
}

fn bytes() -> [u8; 32] {
    rand::random()
}
