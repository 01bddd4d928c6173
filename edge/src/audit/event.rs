//! A refusal in the words of `edge.v1`. Identifiers only: no name, no path and no value that a client chose beyond its own token.

use std::time::SystemTime;

use chassis::call::{Caller, Principal, Subject};
use proto::edge::v1::{AuditEvent, AuditOutcome, AuditPrincipal, PrincipalKind};
use uuid::Uuid;

use crate::contract::Method;

/// The event of a call that was refused for `reason`. Who could not say who they are, by a token that is missing or not
/// believed, is anonymous: what an unbelieved token claims is no identity.
pub(super) fn refused(
    id: Uuid,
    now: SystemTime,
    method: &Method,
    caller: Option<&Caller>,
    transaction_id: Option<&str>,
    reason: &str,
) -> AuditEvent {
    AuditEvent {
        event_id: id.to_string(),
        event_time: Some(now.into()),
        transaction_id: transaction_id.unwrap_or_default().to_owned(),
        rpc: method.path.trim_start_matches('/').to_owned(),
        principal: Some(principal(caller)),
        outcome: AuditOutcome::Refused.into(),
        reason: reason.to_owned(),
        resource: String::new(),
        // The keeper knows it better, from the certificate.
        writer: String::new(),
    }
}

fn principal(caller: Option<&Caller>) -> AuditPrincipal {
    let Some(caller) = caller else {
        return AuditPrincipal { kind: PrincipalKind::Anonymous.into(), ..AuditPrincipal::default() };
    };
    let kind = match caller.principal {
        Principal::Anonymous => PrincipalKind::Anonymous,
        Principal::Subject(_) => PrincipalKind::Subject,
        Principal::Partner(_) => PrincipalKind::Partner,
        Principal::Service => PrincipalKind::Service,
    };
    let of_subject = |part: fn(&Subject) -> &str| caller.subject().map(part).unwrap_or_default().to_owned();
    AuditPrincipal {
        kind: kind.into(),
        issuer: of_subject(|subject| &subject.issuer),
        subject: of_subject(|subject| &subject.id),
        customer_id: caller.customer_id().unwrap_or_default().to_owned(),
        partner_id: caller.partner_id().unwrap_or_default().to_owned(),
        service: caller.acting_service().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chassis::call::{Partner, Scopes};

    use super::*;

    #[test]
    fn a_principal_is_told_by_its_identifiers() {
        let subject = Subject {
            issuer: "https://issuer".into(),
            id: "alice".into(),
            customer_id: Some("c-1".into()),
            scopes: Scopes::from(["secret.scope".to_owned()]),
        };
        let of = |principal, service: Option<&str>| {
            principal_of(&Caller { principal, service: service.map(str::to_owned) })
        };
        let alice = AuditPrincipal {
            issuer: "https://issuer".into(),
            subject: "alice".into(),
            customer_id: "c-1".into(),
            ..AuditPrincipal::default()
        };
        let kind = |kind: PrincipalKind, rest: AuditPrincipal| AuditPrincipal { kind: kind.into(), ..rest };
        assert_eq!(
            of(Principal::Subject(subject.clone()), None),
            kind(PrincipalKind::Subject, alice.clone())
        );
        let partner = Partner { id: "psp".into(), subject: Some(subject) };
        let expect = AuditPrincipal { partner_id: "psp".into(), ..alice };
        assert_eq!(of(Principal::Partner(partner), None), kind(PrincipalKind::Partner, expect));
        let docs = AuditPrincipal { service: "svc-docs".into(), ..AuditPrincipal::default() };
        assert_eq!(of(Principal::Service, Some("svc-docs")), kind(PrincipalKind::Service, docs));
        let nobody = kind(PrincipalKind::Anonymous, AuditPrincipal::default());
        assert_eq!(of(Principal::Anonymous, None), nobody);
        assert_eq!(principal(None), nobody);
    }

    fn principal_of(caller: &Caller) -> AuditPrincipal {
        principal(Some(caller))
    }
}
