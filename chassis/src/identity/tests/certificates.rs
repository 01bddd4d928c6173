//! The rows F2 to F7: what a handshake refuses, each beside the nearest thing that it takes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, NameConstraints, SanType,
};
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject as _;
use rustls::{AlertDescription, CertificateError, Error};

use super::super::verifier::Admission;
use super::scene::{Authority, LEDGER, Leaf, Place, authority_params, leaf_params};
use super::*;

fn place(clients: Clients, roots: &[&Authority]) -> Place {
    Place::new(clients, roots, &[], Crls::default())
}

/// Whether every kind of listener refuses a client, and tells it so by an alert.
fn refused(root: &Authority, leaf: &Leaf) -> CertificateError {
    let mut causes = Vec::new();
    for clients in [Clients::Optional, Clients::Required, Clients::Only(vec![LEDGER.into()])] {
        let (error, alert) = place(clients, &[root]).shake(leaf).unwrap_err();
        let Error::InvalidCertificate(cause) = error else { panic!("{error:?}") };
        assert_ne!(alert, AlertDescription::CloseNotify);
        causes.push(cause);
    }
    // As text: webpki's own errors are equal to nothing.
    let texts: Vec<_> = causes.iter().map(|cause| format!("{cause:?}")).collect();
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    causes.remove(0)
}

fn refused_for(root: &Authority, leaf: &Leaf, webpki: &str) {
    let cause = refused(root, leaf);
    assert!(matches!(&cause, CertificateError::Other(_)), "{cause:?}");
    assert!(format!("{cause:?}").contains(webpki), "{cause:?}");
}

fn admitted(root: &Authority, leaf: &Leaf) {
    for clients in [Clients::Optional, Clients::Required, Clients::Only(vec![LEDGER.into()])] {
        place(clients, &[root]).shake(leaf).unwrap();
    }
}

#[test]
fn f2_a_certificate_that_does_not_say_it_is_for_clients_gets_an_alert() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    let root = Authority::root("root");
    let with =
        |usages: &[ExtendedKeyUsagePurpose]| root.leaf(|leaf| leaf.extended_key_usages = usages.to_vec());
    admitted(&root, &with(&[ClientAuth]));
    admitted(&root, &with(&[ServerAuth, ClientAuth]));
    for usages in [&[][..], &[ServerAuth], &[Any], &[ServerAuth, CodeSigning]] {
        let cause = refused(&root, &with(usages));
        let purpose = matches!(
            cause,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
        );
        assert!(purpose, "{usages:?} {cause:?}");
    }
}

#[test]
fn f3_a_certificate_out_of_its_time_gets_an_alert() {
    let root = Authority::root("root");
    let expired = root.leaf(|leaf| {
        leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let early = root.leaf(|leaf| leaf.not_before = rcgen::date_time_ymd(2090, 1, 1));
    let cause = refused(&root, &expired);
    assert!(
        matches!(cause, CertificateError::Expired | CertificateError::ExpiredContext { .. }),
        "{cause:?}"
    );
    let cause = refused(&root, &early);
    let not_yet =
        matches!(cause, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. });
    assert!(not_yet, "{cause:?}");
}

#[test]
fn f3_a_certificate_of_another_authority_gets_an_alert() {
    let root = Authority::root("root");
    let good = root.leaf(|_| ());
    admitted(&root, &good);
    assert_eq!(refused(&Authority::root("another"), &good), CertificateError::UnknownIssuer);
    // The same name, another key.
    assert_eq!(refused(&Authority::root("root"), &good), CertificateError::BadSignature);
    let key = KeyPair::generate().unwrap();
    let own = leaf_params().self_signed(&key).unwrap();
    let own = Leaf { chain: vec![own.der().clone()], key: key.serialize_der(), ..root.leaf(|_| ()) };
    assert_eq!(refused(&root, &own), CertificateError::UnknownIssuer);
    let between = root.intermediate(authority_params("between"));
    admitted(&root, &between.leaf(|_| ()));
    let gap = Leaf { chain: between.leaf(|_| ()).chain[..1].to_vec(), ..between.leaf(|_| ()) };
    // The leaf and its key must fit for the client to show it at all.
    let whole = between.leaf(|_| ());
    let gap = Leaf { chain: whole.chain[..1].to_vec(), key: whole.key, ..gap };
    assert_eq!(refused(&root, &gap), CertificateError::UnknownIssuer);
}

#[test]
fn f4_a_workload_is_known_by_exactly_one_spiffe_id_and_by_nothing_that_looks_like_it() {
    let root = Authority::root("root");
    let server = place(Clients::Only(vec![LEDGER.into()]), &[&root]);
    let with = |names: &[SanType], common_name: &str| {
        root.leaf(|leaf| {
            leaf.subject_alt_names = names.to_vec();
            leaf.distinguished_name = DistinguishedName::new();
            leaf.distinguished_name.push(DnType::CommonName, common_name);
        })
    };
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    server.shake(&with(&[uri(LEDGER)], "anything")).unwrap();
    let spoofs = [
        vec![],
        vec![dns("svc-ledger.causeway.test")],
        vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))],
        vec![uri(LEDGER), uri(LEDGER)],
        vec![uri(LEDGER), uri("spiffe://causeway.test/edge")],
        vec![uri(LEDGER), uri("https://elsewhere.example/")],
        vec![uri("spiffe://causeway.test/*")],
        vec![uri("spiffe://causeway.test/svc-ledge")],
        vec![uri("spiffe://causeway.test/svc-ledger/")],
        vec![uri("spiffe://causeway.test/svc-ledger/x")],
        vec![uri("spiffe://other.test/svc-ledger")],
        vec![uri("spiffe://causeway.test.evil/svc-ledger")],
        vec![uri("spiffe://CAUSEWAY.test/svc-ledger")],
        vec![uri("SPIFFE://causeway.test/svc-ledger")],
        vec![uri("spiffe://causeway.test/svc%2Dledger")],
        vec![uri("spiffe://causeway.test/svc-ledger?x")],
    ];
    for names in spoofs {
        let (error, alert) = server.shake(&with(&names, LEDGER)).unwrap_err();
        let expect = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        assert_eq!((error, alert), (expect, AlertDescription::AccessDenied), "{names:?}");
    }
}

#[test]
fn f5_a_leaf_is_no_authority_and_an_authority_keeps_its_bounds() {
    let root = Authority::root("root");
    // CVE-2002-0862: a leaf that issues.
    let mut params = leaf_params();
    params.is_ca = IsCa::ExplicitNoCa;
    params.distinguished_name.push(DnType::CommonName, "leaf");
    let leaf = root.intermediate(params.clone());
    refused_for(&root, &leaf.leaf(|_| ()), "EndEntityUsedAsCa");
    params.is_ca = IsCa::NoCa;
    refused_for(&root, &root.intermediate(params).leaf(|_| ()), "EndEntityUsedAsCa");

    let mut last = authority_params("last");
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let last = root.intermediate(last);
    admitted(&root, &last.leaf(|_| ()));
    let too_far = last.intermediate(authority_params("too far"));
    refused_for(&root, &too_far.leaf(|_| ()), "PathLenConstraintViolated");

    let mut bound = authority_params("bound");
    bound.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("causeway.test".into())],
        excluded_subtrees: vec![GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]))],
    });
    let bound = root.intermediate(bound);
    let named = |name: SanType| bound.leaf(|leaf| leaf.subject_alt_names.insert(0, name));
    admitted(&root, &named(SanType::DnsName("x.causeway.test".try_into().unwrap())));
    for escape in [
        SanType::DnsName("causeway.test.evil".try_into().unwrap()),
        SanType::DnsName("evil.test".try_into().unwrap()),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))),
    ] {
        refused_for(&root, &named(escape), "NameConstraintViolation");
    }
}

/// A chain made with OpenSSL, which makes what rcgen will not.
fn weak(name: &str) -> Vec<CertificateDer<'static>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/identity/tests/weak/{name}.pem"));
    CertificateDer::pem_file_iter(path).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn f6_weak_keys_and_signatures_are_refused() {
    let mut roots = RootCertStore::empty();
    roots.add(weak("root").remove(0)).unwrap();
    let roots = Arc::new(roots);
    let chain = Crls::default().read().unwrap().verifier(&roots, &Crls::default()).unwrap();
    let admission = Admission::new(chain, Clients::Required);
    let check = |name: &str| {
        let chain = weak(name);
        admission.verify_client_cert(&chain[0], &chain[1..], UnixTime::now()).map(|_| ())
    };
    for good in ["rsa_2048", "under_rsa_2048"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in ["rsa_1024", "p192", "secp256k1", "sha1", "under_rsa_1024", "under_rsa_2048_sha1"] {
        assert!(check(bad).is_err(), "{bad}");
    }
}

#[test]
fn f7_a_maze_of_authorities_is_left_within_bounds() {
    let root = Authority::root("root");
    // Each of them could have issued each other, by its name; none of them was issued by the root.
    let stranger = Authority::root("maze");
    let maze: Vec<_> =
        (0..60).map(|_| stranger.intermediate(authority_params("maze")).links.remove(0)).collect();
    let mut leaf = stranger.leaf(|_| ());
    leaf.chain.extend(maze);
    let since = Instant::now();
    let (error, _) = place(Clients::Required, &[&root]).shake(&leaf).unwrap_err();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error:?}");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[test]
fn f7_no_list_of_revoked_certificates_brings_the_process_down() {
    let root = Authority::root("root");
    let leaf = root.leaf(|_| ());
    let pem = root.list(&[&leaf.serial], (2090, 1, 1));
    let list =
        rustls::pki_types::CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list.der");
    let crls = Crls { files: vec![path.clone()], ..Crls::default() };
    let mut roots = RootCertStore::empty();
    roots.add(root.issuer.der().clone()).unwrap();
    let roots = Arc::new(roots);
    // Whatever it says: an error, or a list, and never an end.
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let verifier = crls.read().and_then(|lists| lists.verifier(&roots, &crls));
        verifier.is_ok_and(|verifier| {
            let revoked = verifier.verify_client_cert(&leaf.chain[0], &[], UnixTime::now());
            revoked.is_err_and(|error| error == CertificateError::Revoked.into())
        })
    };
    assert!(read(&list));
    for length in 0..list.len() {
        assert!(!read(&list[..length]), "{length}");
    }
    for place in 0..list.len() {
        for bit in [0x01, 0x80] {
            let mut changed = list.clone();
            changed[place] ^= bit;
            assert!(!read(&changed), "its signature no longer holds: {place}");
        }
    }
}
