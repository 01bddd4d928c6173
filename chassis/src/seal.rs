//! Sealed tokens: what one service hands to a client for another service, and nobody between can read, change or make up. A
//! token is the AEAD (AES-256-GCM) of a few bytes under a key that the two services share, with an end. It is bound to a
//! context, so that what was sealed for one purpose opens for no other, whoever holds the key.
//!
//! The keys are a file of lines, 32 bytes each in base64url: the first one seals, all of them open. The file is watched. To
//! rotate, the new key goes behind the old one in every service's file, then before it, and the old one is taken away once
//! nobody will come back with what it sealed. A key is known by a digest of itself, so that no list of names is kept in step.
//!
//! Nonces are random: 2^32 tokens of one key meet with a chance of 2^-32, which is the bound of NIST SP 800-38D. A thousand a
//! second for seven weeks are as many; keys are rotated more often than that.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::config::SecretFile;
use crate::drain::Drain;

/// How often the file is read: as often as the identity, with which it is rotated.
const RELOAD_EVERY: Duration = Duration::from_secs(2);
/// The first byte of every token: a token of another form is known as such before it is taken apart.
const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
/// Bytes of the digest that name a key: enough to find one among a handful; what a token proves is the tag's business.
const ID_BYTES: usize = 8;
const EXPIRY_BYTES: usize = 8;
const HEAD_BYTES: usize = 1 + ID_BYTES + NONCE_LEN;
/// What a client sends as a token is decoded only up to here; ours are shorter by far.
const TOKEN_BYTES_MAX: usize = 1_024;

/// A new key as a line of the file.
///
/// # Errors
/// When the system gives no random numbers.
pub fn generate() -> anyhow::Result<String> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom::new().fill(&mut *key).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(format!("{}\n", URL_SAFE_NO_PAD.encode(*key)))
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// Why a text is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token of ours")]
pub struct Forged;

/// What was sealed.
#[derive(PartialEq, Eq)]
pub struct Opened {
    /// The content.
    pub content: Vec<u8>,
    /// Whether its time is over. It is genuine all the same: whoever must answer for what was done by it can still tell what it
    /// was.
    pub expired: bool,
}

/// Seals and opens tokens for one purpose. Clones share the keys.
#[derive(Clone)]
pub struct Seal {
    context: &'static str,
    file: Arc<KeyFile>,
}

impl Seal {
    /// A seal with the keys of a file, for what `context` names.
    ///
    /// # Errors
    /// One line naming the file and what is wrong with it.
    pub fn load(file: &Path, context: &'static str) -> anyhow::Result<Self> {
        let keys = Keys::read(file)?;
        let file = KeyFile { path: file.to_owned(), current: ArcSwap::from_pointee(keys) };
        Ok(Self { context, file: Arc::new(file) })
    }

    /// Follows the file until the drain.
    pub fn watch(&self, drain: &Drain) {
        let (file, stopping) = (Arc::clone(&self.file), drain.stopping());
        drain.spawn("seal-keys", async move {
            tokio::pin!(stopping);
            loop {
                tokio::select! {
                    () = &mut stopping => return,
                    () = tokio::time::sleep(RELOAD_EVERY) => file.reload(),
                }
            }
        });
    }

    /// A token of `content`, good until `expires_at`: base64url.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal(&self, content: &[u8], expires_at: SystemTime) -> Result<String, NoRandom> {
        let keys = self.file.current.load();
        let Some(key) = keys.0.first() else { return Err(NoRandom) };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| NoRandom)?;
        let mut sealed = Vec::with_capacity(EXPIRY_BYTES + content.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&seconds(expires_at).to_be_bytes());
        sealed.extend_from_slice(content);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        key.aead.seal_in_place_append_tag(nonce_used, self.bound_to(), &mut sealed).map_err(|_| NoRandom)?;
        let mut token = Vec::with_capacity(HEAD_BYTES + sealed.len());
        token.push(VERSION);
        token.extend_from_slice(&key.id);
        token.extend_from_slice(&nonce);
        token.append(&mut sealed);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// What a token holds.
    ///
    /// # Errors
    /// When it was not sealed with one of the keys for this purpose, or was changed since.
    pub fn open(&self, token: &str, now: SystemTime) -> Result<Opened, Forged> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Forged);
        }
        let mut token = URL_SAFE_NO_PAD.decode(token).map_err(|_| Forged)?;
        let (head, sealed) = token.split_at_mut_checked(HEAD_BYTES).ok_or(Forged)?;
        let (version, head) = head.split_first().ok_or(Forged)?;
        let (id, nonce) = head.split_at_checked(ID_BYTES).ok_or(Forged)?;
        let keys = self.file.current.load();
        let key = keys.0.iter().find(|key| *version == VERSION && key.id == id).ok_or(Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Forged)?;
        let plain = key.aead.open_in_place(nonce, self.bound_to(), sealed).map_err(|_| Forged)?;
        let (expiry, content) = plain.split_first_chunk::<EXPIRY_BYTES>().ok_or(Forged)?;
        let expired = seconds(now) >= u64::from_be_bytes(*expiry);
        Ok(Opened { content: content.to_vec(), expired })
    }

    /// The version stands in it by the name: another form of token is another context.
    fn bound_to(&self) -> Aad<Vec<u8>> {
        Aad::from([b"causeway seal 1: ", self.context.as_bytes()].concat())
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("context", &self.context).finish_non_exhaustive()
    }
}

/// Like a token itself, its content does not print.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("expired", &self.expired).finish_non_exhaustive()
    }
}

/// A file of keys and what it said last.
struct KeyFile {
    path: PathBuf,
    current: ArcSwap<Keys>,
}

impl KeyFile {
    /// Takes the file over if it is one of keys; else those before serve on.
    fn reload(&self) {
        match Keys::read(&self.path) {
            Ok(keys) if keys.ids().eq(self.current.load().ids()) => (),
            Ok(keys) => {
                tracing::info!(keys = keys.0.len(), "keys of seals reloaded");
                self.current.store(Arc::new(keys));
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "keys not reloaded, the old ones serve on");
            }
        }
    }
}

/// At least one.
struct Keys(Vec<Key>);

struct Key {
    id: [u8; ID_BYTES],
    aead: LessSafeKey,
}

impl Keys {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = SecretFile::new(path).read()?;
        let keys = text.expose().lines().map(str::trim).filter(|line| !line.is_empty()).map(Key::parse);
        let keys = keys.collect::<Option<Vec<_>>>();
        let keys = keys.context("a line is not 32 bytes in base64url without padding");
        let keys = keys.with_context(|| format!("in {}", path.display()))?;
        anyhow::ensure!(!keys.is_empty(), "in {}: there is no key", path.display());
        Ok(Self(keys))
    }

    fn ids(&self) -> impl Iterator<Item = [u8; ID_BYTES]> {
        self.0.iter().map(|key| key.id)
    }
}

impl Key {
    fn parse(line: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(line).ok()?);
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).ok()?);
        let digest = Sha256::new().chain_update(b"causeway seal key id").chain_update(&*bytes).finalize();
        Some(Self { id: *digest.first_chunk()?, aead })
    }
}

/// In whole seconds, as tokens count.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(keys: &[&str], context: &'static str) -> (tempfile::NamedTempFile, Seal) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), keys.concat()).unwrap();
        let seal = Seal::load(file.path(), context).unwrap();
        (file, seal)
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_sealed_opens_and_expires() {
        let key = generate().unwrap();
        let ((_one, sealer), (_other, opener)) = (seal(&[&key], "a"), seal(&[&key], "a"));
        let token = sealer.seal(b"content", at(100)).unwrap();
        assert_eq!(opener.open(&token, at(99)), Ok(Opened { content: b"content".to_vec(), expired: false }));
        assert_eq!(opener.open(&token, at(100)), Ok(Opened { content: b"content".to_vec(), expired: true }));
        assert_ne!(sealer.seal(b"content", at(100)).unwrap(), token, "no two tokens are alike");
    }

    #[test]
    fn a_token_opens_for_its_own_purpose_only() {
        let key = generate().unwrap();
        let ((_one, sealer), (_other, opener)) = (seal(&[&key], "a"), seal(&[&key], "b"));
        assert_eq!(opener.open(&sealer.seal(b"x", at(9)).unwrap(), at(1)), Err(Forged));
    }

    #[test]
    fn a_changed_bit_anywhere_is_noticed() {
        let (_file, seal) = seal(&[&generate().unwrap()], "a");
        let token = URL_SAFE_NO_PAD.decode(seal.seal(b"content", at(100)).unwrap()).unwrap();
        for bit in 0..token.len() * 8 {
            let mut changed = token.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open(&URL_SAFE_NO_PAD.encode(changed), at(1)), Err(Forged), "bit {bit}");
        }
        for length in 0..token.len() {
            assert_eq!(seal.open(&URL_SAFE_NO_PAD.encode(&token[..length]), at(1)), Err(Forged));
        }
        for text in ["", "=", "not base64!", &"A".repeat(TOKEN_BYTES_MAX + 4)] {
            assert_eq!(seal.open(text, at(1)), Err(Forged), "{text}");
        }
    }

    #[test]
    fn keys_rotate_without_a_token_lost() {
        let (old, new) = (generate().unwrap(), generate().unwrap());
        let (file, seal) = seal(&[&old], "a");
        let before = seal.seal(b"before", at(9)).unwrap();
        std::fs::write(file.path(), [new.as_str(), &old].concat()).unwrap();
        seal.file.reload();
        let after = seal.seal(b"after", at(9)).unwrap();
        assert_eq!(seal.open(&before, at(1)).unwrap().content, b"before");
        std::fs::write(file.path(), &new).unwrap();
        seal.file.reload();
        assert_eq!(seal.open(&after, at(1)).unwrap().content, b"after", "the new key sealed it");
        assert_eq!(seal.open(&before, at(1)), Err(Forged), "its key is gone");
        std::fs::write(file.path(), "no key\n").unwrap();
        seal.file.reload();
        assert!(seal.open(&after, at(1)).is_ok(), "what is no key file changes nothing");
    }

    #[test]
    fn a_file_that_is_none_of_keys_is_refused_by_name() {
        for text in ["", "\n\n", "AAAA\n", &"A".repeat(44)] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let error = format!("{:#}", Seal::load(file.path(), "a").unwrap_err());
            assert!(error.contains(&file.path().display().to_string()), "{error}");
        }
    }
}
