//! What a handshake asks of a client's certificate. Chain, validity, path length, name constraints and revocation are webpki's;
//! added is what it leaves open: a purpose that is stated, a key that is strong, and for listeners of one workload its name. The
//! refusal happens inside the handshake, before a byte of HTTP is read.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Clients, only_uri};

/// RSA moduli in bits: NIST SP 800-131A asks for 2048, and beyond 8192 a signature is a way to buy work.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// What ring can check: P-256 and P-384 by their named curve, and Ed25519.
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const CURVES: [&str; 2] = ["1.2.840.10045.3.1.7", "1.3.132.0.34"];
const ED25519: &str = "1.3.101.112";

/// Verifies the chain as webpki does, and then what it leaves open.
#[derive(Debug)]
pub(super) struct Admission {
    chain: Arc<dyn ClientCertVerifier>,
    clients: Clients,
}

impl Admission {
    pub(super) fn new(chain: Arc<dyn ClientCertVerifier>, clients: Clients) -> Self {
        Self { chain, clients }
    }
}

impl ClientCertVerifier for Admission {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        match self.clients {
            Clients::Optional => false,
            Clients::Required | Clients::Only(_) => true,
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
        if !is_for_clients(&certificate) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        let admitted = is_strong(certificate.public_key())
            && match &self.clients {
                Clients::Optional | Clients::Required => true,
                Clients::Only(allowed) => {
                    only_uri(&certificate).is_some_and(|uri| allowed.iter().any(|id| id == uri))
                }
            };
        if admitted { Ok(verified) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Webpki takes a certificate without purposes for all of them. Here one must say that it is for clients; "any" says nothing.
fn is_for_clients(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.extended_key_usage().ok().flatten();
    usage.is_some_and(|usage| usage.value.client_auth)
}

/// The leaf's own key is first used to check the handshake's signature; a weak one is refused before that.
fn is_strong(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = || key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => RSA_BITS.contains(&rsa.key_size()),
        _ if key.algorithm.algorithm.to_id_string() == ED25519 => true,
        _ if key.algorithm.algorithm.to_id_string() == EC_PUBLIC_KEY => {
            curve().is_some_and(|curve| CURVES.contains(&curve.to_id_string().as_str()))
        }
        _ => false,
    }
}
