//! Lists of revoked certificates at the handshake, and on connections that are open.

use std::time::{Duration, SystemTime};

use rcgen::SerialNumber;
use rustls::{CertificateError, Error};

use super::scene::{Authority, Leaf, Place, authority_params};
use super::*;

const LATER: (i32, u8, u8) = (2090, 1, 1);
const OVER: (i32, u8, u8) = (2026, 1, 2);

fn place(roots: &[&Authority], lists: &[String], crls: Crls) -> Place {
    Place::new(Clients::Required, roots, lists, crls)
}

fn refused(place: &Place, leaf: &Leaf) -> CertificateError {
    let (error, _) = place.shake(leaf).unwrap_err();
    let Error::InvalidCertificate(cause) = error else { panic!("{error:?}") };
    cause
}

#[test]
fn a_revoked_certificate_is_refused_and_so_is_what_a_revoked_authority_issued() {
    let root = Authority::root("root");
    let mut params = authority_params("between");
    params.serial_number = Some(SerialNumber::from(77));
    let between = root.intermediate(params);
    let (good, stolen) = (between.leaf(|_| ()), between.leaf(|_| ()));
    let lists = |upper: &[&SerialNumber]| [root.list(upper, LATER), between.list(&[&stolen.serial], LATER)];
    let server = place(&[&root], &lists(&[]), Crls::default());
    server.shake(&good).unwrap();
    assert_eq!(refused(&server, &stolen), CertificateError::Revoked);
    let server = place(&[&root], &lists(&[&SerialNumber::from(77)]), Crls::default());
    assert_eq!(refused(&server, &good), CertificateError::Revoked);
}

#[test]
fn doubt_is_decided_by_the_configuration() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let (leaf, elsewhere) = (root.leaf(|_| ()), other.leaf(|_| ()));
    let accept = |expired, missing| Crls { expired, missing, ..Crls::default() };
    let (refuse, take) = (Doubt::Refuse, Doubt::Accept);

    let old = || [root.list(&[], OVER)];
    let cause = refused(&place(&[&root], &old(), accept(refuse, refuse)), &leaf);
    let expired = matches!(
        cause,
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. }
    );
    assert!(expired, "{cause:?}");
    place(&[&root], &old(), accept(take, refuse)).shake(&leaf).unwrap();
    let old = [root.list(&[&leaf.serial], OVER)];
    assert_eq!(refused(&place(&[&root], &old, accept(take, take)), &leaf), CertificateError::Revoked);

    let roots = [&root, &other];
    let lists = || [root.list(&[], LATER)];
    let unknown = refused(&place(&roots, &lists(), accept(refuse, refuse)), &elsewhere);
    assert_eq!(unknown, CertificateError::UnknownRevocationStatus);
    place(&roots, &lists(), accept(refuse, take)).shake(&elsewhere).unwrap();
    place(&roots, &[], accept(refuse, refuse)).shake(&elsewhere).unwrap();
}

#[test]
fn a_list_that_its_authority_did_not_sign_takes_nothing_away_and_gives_nothing() {
    let (root, imposter) = (Authority::root("root"), Authority::root("root"));
    let leaf = root.leaf(|_| ());
    let server = place(&[&root], &[imposter.list(&[], LATER)], Crls::default());
    assert!(server.shake(&leaf).is_err(), "an empty list of somebody else's is no proof of good standing");
}

#[test]
fn a_list_that_cannot_be_read_is_an_error_and_later_leaves_the_old_one() {
    let root = Authority::root("root");
    let (good, stolen) = (root.leaf(|_| ()), root.leaf(|_| ()));
    let server = place(&[&root], &[root.list(&[&stolen.serial], LATER)], Crls::default());
    for broken in
        ["", "no list", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "\u{30}\u{3}abc"]
    {
        server.put("lists.pem", broken);
        server.shake(&good).unwrap();
        assert_eq!(refused(&server, &stolen), CertificateError::Revoked, "{broken:?}");
    }
    std::fs::remove_file(server.directory.path().join("lists.pem")).unwrap();
    server.identity.reload();
    assert_eq!(refused(&server, &stolen), CertificateError::Revoked);
    server.put("lists.pem", &root.list(&[], LATER));
    server.shake(&stolen).unwrap();
    let files = vec![server.directory.path().join("nowhere.pem")];
    let at = |name: &str| server.directory.path().join(name);
    let config = config::Identity {
        certificate: at("leaf.pem"),
        key: at("leaf.key"),
        trust_bundle: at("roots.pem"),
        trust_domain: "causeway.test".to_owned(),
    };
    assert!(Identity::load_with(&config, &Crls { files, ..Crls::default() }).is_err());
}

#[test]
fn an_open_connection_loses_its_standing_with_its_certificate() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let (leaf, neighbour) = (root.leaf(|_| ()), root.leaf(|_| ()));
    let server = place(&[&root], &[root.list(&[], LATER)], Crls::default());
    let standing = |leaf: &Leaf| Standing::new(server.server.clone(), leaf.chain.clone());
    let (one, two) = (standing(&leaf), standing(&neighbour));
    let now = SystemTime::now();
    // Asked twice: the answer that is remembered is the same.
    assert!(one.holds(now) && one.holds(now) && two.holds(now));

    server.put("lists.pem", &root.list(&[&leaf.serial], LATER));
    assert!(!one.holds(now) && !one.holds(now));
    assert!(two.holds(now));
    server.put("lists.pem", &root.list(&[], LATER));
    assert!(one.holds(now), "taken off the list again");
    // F8: an authority that has left the bundle vouches for nobody any more.
    server.put("roots.pem", &other.issuer.pem());
    assert!(!one.holds(now) && !two.holds(now));
}

#[tokio::test]
async fn whoever_waits_for_a_lost_standing_hears_of_it() {
    let root = Authority::root("root");
    let (leaf, neighbour) = (root.leaf(|_| ()), root.leaf(|_| ()));
    let server = place(&[&root], &[root.list(&[], LATER)], Crls::default());
    let standing = Standing::new(server.server.clone(), leaf.chain.clone());
    let mut lost = Box::pin(standing.lost());
    assert!(futures::poll!(&mut lost).is_pending());
    server.put("lists.pem", &root.list(&[&neighbour.serial], LATER));
    assert!(futures::poll!(&mut lost).is_pending());
    server.put("lists.pem", &root.list(&[&leaf.serial], LATER));
    tokio::time::timeout(Duration::from_secs(10), lost).await.unwrap();
}
