use chassis::call::{Caller, Partner, Principal};

use super::*;
use crate::authz::Refusal;

#[test]
fn a_page_is_known_by_its_tag() {
    let open = Config::default().openapi;
    let page = Page::new("/a", "text/plain", Bytes::from_static(b"a"), &open);
    let other = Page::new("/a", "text/plain", Bytes::from_static(b"b"), &open);
    assert!(page.is_known(&page.etag));
    assert!(page.is_known(&format!("{}, W/{}", other.etag, page.etag)));
    assert!(page.is_known("*"));
    assert!(!page.is_known(&other.etag));
    assert!(!page.is_known(""));
}

#[test]
fn reflection_is_for_workloads_whoever_stands_behind_them_and_not_for_partners() {
    let access = Config::default().reflection;
    let partner = Principal::Partner(Partner { id: "psp".into(), subject: None });
    let by = |principal: Principal, service: Option<&str>| {
        access.admit(&Caller { principal, service: service.map(str::to_owned) })
    };
    assert_eq!(by(Principal::Service, Some("svc-docs")), Ok(()));
    assert_eq!(by(partner.clone(), Some("svc-docs")), Ok(()));
    assert_eq!(by(Principal::Anonymous, None), Err(Refusal::CredentialsRequired));
    assert_eq!(by(partner, None), Err(Refusal::NotAdmitted { principal: "partner" }));
    // A service without a name is nobody's.
    assert_eq!(by(Principal::Service, None), Err(Refusal::NotAdmitted { principal: "service" }));
}
