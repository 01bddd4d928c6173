//! The ledger's own key: it signs heads of the journal, and whoever holds the public half knows by it that the ledger did. Keys are
//! Ed25519 in PEM files, private ones as PKCS#8, public ones as SubjectPublicKeyInfo (RFC 8410).

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use sha2::{Digest as _, Sha256};

use crate::domain::proof::{Broken, Head, SignedHead};

/// An Ed25519 SubjectPublicKeyInfo is this and the 32 bytes of the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes of the digest that name a key.
const ID_BYTES: usize = 16;

/// The key that signs.
#[derive(Debug)]
pub struct Signer {
    pair: Ed25519KeyPair,
    id: String,
}

impl Signer {
    /// The first private key of a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no Ed25519 key.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::of_pem(&pem).with_context(|| format!("in {}", path.display()))
    }

    /// The first private key of a PEM text.
    ///
    /// # Errors
    /// When it holds no Ed25519 key.
    pub fn of_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|_| anyhow::anyhow!("there is no private key"))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())
            .map_err(|rejected| anyhow::anyhow!("the private key is not Ed25519: {rejected}"))?;
        let id = key_id(pair.public_key().as_ref());
        Ok(Self { pair, id })
    }

    /// Signs a head.
    #[must_use]
    pub fn sign(&self, head: Head) -> SignedHead {
        let signature = self.pair.sign(&head.message()).as_ref().to_vec();
        SignedHead { head, key_id: self.id.clone(), signature }
    }

    /// The key that whoever checks needs.
    #[must_use]
    pub fn public(&self) -> PublicKeys {
        let public = self.pair.public_key().as_ref().to_vec();
        PublicKeys(vec![(self.id.clone(), public)])
    }
}

/// Keys that are believed: the one in use, and those before it, under which older heads were signed.
#[derive(Clone, Debug)]
pub struct PublicKeys(Vec<(String, Vec<u8>)>);

impl PublicKeys {
    /// The public keys of a PEM text.
    ///
    /// # Errors
    /// When there is none, or one is not Ed25519.
    pub fn of_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for public in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            let public = public.map_err(|_| anyhow::anyhow!("a public key does not parse"))?;
            let raw = public.strip_prefix(&SPKI_PREFIX[..]).context("a public key is not Ed25519")?;
            keys.push((key_id(raw), raw.to_vec()));
        }
        anyhow::ensure!(!keys.is_empty(), "there is no public key");
        Ok(Self(keys))
    }

    /// Whether the ledger has signed this head.
    ///
    /// # Errors
    /// `Key` when nobody known has, `Signature` when the signature is not of this head.
    pub fn verify(&self, signed: &SignedHead) -> Result<(), Broken> {
        let (_, key) = self.0.iter().find(|(id, _)| *id == signed.key_id).ok_or(Broken::Key)?;
        let key = UnparsedPublicKey::new(&ED25519, key);
        key.verify(&signed.head.message(), &signed.signature).map_err(|_| Broken::Signature)
    }
}

/// A key's name: the first half of its digest, so that nobody has to keep a list of names.
fn key_id(public: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(public)[..ID_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_that_was_signed_has_the_signature() {
        let pem = chassis::transaction_token::generate().unwrap();
        let signer = Signer::of_pem(pem.as_bytes()).unwrap();
        let public = chassis::transaction_token::public_half(&pem).unwrap();
        let keys = PublicKeys::of_pem(public.as_bytes()).unwrap();
        let head = Head { seq: 7, hash: [3; 32], booked_at: 1 };
        let signed = signer.sign(head);
        assert_eq!((keys.verify(&signed), signer.public().verify(&signed)), (Ok(()), Ok(())));
        for other in [Head { seq: 8, ..head }, Head { hash: [4; 32], ..head }, Head { booked_at: 2, ..head }]
        {
            let moved = SignedHead { head: other, ..signed.clone() };
            assert_eq!(keys.verify(&moved), Err(Broken::Signature), "{other:?}");
        }
        let foreign = Signer::of_pem(chassis::transaction_token::generate().unwrap().as_bytes()).unwrap();
        assert_eq!(keys.verify(&foreign.sign(head)), Err(Broken::Key));
        let renamed = SignedHead { key_id: signed.key_id, ..foreign.sign(head) };
        assert_eq!(keys.verify(&renamed), Err(Broken::Signature));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(Signer::of_pem(text.as_bytes()).is_err());
            assert!(PublicKeys::of_pem(text.as_bytes()).is_err());
        }
    }
}
