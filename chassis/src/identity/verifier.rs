//! A client certificate verifier that admits named workloads only. The refusal happens inside the handshake, before a byte of
//! HTTP is read.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::only_uri;

/// Verifies the chain as webpki does, and then the SPIFFE id.
#[derive(Debug)]
pub(super) struct OnlyWorkloads {
    chain: Arc<dyn ClientCertVerifier>,
    allowed: Vec<String>,
}

impl OnlyWorkloads {
    pub(super) fn new(chain: Arc<dyn ClientCertVerifier>, allowed: Vec<String>) -> Self {
        Self { chain, allowed }
    }
}

impl ClientCertVerifier for OnlyWorkloads {
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
        let known = only_uri(leaf).is_some_and(|uri| self.allowed.contains(&uri));
        if known { Ok(verified) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
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
