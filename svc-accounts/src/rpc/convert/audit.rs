//! What happened, as whoever keeps the audit wants to know it (`edge.v1.AuditEvent`).

use chassis::{Call, Caller, Principal, Subject};
use prost::Message as _;
use proto::edge::v1::{AuditEvent, AuditOutcome, AuditPrincipal, PrincipalKind};
use uuid::Uuid;

use crate::domain::UnixMillis;
use crate::store::Event;
use crate::timestamp;

/// What became of an audited call.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// It was refused for this reason.
    Refused(&'static str),
}

/// The event of a call to `rpc` that touched `resource`, or would have.
pub fn event(
    id: Uuid,
    now: UnixMillis,
    call: &Call,
    rpc: &'static str,
    outcome: Outcome,
    resource: String,
) -> Event {
    let (outcome, reason) = match outcome {
        Outcome::Done => (AuditOutcome::Done, ""),
        Outcome::Refused(reason) => (AuditOutcome::Refused, reason),
    };
    let event = AuditEvent {
        event_id: id.hyphenated().to_string(),
        event_time: Some(timestamp::of(now)),
        transaction_id: call.transaction_id.to_string(),
        rpc: rpc.to_owned(),
        principal: Some(principal(&call.caller)),
        outcome: outcome.into(),
        reason: reason.to_owned(),
        resource,
        // For whoever keeps it to say, from our certificate.
        writer: String::new(),
    };
    Event { id, body: event.encode_to_vec() }
}

fn principal(caller: &Caller) -> AuditPrincipal {
    let kind = match caller.principal {
        Principal::Anonymous => PrincipalKind::Anonymous,
        Principal::Subject(_) => PrincipalKind::Subject,
        Principal::Partner(_) => PrincipalKind::Partner,
        Principal::Service => PrincipalKind::Service,
    };
    let of = |read: fn(&Subject) -> &str| caller.subject().map(read).unwrap_or_default().to_owned();
    AuditPrincipal {
        kind: kind.into(),
        issuer: of(|subject| &subject.issuer),
        subject: of(|subject| &subject.id),
        customer_id: caller.customer_id().unwrap_or_default().to_owned(),
        partner_id: caller.partner_id().unwrap_or_default().to_owned(),
        service: caller.acting_service().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chassis::Partner;

    use super::*;

    #[test]
    fn whoever_stands_behind_a_call_is_named_whole() {
        let ada = Subject {
            issuer: "https://issuer.test".into(),
            id: "ada".into(),
            customer_id: Some("c-1".into()),
            scopes: ["accounts.read".to_owned()].into(),
        };
        let named = |kind: PrincipalKind, subject: bool, partner: &str, service: &str| AuditPrincipal {
            kind: kind.into(),
            issuer: if subject { "https://issuer.test".into() } else { String::new() },
            subject: if subject { "ada".into() } else { String::new() },
            customer_id: if subject { "c-1".into() } else { String::new() },
            partner_id: partner.into(),
            service: service.into(),
        };
        for (principal, service, expect) in [
            (Principal::Subject(ada.clone()), None, named(PrincipalKind::Subject, true, "", "")),
            (
                Principal::Subject(ada.clone()),
                Some("svc-docs"),
                named(PrincipalKind::Subject, true, "", "svc-docs"),
            ),
            (
                Principal::Partner(Partner { id: "psp".into(), subject: Some(ada) }),
                None,
                named(PrincipalKind::Partner, true, "psp", ""),
            ),
            (
                Principal::Partner(Partner { id: "psp".into(), subject: None }),
                None,
                named(PrincipalKind::Partner, false, "psp", ""),
            ),
            (Principal::Service, Some("svc-docs"), named(PrincipalKind::Service, false, "", "svc-docs")),
            (Principal::Anonymous, None, named(PrincipalKind::Anonymous, false, "", "")),
        ] {
            let caller = Caller { principal, service: service.map(Into::into) };
            assert_eq!(super::principal(&caller), expect, "{caller:?}");
        }
    }
}
