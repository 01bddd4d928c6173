//! The keys of tokens: a PEM file of Ed25519 keys, private ones (PKCS#8) for the edge and public ones (SPKI) for services, watched.
//! A key is known by a digest of its public half, so that no list of names has to be kept in step. To rotate, the new public key
//! goes into the services' file, then the new private key before the old one into the edge's, and after a token's lifetime the old
//! ones are taken away.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use sha2::{Digest as _, Sha256};

use crate::drain::Drain;

/// How often the file is read: as often as the identity, with which it is rotated.
const RELOAD_EVERY: Duration = Duration::from_secs(2);
/// An Ed25519 SubjectPublicKeyInfo is this and the 32 bytes of the key (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes of the digest that name a key: nobody finds two keys with the same 16.
const ID_BYTES: usize = 16;

/// A new private key, as the PEM of its PKCS#8.
///
/// # Errors
/// When the system gives no random numbers.
pub fn generate() -> anyhow::Result<String> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let key = key.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(pem("PRIVATE KEY", key.as_ref()))
}

/// The public halves of the private keys of a PEM file, as the PEM that services read.
///
/// # Errors
/// When there is no usable private key.
pub fn public_half(private: &str) -> anyhow::Result<String> {
    let keys = Keys::parse(private.as_bytes(), 1)?;
    let spki = |key: &VerifyingKey| pem("PUBLIC KEY", &[&SPKI_PREFIX[..], &key.public].concat());
    Ok(keys.verifying.iter().map(spki).collect())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line));
    let body = lines.fold(String::new(), |body, line| body + &line + "\n");
    format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n")
}

/// One generation of keys.
#[derive(Debug)]
pub(super) struct Keys {
    /// The first private key.
    pub(super) signing: Option<SigningKey>,
    verifying: Vec<VerifyingKey>,
    /// Rises with every change of the file.
    pub(super) generation: u64,
    text: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) pair: Ed25519KeyPair,
}

#[derive(Debug)]
pub(super) struct VerifyingKey {
    id: String,
    public: [u8; 32],
}

impl VerifyingKey {
    fn new(public: &[u8]) -> Option<Self> {
        let id = URL_SAFE_NO_PAD.encode(&Sha256::digest(public)[..ID_BYTES]);
        Some(Self { id, public: public.try_into().ok()? })
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), ring::error::Unspecified> {
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature)
    }
}

impl Keys {
    fn parse(pem: &[u8], generation: u64) -> anyhow::Result<Self> {
        let (mut signing, mut verifying) = (None, Vec::new());
        for private in PrivatePkcs8KeyDer::pem_slice_iter(pem) {
            let private = private.context("a private key does not parse")?;
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(private.secret_pkcs8_der())
                .map_err(|rejected| anyhow::anyhow!("a private key is not Ed25519: {rejected}"))?;
            let key = VerifyingKey::new(pair.public_key().as_ref()).context("a key of another length")?;
            signing.get_or_insert(SigningKey { id: key.id.clone(), pair });
            verifying.push(key);
        }
        for public in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            let public = public.context("a public key does not parse")?;
            let raw = public.strip_prefix(&SPKI_PREFIX[..]);
            let key = raw.and_then(VerifyingKey::new).context("a public key is not Ed25519")?;
            verifying.push(key);
        }
        anyhow::ensure!(!verifying.is_empty(), "there is no key");
        Ok(Self { signing, verifying, generation, text: pem.to_vec() })
    }

    pub(super) fn find(&self, id: &str) -> Option<&VerifyingKey> {
        self.verifying.iter().find(|key| key.id == id)
    }
}

/// A file of keys and what it said last.
#[derive(Debug)]
pub(super) struct KeyFile {
    /// `None` for keys that are in no file.
    path: Option<PathBuf>,
    current: ArcSwap<Keys>,
}

impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}", path.display()),
            None => f.write_str("a key of the process's own"),
        }
    }
}

impl KeyFile {
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let keys = read(path, 1)?;
        Ok(Self { path: Some(path.to_owned()), current: ArcSwap::from_pointee(keys) })
    }

    pub(super) fn of_pem(pem: &[u8]) -> anyhow::Result<Self> {
        Ok(Self { path: None, current: ArcSwap::from_pointee(Keys::parse(pem, 1)?) })
    }

    pub(super) fn current(&self) -> arc_swap::Guard<Arc<Keys>> {
        self.current.load()
    }

    /// Reads the file again every few seconds until the drain. What cannot be read or is not `fit` is refused, and the keys
    /// before serve on.
    pub(super) fn watch(self: Arc<Self>, drain: &Drain, fit: fn(&Keys) -> bool) {
        let Some(path) = self.path.clone() else { return };
        let stopping = drain.stopping();
        drain.spawn("transaction-token-keys", async move {
            tokio::pin!(stopping);
            loop {
                tokio::select! {
                    () = &mut stopping => return,
                    () = tokio::time::sleep(RELOAD_EVERY) => self.reload(&path, fit),
                }
            }
        });
    }

    pub(super) fn reload(&self, path: &Path, fit: fn(&Keys) -> bool) {
        let old = self.current();
        match read(path, old.generation + 1) {
            Ok(new) if new.text == old.text => (),
            Ok(new) if fit(&new) => {
                tracing::info!(generation = new.generation, "keys of transaction tokens reloaded");
                self.current.store(Arc::new(new));
            }
            Ok(_) => tracing::error!(file = %path.display(), "keys of the wrong kind, the old ones serve on"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "keys not reloaded, the old ones serve on");
            }
        }
    }
}

fn read(path: &Path, generation: u64) -> anyhow::Result<Keys> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Keys::parse(&pem, generation).with_context(|| format!("in {}", path.display()))
}
