//! Identities from files, what a handshake refuses, and what a connection loses.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

use super::*;

mod certificates;
mod lists;
mod scene;

pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

pub(crate) fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Ca { issuer: Issuer::new(params, key), pem }
}

pub(crate) fn issue(ca: &Ca, uris: &[&str]) -> (String, String, Vec<u8>) {
    let mut params = CertificateParams::new(vec!["svc-ledger.causeway.test".to_owned()]).unwrap();
    params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ca.issuer).unwrap();
    (certificate.pem(), key.serialize_pem(), certificate.der().to_vec())
}

pub(crate) fn write(directory: &Path, ca: &Ca, certificate: &str, key: &str) -> config::Identity {
    std::fs::write(directory.join("ca.pem"), &ca.pem).unwrap();
    std::fs::write(directory.join("leaf.pem"), certificate).unwrap();
    std::fs::write(directory.join("leaf.key"), key).unwrap();
    config::Identity {
        certificate: directory.join("leaf.pem"),
        key: directory.join("leaf.key"),
        trust_bundle: directory.join("ca.pem"),
        trust_domain: "causeway.test".to_owned(),
    }
}

#[test]
fn a_workload_has_exactly_one_uri_of_the_trust_domain() {
    let directory = tempfile::tempdir().unwrap();
    let ca = ca();
    let (certificate, key, _) = issue(&ca, &["spiffe://causeway.test/svc-ledger"]);
    let identity = Identity::load(&write(directory.path(), &ca, &certificate, &key)).unwrap();
    let cases: [(&[&str], Option<&str>); 8] = [
        (&["spiffe://causeway.test/svc-ledger"], Some("svc-ledger")),
        (&["spiffe://causeway.test/svc-ledger", "spiffe://causeway.test/edge"], None),
        (&["spiffe://causeway.test/svc-ledger", "https://elsewhere"], None),
        (&["spiffe://causeway.test.evil/svc-ledger"], None),
        (&["spiffe://other.test/svc-ledger"], None),
        (&["spiffe://causeway.test/svc-ledger/x"], None),
        (&["spiffe://causeway.test/Edge"], None),
        (&[], None),
    ];
    for (uris, expect) in cases {
        let (_, _, der) = issue(&ca, uris);
        assert_eq!(identity.workload(&der).as_deref(), expect, "{uris:?}");
    }
}

#[test]
fn a_reload_takes_what_fits_together_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let ca = ca();
    let (first, first_key, _) = issue(&ca, &["spiffe://causeway.test/svc-ledger"]);
    let config = write(directory.path(), &ca, &first, &first_key);
    let identity = Identity::load(&config).unwrap();
    let server = identity.server(Clients::Required, &[b"h2"]).unwrap();
    let before = server.current();

    identity.reload();
    assert!(Arc::ptr_eq(&before, &server.current()), "nothing changed");

    let (second, second_key, _) = issue(&ca, &["spiffe://causeway.test/svc-ledger"]);
    std::fs::write(&config.certificate, &second).unwrap();
    identity.reload();
    assert_eq!(identity.material().generation, 1, "the key is still the first one's");

    std::fs::write(&config.key, &second_key).unwrap();
    identity.reload();
    assert_eq!(identity.material().generation, 2);
    assert!(!Arc::ptr_eq(&before, &server.current()), "the next handshake shows the new certificate");
}

#[test]
fn an_identity_that_cannot_serve_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ca = ca();
    let (certificate, key, _) = issue(&ca, &["spiffe://causeway.test/svc-ledger"]);
    let (_, foreign_key, _) = issue(&ca, &[]);
    let config = write(directory.path(), &ca, &certificate, &foreign_key);
    let error = format!("{:#}", Identity::load(&config).unwrap_err());
    assert!(error.contains("is not the certificate's"), "{error}");
    std::fs::write(&config.key, key).unwrap();
    std::fs::write(&config.trust_bundle, "").unwrap();
    let error = format!("{:#}", Identity::load(&config).unwrap_err());
    assert!(error.contains("there is no certificate"), "{error}");
}
