//! Every kind of principal on every listener against every kind of policy.

use chassis::call::{Partner, Subject};

use super::*;
use crate::policy::{Allow, Bounds, RateClass};

const NOBODY: Allow = Allow { subject: false, partner: false, service: false, anonymous: false };

fn policy(allow: Allow, any_scope: &[&str], services: &[&str]) -> Policy {
    let second = std::time::Duration::from_secs(1);
    Policy {
        allow,
        any_scope: any_scope.iter().map(|scope| (*scope).to_owned()).collect(),
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        bounds: Bounds::Unary { default: second, max: second },
        rate_class: RateClass::Read,
        audited: false,
    }
}

fn subject(scopes: &[&str]) -> Subject {
    Subject {
        issuer: "https://issuer".into(),
        id: "alice".into(),
        customer_id: None,
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    }
}

fn outside(principal: Principal) -> Caller {
    Caller { principal, service: None }
}

fn through(service: &str, principal: Principal) -> Caller {
    Caller { principal, service: Some(service.into()) }
}

fn not_admitted(principal: &'static str) -> Result<(), Refusal> {
    Err(Refusal::NotAdmitted { principal })
}

#[test]
fn a_policy_that_names_nobody_admits_nobody() {
    let policy = policy(NOBODY, &[], &["svc-docs"]);
    let partner = Partner { id: "psp".into(), subject: None };
    let callers = [
        (Listener::Public, outside(Principal::Subject(subject(&["staff.write"])))),
        (Listener::Partner, outside(Principal::Partner(partner.clone()))),
        (Listener::Mesh, through("svc-docs", Principal::Service)),
        (Listener::Mesh, through("svc-docs", Principal::Subject(subject(&[])))),
        (Listener::Mesh, through("svc-docs", Principal::Partner(partner))),
    ];
    for (listener, caller) in callers {
        assert_eq!(admit(&policy, listener, &caller), not_admitted(caller.kind()), "{listener:?} {caller:?}");
    }
    assert_eq!(
        admit(&policy, Listener::Public, &outside(Principal::Anonymous)),
        Err(Refusal::CredentialsRequired)
    );
}

#[test]
fn a_subject_needs_one_of_the_scopes() {
    let policy = policy(Allow { subject: true, ..NOBODY }, &["accounts.read", "staff.read"], &["svc-docs"]);
    let check = |scopes: &[&str], admitted: bool| {
        let expect = if admitted {
            Ok(())
        } else {
            Err(Refusal::ScopeMissing { any_of: vec!["accounts.read".into(), "staff.read".into()] })
        };
        let principal = Principal::Subject(subject(scopes));
        assert_eq!(admit(&policy, Listener::Public, &outside(principal.clone())), expect, "{scopes:?}");
        assert_eq!(admit(&policy, Listener::Mesh, &through("svc-docs", principal)), expect, "{scopes:?}");
    };
    check(&["accounts.read"], true);
    check(&["x", "staff.read"], true);
    check(&[], false);
    check(&["accounts.rea", "accounts.read.all", "ACCOUNTS.READ", "accounts.read staff.read"], false);
}

#[test]
fn a_service_is_admitted_by_name_and_only_on_the_mesh() {
    let allow = Allow { subject: true, service: true, ..NOBODY };
    let policy = policy(allow, &["accounts.read"], &["svc-docs"]);
    let check = |listener, caller: Caller, expect: Result<(), Refusal>| {
        assert_eq!(admit(&policy, listener, &caller), expect, "{listener:?} {caller:?}");
    };
    let reader = || Principal::Subject(subject(&["accounts.read"]));
    check(Listener::Mesh, through("svc-docs", Principal::Service), Ok(()));
    check(Listener::Mesh, through("svc-docs", reader()), Ok(()));
    check(Listener::Mesh, through("svc-cache", Principal::Service), not_admitted("service"));
    check(Listener::Mesh, through("svc-cache", reader()), not_admitted("subject"));
    check(Listener::Mesh, through("", reader()), not_admitted("subject"));
    check(Listener::Mesh, outside(reader()), not_admitted("subject"));
    check(Listener::Public, through("svc-docs", reader()), not_admitted("subject"));
    check(Listener::Public, through("svc-docs", Principal::Service), not_admitted("service"));
    check(Listener::Public, outside(Principal::Service), not_admitted("service"));
    check(Listener::Partner, outside(Principal::Service), not_admitted("service"));
}

#[test]
fn a_listener_admits_its_own_kinds_only() {
    let allow = Allow { subject: true, partner: true, service: true, anonymous: true };
    let policy = policy(allow, &[], &[]);
    let alone = || Principal::Partner(Partner { id: "psp".into(), subject: None });
    assert_eq!(admit(&policy, Listener::Public, &outside(alone())), not_admitted("partner"));
    assert_eq!(admit(&policy, Listener::Partner, &outside(alone())), Ok(()));
    assert_eq!(
        admit(&policy, Listener::Partner, &outside(Principal::Subject(subject(&[])))),
        not_admitted("subject")
    );
    assert_eq!(admit(&policy, Listener::Public, &outside(Principal::Anonymous)), Ok(()));
}

#[test]
fn a_partner_acts_within_the_scopes_of_its_subject() {
    let policy = policy(Allow { partner: true, ..NOBODY }, &["payments.write"], &[]);
    let partner =
        |subject: Option<Subject>| outside(Principal::Partner(Partner { id: "psp".into(), subject }));
    let missing = Err(Refusal::ScopeMissing { any_of: vec!["payments.write".into()] });
    assert_eq!(admit(&policy, Listener::Partner, &partner(None)), missing);
    assert_eq!(admit(&policy, Listener::Partner, &partner(Some(subject(&["accounts.read"])))), missing);
    assert_eq!(admit(&policy, Listener::Partner, &partner(Some(subject(&["payments.write"])))), Ok(()));
}
